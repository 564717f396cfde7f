from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from claimscale.tokens.sequences import WINDOWS_DAYS, Sequences, seen_earlier, select_inputs
from claimscale.tokens.special_tokens import CLS, FIRST_CODE

VOCABULARY = 14
NOTHING = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Store:
    """What select_inputs uses of a TokenStore."""

    offsets: np.ndarray
    token: np.ndarray
    age_days: np.ndarray
    available: np.ndarray
    birth_day: np.ndarray
    sex: np.ndarray
    vocabulary: SimpleNamespace


def _store(patients: list[list[tuple[int, str, str]]], births: list[str] | None = None) -> Store:
    """Patients as lists of (token, day, available day), in stored order."""
    births = births or ["1950-01-01"] * len(patients)
    birth_day = _days(births)
    events = [event for patient in patients for event in patient]
    age = _days([day for _, day, _ in events]) - np.repeat(birth_day, [len(p) for p in patients])
    return Store(
        offsets=np.r_[0, np.cumsum([len(p) for p in patients])].astype(np.int64),
        token=np.array([token for token, _, _ in events], np.uint16),
        age_days=age.astype(np.int32),
        available=_days([available for _, _, available in events]),
        birth_day=birth_day,
        sex=np.full(len(patients), 3, np.int32),
        vocabulary=SimpleNamespace(size=VOCABULARY),
    )


def _days(texts: list[str]) -> np.ndarray:
    return np.array(texts, "datetime64[D]").astype(np.int32)


def _select(
    store: Store, cutoffs, max_length=100, deduplicate="month", hidden_tokens=NOTHING, rows=None
) -> Sequences:
    rows = np.arange(len(cutoffs)) if rows is None else rows
    return select_inputs(store, rows, _days(cutoffs), max_length, deduplicate, hidden_tokens)  # pyright: ignore[reportArgumentType]


def _tokens(sequences: Sequences, number: int = 0) -> list[int]:
    return sequences.token[sequences.offsets[number] : sequences.offsets[number + 1]].tolist()


def test_each_sequence_starts_with_cls_and_sex_at_the_cutoff_age() -> None:
    store = _store([[(7, "2020-01-05", "2020-01-31")], []], ["1950-01-01", "1970-06-01"])
    sequences = _select(store, ["2020-03-01", "2021-01-01"])
    assert [_tokens(sequences, 0), _tokens(sequences, 1)] == [[CLS, 3, 7], [CLS, 3]]
    assert sequences.age_days.tolist() == [
        *[(_days(["2020-03-01"]) - _days(["1950-01-01"])).item()] * 2,
        (_days(["2020-01-05"]) - _days(["1950-01-01"])).item(),
        *[(_days(["2021-01-01"]) - _days(["1970-06-01"])).item()] * 2,
    ]
    assert sequences.lengths.tolist() == [3, 2] and len(sequences) == 2


def test_what_is_known_only_after_the_cutoff_is_left_out() -> None:
    store = _store([[(7, "2020-01-05", "2020-01-31"), (8, "2020-01-06", "2020-02-29")]])
    assert _tokens(_select(store, ["2020-01-30"])) == [CLS, 3]
    assert _tokens(_select(store, ["2020-01-31"])) == [CLS, 3, 7]
    assert _tokens(_select(store, ["2020-02-29"])) == [CLS, 3, 7, 8]


@pytest.mark.parametrize(
    "deduplicate, kept",
    [
        ("none", [0, 1, 2, 3, 4]),
        ("month", [1, 2, 3, 4]),
        ("quarter", [2, 3, 4]),
        ("year", [3, 4]),
        ("history", [4]),
    ],
)
def test_the_latest_of_repeats_within_a_calendar_period_stays(deduplicate: str, kept: list[int]) -> None:
    days = ["2020-01-01", "2020-01-31", "2020-02-01", "2020-04-01", "2021-01-01"]
    store = _store([[(7, day, day) for day in days]])
    sequences = _select(store, ["2022-01-01"], deduplicate=deduplicate)
    assert _tokens(sequences) == [CLS, 3, *[7] * len(kept)]
    assert sequences.age_days[2:].tolist() == store.age_days[kept].tolist()


def test_a_late_claim_for_an_earlier_month_is_still_a_repeat() -> None:
    store = _store(
        [[(7, "2020-01-02", "2020-01-31"), (7, "2020-02-02", "2020-02-29"), (7, "2020-01-20", "2020-03-31")]]
    )
    assert _tokens(_select(store, ["2020-12-31"])) == [CLS, 3, 7, 7]


