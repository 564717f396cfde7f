"""Families of outcomes: verdicts follow the truth that the runs were drawn from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from claimscale.evaluation.phenome import Phenome, SizeRuns, evaluate_phenome

SIZES = {"1M": 1_000_000, "4M": 4_000_000, "16M": 16_000_000}
SEEDS, REPLICATES, MARGIN = 3, 400, 0.05


def phenome(
    disease_gain: float,
    medication_gain: float,
    *,
    outcomes: int = 60,
    noise: float = 0.05,
    run_spread: float = 0.002,
    outcome_spread: float = 0.0,
    seed: int = 0,
) -> Phenome:
    """Gains are relative and per step of size (two doublings); `noise` is that of patients on an outcome."""
    random = np.random.default_rng(seed)
    kinds = np.repeat(["disease", "medication"], outcomes // 2)
    per_step = np.where(kinds == "disease", disease_gain, medication_gain)
    per_step = per_step + random.normal(0, outcome_spread, outcomes)
    common = random.normal(0, noise, (outcomes, 1 + REPLICATES))
    runs = {}
    for place, size in enumerate(SIZES):
        own = random.normal(0, noise / 4, (SEEDS, outcomes, 1 + REPLICATES))
        drawn = common + own
        effects = random.normal(0, run_spread, (SEEDS, 1))
        logs = -2.0 + place * per_step + effects + drawn[..., 0]
        auroc = 0.7 + 0.1 * (place * per_step + effects + drawn[..., 0])
        deviations = drawn[..., 1:].astype(np.float32)
        seeds = tuple(range(SEEDS))
        runs[size] = SizeRuns(
            seeds, np.exp(logs), auroc, np.zeros((SEEDS, outcomes)), deviations, 0.1 * deviations
        )
    names = tuple(f"{kind}{number}" for number, kind in enumerate(kinds))
    chapters = tuple(f"{kind}{number % 3}" for number, kind in enumerate(kinds))
    cases = np.full(outcomes, 200)
    return Phenome(names, tuple(kinds.tolist()), chapters, cases, np.full(outcomes, 10_000), runs)


def test_a_flat_family_is_saturated_and_one_that_rises_is_not() -> None:
    found = evaluate_phenome(phenome(0.15, 0.0), SIZES, MARGIN, 1)
    verdicts = {family.name: family.verdict for family in found.families}
    assert verdicts["medications"].verdict == "saturated"
    assert verdicts["medications"].smallest_sufficient == "1M"
    assert verdicts["diseases"].verdict == "not_saturated"


def test_the_interaction_has_the_sign_of_the_kind_that_gains_more() -> None:
    for disease, medication in ((0.1, 0.0), (0.0, 0.1)):
        interaction = evaluate_phenome(phenome(disease, medication), SIZES, MARGIN, 1).interaction
        assert interaction is not None
        low, high = interaction.two_sided()
        assert (low > 0) == (disease > medication) and (high < 0) == (disease < medication)


def test_the_interaction_covers_no_difference() -> None:
    covered = 0
    for seed in range(40):
        found = evaluate_phenome(phenome(0.05, 0.05, seed=seed), SIZES, MARGIN, seed).interaction
        assert found is not None
        low, high = found.two_sided()
        covered += low <= 0 <= high
    assert covered >= 33  # 38 expected; fewer than 33 has a probability of 0.3 %


def test_the_gain_per_doubling_is_that_of_the_truth() -> None:
    family = evaluate_phenome(phenome(0.06, 0.06), SIZES, MARGIN, 1).families[0]
    assert family.per_doubling is not None
    low, high = family.per_doubling.two_sided()
    assert low < 0.03 < high
    assert family.per_doubling.estimate == pytest.approx(0.03, abs=0.005)


def test_outcomes_that_gain_differently_make_a_family_less_certain() -> None:
    errors = []
    for spread in (0.0, 0.3):
        family = evaluate_phenome(phenome(0.0, 0.0, outcome_spread=spread), SIZES, MARGIN, 1).families[0]
        ends = next(one for one in family.verdict.comparisons if (one.smaller, one.larger) == ("1M", "16M"))
        errors.append(ends.gain.standard_error)
    expected = 0.3 * 2 / np.sqrt(30) * np.exp(-2.0)  # of the mean of 30 outcomes, on the scale of AUPRC
    assert errors[1] > 5 * errors[0]
    assert errors[1] == pytest.approx(expected, rel=0.35)


def test_a_family_of_two_outcomes_has_no_verdict() -> None:
    assert evaluate_phenome(phenome(0.0, 0.0, outcomes=4), SIZES, MARGIN, 1).families == ()


def test_gains_of_outcomes_are_drawn_to_their_kind_the_more_the_noise() -> None:
    noisy, exact = (phenome(0.1, 0.0, outcome_spread=0.05, noise=noise) for noise in (0.5, 0.01))
    for data, most in ((noisy, 0.9), (exact, 1.0)):
        gains = evaluate_phenome(data, SIZES, MARGIN, 1).gains
        observed = np.array([one.gain.estimate for one in gains[:30]])
        shrunk = np.array([one.shrunk for one in gains[:30]])
        assert shrunk.mean() == pytest.approx(observed.mean(), rel=0.01)
        assert shrunk.std() <= most * observed.std()
    assert shrunk == pytest.approx(observed, abs=0.05 * observed.std())


def test_one_size_gives_no_verdict_and_no_warning() -> None:
    """As in the report of a study that has only begun."""
    whole = phenome(0.1, 0.0)
    begun = replace(whole, runs={"1M": whole.runs["1M"]})
    found = evaluate_phenome(begun, SIZES, MARGIN, 1)
    assert {family.verdict.reason for family in found.families} == {"one_size"}
    assert all(family.per_doubling is None for family in found.families) and found.interaction is None
    assert all(one.gain.estimate == 0 == one.shrunk for one in found.gains)


def test_a_size_is_too_small_where_the_largest_gains_more_than_the_margin_over_it() -> None:
    found = evaluate_phenome(phenome(0.15, 0.0), SIZES, MARGIN, 1)
    shown = {family.name: family.too_small and family.too_small.smaller for family in found.families}
    assert shown == {"diseases": "4M", "medications": None}
