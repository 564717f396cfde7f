"""Where one model overtakes another, on models whose learning curves are known."""

from __future__ import annotations

import numpy as np
import pytest

from claimscale.evaluation.crossover import crossing_points, find_crossover
from claimscale.evaluation.intervals import Scores

TESTED: tuple[int, ...] = (300, 1000, 3000, 10_000)


def made(values: dict[int, float], seed: int, spread: float = 1e-3, seeds: int = 3) -> dict[int, Scores]:
    """A model's scores by labelled patients: its values with variance over patients and over runs."""
    generator = np.random.default_rng(seed)
    patients = generator.normal(0, spread, size=300)
    return {
        number: Scores(
            tuple(range(seeds)),
            value + generator.normal(0, spread, size=seeds),
            value + patients + generator.normal(0, spread / 10, size=(seeds, 300)),
            500,
        )
        for number, value in values.items()
    }


def straight(slope: float, at: float) -> dict[int, float]:
    """A gain that is straight over the logarithm of the patients and zero at `at`."""
    return {number: slope * np.log(number / at) for number in TESTED}


@pytest.mark.parametrize("truth", [500, 1000, 2222, 7000])
def test_the_crossing_is_found_and_its_interval_covers_it(truth: float) -> None:
    covered = 0
    for seed in range(40):
        model, other = made(straight(0.01, truth), seed), made(dict.fromkeys(TESTED, 0.0), 1000 + seed)
        found = find_crossover(model, other, seed)
        assert found is not None and found.outcome == "at" and found.n_labelled is not None
        assert found.n_labelled == pytest.approx(truth, rel=0.6)
        low, high = found.low, np.inf if found.high is None else found.high
        assert low is not None
        assert low <= found.n_labelled <= high
        covered += low <= truth <= high
    # 95 % of 40 is 38; below 34 has a probability of about 1 in 100.
    assert covered >= 34


def test_above_from_the_smallest_and_never() -> None:
    flat = made(dict.fromkeys(TESTED, 0.0), 1)
    ahead = find_crossover(made(dict.fromkeys(TESTED, 0.05), 2), flat)
    behind = find_crossover(made(dict.fromkeys(TESTED, -0.05), 3), flat)
    assert ahead is not None and behind is not None
    assert (ahead.outcome, ahead.n_labelled, ahead.low, ahead.high, ahead.prob_superior) == (
        "from_the_smallest", None, 0.0, 0.0, 1.0,
    )  # fmt: skip
    assert (behind.outcome, behind.n_labelled, behind.low, behind.high, behind.prob_superior) == (
        "never_in_range", None, None, None, 0.0,
    )  # fmt: skip


def test_ends_beyond_the_tested_numbers_are_zero_or_none() -> None:
    """If hardly a simulation crosses, the interval has no lower end among the numbers tested."""
    flat, hardly = made(dict.fromkeys(TESTED, 0.0), 1), 0
    for lag in np.linspace(-0.012, 0, 25):
        found = find_crossover(made(dict.fromkeys(TESTED, float(lag)), 2), flat)
        assert found is not None
        assert (found.low is None) == (found.prob_superior < 0.025), lag
        hardly += found.low is None and found.prob_superior > 0
        if found.outcome == "never_in_range":
            assert found.high is None
    assert hardly
    equal = find_crossover(made(dict.fromkeys(TESTED, 0.0), 2), flat)
    assert equal is not None and equal.low == 0


def test_an_advantage_that_is_lost_again_does_not_count() -> None:
    tested = np.array([100.0, 1000.0, 10_000.0, 100_000.0])
    gains = np.array([[1.0, -1.0, 1.0, 1.0], [1.0, 1.0, 1.0, -1.0], [-1.0, -1.0, -1.0, 0.5]])
    first, second, third = crossing_points(tested, gains)
    assert first == pytest.approx(np.sqrt(1000 * 10_000))
    assert second == np.inf
    assert 10_000 < third < 100_000


def test_more_noise_widens_the_interval() -> None:
    widths = []
    for spread in (2e-4, 1e-3):
        found = find_crossover(
            made(straight(0.01, 2000), 5, spread), made(dict.fromkeys(TESTED, 0.0), 6, spread), seed=1
        )
        assert found is not None
        assert found.high is not None and found.low is not None
        widths.append(np.log(found.high / max(found.low, 1.0)))
    assert widths[1] > 2 * widths[0]


def test_one_number_of_patients_or_one_seed_gives_none() -> None:
    flat = dict.fromkeys(TESTED, 0.0)
    assert find_crossover(made({300: 0.1}, 1), made(flat, 2)) is None
    assert find_crossover(made(flat, 1, seeds=1), made(flat, 2)) is None


def test_replicates_without_the_outcome_give_none() -> None:
    flat = made(dict.fromkeys(TESTED, 0.0), 1)
    empty = {
        number: Scores(one.seeds, one.values, np.full_like(one.replicates, np.nan), 2)
        for number, one in flat.items()
    }
    assert find_crossover(empty, flat) is None
