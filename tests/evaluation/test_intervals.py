"""Intervals cover the truth as often as they claim, over patients and seeds together."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from claimscale.evaluation.intervals import Interval, Scores, average, combine, difference, interval

SimulatedModels = Callable[..., dict[str, Scores]]


def scores(values: list[float], replicates: np.ndarray, seeds: tuple[int, ...] | None = None) -> Scores:
    return Scores(seeds or tuple(range(len(values))), np.array(values), replicates, positives=10**6)


def test_variance_is_patients_plus_seeds() -> None:
    replicates = np.tile(np.array([0.0, 0.2] * 500), (3, 1))
    found = interval(scores([0.1, 0.2, 0.3], replicates))
    assert found.estimate == pytest.approx(0.2)
    assert found.patient_variance == pytest.approx(0.01, rel=1e-2)
    assert found.seed_variance == pytest.approx(0.01 / 3)


def test_without_patient_variance_it_is_the_t_interval_over_seeds() -> None:
    values = [0.1, 0.25, 0.3]
    found = interval(scores(values, np.ones((3, 50))))
    expected = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    assert found.two_sided() == pytest.approx(expected)
    assert found.degrees == pytest.approx(2)


def test_without_seed_variance_it_is_normal_over_patients() -> None:
    replicates = np.random.default_rng(0).normal(0.5, 0.1, size=4000)
    found = interval(scores([0.5], replicates[None]))
    assert found.seeds == 1 and found.seed_variance == 0
    assert found.two_sided() == pytest.approx((0.5 - 0.196, 0.5 + 0.196), abs=0.01)


def test_p_values_agree_with_bounds() -> None:
    found = Interval(0.03, 0.0001, 0.00005, 12.0, 3)
    assert found.p_below(found.upper(0.95)) == pytest.approx(0.05)
    assert found.p_above(found.lower(0.95)) == pytest.approx(0.05)
    low, high = found.two_sided()
    assert found.p_differs(low) == pytest.approx(0.05) == found.p_differs(high)


def test_without_any_variance_the_sign_decides() -> None:
    found = Interval(0.0, 0.0, 0.0, 1.0, 2)
    assert found.p_below(0.01) == 0 and found.p_above(0.01) == 1
    assert found.p_differs() == 1


def test_too_few_usable_replicates_give_no_interval() -> None:
    replicates = np.full((2, 100), 0.4)
    replicates[:, :10] = np.nan
    found = interval(scores([0.4, 0.5], replicates))
    assert found.estimate == pytest.approx(0.45)
    assert all(math.isnan(bound) for bound in found.two_sided())


def test_runs_are_paired_by_seed() -> None:
    first = scores([1.0, 2.0, 3.0], np.arange(6.0).reshape(3, 2), seeds=(1, 2, 3))
    second = scores([10.0, 20.0], np.zeros((2, 2)), seeds=(3, 1))
    paired = difference(first, second)
    assert paired is not None
    assert paired.seeds == (1, 3)
    assert paired.values.tolist() == [1 - 20, 3 - 10]
    assert paired.replicates.tolist() == [[0, 1], [4, 5]]
    assert difference(first, scores([1.0], np.zeros((1, 2)), seeds=(9,))) is None


def test_average_of_equal_scores_is_the_score() -> None:
    one = scores([0.1, 0.3], np.random.default_rng(1).random((2, 50)))
    mean = average([one, one, one])
    assert mean is not None
    assert mean.values == pytest.approx(one.values) and mean.replicates == pytest.approx(one.replicates)
    same = combine(lambda *arrays: np.mean(arrays, axis=0), one, one, one, models=["1M"] * 3)
    assert same is not None
    assert interval(same).two_sided() == pytest.approx(interval(one).two_sided())
    squared = combine(np.multiply, one, one)
    assert squared is not None and squared.values == pytest.approx(one.values**2)


def test_seed_variance_due_to_patients_is_reducible(simulated_models: SimulatedModels) -> None:
    """Runs of equal quality differ only in this sample; runs of unequal quality differ in any."""
    alike = [simulated_models({"1M": 1.0}, seed=seed, patients=400)["1M"] for seed in range(60)]
    shares = [_reducible(interval(one)) for one in alike]
    assert np.median(shares) > 0.8
    unlike = interval(simulated_models({"1M": 2.0}, seed=1, patients=8000, seed_spread=1.5)["1M"])
    assert _reducible(unlike) < 0.1


def _reducible(found: Interval) -> float:
    """The share of the variance between seeds that patients explain."""
    return min(found.within_variance / found.seeds / found.seed_variance, 1.0)


def test_coverage_over_patients_and_seeds(simulated_models: SimulatedModels) -> None:
    """A nominal 95 % interval covers about that often; resampling patients alone falls short.

    Both models see the true logit through noise whose strength varies between training runs.
    """
    noise, spread = {"small": 1.5, "large": 1.0}, 0.4

    def study(seed: int, **settings: int) -> Scores:
        models = simulated_models(noise, seed=seed, seed_spread=spread, metric="auroc", **settings)
        gain = difference(models["large"], models["small"])
        assert gain is not None
        return gain

    truth = study(seed=999, patients=4000, seeds=200, replicates=1).values.mean()
    covered = {"patients and seeds": 0, "patients": 0}
    for seed in range(160):
        found = interval(study(seed, patients=400, seeds=3, replicates=100))
        patients_only = replace(found, seed_variance=0.0, degrees=1e6)
        for name, one in (("patients and seeds", found), ("patients", patients_only)):
            low, high = one.two_sided()
            covered[name] += bool(low <= truth <= high)
    assert 0.91 <= covered["patients and seeds"] / 160 <= 0.995
    assert covered["patients"] / 160 < 0.91
