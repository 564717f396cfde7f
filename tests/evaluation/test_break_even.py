"""The cases below which an encoder outperforms LightGBM are those of the truth that was drawn from."""

from __future__ import annotations

import numpy as np
import pytest

from claimscale.evaluation.break_even import LightgbmOutcomes, compare_with_lightgbm
from claimscale.evaluation.phenome import Phenome, SizeRuns

OUTCOMES, SEEDS, REPLICATES = 40, 3, 300


def world(
    slope: float, at: float = 300.0, *, noise: float = 0.1, outcome_spread: float = 0.15, seed: int = 0
) -> tuple[Phenome, LightgbmOutcomes]:
    """The gain is `slope` per tenfold cases and zero `at` these cases; patients add `noise` to both models.

    Patients disturb both models alike, and each by a third of it alone. Runs vary by 0.01.
    """
    random = np.random.default_rng(seed)
    cases = np.sort(np.exp(random.uniform(np.log(25), np.log(4000), OUTCOMES)).astype(np.int64))
    level = random.normal(-2.5, 0.4, OUTCOMES)
    gain = slope * (np.log10(cases) - np.log10(at)) + random.normal(0, outcome_spread, OUTCOMES)
    shared = random.normal(0, noise, (OUTCOMES, 1 + REPLICATES))

    def noisy(*shape: int) -> np.ndarray:
        return shared + random.normal(0, noise / 3, (*shape, OUTCOMES, 1 + REPLICATES))

    trees, encoder = noisy(), noisy(SEEDS)
    runs = random.normal(0, 0.01, (SEEDS, 1))
    auprc = np.exp(level + gain + runs + encoder[..., 0])
    deviations = encoder[..., 1:].astype(np.float32)
    own = SizeRuns(tuple(range(SEEDS)), auprc, auprc, auprc, deviations, deviations)
    codes = tuple(f"c{place}" for place in range(OUTCOMES))
    kinds = ("disease",) * OUTCOMES
    phenome = Phenome(codes, kinds, codes, cases, np.full(OUTCOMES, 10_000), {"1M": own})
    found = np.exp(level + trees[:, 0])
    places = np.arange(OUTCOMES)
    return phenome, LightgbmOutcomes(places, cases, found, found, trees[:, 1:].astype(np.float32))


def test_the_crossing_is_that_of_the_truth() -> None:
    found = compare_with_lightgbm(*world(-0.5, noise=0.01, outcome_spread=0.01), 1)
    assert found is not None
    cases, slope = found.sizes["1M"].cases, found.sizes["1M"].per_tenfold
    assert cases is not None and slope is not None
    assert cases.low < 300 < cases.high and 270 < cases.estimate < 330
    assert slope.low < -0.5 < slope.high < 0


def test_intervals_cover_the_truth() -> None:
    crossings = [compare_with_lightgbm(*world(-0.6, seed=seed), seed) for seed in range(40)]
    bounds = [one.sizes["1M"].cases for one in crossings if one is not None]
    assert all(found is not None for found in bounds)
    covered = sum(found.low <= 300 <= found.high for found in bounds if found is not None)
    assert covered >= 33  # 38 expected; fewer than 33 has a probability of 0.3 %


def test_no_crossing_is_claimed_where_there_is_none() -> None:
    claimed = 0
    for seed in range(40):
        found = compare_with_lightgbm(*world(0.0, seed=seed), seed)
        assert found is not None
        claimed += found.sizes["1M"].cases is not None
    assert claimed <= 4  # a falling slope is shown in one of forty worlds


@pytest.mark.parametrize(("at", "sign"), [(1e6, 1), (1.0, -1)])
def test_a_model_that_is_ahead_everywhere_is_ahead_in_every_band(at: float, sign: int) -> None:
    found = compare_with_lightgbm(*world(-0.3, at, noise=0.02, outcome_spread=0.02), 1)
    assert found is not None
    shown = found.sizes["1M"]
    assert shown.cases is None and len(shown.bands) == 4
    for band in shown.bands:
        low, high = band.gain.two_sided()
        assert min(sign * low, sign * high) > 0 and (band.encoder > band.lightgbm) == (sign > 0)


def test_bands_hold_every_outcome_once() -> None:
    found = compare_with_lightgbm(*world(-0.5), 1)
    assert found is not None
    assert sum(band.outcomes for band in found.sizes["1M"].bands) == OUTCOMES
    cases = found.lightgbm.training_cases
    for band in found.sizes["1M"].bands:
        assert band.outcomes == ((cases >= band.low) & (cases < (band.high or np.inf))).sum()


def test_two_outcomes_are_too_few() -> None:
    phenome, trees = world(-0.5)
    two = LightgbmOutcomes(
        trees.places[:2], trees.training_cases[:2], trees.auprc[:2], trees.auroc[:2], trees.replicates[:2]
    )
    assert compare_with_lightgbm(phenome, two, 1) is None
