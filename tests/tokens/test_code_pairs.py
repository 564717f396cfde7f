"""Pairs of codes in samples whose true rates are known."""

from __future__ import annotations

import numpy as np
import pytest

from claimscale.tokens import code_pairs as module
from claimscale.tokens.code_pairs import ABSENT, CodePairs, code_pairs
from claimscale.tokens.incident_codes import CodeLists, IncidentCodes
from claimscale.tokens.pretraining_inputs import EpochSamples, PretrainingSample
from claimscale.tokens.sequences import Sequences
from claimscale.tokens.special_tokens import FIRST_CODE, LEADING

PATIENTS, CODES = 4000, 30
VOCABULARY = FIRST_CODE + CODES
EARLIER, TWIN, LATER, COMMON = (FIRST_CODE + place for place in (0, 1, 2, 3))
BASE, ADDED = 0.02, 0.3


def samples(full: float = 1.0, with_twin: bool = False) -> EpochSamples:
    """A code in ten is recorded, and as many are new; LATER follows EARLIER, whose twin is always with it."""

    def sample(epoch: int) -> PretrainingSample:
        random = np.random.default_rng(epoch)
        recorded = random.random((PATIENTS, CODES)) < 0.1
        recorded[:, COMMON - FIRST_CODE] = random.random(PATIENTS) < 0.9
        if with_twin:
            recorded[:, TWIN - FIRST_CODE] = recorded[:, EARLIER - FIRST_CODE]
        risk = np.full((PATIENTS, CODES), 0.1)
        risk[:, LATER - FIRST_CODE] = BASE + ADDED * recorded[:, EARLIER - FIRST_CODE]
        has_full_horizon = random.random(PATIENTS) < full
        new = (random.random(risk.shape) < risk) & has_full_horizon[:, None]
        sequences = _lists(recorded, leading=True)
        length = len(sequences.token)
        return PretrainingSample(
            Sequences(sequences.token, np.zeros(length, np.int32), sequences.offsets),
            IncidentCodes(has_full_horizon, _lists(new), _lists(recorded)),
        )

    return sample


def _lists(chosen: np.ndarray, leading: bool = False) -> CodeLists:
    parts = [
        np.r_[np.ones(LEADING if leading else 0, int), FIRST_CODE + np.flatnonzero(row)] for row in chosen
    ]
    return CodeLists(np.concatenate(parts).astype(np.int32), np.r_[0, np.cumsum([len(p) for p in parts])])


def test_the_planted_pair_alone_is_found_at_its_rate() -> None:
    found = code_pairs(samples(), VOCABULARY, 8)
    places = np.argwhere(found.earlier < VOCABULARY)
    assert places.tolist() == [[LATER, 0]] and found.earlier[LATER, 0] == EARLIER
    # The excess over the mean risk, in which the pair itself is a tenth.
    assert np.exp(found.log_rates[LATER, 0]) == pytest.approx(ADDED * 0.9, rel=0.15)
    assert (found.log_rates[found.earlier == VOCABULARY] == ABSENT).all()


def test_codes_that_are_always_together_share_what_they_explain() -> None:
    alone, both = (code_pairs(samples(with_twin=twin), VOCABULARY, 8) for twin in (False, True))
    assert set(both.earlier[LATER, :2]) == {EARLIER, TWIN}
    together = np.exp(both.log_rates[LATER, :2]).sum()
    assert together == pytest.approx(np.exp(alone.log_rates[LATER, 0]), rel=0.25)


def test_dates_without_a_full_horizon_count_nothing() -> None:
    whole, half = code_pairs(samples(), VOCABULARY, 8), code_pairs(samples(full=0.5), VOCABULARY, 8)
    assert half.earlier[LATER, 0] == EARLIER
    assert half.log_rates[LATER, 0] == pytest.approx(whole.log_rates[LATER, 0], abs=0.15)
    assert (code_pairs(samples(full=0.0), VOCABULARY, 8).earlier == VOCABULARY).all()


def test_counting_by_blocks_of_codes_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = code_pairs(samples(with_twin=True), VOCABULARY, 2)
    monkeypatch.setattr(module, "COUNTS_AT_ONCE", 7 * VOCABULARY)
    parts = code_pairs(samples(with_twin=True), VOCABULARY, 2)
    assert np.array_equal(whole.earlier, parts.earlier)
    assert np.array_equal(whole.log_rates, parts.log_rates)


def test_the_strongest_pairs_are_kept() -> None:
    found = code_pairs(samples(with_twin=True), VOCABULARY, 1)
    assert found.earlier.shape == (VOCABULARY, 1) and found.earlier[LATER, 0] in (EARLIER, TWIN)
    assert np.array_equal(CodePairs.none(5, 2).earlier, np.full((5, 2), 5))
