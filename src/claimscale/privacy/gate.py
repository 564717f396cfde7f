"""The privacy gate: suppresses small counts, and everything computed from them, in a summary.

`suppress` is applied once to the whole summary, before it is written. The page, the figures, the tables and
the sentences use only its result. `suppression` defines which counts are small.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from claimscale.evaluation.predictions import HELD_OUT
from claimscale.findings import Finding
from claimscale.privacy.coarsening import merge_curve_bins, merge_risk_bands, spaced_thresholds
from claimscale.privacy.counts import Table
from claimscale.privacy.relations import (
    Entry,
    TaskCells,
    add_codes,
    add_cohort,
    add_distributions,
    add_task,
    may_show_hospitals,
)
from claimscale.privacy.suppression import PROFILES, SUPPRESSED, Rule

SPREADS = ("age", "visits", "sequence_length", "observation_days")
NO_VERDICT = {
    "verdict": "inconclusive", "reason": SUPPRESSED, "smallest_sufficient": None, "margin": None,
    "alpha": None, "additional_needed": None, "hours_saved": None, "hours_saved_estimated": False,
    "flops_saved": None, "reference_size": None, "comparisons": [], "cluster_bootstrap": None,
}  # fmt: skip


def suppress(summary: Mapping[str, Any], profile: str) -> Entry:
    """A copy of the summary that may be shown; `privacy` names the profile.

    Small counts of patients (and of rows) become text such as '<10'. Counts that would disclose one become
    null, and so does everything computed from either.
    """
    rule, found = PROFILES[profile], copy.deepcopy(dict(summary))
    found["privacy"] = {"profile": profile}
    if rule is None:
        return found
    dataset, table = found["dataset"], Table()
    description = dataset.get("description")
    for group in description["groups"].values() if description else ():
        _remove_extremes(group, rule.is_small(group["patients"]))
    cohort = add_cohort(dataset, table)
    if description:
        add_distributions(description["histograms"], cohort, table)
    add_codes(dataset, cohort, table)
    task_cells = [add_task(task, cohort, table) for task in found["tasks"]]
    hidden = table.suppress(rule)
    if description:
        histograms = description["histograms"]
        shown = may_show_hospitals(histograms, cohort, table, hidden, rule)
        counts = histograms["patients_per_hospital"] if shown else []
        histograms["patients_per_hospital"] = [rule.rounded(count) for count in counts]
    _suppress_quality(dataset.get("quality"), rule)
    for task, cells in zip(found["tasks"], task_cells, strict=True):
        _suppress_task(task, cells, table, hidden, rule)
    _remove_suppressed_tasks(found)
    for check in found["checks"]:
        text = Finding.model_validate(check["text"])
        suppressed = text.with_counts(lambda n: rule.mark if rule.is_small(n) else rule.rounded(n))
        check["text"] = suppressed.model_dump()
    return found


def _remove_extremes(group: Entry, small: bool) -> None:
    """Minimum and maximum are values of single patients; in a small group every quantile is close to one."""
    for spread in [*(group[name] for name in SPREADS if name in group), *group.get("codes", {}).values()]:
        for name in spread:
            if small or name in ("min", "max"):
                spread[name] = None


def _suppress_quality(quality: Entry | None, rule: Rule) -> None:
    """The row reconciliation: an issue of few rows may identify few patients."""
    if not quality:
        return
    table = Table()
    used, rows = table.cell(quality, "used"), table.cell(quality, "rows_in")
    removed = [
        table.cell(quality[kind], issue)
        for kind in ("quarantined", "dropped")
        for issue in quality.get(kind, {})
    ]
    table.sum(rows, [used, *removed])
    for kind in ("repaired", "warnings"):
        for issue in quality.get(kind, {}):
            table.cell(quality[kind], issue)
    events = []
    for source in quality.get("source_rows", {}).values():
        read, made = table.cell(source, "rows"), table.cell(source, "events")
        events.append(made)
        lost = [table.cell(source["without_event"], issue) for issue in source.get("without_event", {})]
        if table.counts[read] == table.counts[made] + sum(table.counts[cell] for cell in lost):
            table.sum(read, [made, *lost])
    if events and sum(table.counts[cell] for cell in events) == table.counts[rows]:
        table.sum(rows, events)
    table.suppress(rule)


def _suppress_task(task: Entry, cells: TaskCells, table: Table, hidden: set[int], rule: Rule) -> None:
    """Everything computed from the counts of one task, after these are suppressed."""
    counts = {
        split: (table.counts[cells.index_dates[split]], table.counts[cells.positives[split]])
        for split in cells.index_dates
    }
    unknown = {split for split in counts if {cells.positives[split], cells.index_dates[split]} & hidden}
    few = {
        split for split, (of, cases) in counts.items() if rule.is_small(cases) or rule.is_small(of - cases)
    }
    _suppress_derived(task, unknown | few, few, rule)
    if HELD_OUT in few:
        _suppress_results(task)
    for cell in {found["train"] for found in (cells.patients, cells.index_dates) if "train" in found}:
        _round_n_labelled(task, table.counts[cell], cell in hidden, rule)
    _coarsen_curves(task, None if HELD_OUT in unknown else counts.get(HELD_OUT), rule)


def _round_n_labelled(task: Entry, trained: int, hidden: bool, rule: Rule) -> None:
    """Results with all labelled patients give their number: as the training split shows it, or rounded."""
    about = int(float(f"{trained:.2g}")) if hidden else rule.rounded(trained)
    for entry in [*task["results"], *task["pretraining_gain"]]:
        if entry["n_labelled"] == trained:
            entry["n_labelled"] = about
    for found in task.get("crossover", []):
        found["tested_n_labelled"] = [
            about if count == trained else count for count in found["tested_n_labelled"]
        ]


def _suppress_derived(task: Entry, unknown: set[str], few: set[str], rule: Rule) -> None:
    """Prevalences are computed anew; splits with few patients of either outcome have no results."""
    for split, found in task["splits"].items():
        if "prevalence" in found:
            of = found["index_dates"]
            known = split not in unknown and of
            found["prevalence"] = float(f"{found['positives'] / of:.6g}") if known else None
    task["results"] = [result for result in task["results"] if result["split"] not in few]
    saturation = task["saturation"]
    if HELD_OUT in task["splits"]:
        task["prevalence"] = task["splits"][HELD_OUT].get("prevalence")
    # The additional number and the total needed together give the number of positives.
    if any(split in unknown or rule.base > 1 for split in saturation["additional_needed"] or {}):
        saturation["additional_needed"] = None
    if rule.base > 1 and saturation["positives_needed"]:
        saturation["positives_needed"] = int(float(f"{saturation['positives_needed']:.2g}"))
    for model in task.get("per_model", []):
        for group in model.get("subgroups", []):
            counts = (group["n_test"], group["positives"])
            safe = all(isinstance(count, int) for count in counts)
            if not safe or rule.is_small(counts[0] - counts[1]):
                group.update(predicted=None, observed=None, auprc=None, auroc=None)
            elif rule.base > 1:
                group["observed"] = float(f"{counts[1] / counts[0]:.6g}") if counts[0] else None


def _suppress_results(task: Entry) -> None:
    """No results on held-out patients, and nothing that uses them: comparisons, verdict, figures, advice."""
    task.update(results=[], oracle=None, per_model=[], pretraining_gain=[], ensemble=None)
    task["recommendation"] = {"verdict": "inconclusive", "size": None, "baseline": None}
    if "crossover" in task:
        task["crossover"] = []
    saturation = task["saturation"]
    saturation["positives_needed"] = None
    if saturation["comparisons"] or saturation["margin"] is not None:
        saturation.update(copy.deepcopy(NO_VERDICT))  # otherwise nothing was trained, and its reason is given


def _remove_suppressed_tasks(found: Entry) -> None:
    """Results of all tasks together exclude suppressed tasks."""
    names = {task["name"] for task in found["tasks"] if task["saturation"]["reason"] == SUPPRESSED}
    if not names:
        return
    if forecast := found.get("forecast"):
        forecast["tasks"] = [entry for entry in forecast["tasks"] if entry["task"] not in names]
        for kind in ("curve_fits", "pareto"):
            forecast[kind] = {task: entry for task, entry in forecast[kind].items() if task not in names}
    # With the other tasks' gains, the difference between kinds would disclose the suppressed one.
    found["task_size_interaction"] = dict.fromkeys(found["task_size_interaction"])


def _coarsen_curves(task: Entry, held_out: tuple[int, int] | None, rule: Rule) -> None:
    """Calibration, net benefit and risk bands without few patients.

    `held_out` are the index dates and those with the outcome. It is None where they are hidden: the bands add
    up to them and are removed.
    """
    for result in task["results"]:
        calibration = result["calibration"]
        if "curve" in calibration:
            calibration["curve"] = (
                merge_curve_bins(calibration["curve"], result["n_seeds"], rule) if held_out else []
            )
    for model in task.get("per_model", []):
        seeds = len(model["cells"])
        if held_out is None:
            for name in ("curve", "net_benefit", "risk_distribution"):
                model.pop(name, None)
        if "curve" in model:
            model["curve"] = merge_curve_bins(model["curve"], seeds, rule)
        if model.get("risk_distribution"):
            model["risk_distribution"] = merge_risk_bands(model["risk_distribution"], rule)
        if "net_benefit" in model and held_out is not None:
            model["net_benefit"] = spaced_thresholds(model["net_benefit"], held_out, seeds, rule)
