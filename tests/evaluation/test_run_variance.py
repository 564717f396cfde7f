"""The moderated variance between runs, on runs whose true variance is known."""

from __future__ import annotations

import numpy as np
import pytest

from claimscale.evaluation.intervals import Scores, difference, interval
from claimscale.evaluation.run_variance import (
    _Runs as Runs,  # pyright: ignore[reportPrivateUsage]
    effective_number,
    fit_prior,
    moderated,
)


def runs(random: np.random.Generator, size: str, spread: float, seeds: int = 3) -> Runs:
    values = 1 + spread * random.normal(size=seeds)
    return Runs(size, tuple(range(seeds)), values / values.mean() - 1)


def scores(values: np.ndarray) -> Scores:
    return Scores(tuple(range(len(values))), values, np.repeat(values[:, None], 50, axis=1), 500)


def test_equal_variances_are_pooled() -> None:
    random = np.random.default_rng(0)
    found = [fit_prior([runs(random, f"{n}M", 0.02) for n in range(40)]) for _ in range(50)]
    assert all(prior is not None for prior in found)
    spreads = [prior.variance**0.5 for prior in found if prior]
    assert np.mean(spreads) == pytest.approx(0.02, rel=0.05)
    assert np.median([prior.degrees for prior in found if prior]) > 20


def test_variances_that_differ_are_hardly_pooled() -> None:
    random = np.random.default_rng(1)
    mixed = [runs(random, f"{n}M", 0.02 * 8 ** random.normal()) for n in range(60)]
    prior = fit_prior(mixed)
    assert prior is not None and prior.degrees < 3


def test_two_variances_are_not_moderated() -> None:
    random = np.random.default_rng(2)
    assert fit_prior([runs(random, "1M", 0.02), runs(random, "2M", 0.02)]) is None


def test_tasks_that_share_their_runs_count_once() -> None:
    random = np.random.default_rng(3)
    own = random.normal(size=20)
    shared = [Runs("1M", tuple(range(20)), own - own.mean()) for _ in range(6)]
    assert effective_number(shared) == pytest.approx(1)
    alone = [runs(random, "1M", 0.02, 20) for _ in range(6)]
    assert effective_number(alone) == pytest.approx(6, rel=0.15)
    other_size = [runs(random, f"{n}M", 0.02, 20) for n in range(6)]
    assert effective_number(other_size) == 6


def test_two_seeds_never_pretend_to_be_independent_tasks() -> None:
    random = np.random.default_rng(4)
    assert effective_number([runs(random, "1M", 0.02, 2) for _ in range(6)]) == pytest.approx(1)


def test_it_is_relative_to_each_tasks_metric() -> None:
    """A task of twice the AUPRC has twice the standard deviation."""
    random = np.random.default_rng(5)
    base = {("low", f"{n}M"): 0.2 * (1 + 0.01 * random.normal(size=3)) for n in range(6)}
    both = {key: scores(values) for key, values in base.items()}
    both |= {("high", size): scores(2 * values) for (_, size), values in base.items()}
    found = moderated(both)
    for (task, size), one in found.items():
        if task == "low":
            low, high = one.spread, found["high", size].spread
            assert low and high and high.variance == pytest.approx(4 * low.variance)


def test_a_contrast_takes_the_variance_of_its_models() -> None:
    random = np.random.default_rng(6)
    values = {("t", f"{n}M"): scores(0.3 + 0.003 * random.normal(size=3)) for n in range(8)}
    found = moderated(values)
    larger, smaller = found["t", "7M"], found["t", "0M"]
    gain = difference(larger, smaller)
    assert gain is not None and larger.spread and smaller.spread
    variances = [spread.variance for spread in gain.spreads]
    assert variances == pytest.approx([larger.spread.variance, smaller.spread.variance], rel=1e-4)
    moderate, plain = interval(gain), interval(difference(values["t", "7M"], values["t", "0M"]) or gain)
    assert moderate.degrees > plain.degrees
    assert moderate.estimate == plain.estimate
    assert moderate.seed_variance == pytest.approx(sum(variances) / 3, rel=1e-4)


def test_one_run_has_no_variance_to_moderate() -> None:
    one = {("t", f"{n}M"): scores(np.array([0.3])) for n in range(5)}
    assert all(found.spread is None for found in moderated(one).values())
