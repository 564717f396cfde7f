"""Contrasts between arms and kinds of task, on models of known worth."""

from collections.abc import Callable

import numpy as np
import pytest

from claimscale.evaluation.contrasts import beats_all, best, pretraining_gains, task_size_interaction
from claimscale.evaluation.intervals import Scores
from claimscale.evaluation.size_decision import Curve

SimulatedModels = Callable[..., dict[str, Scores]]


def made(value: float, spread: float = 1e-3, seeds: tuple[int, ...] = (1, 2, 3), draw: int = 0) -> Scores:
    replicates = np.random.default_rng(draw).normal(value, spread, size=(len(seeds), 300))
    return Scores(seeds, np.full(len(seeds), value), replicates, 500)


def test_gain_of_pretraining_excludes_zero_only_where_there_is_one(simulated_models: SimulatedModels) -> None:
    models = simulated_models({"good": 0.5, "poor": 1.5, "poor as well": 1.5}, seed=4, patients=5000)
    gains = pretraining_gains(
        {("1M", 1000): models["good"], ("3M", 1000): models["poor"]},
        {("1M", 1000): models["poor"], ("3M", 1000): models["poor as well"]},
    )
    assert [gain.size for gain in gains] == ["1M", "3M", None]
    assert gains[0].gain.lower() > 0
    assert gains[1].gain.p_differs() > 0.05
    mean = (gains[0].gain.estimate + gains[1].gain.estimate) / 2
    assert gains[2].gain.estimate == pytest.approx(mean)


def test_only_pairs_are_compared() -> None:
    gains = pretraining_gains(
        {("1M", 1000): made(0.4), ("1M", 300): made(0.4), ("3M", 1000): made(0.4, seeds=(1,))},
        {("1M", 1000): made(0.3), ("3M", 1000): made(0.3, seeds=(2,))},
    )
    assert [(gain.size, gain.patients) for gain in gains] == [("1M", 1000)]


def test_beating_all_takes_beating_each() -> None:
    ahead, close, behind = made(0.5, draw=1), made(0.4998, draw=2), made(0.4, draw=3)
    assert beats_all(ahead, [behind])
    assert not beats_all(ahead, [behind, close])
    assert not beats_all(ahead, [])
    assert best({"a": behind, "b": ahead, "c": close}) == "b"


def curve(smallest: float, largest: float, draw: int) -> Curve:
    return Curve({"1M": made(smallest, draw=draw), "3M": made(largest, draw=draw + 1)}, 0.1, 500)


def test_task_size_interaction_is_the_difference_of_relative_gains() -> None:
    found = task_size_interaction([curve(0.30, 0.40, 1), curve(0.32, 0.40, 3)], [curve(0.48, 0.50, 5)])
    assert found is not None
    assert found.difference.estimate == pytest.approx((0.25 + 0.20) / 2 - 0.04)
    assert found.difference.p_differs() < 0.001


def test_equal_relative_gains_show_no_dependence() -> None:
    found = task_size_interaction([curve(0.30, 0.40, 1)], [curve(0.15, 0.20, 5)])
    assert found is not None and found.difference.estimate == pytest.approx(0)
    low, high = found.difference.two_sided()
    assert low < 0 < high


def test_task_size_interaction_needs_both_kinds_and_two_sizes() -> None:
    one = curve(0.3, 0.4, 1)
    assert task_size_interaction([one], []) is None
    assert task_size_interaction([one], [Curve({"1M": made(0.3)}, 0.1, 500)]) is None
    other_seeds = Curve({"1M": made(0.3, seeds=(8,)), "3M": made(0.4, seeds=(8,))}, 0.1, 500)
    assert task_size_interaction([one], [other_seeds]) is None
    one_seed = Curve({"1M": made(0.3, seeds=(1,)), "3M": made(0.4, seeds=(1,))}, 0.1, 500)
    assert task_size_interaction([one_seed], [one_seed]) is None, "the chance of training is unknown"


def test_task_size_interaction_compares_sizes_that_all_tasks_have() -> None:
    """The same curve, stopped early in one task: no dependence, though its largest size gains less."""
    whole = Curve(
        {name: made(value, draw=1) for name, value in (("1M", 0.2), ("3M", 0.3), ("9M", 0.4))}, 0.1, 500
    )
    stopped = Curve(dict(list(whole.scores.items())[:2]), 0.1, 500)
    found = task_size_interaction([whole], [stopped])
    assert found is not None and (found.smallest, found.largest) == ("1M", "3M")
    assert found.difference.estimate == pytest.approx(0)


def test_one_pretraining_behind_all_tasks_counts_once() -> None:
    """Runs that fall out alike in both tasks leave their difference alone."""
    runs, generator = np.array([0.28, 0.30, 0.32]), np.random.default_rng(0)
    replicates = runs[:, None] + generator.normal(0, 1e-3, size=(1, 300))
    task = Curve({"1M": Scores((1, 2, 3), runs, replicates, 500), "3M": made(0.4)}, 0.1, 500)
    found = task_size_interaction([task], [task])
    assert found is not None and found.difference.seed_variance == pytest.approx(0, abs=1e-12)


def test_dependence_is_seldom_shown_where_there_is_none() -> None:
    """Equal true gains, other patients and runs each time: about 5 % of studies, two-sided."""
    generator, shown = np.random.default_rng(5), 0
    for _ in range(300):
        curves = []
        for _ in range(4):
            scores = {}
            for name, value in (("1M", 0.3), ("3M", 0.35)):
                patients = generator.normal(0, 0.006)
                runs = value + patients + generator.normal(0, 0.004, size=3)
                drawn = generator.normal(0, 0.006, size=(1, 150))
                scores[name] = Scores((1, 2, 3), runs, runs[:, None] + drawn, 500)
            curves.append(Curve(scores, 0.1, 500))
        found = task_size_interaction(curves[:2], curves[2:])
        assert found is not None
        shown += found.difference.p_differs() < 0.05
    # 5 % of 300 are 15, with a standard deviation of 4
    assert 3 <= shown <= 27
