"""Do two databases give the same answer? Compared are two summaries; patients need not leave either place.

Both runs ask the same questions of the same sizes, on different patients. Per task and size the gain that the
largest common size adds, relative to its metric, is set against the other run's, with Welch's test and Holm's
correction over all sizes and tasks. Saturation points are shown to differ where a size suffices in one run
and is shown to miss the margin in the other, against a size that both have; the second claim is held to 5 %
over all tasks by Holm's correction, as the first was within its run. Gains of one seed are not compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scipy import stats

from claimscale import artifacts
from claimscale.errors import BadInput
from claimscale.evaluation.intervals import CONFIDENCE

CONVERGENCE = {
    "converged": "",
    "unknown": ", whether pretraining had converged was not measured",
    "under_trained": ", but under-trained",
}


@dataclass(frozen=True)
class GainPair:
    """What the larger size adds to the smaller one in two runs, as shares of the larger one's metric."""

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
    """Verdicts, whether pretraining had converged, and smallest sufficient sizes of two runs.

    `differ`: whether the saturation points are shown to.
    """

    task: str
    verdicts: tuple[str, str]
    converged: tuple[str, str]
    sufficient: tuple[str | None, str | None]
    pairs: tuple[GainPair, ...]
    differ: bool


def compare(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[TaskComparison]:
    """Tasks that both summaries have, in the order of the first.

    Raises BadInput if they share no task, or judged one by another metric or margin.
    """
    tasks = [{task["name"]: task for task in summary["tasks"]} for summary in (first, second)]
    common = [name for name in tasks[0] if name in tasks[1]]
    if not common:
        raise BadInput(f"{first['name']} and {second['name']} have no task in common")
    entries = {name: (tasks[0][name]["saturation"], tasks[1][name]["saturation"]) for name in common}
    for name, both in entries.items():
        for key in ("metric", "relative_margin"):
            if both[0][key] != both[1][key]:
                raise BadInput(
                    f"{name}: {key} is {both[0][key]} in {first['name']}, {both[1][key]} in {second['name']}"
                )
    pairs = {name: _pairs(*both) for name, both in entries.items()}
    corrected = iter(holm([pair.p for found in pairs.values() for pair in found]))
    apart = {name: p for name, both in entries.items() if (p := _p_apart(*both)) is not None}
    shown = dict(zip(apart, holm(list(apart.values())), strict=True))
    return [
        TaskComparison(
            task=name,
            verdicts=(both[0]["verdict"], both[1]["verdict"]),
            converged=(_convergence(both[0]), _convergence(both[1])),
            sufficient=(both[0]["smallest_sufficient"], both[1]["smallest_sufficient"]),
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
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected


def read_summary(run: Path) -> Mapping[str, Any]:
    """The summary of a run directory, or of a `summary.json`; raises BadInput for anything else."""
    file = run / "summary.json" if run.is_dir() else run
    try:
        summary = artifacts.read_json(file)
    except (OSError, ValueError):
        summary = None
    if not isinstance(summary, dict) or not {"name", "tasks"} <= summary.keys():
        raise BadInput(f"{file}: is not the summary of a run")
    return summary


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


def _relative(entry: Mapping[str, Any]) -> dict[tuple[str, str], Mapping[str, float]]:
    """Relative gains by smaller and larger size, as far as they are known with the chance of training."""
    return {
        (one["smaller"], one["larger"]): one["relative"]
        for one in entry["comparisons"]
        if one.get("relative") and one["n_seeds"] > 1 and one["relative"]["standard_error"]
    }


def _convergence(entry: Mapping[str, Any]) -> str:
    return entry.get("convergence_status", "unknown")


def _pairs(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[GainPair]:
    """Every size below the largest that both runs trained, against it."""
    ours, theirs = _relative(first), _relative(second)
    both = [pair for pair in ours if pair in theirs]
    # the size that most others are compared with, and that is compared with none: the largest in common
    smaller = {pair[0] for pair in both}
    largest = next((pair[1] for pair in both if pair[1] not in smaller), None)
    return [_gain_pair(pair, ours[pair], theirs[pair]) for pair in both if pair[1] == largest]


def _gain_pair(sizes: tuple[str, str], ours: Mapping[str, float], theirs: Mapping[str, float]) -> GainPair:
    """Two gains by Welch's test."""
    variances = ours["standard_error"] ** 2, theirs["standard_error"] ** 2
    error = math.sqrt(sum(variances))
    degrees = error**4 / (
        variances[0] ** 2 / ours["degrees_of_freedom"] + variances[1] ** 2 / theirs["degrees_of_freedom"]
    )
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, degrees)) * error
    gains = ours["gain"], theirs["gain"]
    difference = gains[0] - gains[1]
    p_value = 2 * float(stats.t.sf(abs(difference) / error, degrees))
    return GainPair(*sizes, gains, difference, difference - half, difference + half, p_value)


def _p_apart(first: Mapping[str, Any], second: Mapping[str, Any]) -> float | None:
    """One-sided p-value against 'what suffices in one run suffices in the other'; None if none suffices.

    A plateau without convergence is none.
    """
    found = [
        p
        for saturated, other in ((first, second), (second, first))
        if saturated["smallest_sufficient"] and _convergence(saturated) != "under_trained"
        if (p := _p_insufficient(saturated, other)) is not None
    ]
    return min(1.0, len(found) * min(found)) if found else None


def _p_insufficient(saturated: Mapping[str, Any], other: Mapping[str, Any]) -> float | None:
    """Against 'the size that suffices in one run misses the margin against no larger one in the other'."""
    size, margin, tested = (
        saturated["smallest_sufficient"],
        saturated["relative_margin"],
        _relative(saturated),
    )
    p_values = [
        float(stats.t.sf((found["gain"] - margin) / found["standard_error"], found["degrees_of_freedom"]))
        for pair, found in _relative(other).items()
        if pair[0] == size and pair in tested
    ]
    return min(1.0, len(p_values) * min(p_values)) if p_values else None
