"""Comparison of two runs on different databases. It reads two summaries; patient data stay where they are.

Both runs have the same tasks and sizes, on different patients. Per task and size, the relative gain of the
largest common size is compared between the runs by Welch's test, with Holm's correction over all sizes and
tasks. Saturation points are shown to differ if a size suffices in one run and is shown to miss the margin in
the other, against a size that both trained. Holm's correction keeps the second claim at 5 % over all tasks,
as the first is kept within its run. Gains with one seed are not compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import stats

from claimscale import outputs
from claimscale.errors import BadInput
from claimscale.evaluation.intervals import CONFIDENCE
from claimscale.summary.decision_schema import RelativeGainEntry, SaturationEntry
from claimscale.summary.schema import read_summary

CONVERGENCE = {
    "converged": "",
    "unknown": ", whether pretraining had converged was not measured",
    "under_trained": ", but under-trained",
}


class RunDecisions(NamedTuple):
    """The name of a run, and the decision on size of each task."""

    name: str
    tasks: Mapping[str, SaturationEntry]


@dataclass(frozen=True)
class GainPair:
    """The gain of the larger size over the smaller one in two runs, as shares of the larger size's metric."""

    smaller: str
    larger: str
    gains: tuple[float, float]
    difference: float
    low: float
    high: float
    p: float
    p_holm: float = math.nan


@dataclass(frozen=True)
class TaskComparison:
    """Verdicts, convergence of pretraining, and smallest sufficient sizes of two runs.

    `differ`: whether the saturation points are shown to differ.
    """

    task: str
    verdicts: tuple[str, str]
    converged: tuple[str, str]
    sufficient: tuple[str | None, str | None]
    pairs: tuple[GainPair, ...]
    differ: bool


def compare(first: RunDecisions, second: RunDecisions) -> list[TaskComparison]:
    """The tasks of both runs, in the order of the first.

    Raises BadInput if they share no task, or decided one with another metric or margin.
    """
    entries = {name: (ours, second.tasks[name]) for name, ours in first.tasks.items() if name in second.tasks}
    if not entries:
        raise BadInput(f"{first.name} and {second.name} have no task in common")
    for name, both in entries.items():
        for key in ("metric", "relative_margin"):
            ours, theirs = (getattr(one, key) for one in both)
            if ours != theirs:
                raise BadInput(f"{name}: {key} is {ours} in {first.name}, {theirs} in {second.name}")
    pairs = {name: _pairs(*both) for name, both in entries.items()}
    corrected = iter(holm([pair.p for found in pairs.values() for pair in found]))
    apart = {name: p for name, both in entries.items() if (p := _p_apart(*both)) is not None}
    shown = dict(zip(apart, holm(list(apart.values())), strict=True))
    return [
        TaskComparison(
            task=name,
            verdicts=(both[0].verdict, both[1].verdict),
            converged=(both[0].convergence_status, both[1].convergence_status),
            sufficient=(both[0].smallest_sufficient, both[1].smallest_sufficient),
            pairs=tuple(replace(pair, p_holm=next(corrected)) for pair in pairs[name]),
            differ=shown.get(name, 1.0) < 1 - CONFIDENCE,
        )
        for name, both in entries.items()
    ]


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected by Holm's procedure, in the order given.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    scaled = np.minimum(np.arange(len(order), 0, -1) * np.take(p_values, order), 1.0)
    corrected = np.empty(len(order))
    corrected[order] = np.maximum.accumulate(scaled)
    return corrected.tolist()


def read_run(run: Path) -> RunDecisions:
    """The decisions of a run directory, or of a `summary.json`; raises BadInput for anything else."""
    summary = read_summary(outputs.verified(run / outputs.SUMMARY if run.is_dir() else run))
    return RunDecisions(summary.name, {task.name: task.saturation for task in summary.tasks})


