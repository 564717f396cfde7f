"""Do two databases give the same answer? Compared are two summaries; patients need not leave either place.

Both runs ask the same questions of the same sizes, on different patients. Per task and size the gain that the
largest common size adds, relative to its metric, is set against the other run's, with Welch's test and Holm's
correction over all sizes and tasks. Saturation points differ for certain where a size suffices in one run and
is shown not to in the other; both claims are then tested, so that neither needs a correction for the other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy import stats

from claimscale.errors import BadInput
from claimscale.evaluation.intervals import CONFIDENCE


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
    """Verdicts and smallest sufficient sizes of two runs; `differ`: whether saturation points are shown
    to."""

    task: str
    verdicts: tuple[str, str]
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
    compared = []
    for name, both in entries.items():
        found = tuple(
            GainPair(
                pair.smaller,
                pair.larger,
                pair.gains,
                pair.difference,
                pair.low,
                pair.high,
                pair.p,
                next(corrected),
            )
            for pair in pairs[name]
        )
        compared.append(
            TaskComparison(
                name,
                (both[0]["verdict"], both[1]["verdict"]),
                (both[0]["smallest_sufficient"], both[1]["smallest_sufficient"]),
                found,
                _shown_insufficient(both[0], both[1]) or _shown_insufficient(both[1], both[0]),
            )
        )
    return compared


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


def text(names: tuple[str, str], compared: Sequence[TaskComparison]) -> str:
    """Both runs' verdicts side by side, as a printable page."""
    lines = []
    for task in compared:
        lines.append(task.task)
        for name, verdict, size in zip(names, task.verdicts, task.sufficient, strict=True):
            lines.append(f"  {name:<24} {verdict.replace('_', ' ')}" + (f", {size} suffices" if size else ""))
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


def _pairs(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[GainPair]:
    """Every size below the largest that both runs trained, against it."""
    evidence = [
        {
            (entry["smaller"], entry["larger"]): entry["relative"]
            for entry in one["evidence"]
            if entry.get("relative")
        }
        for one in (first, second)
    ]
    both = [pair for pair in evidence[0] if pair in evidence[1]]
    if not both:
        return []
    # the size that most others are compared with, and that is compared with none: the largest in common
    smaller = {pair[0] for pair in both}
    largest = next((pair[1] for pair in both if pair[1] not in smaller), None)
    found = []
    for pair in both:
        ours, theirs = evidence[0][pair], evidence[1][pair]
        if pair[1] != largest or None in (ours["standard_error"], theirs["standard_error"]):
            continue
        variances = ours["standard_error"] ** 2, theirs["standard_error"] ** 2
        error = math.sqrt(sum(variances))
        difference = ours["gain"] - theirs["gain"]
        if error == 0:
            continue
        shares = variances[0] ** 2 / ours["degrees"] + variances[1] ** 2 / theirs["degrees"]
        degrees = error**4 / shares
        half = float(stats.t.ppf((1 + CONFIDENCE) / 2, degrees)) * error
        p_value = 2 * float(stats.t.sf(abs(difference) / error, degrees))
        gains = ours["gain"], theirs["gain"]
        found.append(GainPair(*pair, gains, difference, difference - half, difference + half, p_value))
    return found


def _shown_insufficient(saturated: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether the size that suffices in one run is shown, one-sided at 5 %, to miss the margin in the
    other."""
    size, margin = saturated["smallest_sufficient"], saturated["relative_margin"]
    for entry in other["evidence"]:
        relative = entry.get("relative")
        if entry["smaller"] == size and relative and relative["standard_error"]:
            bound = float(stats.t.ppf(CONFIDENCE, relative["degrees"])) * relative["standard_error"]
            if relative["gain"] - bound > margin:
                return True
    return False
