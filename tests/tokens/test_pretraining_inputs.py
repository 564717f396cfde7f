"""What pretraining is shown of a record, and what it never is."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
from hypothesis import given, settings, strategies as st

from claimscale.config.training import Pretrain, Tokens
from claimscale.tokens.pretraining_inputs import PatientHistories
from claimscale.tokens.special_tokens import FIRST_CODE

VOCABULARY, LAST_DAY, HORIZON = 14, 18_000, 365
SETTINGS = Pretrain(horizon_days=HORIZON)
EVENTS = st.lists(
    st.lists(
        st.tuples(st.integers(LAST_DAY - 1200, LAST_DAY + 400), st.integers(FIRST_CODE, VOCABULARY - 1)),
        max_size=30,
    ),
    min_size=1, max_size=5,
)  # fmt: skip


def _histories(patients: list[list[tuple[int, int]]]) -> PatientHistories:
    """Patients as lists of (available day, token); what happened became known on the same day."""
    events = [event for patient in patients for event in sorted(patient)]
    days = np.array([day for day, _ in events], np.int32)
    births = np.full(len(patients), 0, np.int32)
    store = SimpleNamespace(
        offsets=np.r_[0, np.cumsum([len(patient) for patient in patients])].astype(np.int64),
        available=days, age_days=days, token=np.array([token for _, token in events], np.uint16),
        birth_day=births, sex=np.full(len(patients), 3, np.int32),
        vocabulary=SimpleNamespace(size=VOCABULARY),
    )  # fmt: skip
    return PatientHistories(store, np.arange(len(patients)), LAST_DAY, Tokens(max_length=16))  # pyright: ignore[reportArgumentType]


@settings(max_examples=60, deadline=None)
@given(EVENTS, st.integers(0, 5))
def test_nothing_after_the_last_day_changes_what_is_shown_or_asked(patients, epoch: int) -> None:
    cut = [[event for event in patient if event[0] <= LAST_DAY] for patient in patients]
    samples = [_histories(known).dated(SETTINGS, 1)(epoch) for known in (patients, cut)]
    whole, known = (
        [sample.sequences.token, sample.sequences.age_days, sample.sequences.count, sample.sequences.offsets,
         sample.incident.has_full_horizon,
         sample.incident.new.token, sample.incident.new.offsets, sample.incident.known.token]
        for sample in samples if sample.incident is not None
    )  # fmt: skip
    assert all(np.array_equal(one, other) for one, other in zip(whole, known, strict=True))


@settings(max_examples=60, deadline=None)
@given(EVENTS, st.integers(0, 5))
def test_what_is_asked_for_is_never_shown(patients, epoch: int) -> None:
    histories = _histories(patients)
    sample = histories.dated(SETTINGS, 1)(epoch)
    incident, sequences = sample.incident, sample.sequences
    assert incident is not None and len(sequences) == len(patients)
    newest = sequences.age_days[sequences.offsets[:-1]]
    for number, has_full_horizon in enumerate(incident.has_full_horizon):
        shown = slice(sequences.offsets[number] + 2, sequences.offsets[number + 1])
        assert np.all(sequences.age_days[shown] <= newest[number])
        assert newest[number] <= LAST_DAY - HORIZON * has_full_horizon
    assert np.array_equal(histories.on_last_day().age_days[sequences.offsets[:1]], [LAST_DAY])


def test_withheld_tokens_are_neither_shown_nor_predicted() -> None:
    histories = _histories([[(LAST_DAY - 900 + day, FIRST_CODE + day % 8) for day in range(0, 900, 7)]] * 40)
    hidden = replace(histories, withheld_tokens=np.array([FIRST_CODE, FIRST_CODE + 3]))
    for chosen, seen in ((histories, True), (hidden, False)):
        sample = chosen.dated(SETTINGS, 1)(0)
        assert sample.incident is not None
        lists = (sample.sequences.token, sample.incident.new.token, sample.incident.known.token)
        assert all(np.isin(hidden.withheld_tokens, tokens).all() == seen for tokens in lists[::2])
        assert np.isin(lists[1], hidden.withheld_tokens).any() == seen


def test_another_epoch_shows_other_days() -> None:
    histories = _histories([[(LAST_DAY - 400 - day, 6 + day % 8) for day in range(60)]])
    samples = histories.dated(SETTINGS, 1)
    days = {int(samples(epoch).sequences.age_days[0]) for epoch in range(20)}
    assert len(days) > 5
    assert int(samples(3).sequences.age_days[0]) == int(histories.dated(SETTINGS, 1)(3).sequences.age_days[0])


@settings(max_examples=30, deadline=None)
@given(EVENTS, st.integers(0, 5), st.integers(2, 4))
def test_threads_do_not_change_a_sample(patients, epoch: int, threads: int) -> None:
    samples = _histories(patients).dated(SETTINGS, 1)
    whole, shared = samples(epoch), samples.parallel(threads)(epoch)
    assert whole.incident is not None and shared.incident is not None
    for name in ("token", "age_days", "offsets", "count"):
        np.testing.assert_array_equal(getattr(shared.sequences, name), getattr(whole.sequences, name))
    np.testing.assert_array_equal(shared.incident.has_full_horizon, whole.incident.has_full_horizon)
    for name in ("new", "known"):
        one, other = getattr(shared.incident, name), getattr(whole.incident, name)
        np.testing.assert_array_equal(one.token, other.token)
        np.testing.assert_array_equal(one.offsets, other.offsets)
