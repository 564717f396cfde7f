"""The privacy gate: what a summary may show under a profile. Everything that leaves a run passes it once.

`passed` is called on the whole summary before it is written; the page, the figures, the tables and the
sentences are all made from what comes out. What is small is defined in `suppression`.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any

from claimscale.privacy.coarsening import joined_bands, joined_curve, spaced
from claimscale.privacy.counts import Table
from claimscale.privacy.relations import (
    Asked,
    add_codes,
    add_cohort,
    add_distributions,
    add_task,
    hospitals_may_show,
)
from claimscale.privacy.suppression import PROFILES, SUPPRESSED, Rule

SPREADS = ("age", "visits", "sequence_length", "observation_days")


def passed(summary: Mapping[str, Any], profile: str) -> dict[str, Any]:
    """The summary as it may be shown: a copy, with `privacy` naming the profile it was made under.

    Counts of patients (and of rows) that are small become text such as '<10'; counts that would give one
    away become null, and so does everything worked out from either.
    """
    rule, found = PROFILES[profile], copy.deepcopy(dict(summary))
    found["privacy"] = {"profile": profile}
    if rule is None:
        return found
    dataset, table = found["dataset"], Table()
    description = dataset.get("description")
    for group in description["groups"].values() if description else ():
        _without_extremes(group, rule.is_small(group["patients"]))
    cohort = add_cohort(dataset, table)
    if description:
        add_distributions(description["histograms"], cohort, table)
    add_codes(dataset, cohort, table)
    asked = [add_task(task, cohort, table) for task in found["tasks"]]
    hidden = table.settle(rule)
    if description:
        histograms = description["histograms"]
        may_show = hospitals_may_show(histograms, cohort, table, hidden, rule.least)
        bars = histograms["patients_per_hospital"] if may_show else []
        histograms["patients_per_hospital"] = [rule.rounded(count) for count in bars]
    _quality(dataset.get("quality"), rule)
    for task, cells in zip(found["tasks"], asked, strict=True):
        _task(task, cells, table, hidden, rule)
    _without_withheld(found)
    for check in found["checks"]:
        check["text"] = scrubbed(check["text"], rule)
    return found


def _without_extremes(group: dict[str, Any], small: bool) -> None:
    """The range is two patients' values; of few patients every value is near to somebody's."""
    for spread in [*(group[name] for name in SPREADS if name in group), *group.get("codes", {}).values()]:
        for name in spread:
            if small or name in ("min", "max"):
                spread[name] = None


def _quality(quality: dict[str, Any] | None, rule: Rule) -> None:
    """The account of rows: a reason that befell few rows may point to few patients."""
    if not quality:
        return
    table = Table()
    used, rows = table.cell(quality, "used"), table.cell(quality, "rows_in")
    apart = [
        table.cell(quality[kind], why) for kind in ("quarantined", "dropped") for why in quality.get(kind, {})
    ]
    table.sum(rows, [used, *apart])
    for kind in ("repaired", "warnings"):
        for why in quality.get(kind, {}):
            table.cell(quality[kind], why)
    events = []
    for told in quality.get("source_rows", {}).values():
        read, made = table.cell(told, "rows"), table.cell(told, "events")
        events.append(made)
        lost = [table.cell(told["without_event"], why) for why in told.get("without_event", {})]
        if table.counts[read] == table.counts[made] + sum(table.counts[cell] for cell in lost):
            table.sum(read, [made, *lost])
    if events and sum(table.counts[cell] for cell in events) == table.counts[rows]:
        table.sum(rows, events)
    table.settle(rule)


def _task(task: dict[str, Any], asked: Asked, table: Table, hidden: set[int], rule: Rule) -> None:
    """One task after its counts are settled: all that was worked out from them."""
    counts = {
        split: (table.counts[asked.dates[split]], table.counts[asked.positives[split]])
        for split in asked.dates
    }
    unknown = {split for split in counts if {asked.positives[split], asked.dates[split]} & hidden}
    few = {
        split for split, (of, cases) in counts.items() if rule.is_small(cases) or rule.is_small(of - cases)
    }
    _consequences(task, unknown | few, few, rule)
    if "held_out" in few:
        _withhold(task)
    for cell in {found["train"] for found in (asked.patients, asked.dates) if "train" in found}:
        _labelled(task, table.counts[cell], cell in hidden, rule)
    _curves(task, None if "held_out" in unknown else counts.get("held_out"), rule)


def _labelled(task: dict[str, Any], trained: int, hidden: bool, rule: Rule) -> None:
    """Results on all labelled patients name how many they were: as the training split does, or roughly."""
    about = int(float(f"{trained:.2g}")) if hidden else rule.rounded(trained)
    for entry in [*task["results"], *task["pretraining_gain"]]:
        if entry["n_labelled"] == trained:
            entry["n_labelled"] = about
    for found in task.get("crossover", []):
        found["tested_n_labelled"] = [
            about if count == trained else count for count in found["tested_n_labelled"]
        ]


def _consequences(task: dict[str, Any], unknown: set[str], few: set[str], rule: Rule) -> None:
    """What follows from counts: prevalences anew, and no results of a split with few of either outcome."""
    for split, found in task["splits"].items():
        if "prevalence" in found:
            of = found["index_dates"]
            found["prevalence"] = (
                None if split in unknown or not of else float(f"{found['positives'] / of:.6g}")
            )
    task["results"] = [result for result in task["results"] if result["split"] not in few]
    saturation = task["saturation"]
    if "held_out" in task["splits"]:
        task["prevalence"] = task["splits"]["held_out"].get("prevalence")
    # How many more are needed, and how many there are, say the same.
    if any(split in unknown or rule.base > 1 for split in saturation["additional_needed"] or {}):
        saturation["additional_needed"] = None
    if rule.base > 1 and saturation["positives_needed"]:
        saturation["positives_needed"] = int(float(f"{saturation['positives_needed']:.2g}"))
    for detail in task.get("per_model", []):
        for group in detail.get("subgroups", []):
            counts = (group["n_test"], group["positives"])
            safe = all(isinstance(count, int) for count in counts)
            if not safe or rule.is_small(counts[0] - counts[1]):
                group.update(predicted=None, observed=None, auprc=None, auroc=None)
            elif rule.base > 1:
                group["observed"] = float(f"{counts[1] / counts[0]:.6g}") if counts[0] else None


def _withhold(task: dict[str, Any]) -> None:
    """No results, nor what rests on those of held-out patients: comparisons, the verdict, the figures."""
    task.update(results=[], oracle=None, per_model=[], pretraining_gain=[], ensemble=None)
    task["recommendation"] = {"verdict": "inconclusive", "size": None, "baseline": None}
    if "crossover" in task:
        task["crossover"] = []
    saturation = task["saturation"]
    saturation["positives_needed"] = None
    if not saturation["comparisons"] and saturation["margin"] is None:
        return  # nothing was trained, and its reason says why
    saturation.update(
        verdict="inconclusive", reason=SUPPRESSED, smallest_sufficient=None, margin=None, alpha=None,
        additional_needed=None, hours_saved=None, hours_saved_estimated=False, flops_saved=None,
        reference_size=None, comparisons=[], cluster_bootstrap=None,
    )  # fmt: skip


def _without_withheld(found: dict[str, Any]) -> None:
    """What tasks say together, without those of which nothing is shown."""
    names = {task["name"] for task in found["tasks"] if task["saturation"]["reason"] == SUPPRESSED}
    if not names:
        return
    if forecast := found.get("forecast"):
        forecast["tasks"] = [entry for entry in forecast["tasks"] if entry["task"] not in names]
        for kind in ("curve_fits", "pareto"):
            forecast[kind] = {task: told for task, told in forecast[kind].items() if task not in names}
    # Beside the other tasks' gains, the difference between kinds would tell the one withheld.
    found["task_size_interaction"] = dict.fromkeys(found["task_size_interaction"])


def _curves(task: dict[str, Any], held_out: tuple[int, int] | None, rule: Rule) -> None:
    """Calibration, net benefit and risks by bands: bands are joined until none holds few patients.

    `held_out` are the patients asked and those with the outcome; null where they are hidden: the bands add up
    to them, and are left out.
    """
    for result in task["results"]:
        calibration = result["calibration"]
        if "curve" in calibration:
            calibration["curve"] = (
                joined_curve(calibration["curve"], result["n_seeds"], rule) if held_out else []
            )
    for detail in task.get("per_model", []):
        seeds = len(detail["cells"])
        if held_out is None:
            for name in ("curve", "net_benefit", "risk_distribution"):
                detail.pop(name, None)
        if "curve" in detail:
            detail["curve"] = joined_curve(detail["curve"], seeds, rule)
        if detail.get("risk_distribution"):
            detail["risk_distribution"] = joined_bands(detail["risk_distribution"], rule)
        if "net_benefit" in detail and held_out is not None:
            detail["net_benefit"] = spaced(detail["net_benefit"], held_out, seeds, rule)


def scrubbed(sentence: str, rule: Rule) -> str:
    """The sentence with small whole numbers hidden, save those that are shares or parts of codes.

    >>> scrubbed("3 die, of 1,204 in ICD10//N18 or 2.5 or 4 %", Rule(10))
    '<10 die, of 1,204 in ICD10//N18 or 2.5 or 4 %'
    """

    def shown(match: re.Match[str]) -> str:
        count = int(match[0].replace(",", ""))
        return rule.mark if rule.is_small(count) else f"{rule.rounded(count):,}"

    return re.sub(r"(?<![\w.,/])\d{1,3}(?:,\d{3})*(?![\w.,/]*\d)(?! ?%)(?! - )(?!\w)", shown, sentence)
