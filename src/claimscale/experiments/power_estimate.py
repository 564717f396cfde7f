"""The expected power of a study, as text for the plan."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from claimscale.config.study import Study
from claimscale.evaluation import family_power, power
from claimscale.evaluation.contrasts import MIN_OUTCOMES, MIN_SEEDS
from claimscale.evaluation.intervals import CONFIDENCE
from claimscale.evaluation.power import Assumptions, Components
from claimscale.evaluation.size_decision import MIN_POSITIVES
from claimscale.summary.schema import read_summary
from claimscale.tasks.label_counts import LabelCounts

ASSUMED_PREVALENCE = 0.03
INTERACTION = 0.05
"""Difference of the gains of diseases and medications for which the interaction test's power is given."""


@dataclass(frozen=True)
class HeldOut:
    """The held-out patients of a task; `known` says where the numbers come from."""

    positives: int
    prevalence: float
    auprc: float
    known: str


def power_lines(study: Study, patients: int, labels: Mapping[str, LabelCounts] | None) -> list[str]:
    """Per task the smallest difference that its held-out patients resolve; then the interaction test's power.

    `patients` is the assumed number of held-out patients of a task as long as there are no `labels`.
    """
    seeds, margin = len(study.finetune.seeds), study.compare.relative_margin
    if seeds < 2:
        return [
            "With one seed no verdict on size is given: the variance between training runs is then unknown."
        ]
    # Holm's correction: the first verdict must pass at this level.
    level = (1 - CONFIDENCE) / len(study.tasks)
    by_line: dict[str, list[str]] = {}
    by_kind: dict[str, list[tuple[Components, int]]] = {"disease": [], "medication": []}
    for task in study.tasks:
        tested = _held_out(study, task.name, patients, labels)
        parts = replace(
            power.components(Assumptions(tested.auprc, tested.prevalence)), sizes=len(study.sizes)
        )
        if task.kind in by_kind:
            by_kind[task.kind].append((parts, tested.positives))
        by_line.setdefault(_task_line(tested, parts, seeds, margin, level), []).append(task.name)
    lines = [f"{', '.join(names)}: {line}" for line, names in by_line.items()]
    lines += _family_lines(by_kind, seeds, margin)
    enough = seeds >= MIN_SEEDS and min(map(len, by_kind.values())) >= MIN_OUTCOMES
    if enough and len(study.sizes) > 1:
        shown = power.interaction_power(by_kind["disease"], by_kind["medication"], seeds, INTERACTION)
        lines.append(
            f"If size raises the metric of diseases by {_percent(INTERACTION)} more than that of "
            f"medications, {_percent(shown)} of such studies show it."
        )
    standard = Assumptions(0.5, 0.5)
    lines.append(
        f"Assumed: scores of two sizes correlate by {standard.between_sizes:g}, of two runs of one size by "
        f"{standard.between_runs:g}, and AUPRC spreads by {_percent(standard.seed_spread)} between runs; "
        f"{len(study.tasks)} tasks share the error rate of 5 %, each held to {_percent(level)}."
    )
    return lines


def _task_line(tested: HeldOut, parts: Components, seeds: int, margin: float, level: float) -> str:
    """The power of one task in one line; tasks with equal lines are listed together."""
    needed = power.positives_for(parts, seeds, margin, level)
    enough = (
        "more seeds are needed, whatever the number of patients"
        if needed is None
        else f"80 % would take about {float(f'{needed:.2g}'):,.0f} positives"
    )
    if tested.positives < MIN_POSITIVES:
        return (
            f"with {tested.positives:,} test positives ({tested.known}) no verdict is given; it takes "
            f"{MIN_POSITIVES} at least, and {enough}"
        )
    resolvable = power.resolvable(parts, tested.positives, seeds, level)
    saturated = power.power(parts, tested.positives, seeds, margin, level)
    return (
        f"with {tested.positives:,} test positives ({tested.known}) and {seeds} seeds you can resolve "
        f"{_percent(resolvable)}; if larger sizes gain nothing, {_percent(saturated)} of studies "
        f"find a smaller one sufficient at the margin of {_percent(margin)}, {enough}"
    )


def _family_lines(
    by_kind: Mapping[str, Sequence[tuple[Components, int]]], seeds: int, margin: float
) -> list[str]:
    """The power of the verdict on all tasks of a kind together."""
    families = {kind: tasks for kind, tasks in by_kind.items() if len(tasks) >= MIN_OUTCOMES}
    lines = []
    for kind, tasks in families.items():
        if all(positives for _, positives in tasks):
            parts, positives = family_power.family(tasks)
            level = (1 - CONFIDENCE) / len(families)
            resolvable = power.resolvable(parts, positives, seeds, level)
            saturated = power.power(parts, positives, seeds, margin, level)
            lines.append(
                f"All {len(tasks)} {kind} tasks together resolve {_percent(resolvable)}; if larger sizes "
                f"gain nothing, {_percent(saturated)} of studies find a smaller one sufficient at the "
                f"margin of {_percent(margin)}."
            )
    return lines


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.995 else "100 %"


def _held_out(study: Study, task: str, patients: int, labels: Mapping[str, LabelCounts] | None) -> HeldOut:
    """From the labels if there are any; an unknown AUPRC is assumed as the root of the prevalence."""
    positives, prevalence, known = round(ASSUMED_PREVALENCE * patients), ASSUMED_PREVALENCE, "assumed"
    if labels is not None:
        counts = labels[task]["splits"]["held_out"]
        positives, known = counts["positives"], "as labelled"
        prevalence = counts["prevalence"] or ASSUMED_PREVALENCE
    auprc = _best_auprc(study, task) or math.sqrt(prevalence)
    return HeldOut(positives, min(prevalence, 0.9), min(max(auprc, 1.05 * prevalence), 0.98), known)


def _best_auprc(study: Study, task: str) -> float | None:
    """The best AUPRC of an earlier run of the study on held-out patients."""
    file = study.run_directory / "summary.json"
    if not file.exists():
        return None
    reached = [
        result.auprc.estimate
        for one in read_summary(file).tasks
        for result in one.results
        if one.name == task and result.split == "held_out" and result.auprc.estimate
    ]
    return max(reached, default=None)
