"""Incident codes, compared with a direct computation."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, strategies as st

from claimscale.tokens.incident_codes import CodeLists, RandomDates, incident_codes, sample_index_dates
from claimscale.tokens.special_tokens import FIRST_CODE

VOCABULARY = 14
HORIZON = 30
NOTHING = np.zeros(0, np.int32)


def _store(patients: list[list[tuple[int, int]]]) -> SimpleNamespace:
    """Patients as lists of (available day, token)."""
    events = [event for patient in patients for event in sorted(patient)]
    return SimpleNamespace(
        offsets=np.r_[0, np.cumsum([len(patient) for patient in patients])].astype(np.int64),
        available=np.array([day for day, _ in events], np.int32),
        token=np.array([token for _, token in events], np.uint16),
        vocabulary=SimpleNamespace(size=VOCABULARY),
    )


EVENTS = st.lists(
    st.lists(st.tuples(st.integers(0, 100), st.integers(FIRST_CODE, VOCABULARY - 1)), max_size=25),
    min_size=1, max_size=6,
)  # fmt: skip


def _found(lists: CodeLists, number: int) -> set[int]:
    listed = lists.token[lists.offsets[number] : lists.offsets[number + 1]].tolist()
    assert len(set(listed)) == len(listed)
    return set(listed)


@given(EVENTS, st.integers(0, 110))
def test_incident_codes_are_new_within_the_horizon(patients, day: int) -> None:
    rows, has_full_horizon = np.arange(len(patients)), np.arange(len(patients)) % 2 == 0
    dates, withheld = (np.full(len(rows), day), has_full_horizon), FIRST_CODE + 2
    codes = incident_codes(_store(patients), rows, dates, HORIZON, np.array([withheld]))  # pyright: ignore[reportArgumentType]
    for number, patient in enumerate(patients):
        before = {token for when, token in patient if day - HORIZON < when <= day} - {withheld}
        after = {token for when, token in patient if day < when <= day + HORIZON} - {withheld}
        assert _found(codes.known, number) == before
        assert _found(codes.new, number) == (after - before if has_full_horizon[number] else set())
    assert codes.counts(rows).tolist() == [len(_found(codes.new, number)) for number in range(len(rows))]


@given(EVENTS, st.integers(0, 1000), st.integers(0, 50))
def test_a_date_is_a_day_of_the_record_that_leaves_the_horizon(patients, seed: int, epoch: int) -> None:
    store, rows, last = _store(patients), np.arange(len(patients)), 90
    rule = RandomDates(last, HORIZON, 0.0, seed)
    days, has_full_horizon = sample_index_dates(store, rows, rule, epoch)  # pyright: ignore[reportArgumentType]
    for number, patient in enumerate(patients):
        choices = {when for when, _ in patient if when <= last - HORIZON}
        assert has_full_horizon[number] == bool(choices)
        assert days[number] in choices if choices else days[number] == last
    alone, _ = sample_index_dates(store, rows[-1:], rule, epoch)  # pyright: ignore[reportArgumentType]
    assert alone[0] == days[-1], "whichever other patients there are"


def test_days_are_sampled_uniformly_however_many_codes_they_have() -> None:
    store = _store([[(10, 6)] * 20 + [(20, 7), (30, 8), (40, 9)]])
    row = np.array([0])
    rule = RandomDates(100, HORIZON, 0.0, 1)
    sampled = [sample_index_dates(store, row, rule, epoch)[0][0] for epoch in range(2000)]  # pyright: ignore[reportArgumentType]
    days, counts = np.unique(sampled, return_counts=True)
    assert days.tolist() == [10, 20, 30, 40]
    assert np.all(np.abs(counts - 500) < 4 * np.sqrt(2000 * 0.25 * 0.75))


def test_a_share_of_dates_is_any_day_since_the_first() -> None:
    store = _store([[(10, 6)], [(10, 6), (60, 7)], [(80, 6)]])
    rule = RandomDates(100, HORIZON, 0.25, 1)
    sampled = [sample_index_dates(store, np.arange(3), rule, epoch) for epoch in range(2000)]  # pyright: ignore[reportArgumentType]
    days = np.array([found[0] for found in sampled])
    assert np.all([found[1] for found in sampled] == np.array([True, True, False]))
    assert set(days[:, 0]) == set(range(10, 71)) and set(days[:, 2]) == {100}
    on_contact = np.isin(days[:, 1], (10, 60)).mean()
    assert on_contact == pytest.approx(0.75 + 0.25 * 2 / 61, abs=4 * np.sqrt(0.25 * 0.75 / 2000))


def test_log_odds_are_those_of_the_patients_at_risk() -> None:
    new = [[(10, 6), (20, 7)]] * 30 + [[(10, 6)]] * 60 + [[(10, 7)]] * 10
    days, has_full_horizon = np.full(100, 10), np.ones(100, bool)
    codes = incident_codes(_store(new), np.arange(100), (days, has_full_horizon), HORIZON, NOTHING)  # pyright: ignore[reportArgumentType]
    log_odds = codes.log_odds(VOCABULARY)
    assert log_odds[7] == pytest.approx(np.log(30.5 / 60.5)), "ten have it already"
    assert log_odds[6] < log_odds[7] and log_odds[9] == pytest.approx(np.log(0.5 / 100.5))


def test_pairs_name_the_row_among_those_asked_for() -> None:
    lists = CodeLists(np.array([6, 7, 8, 9, 10], np.int32), np.array([0, 2, 2, 5]))
    row, token = lists.pairs(np.array([2, 1, 0]))
    assert list(zip(row.tolist(), token.tolist(), strict=True)) == [(0, 8), (0, 9), (0, 10), (2, 6), (2, 7)]
