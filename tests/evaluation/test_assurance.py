"""What decides an inconclusive study, on studies whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from claimscale.evaluation.assurance import (
    Evidence,
    assurance,
    lasting_variance,
    positives_for_verdict,
    seeds_for_verdict,
)
from claimscale.evaluation.intervals import Interval, Scores
from claimscale.evaluation.size_decision import SizeCurve, decide

METRIC, MARGIN = 0.35, 0.007
PATIENTS = 2e-5
"""Variance of a gain over patients, of a study of 1,000 positives: shared by all runs, and within runs."""


def study(
    spread: float = 0.0, seeds: int = 3, degrees: float | None = None, patients: float = PATIENTS
) -> Evidence:
    """A study of 1,000 positives whose runs vary as much as runs with this spread do on average."""
    over_runs = (patients + 2 * (spread * METRIC) ** 2) / seeds
    own = degrees or seeds - 1
    parts = patients, over_runs, 2 * own, seeds, patients, patients * (1 + 1 / seeds), 250.0, own
    return Evidence(Interval(-MARGIN, *parts), MARGIN, METRIC, 1000, 0.05)


def test_more_positives_and_more_seeds_decide_more_often() -> None:
    by_positives = [assurance(study(0.005), positives, 3) for positives in (1000, 2000, 5000, 20_000)]
    by_seeds = [assurance(study(0.005), 4000, seeds) for seeds in (2, 3, 5, 10, 30)]
    for found in (by_positives, by_seeds):
        assert all(0 <= one <= 1 for one in found) and np.all(np.diff(found) > 0)


def test_the_numbers_are_the_least_that_reach_the_probability() -> None:
    one = study(0.005, patients=PATIENTS / 4)
    needed, seeds = positives_for_verdict(one), seeds_for_verdict(one)
    assert needed is not None and assurance(one, needed, 3) == pytest.approx(0.8, abs=0.005)
    assert seeds is not None and assurance(one, 1000, seeds) >= 0.8 > assurance(one, 1000, seeds - 1)


def test_models_as_trained_follow_the_formula_of_a_sample_size() -> None:
    """Runs do not vary, so that nothing is averaged over."""
    excess = Interval(-MARGIN, PATIENTS, 0.0, 1e6, seeds=1, bootstrap_variance=PATIENTS, patient_degrees=1e6)
    needed = positives_for_verdict(Evidence(excess, MARGIN, METRIC, 1000, 0.05))
    quantiles = stats.norm.ppf(0.95) + stats.norm.ppf(0.8)
    assert needed == pytest.approx(1000 * PATIENTS * quantiles**2 / MARGIN**2, rel=0.01)


def test_two_seeds_that_agree_do_not_promise_that_patients_decide() -> None:
    """No lasting variance is found. With two seeds that says little, with five or with many sizes more."""
    assert positives_for_verdict(study(seeds=2)) is None
    assert positives_for_verdict(study(seeds=5)) is not None
    assert positives_for_verdict(study(seeds=2, degrees=200.0)) is not None


@pytest.mark.parametrize("spread", [0.01, 0.02, 0.05])
def test_a_well_known_variance_overrules_the_prior(spread: float) -> None:
    values, weights = lasting_variance(study(spread, degrees=400.0))
    found = np.sqrt(values @ weights / 2) / METRIC
    assert found == pytest.approx(spread, rel=0.1)


def test_without_knowledge_the_prior_stands() -> None:
    """Patients make runs differ so much that their lasting variance cannot be seen."""
    blind = study(seeds=2)
    noise = {"seed_variance": 1.0, "within_variance": 2.0, "bootstrap_variance": 2.0}
    values, weights = lasting_variance(replace(blind, excess=replace(blind.excess, **noise)))
    below = np.interp(0.0026, np.sqrt(values / 2) / METRIC, np.cumsum(weights) - weights / 2)
    assert below == pytest.approx(0.5, abs=0.05)


def test_runs_that_differ_need_seeds_not_patients() -> None:
    one = study(0.01, degrees=40.0, patients=PATIENTS / 20)
    assert positives_for_verdict(one) is None and seeds_for_verdict(one) is not None


def test_seeds_do_not_replace_patients() -> None:
    few = study(0.001, degrees=100.0, patients=4 * PATIENTS)
    assert seeds_for_verdict(few) is None and positives_for_verdict(few) is not None


def test_the_unit_of_the_metric_does_not_matter() -> None:
    one = study(0.004, seeds=5)
    variances = "patient_variance", "seed_variance", "within_variance", "bootstrap_variance"
    doubled = {name: 4 * getattr(one.excess, name) for name in variances}
    excess = replace(one.excess, estimate=2 * one.excess.estimate, **doubled)
    twice = replace(one, excess=excess, margin=2 * MARGIN, metric=2 * METRIC)
    assert positives_for_verdict(twice) == positives_for_verdict(one)


def test_a_gain_near_the_margin_needs_more_than_none() -> None:
    one = study(0.0, seeds=5, degrees=50.0)
    near = replace(one, excess=replace(one.excess, estimate=-0.3 * MARGIN))
    equal, open_gain = positives_for_verdict(near), positives_for_verdict(replace(near, equal=False))
    assert equal is not None and (open_gain is None or open_gain > 2 * equal)


def simulated(spread: float, positives: float, random: np.random.Generator, seeds: int = 3) -> SizeCurve:
    """Two sizes, equally good; patients are those of `study`."""
    share = 1000 / positives
    values = METRIC * (1 + spread * random.normal(size=(2, seeds, 1)))
    shared = np.sqrt(share * PATIENTS / 2) * random.normal(size=(2, 1, 151))
    noise = shared + np.sqrt(share * PATIENTS / 2) * random.normal(size=(2, seeds, 151))
    found = values + noise[..., :1]
    scores = {
        size: Scores(
            tuple(range(seeds)), found[place, :, 0], found[place] + noise[place, :, 1:], int(positives)
        )
        for place, size in enumerate(("1M", "10M"))
    }
    return SizeCurve(scores, 0.05, int(positives))


@pytest.mark.parametrize(("positives", "seeds"), [(1000, 5), (4000, 2)])
def test_four_of_five_repeats_decide_if_spreads_are_as_the_prior_says(positives: int, seeds: int) -> None:
    """With 1,000 positives patients are wanting, with two seeds runs are."""
    random = np.random.default_rng(1)
    decided = []
    for _ in range(300):
        spread = 0.005 * np.sqrt(0.5) * abs(random.standard_t(4))
        found = decide({"ckd": simulated(spread, positives, random, seeds)}, MARGIN / METRIC)["ckd"]
        design = (found.positives_needed, seeds) if seeds == 5 else (positives, found.seeds_needed)
        if found.reason == "underpowered" and all(design):
            again = simulated(spread, design[0] or 0, random, design[1] or 0)
            decided.append(decide({"ckd": again}, MARGIN / METRIC)["ckd"].verdict == "saturated")
    assert len(decided) > 80 and 0.7 <= np.mean(decided) <= 0.88