def text(names: tuple[str, str], compared: Sequence[TaskComparison]) -> str:
    """Both runs' verdicts side by side, as a printable page."""
    lines = []
    for task in compared:
        lines.append(task.task)
        for name, verdict, size, status in zip(
            names, task.verdicts, task.sufficient, task.converged, strict=True
        ):
            enough = f", {size} suffices{CONVERGENCE[status]}" if size else ""
            lines.append(f"  {name:<24} {verdict.replace('_', ' ')}{enough}")
        for pair in task.pairs:
            ours, theirs = (f"{100 * gain:.1f} %" for gain in pair.gains)
            lines.append(
                f"  {pair.larger} adds to {pair.smaller}: {ours} and {theirs}, difference "
                f"{100 * pair.difference:.1f} points ({100 * pair.low:.1f} to {100 * pair.high:.1f}), "
                f"p {pair.p:.2g}, corrected {pair.p_holm:.2g}"
            )
        lines += [f"  {_conclusion(task)}", ""]
    return "\n".join(lines).rstrip()


def _conclusion(task: TaskComparison) -> str:
    if task.differ:
        return "The saturation points differ: a size suffices in one run and is shown not to in the other."
    if any(pair.p_holm < 1 - CONFIDENCE for pair in task.pairs):
        return "Gains from size differ; that the saturation points do is not shown."
    return "No difference is shown; that is not evidence of equality."


class _Gain(NamedTuple):
    """A gain as a share of the larger size's metric."""

    gain: float
    standard_error: float
    degrees: float


def _known(found: RelativeGainEntry | None) -> _Gain | None:
    if found is None or found.gain is None or not found.standard_error or not found.degrees_of_freedom:
        return None
    return _Gain(found.gain, found.standard_error, found.degrees_of_freedom)


def _relative(entry: SaturationEntry) -> dict[tuple[str, str], _Gain]:
    """Relative gains by smaller and larger size, where the variance between training runs is known."""
    return {
        (one.smaller, one.larger): gain
        for one in entry.comparisons
        if one.n_seeds > 1 and (gain := _known(one.relative))
    }


def _pairs(first: SaturationEntry, second: SaturationEntry) -> list[GainPair]:
    """Every common size compared with the largest common one."""
    ours, theirs = _relative(first), _relative(second)
    both = [pair for pair in ours if pair in theirs]
    # The largest common size is compared with others, and is the smaller one in no pair.
    smaller = {pair[0] for pair in both}
    largest = next((pair[1] for pair in both if pair[1] not in smaller), None)
    return [_gain_pair(pair, ours[pair], theirs[pair]) for pair in both if pair[1] == largest]


def _gain_pair(sizes: tuple[str, str], ours: _Gain, theirs: _Gain) -> GainPair:
    """Two gains by Welch's test."""
    variances = ours.standard_error**2, theirs.standard_error**2
    error = math.sqrt(sum(variances))
    degrees = error**4 / (variances[0] ** 2 / ours.degrees + variances[1] ** 2 / theirs.degrees)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, degrees)) * error
    difference = ours.gain - theirs.gain
    p_value = 2 * float(stats.t.sf(abs(difference) / error, degrees))
    gains = ours.gain, theirs.gain
    return GainPair(*sizes, gains, difference, difference - half, difference + half, p_value)


def _p_apart(first: SaturationEntry, second: SaturationEntry) -> float | None:
    """One-sided p-value against 'what suffices in one run suffices in the other'; None if none suffices.

    An under-trained plateau does not count.
    """
    found = [
        p
        for saturated, other in ((first, second), (second, first))
        if saturated.smallest_sufficient and saturated.convergence_status != "under_trained"
        if (p := _p_insufficient(saturated, other)) is not None
    ]
    return min(1.0, len(found) * min(found)) if found else None


def _p_insufficient(saturated: SaturationEntry, other: SaturationEntry) -> float | None:
    """Against 'the size that suffices in one run misses the margin against no larger one in the other'."""
    size, margin, tested = saturated.smallest_sufficient, saturated.relative_margin, _relative(saturated)
    p_values = [
        float(stats.t.sf((found.gain - (margin or 0.0)) / found.standard_error, found.degrees))
        for pair, found in _relative(other).items()
        if pair[0] == size and pair in tested
    ]
    return min(1.0, len(p_values) * min(p_values)) if p_values else None
