"""Contrasts between arms and between tasks: what pretraining gains, LightGBM, task dependence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from claimscale.evaluation.intervals import Interval, Scores, average, combine, difference, interval
from claimscale.evaluation.size_decision import Curve


@dataclass(frozen=True)
class Gain:
    """What pretraining gains over training from scratch; `size` None is the average over sizes."""

    size: str | None
    patients: int
    gain: Interval


def pretraining_gains(
    pretrained: Mapping[tuple[str, int], Scores], scratch: Mapping[tuple[str, int], Scores]
) -> list[Gain]:
    """Paired differences, by (size, labelled patients); then, per number of patients, over all sizes.

    Only pairs present in both arms with a common seed are compared. A better model has a higher score.
    """
    paired: dict[int, list[tuple[str, Scores]]] = {}
    for (size, patients), scores in pretrained.items():
        other = scratch.get((size, patients))
        gain = difference(scores, other) if other is not None else None
        if gain is not None:
            paired.setdefault(patients, []).append((size, gain))
    gains = []
    for patients, by_size in sorted(paired.items()):
        gains += [Gain(size, patients, interval(gain)) for size, gain in by_size]
        overall = average([gain for _, gain in by_size])
        if len(by_size) > 1 and overall is not None:
            gains.append(Gain(None, patients, interval(overall)))
    return gains


def best(models: Mapping[str, Scores]) -> str:
    """The name of the model with the highest seed-mean."""
    return max(models, key=lambda name: float(models[name].values.mean()))


def beats_all(candidate: Scores, others: Sequence[Scores]) -> bool:
    """Whether the candidate is better than each of the others, one-sided at 5 %.

    An intersection-union test: all comparisons must succeed, so none needs a correction.
    """
    gains = [difference(candidate, other) for other in others]
    return bool(gains) and all(gain is not None and interval(gain).cautious().lower() > 0 for gain in gains)


@dataclass(frozen=True)
class TaskDependence:
    """How much more diseases gain from the smallest to the largest size that all tasks share."""

    smallest: str
    largest: str
    difference: Interval


def task_size_interaction(diseases: Sequence[Curve], medications: Sequence[Curve]) -> TaskDependence | None:
    """Do diseases gain more from size than medications? A direct test of the interaction.

    A task's relative gain is the share of the largest model's metric that it adds to the smallest one's; both
    are sizes that every task was tried with, for a task that was stopped early has gained less by that alone.
    The estimate is the mean over diseases minus the mean over medications; all tasks share resampled
    patients and seeds, and one pretraining of a size stands behind its results in every task, so that their
    dependence is accounted for. None without both kinds of task, two sizes and two seeds common to all.
    """
    curves = [*diseases, *medications]
    if not diseases or not medications:
        return None
    sizes = [size for size in curves[0].scores if all(size in curve.scores for curve in curves)]
    if len(sizes) < 2:
        return None
    signs = np.repeat([1 / len(diseases), -1 / len(medications)], [len(diseases), len(medications)])

    def contrast(*values: np.ndarray) -> np.ndarray:
        gains = [1 - smallest / largest for largest, smallest in zip(values[::2], values[1::2], strict=True)]
        return np.tensordot(signs, np.stack(gains), axes=1)

    ends = (sizes[-1], sizes[0])
    scores = [curve.scores[size] for curve in curves for size in ends]
    interaction = combine(contrast, *scores, models=list(ends) * len(curves))
    if interaction is None or len(interaction.seeds) < 2:
        return None
    return TaskDependence(sizes[0], sizes[-1], interval(interaction))
