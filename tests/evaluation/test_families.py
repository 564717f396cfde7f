"""Families of tasks: several undecided tasks together give a verdict that each alone cannot."""

from __future__ import annotations

import numpy as np
import pytest

from claimscale.evaluation.families import task_families
from claimscale.evaluation.intervals import Scores
from claimscale.evaluation.size_decision import SizeCurve, decide

SIZES = {"1M": 1e6, "4M": 4e6, "16M": 16e6}
MARGIN, REPLICATES = 0.02, 400


def task(
    gain: float, random: np.random.Generator, noise: float = 0.012
) -> tuple[SizeCurve, dict[str, Scores]]:
    """A task that gains `gain` (relative) per size; `noise` is that of patients on a size."""
    curves: list[dict[str, Scores]] = []
    for level, scale in ((0.2, 1.0), (0.8, 0.1)):
        own = {}
        for place, size in enumerate(SIZES):
            error = random.normal(0, noise, 1 + REPLICATES)
            runs = random.normal(0, 0.002, (3, 1))
            values = level * (1 + scale * (gain * place + runs + error))
            own[size] = Scores((1, 2, 3), values[:, 0], values[:, 1:], 2000)
        curves.append(own)
    return SizeCurve(curves[0], 0.02, 2000), curves[1]


def test_tasks_together_decide_what_each_alone_does_not() -> None:
    random = np.random.default_rng(1)
    tasks = [task(0.0, random) for _ in range(12)]
    alone = decide({str(place): curve for place, (curve, _) in enumerate(tasks)}, MARGIN)
    assert {one.verdict for one in alone.values()} == {"inconclusive"}
    [family] = task_families({"disease_tasks": tasks, "medication_tasks": []}, SIZES, MARGIN, 1)
    assert (family.verdict.verdict, family.verdict.smallest_sufficient) == ("saturated", "1M")


def test_kinds_are_decided_apart() -> None:
    random = np.random.default_rng(2)
    kinds = {
        "disease_tasks": [task(0.06, random, 0.004) for _ in range(4)],
        "medication_tasks": [task(0.0, random, 0.004) for _ in range(4)],
    }
    diseases, medications = task_families(kinds, SIZES, MARGIN, 1)
    assert diseases.verdict.verdict == "not_saturated"
    assert medications.verdict.verdict == "saturated"
    assert diseases.per_doubling is not None
    assert diseases.per_doubling.estimate == pytest.approx(0.03, abs=0.006)


def test_two_tasks_of_a_kind_are_no_family() -> None:
    random = np.random.default_rng(3)
    kinds = {name: [task(0.0, random), task(0.0, random)] for name in ("disease_tasks", "medication_tasks")}
    assert task_families(kinds, SIZES, MARGIN, 1) == ()


def test_sizes_that_a_task_lacks_take_no_part() -> None:
    random = np.random.default_rng(4)
    tasks = [task(0.0, random) for _ in range(3)]
    curve, aurocs = tasks[0]
    shorter = SizeCurve({size: curve.scores[size] for size in ("1M", "4M")}, curve.chance, curve.positives)
    [family] = task_families({"disease_tasks": [(shorter, aurocs), *tasks[1:]]}, SIZES, MARGIN, 1)
    assert list(family.curve.scores) == ["1M", "4M"]
