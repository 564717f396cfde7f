"""Contrasts between arms and kinds of task, on models of known quality."""

from collections.abc import Callable

import numpy as np
import pytest

from claimscale.evaluation.contrasts import (
    TaskSizeInteraction,
    best_model,
    pretraining_gains,
    superior_to_all,
    task_size_interaction,
)
from claimscale.evaluation.intervals import Scores
from claimscale.evaluation.size_decision import SizeCurve

SimulatedModels = Callable[..., dict[str, Scores]]


def made(value: float, spread: float = 1e-3, seeds: tuple[int, ...] = (1, 2, 3), sample: int = 0) -> Scores:
    """Runs that agree; resampled patients move all of them alike."""
    patients = np.random.default_rng(sample).normal(value, spread, size=300)
    replicates = np.tile(patients, (len(seeds), 1))
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
    assert [(gain.size, gain.n_labelled) for gain in gains] == [("1M", 1000)]


def test_beating_all_takes_beating_each() -> None:
    ahead, close, behind = made(0.5, sample=1), made(0.4998, sample=2), made(0.4, sample=3)
    assert superior_to_all(ahead, [behind])
    assert not superior_to_all(ahead, [behind, close])
    assert not superior_to_all(ahead, [])
    assert best_model({"a": behind, "b": ahead, "c": close}) == "b"


def curve(smallest: float, largest: float, sample: int) -> SizeCurve:
    return SizeCurve({"1M": made(smallest, sample=sample), "3M": made(largest, sample=sample + 1)}, 0.1, 500)


def several(*gains: float, largest: float = 0.4) -> list[SizeCurve]:
    samples = range(int(1000 * largest), 10_000, 2)
    return [
        curve(largest * (1 - gain), largest, sample) for gain, sample in zip(gains, samples, strict=False)
    ]


def three_sizes(*values: float) -> SizeCurve:
    named = zip(("1M", "3M", "9M"), values, strict=True)
    return SizeCurve({name: made(value, sample=n) for n, (name, value) in enumerate(named)}, 0.1, 500)


def test_interaction_is_the_difference_of_relative_gains() -> None:
    found = task_size_interaction(several(0.25, 0.2, 0.3), several(0.04, 0.04, 0.04, largest=0.5))
    assert found.reason is None and found.difference is not None
    assert found.difference.estimate == pytest.approx(0.25 - 0.04)
    assert found.difference.p_differs() < 0.001


def test_equal_relative_gains_show_no_interaction() -> None:
    found = task_size_interaction(several(0.25, 0.25, 0.25), several(0.25, 0.25, 0.25, largest=0.2))
    assert found.difference is not None and found.difference.estimate == pytest.approx(0)
    low, high = found.difference.two_sided()
    assert low < 0 < high


def test_interaction_needs_both_kinds_and_two_sizes() -> None:
    three = several(0.2, 0.2, 0.2)
    assert task_size_interaction(three, []) == TaskSizeInteraction(reason="one_kind")
    one_size = SizeCurve({"1M": made(0.3)}, 0.1, 500)
    assert task_size_interaction(three, [one_size] * 3) == TaskSizeInteraction(reason="few_sizes")


def test_claims_about_kinds_need_three_outcomes_of_each() -> None:
    """Two tasks that gain as differently as can be: a difference between them is not one between kinds."""
    for few, many in ((1, 1), (2, 3), (3, 2)):
        found = task_size_interaction(several(*[0.3] * few), several(*[0.01] * many))
        assert found == TaskSizeInteraction(reason="few_outcomes")


@pytest.mark.parametrize("seeds", [(1,), (1, 2)])
def test_claims_about_kinds_need_three_seeds(seeds: tuple[int, ...]) -> None:
    few = SizeCurve({"1M": made(0.3, seeds=seeds), "3M": made(0.4, seeds=seeds)}, 0.1, 500)
    found = task_size_interaction([few] * 3, several(0.01, 0.01, 0.01))
    assert found == TaskSizeInteraction(reason="few_seeds")
    other_seeds = SizeCurve({"1M": made(0.3, seeds=(8, 9, 10)), "3M": made(0.4, seeds=(8, 9, 10))}, 0.1, 500)
    assert task_size_interaction([few] * 3, [other_seeds] * 3).reason == "few_seeds"


@pytest.mark.parametrize(("middle", "reason"), [(0.35, None), (0.45, "non_monotone"), (0.4002, None)])
def test_a_curve_that_falls_is_not_described_by_its_ends(middle: float, reason: str | None) -> None:
    bent, straight = three_sizes(0.3, middle, 0.4), three_sizes(0.3, 0.3, 0.31)
    found = task_size_interaction([straight, bent, straight], [straight] * 3)
    assert found.reason == reason and (found.difference is None) == (reason is not None)


def test_interaction_compares_sizes_that_all_tasks_have() -> None:
    """The same curve, stopped early in some tasks: no interaction, though their largest size gains less."""
    whole = SizeCurve(
        {name: made(value, sample=1) for name, value in (("1M", 0.2), ("3M", 0.3), ("9M", 0.4))}, 0.1, 500
    )
    stopped = SizeCurve(dict(list(whole.scores.items())[:2]), 0.1, 500)
    found = task_size_interaction([whole] * 3, [stopped] * 3)
    assert (found.smallest, found.largest) == ("1M", "3M")
    assert found.difference is not None and found.difference.estimate == pytest.approx(0)


def test_one_pretraining_behind_all_tasks_counts_once() -> None:
    """Runs that deviate alike in all tasks leave their difference unchanged."""
    runs, generator = np.array([0.28, 0.30, 0.32]), np.random.default_rng(0)
    replicates = runs[:, None] + generator.normal(0, 1e-3, size=(1, 300))
    task = SizeCurve({"1M": Scores((1, 2, 3), runs, replicates, 500), "3M": made(0.4)}, 0.1, 500)
    found = task_size_interaction([task] * 3, [task] * 3).difference
    assert found is not None and found.seed_variance == pytest.approx(0, abs=1e-12)


def test_interaction_is_seldom_shown_where_there_is_none() -> None:
    """Equal true gains, other patients and runs each time: about 5 % of studies, two-sided."""
    generator, shown, tested = np.random.default_rng(5), 0, 0
    for _ in range(300):
        curves = []
        for _ in range(6):
            scores = {}
            for name, value in (("1M", 0.3), ("3M", 0.35)):
                patients = generator.normal(0, 0.006)
                runs = value + patients + generator.normal(0, 0.004, size=3)
                noise = generator.normal(0, 0.006, size=(1, 150))
                scores[name] = Scores((1, 2, 3), runs, runs[:, None] + noise, 500)
            curves.append(SizeCurve(scores, 0.1, 500))
        found = task_size_interaction(curves[:3], curves[3:]).difference
        tested += found is not None
        shown += found is not None and found.p_differs() < 0.05
    assert tested == 300, "curves that rise are never refused"
    # 5 % of 300 are 15, with a standard deviation of 4
    assert 3 <= shown <= 27
