"""Contrasts between arms and between kinds of task: gain of pretraining, superiority, task-size
interaction."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

from claimscale.evaluation.intervals import (
    CONFIDENCE,
    Interval,
    Scores,
    average,
    combine,
    difference,
    interval,
)
from claimscale.evaluation.metrics import Floats
from claimscale.evaluation.size_decision import SizeCurve

MIN_SEEDS = 3
MIN_OUTCOMES = 3
"""Seeds, and outcomes of each kind, that a claim about kinds of task needs."""

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class PretrainingGain:
    """The gain of pretraining over training from scratch; `size` None is the average over sizes."""

    size: str | None
    n_labelled: int
    gain: Interval


def pretraining_gains(
    pretrained: Mapping[tuple[str, int], Scores], scratch: Mapping[tuple[str, int], Scores]
) -> list[PretrainingGain]:
    """Paired differences by (size, labelled patients), then their average over sizes.

    Only pairs present in both arms with a common seed are compared. A better model has a higher score.
    """
    paired: dict[int, list[tuple[str, Scores]]] = {}
    for (size, n_labelled), scores in pretrained.items():
        other = scratch.get((size, n_labelled))
        gain = difference(scores, other) if other is not None else None
        if gain is not None:
            paired.setdefault(n_labelled, []).append((size, gain))
    gains = []
    for n_labelled, by_size in sorted(paired.items()):
        gains += [PretrainingGain(size, n_labelled, interval(gain)) for size, gain in by_size]
        overall = average([gain for _, gain in by_size])
        if len(by_size) > 1 and overall is not None:
            gains.append(PretrainingGain(None, n_labelled, interval(overall)))
    return gains


def best_model(models: Mapping[Name, Scores]) -> Name:
    """The model with the highest mean over seeds."""
    return max(models, key=lambda name: float(models[name].values.mean()))


def superior_to_all(candidate: Scores, others: Sequence[Scores]) -> bool:
    """Whether the candidate is better than each of the others, one-sided at 5 %.

    An intersection-union test: all comparisons must succeed, so none needs a correction.
    """
    gains = [difference(candidate, other) for other in others]
    return bool(gains) and all(
        gain is not None and interval(gain).conservative().lower() > 0 for gain in gains
    )


InteractionReason = Literal[
    "one_kind", "few_sizes", "few_seeds", "few_outcomes", "few_positives", "non_monotone"
]


@dataclass(frozen=True)
class TaskSizeInteraction:
    """How much more diseases gain than medications from the smallest to the largest size of all tasks.

    `reason` says why the difference is not tested; otherwise it is None.
    """

    smallest: str | None = None
    largest: str | None = None
    difference: Interval | None = None
    reason: InteractionReason | None = None


def task_size_interaction(
    diseases: Sequence[SizeCurve], medications: Sequence[SizeCurve]
) -> TaskSizeInteraction:
    """Do diseases gain more from size than medications? A direct test of the interaction.

    The two sizes compared are common to all tasks, because a task that was stopped early has gained less for
    that reason alone. A claim about kinds needs at least three outcomes of each kind, three seeds common to
    all tasks, and curves that do not fall: the two ends of a curve that rises and falls do not describe it.
    """
    curves = [*diseases, *medications]
    if not diseases or not medications:
        return TaskSizeInteraction(reason="one_kind")
    sizes = [size for size in curves[0].scores if all(size in curve.scores for curve in curves)]
    if len(sizes) < 2:
        return TaskSizeInteraction(reason="few_sizes")
    if min(len(diseases), len(medications)) < MIN_OUTCOMES:
        return TaskSizeInteraction(reason="few_outcomes")
    found = interaction_interval(diseases, medications, sizes[0], sizes[-1])
    if found is None or found.seeds < MIN_SEEDS:
        return TaskSizeInteraction(reason="few_seeds")
    if math.isnan(found.standard_error):
        return TaskSizeInteraction(reason="few_positives")
    if any_curve_falls(curves, sizes):
        return TaskSizeInteraction(reason="non_monotone")
    return TaskSizeInteraction(sizes[0], sizes[-1], found)


def interaction_interval(
    diseases: Sequence[SizeCurve], medications: Sequence[SizeCurve], smallest: str, largest: str
) -> Interval | None:
    """The mean relative gain of diseases minus that of medications; None without two common seeds.

    A task's relative gain is the share of the largest model's metric that it adds to the smallest one's. All
    tasks share resampled patients and seeds, and the results of one size in all tasks share its pretraining
    runs; the interval includes this dependence.
    """
    signs = np.repeat([1 / len(diseases), -1 / len(medications)], [len(diseases), len(medications)])

    def contrast(*values: Floats) -> Floats:
        gains = [1 - low / high for high, low in zip(values[::2], values[1::2], strict=True)]
        return np.tensordot(signs, np.stack(gains), axes=1)

    curves, ends = [*diseases, *medications], (largest, smallest)
    scores = [curve.scores[size] for curve in curves for size in ends]
    interaction = combine(contrast, *scores, models=list(ends) * len(curves))
    return None if interaction is None or len(interaction.seeds) < 2 else interval(interaction)


def any_curve_falls(curves: Sequence[SizeCurve], sizes: Sequence[str]) -> bool:
    """Whether any larger size is shown to be worse than a smaller one in any task.

    All pairs of sizes of all tasks share a one-sided error rate of 5 % (Bonferroni).
    """
    gains = [
        difference(curve.scores[larger], curve.scores[smaller])
        for curve in curves
        for smaller, larger in itertools.combinations(sizes, 2)
    ]
    alpha = (1 - CONFIDENCE) / max(len(gains), 1)
    return any(gain is not None and interval(gain).upper(1 - alpha) < 0 for gain in gains)
