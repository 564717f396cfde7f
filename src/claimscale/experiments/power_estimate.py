"""What a study will be able to decide, in words: the part of the plan that concerns its verdicts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from claimscale import artifacts
from claimscale.config.study import Study
from claimscale.evaluation import power
from claimscale.evaluation.contrasts import MIN_OUTCOMES, MIN_SEEDS
from claimscale.evaluation.intervals import CONFIDENCE
from claimscale.evaluation.power import Assumptions, Components
from claimscale.evaluation.size_decision import MIN_POSITIVES

ASSUMED_PREVALENCE = 0.03
INTERACTION = 0.05
"""Gain of diseases over that of medications for which the power of the interaction test is told."""


@dataclass(frozen=True)
class Tested:
    """Who a task is tested on: `known` says what the numbers come from."""

    positives: int
    prevalence: float
    auprc: float
    known: str


def power_lines(study: Study, patients: int) -> list[str]:
    """Per task what its test patients can resolve, then the power of the interaction test.

    `patients` is how many a task is thought to be tested on, where labels do not say yet.
    """
    seeds, margin = len(study.finetune.seeds), study.compare.margin
    if seeds < 2:
        return ["With one seed no verdict on size is given: the chance of training is then unknown."]
    # Holm shares the error rate among tasks; the first verdict must pass at its share.
    level = (1 - CONFIDENCE) / len(study.tasks)
    alike: dict[str, list[str]] = {}
    parts = {}
    for task in study.tasks:
        tested = tested_of(study, task.name, patients)
        parts[task.name] = components_of(tested), tested.positives
        alike.setdefault(task_line(tested, parts[task.name][0], seeds, margin, level), []).append(task.name)
    lines = [f"{', '.join(names)}: {line}" for line, names in alike.items()]
    kinds = [
        [parts[task.name] for task in study.tasks if task.kind == kind] for kind in ("disease", "medication")
    ]
    if min(map(len, kinds)) >= MIN_OUTCOMES and seeds >= MIN_SEEDS and len(study.sizes) > 1:
        shown = power.interaction_power(kinds[0], kinds[1], seeds, INTERACTION)
        lines.append(
            f"Were size to raise the metric of diseases by {_percent(INTERACTION)} more than that of "
            f"medications, {_percent(shown)} of such studies would show it."
        )
    standard = Assumptions(0.5, 0.5)
    lines.append(
        f"Assumed: scores of two sizes correlate by {standard.between_sizes:g}, of two runs of one size by "
        f"{standard.between_runs:g}, and AUPRC spreads by {_percent(standard.seed_spread)} between runs; "
        f"{len(study.tasks)} tasks share the error rate of 5 %, each held to {_percent(level)}."
    )
    return lines


def task_line(tested: Tested, parts: Components, seeds: int, margin: float, level: float) -> str:
    least = power.resolvable(parts, tested.positives, seeds, level)
    chance = power.power(parts, tested.positives, seeds, margin, level)
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
    return (
        f"with {tested.positives:,} test positives ({tested.known}) and {seeds} seeds you can resolve "
        f"{_percent(least)}; a truly flat curve is called saturated at the margin of {_percent(margin)} in "
        f"{_percent(chance)} of studies, {enough}"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.995 else "100 %"


def components_of(tested: Tested) -> Components:
    return power.components(Assumptions(tested.auprc, tested.prevalence))


def tested_of(study: Study, task: str, patients: int) -> Tested:
    """From the run directory as far as there is one; an AUPRC not yet known is the root of the prevalence."""
    run = study.run_directory
    positives, prevalence, known = round(ASSUMED_PREVALENCE * patients), ASSUMED_PREVALENCE, "assumed"
    if (run / "labels" / artifacts.DONE).exists():
        found = (
            artifacts.read_json(run / "labels" / "labels.json")
            .get(task, {})
            .get("splits", {})
            .get("held_out")
        )
        if found and found["positives"]:
            positives, known = found["positives"], "as labelled"
            prevalence = found["positives"] / max(found["n"], 1)
    auprc = _auprc_so_far(study, task) or math.sqrt(prevalence)
    return Tested(positives, min(prevalence, 0.9), min(max(auprc, 1.05 * prevalence), 0.98), known)


def _auprc_so_far(study: Study, task: str) -> float | None:
    summary = study.run_directory / "summary.json"
    if not summary.exists():
        return None
    entries: list[dict[str, Any]] = [
        one for one in artifacts.read_json(summary)["tasks"] if one["name"] == task
    ]
    results = entries[0]["results"] if entries else []
    reached = [
        one["auprc"]["estimate"] for one in results if one["split"] == "held_out" and one["auprc"]["estimate"]
    ]
    return max(reached, default=None)