def test_hidden_codes_disappear_and_the_newest_stay() -> None:
    store = _store([[(token, f"2020-0{token - 5}-01", f"2020-0{token - 5}-28") for token in (6, 7, 8, 9)]])
    assert _tokens(_select(store, ["2021-01-01"], hidden_tokens=np.array([8]))) == [CLS, 3, 6, 7, 9]
    assert _tokens(_select(store, ["2021-01-01"], max_length=4)) == [CLS, 3, 8, 9]


def test_a_patient_can_have_two_cutoffs() -> None:
    store = _store([[(7, "2020-01-01", "2020-01-01")], [(9, "2020-01-01", "2020-01-01")]])
    sequences = _select(store, ["2019-01-01", "2021-01-01", "2021-01-01"], rows=np.array([1, 1, 0]))
    assert [_tokens(sequences, n) for n in range(3)] == [[CLS, 3], [CLS, 3, 9], [CLS, 3, 7]]


_EVENT = st.tuples(st.integers(FIRST_CODE, VOCABULARY - 1), st.integers(0, 900), st.integers(0, 90))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(_EVENT, max_size=25), min_size=1, max_size=4),
    st.integers(0, 1000),
    st.integers(2, 12),
    st.sampled_from(["none", "month", "quarter", "year"]),
)
def test_nothing_after_the_cutoff_changes_an_input(patients, cutoff, max_length, deduplicate) -> None:
    """Inputs stay equal if everything available after the cutoff is removed."""
    day = np.datetime64("2018-01-01")

    def stored(keep_future: bool) -> Store:
        rows = []
        for patient in patients:
            events = sorted((at + delay, at, token) for token, at, delay in patient)
            rows.append(
                [
                    (token, str(day + at), str(day + known))
                    for known, at, token in events
                    if keep_future or known <= cutoff
                ]
            )
        return _store(rows)

    cutoffs = [str(day + cutoff)] * len(patients)
    with_future, without = (_select(stored(keep), cutoffs, max_length, deduplicate) for keep in (True, False))
    np.testing.assert_array_equal(with_future.token, without.token)
    np.testing.assert_array_equal(with_future.age_days, without.age_days)
    np.testing.assert_array_equal(with_future.offsets, without.offsets)
    assert with_future.lengths.max() <= max_length


def test_seen_earlier_looks_within_one_sequence() -> None:
    sequences = Sequences(
        np.array([1, 3, 7, 8, 7, 1, 3, 7], np.int32), np.zeros(8, np.int32), np.array([0, 5, 8])
    )
    assert seen_earlier(sequences).tolist() == [False, False, False, False, True, False, False, False]


@pytest.mark.parametrize(
    "deduplicate, counts",
    [("none", [1, 1, 1, 1, 1]), ("month", [2, 1, 1, 1]), ("year", [3, 1, 1]), ("history", [4, 1])],
)
def test_a_position_says_how_many_occurrences_it_stands_for(deduplicate: str, counts: list[int]) -> None:
    days = ["2019-03-02", "2019-03-20", "2019-11-05", "2020-02-01"]
    store = _store([[*((7, day, day) for day in days), (8, "2020-02-03", "2020-02-03")]])
    assert _select(store, ["2020-06-01"], deduplicate=deduplicate).count[:, -1].tolist() == [1, 1, *counts]


@given(st.lists(st.tuples(st.integers(0, 800), st.integers(7, 9)), max_size=60))
def test_counts_are_those_of_each_window(events: list[tuple[int, int]]) -> None:
    cutoff = np.datetime64("2020-06-01")
    store = _store([[(token, *[str(cutoff - ago)] * 2) for ago, token in sorted(events, reverse=True)]])
    sequences = _select(store, [str(cutoff)], deduplicate="history")
    for token, counts in zip(sequences.token[2:].tolist(), sequences.count[2:].tolist(), strict=True):
        days = [ago for ago, other in events if other == token]
        assert counts == [sum(limit is None or ago < limit for ago in days) for limit in WINDOWS_DAYS]


def test_counts_include_dropped_occurrences_but_no_later_ones() -> None:
    store = _store([[(7, f"2020-0{month}-01", f"2020-0{month}-01") for month in (1, 2, 3, 4)]])
    sequences = _select(store, ["2020-03-15"], max_length=3, deduplicate="history")
    assert sequences.count[:, -1].tolist() == [1, 1, 3]
