"""The privacy gate: what a summary may show under a profile. Everything that leaves a run passes it once.

`passed` is called on the whole summary before it is written; the page, the figures, the tables and the
sentences are all made from what comes out. What is small is defined in `suppression`.
"""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Mapping
from typing import Any

from claimscale.report.coarsening import joined_bands, joined_curve, spaced
from claimscale.report.counts import Table
from claimscale.report.suppression import PROFILES, Rule, protected

SPREADS = ("age", "visits", "sequence_length", "observation_days")
ATTRITION = ("patients", "seen_before_landmark", "of_drawn_hospitals", "with_enough_events", "studied")
"""Steps of the cohort, each a part of the one before."""


def passed(summary: Mapping[str, Any], profile: str) -> dict[str, Any]:
    """The summary as it may be shown: a copy, with `privacy` naming the profile it was made under.

    Counts of patients (and of rows) that are small become text such as '<10'; counts that would give one
    away become null, and so does everything worked out from either.
    """
    rule, found = PROFILES[profile], copy.deepcopy(dict(summary))
    found["privacy"] = {"profile": profile}
    if rule is None:
        return found
    dataset = found["dataset"]
    _people(dataset, rule)
    _quality(dataset.get("quality"), rule)
    for code in dataset.get("codes", []):
        code["patients"] = protected([code["patients"]], [], rule)[0]
    for task in found["tasks"]:
        _task(task, dataset, rule)
    for check in found["checks"]:
        check["sentence"] = scrubbed(check["sentence"], rule)
    return found


def _people(dataset: dict[str, Any], rule: Rule) -> None:
    """Who is in the cohort: the steps to it, splits, sexes and distributions."""
    table = Table()
    cohort, description = dataset.get("cohort") or {}, dataset.get("description")
    groups = description["groups"] if description else {}
    steps = [table.cell(cohort, step) for step in ATTRITION if cohort.get(step) is not None]
    for before, after in itertools.pairwise(steps):
        table.sum(before, [after])
    # The patients studied stand at three places.
    if groups:
        whole = table.cell(groups["all"], "patients")
    elif steps:
        whole = steps[-1]
    else:
        whole = table.cell(dataset, "patients")
    for other in steps[-1:]:
        if table.counts[other] == table.counts[whole] and other != whole:
            table.sum(other, [whole])
    if table.counts[whole] == dataset.get("patients"):
        table.also(whole, dataset, "patients")
    splits = {}
    for name, count in (cohort.get("splits") or {}).items():
        splits[name] = table.cell(cohort["splits"], name)
        if name in groups and groups[name]["patients"] == count:
            table.also(splits[name], groups[name], "patients")
    for name in groups:
        if name != "all" and name not in splits:
            splits[name] = table.cell(groups[name], "patients")
    if splits:
        table.sum(whole, list(splits.values()))
    small = {name for name, group in groups.items() if rule.is_small(group["patients"])}
    sexes = {
        (name, sex): table.cell(group["sex"], sex) for name, group in groups.items() for sex in group["sex"]
    }
    for name in groups:
        table.sum(whole if name == "all" else splits[name], [sexes[name, sex] for sex in groups[name]["sex"]])
    for sex in groups.get("all", {}).get("sex", {}):
        table.sum(
            sexes["all", sex],
            [sexes[name, sex] for name in splits if name in groups and (name, sex) in sexes],
        )
    hidden = table.settle(rule)
    for name, group in groups.items():
        _without_extremes(group, name in small)
    if description:
        known = {sex: sexes["all", sex] not in hidden for sex in groups["all"]["sex"]}
        _histograms(description, table.counts[whole] if whole not in hidden else None, known, rule)


def _without_extremes(group: dict[str, Any], small: bool) -> None:
    """The range is two patients' values; of few patients every value is near to somebody's."""
    for spread in [*(group[name] for name in SPREADS if name in group), *group.get("codes", {}).values()]:
        for name in spread:
            if small or name in ("min", "max"):
                spread[name] = None


def _histograms(
    description: dict[str, Any], patients: int | None, known: Mapping[str, bool], rule: Rule
) -> None:
    """Distributions, each with its total; where the total is hidden, so is the whole distribution."""
    histograms = description["histograms"]
    for name in ("sequence_length", "observation_years"):
        histograms[name]["counts"] = _distribution(histograms[name]["counts"], patients, rule)
    histograms["patients_per_hospital"] = _distribution(histograms["patients_per_hospital"], patients, rule)
    by_sex = histograms["age_by_sex"]["counts"]
    for sex, counts in by_sex.items():
        by_sex[sex] = _distribution(counts, sum(counts) if known.get(sex) else None, rule)


def _distribution(counts: list[int], total: int | None, rule: Rule) -> list[Any]:
    if total is None:
        return [None] * len(counts)
    holder: dict[str, Any] = {"counts": list(counts)}
    table = Table()
    cells = [table.cell(holder["counts"], place) for place in range(len(counts))]
    table.sum(table.fixed_cell(max(total, sum(counts))), cells)
    table.settle(rule)
    return holder["counts"]


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


def _task(task: dict[str, Any], dataset: Mapping[str, Any], rule: Rule) -> None:
    """One task: who was asked in each split, the subgroups, and all that was worked out from them."""
    table, splits = Table(), task["splits"]
    groups = (dataset.get("description") or {}).get("groups", {})
    positive: dict[str, int] = {}
    asked: dict[str, int] = {}
    truth = {
        split: (found.get("dates", found["patients"]), found["positives"]) for split, found in splits.items()
    }
    for split, found in splits.items():
        positive[split], patients = table.cell(found, "positives"), table.cell(found, "patients")
        asked[split] = table.cell(found, "dates") if "dates" in found else patients
        if asked[split] != patients and found["dates"] == found["patients"]:
            table.sum(asked[split], [patients])
        table.sum(asked[split], [positive[split]])  # what is missing are those without the outcome
        cohort = groups.get(split, {}).get("patients")
        if isinstance(cohort, int) and rule.base == 1 and cohort >= found["patients"]:
            table.sum(table.fixed_cell(cohort), [patients])
        for result in task["results"]:
            if result["split"] == split:
                table.also(positive[split], result, "positives")
                table.also(asked[split], result, "n")
    if "train" in asked:
        table.also(asked["train"], task, "n_train")
    if "held_out" in asked:
        table.also(asked["held_out"], task, "n_test")
        table.also(positive["held_out"], task, "positives")
        _subgroup_cells(task, table, asked["held_out"], positive["held_out"])
    hidden = table.settle(rule)
    unknown = {split for split in splits if {positive[split], asked[split]} & hidden}
    few = {split for split, (of, cases) in truth.items() if rule.is_small(cases) or rule.is_small(of - cases)}
    _consequences(task, truth, unknown | few, few, rule)
    if "train" in asked:
        _labelled(task, truth["train"][0], asked["train"] in hidden, rule)
    _curves(task, None if "held_out" in unknown else truth.get("held_out"), rule)


def _labelled(task: dict[str, Any], trained: int, hidden: bool, rule: Rule) -> None:
    """Results on all labelled patients name how many they were: as the training split does, or roughly."""
    about = int(float(f"{trained:.2g}")) if hidden else rule.rounded(trained)
    for entry in [*task["results"], *task["pretraining_gain"]]:
        if entry["patients"] == trained:
            entry["patients"] = about
    for found in task.get("break_even", []):
        found["tested"] = [about if patients == trained else patients for patients in found["tested"]]


def _subgroup_cells(task: dict[str, Any], table: Table, asked: int, positive: int) -> None:
    """Cells of the subgroups, which are the same for every model."""
    lists = [detail["subgroups"] for detail in task.get("details", []) if detail.get("subgroups")]
    by_kind: dict[str, list[tuple[int, int]]] = {}
    for same in zip(*lists, strict=True):
        patients, cases = table.cell(same[0], "patients"), table.cell(same[0], "positives")
        table.sum(patients, [cases])
        for other in same[1:]:
            table.also(patients, other, "patients")
            table.also(cases, other, "positives")
        by_kind.setdefault(same[0]["by"], []).append((patients, cases))
    for cells in by_kind.values():
        for total, parts in ((asked, [one for one, _ in cells]), (positive, [one for _, one in cells])):
            if table.counts[total] == sum(table.counts[part] for part in parts):
                table.sum(total, parts)


def _consequences(
    task: dict[str, Any], truth: Mapping[str, tuple[int, int]], hidden: set[str], few: set[str], rule: Rule
) -> None:
    """What follows from counts: prevalences anew, and no results of a split with few of either outcome."""
    for split, found in task["splits"].items():
        if "prevalence" in found:
            of = found.get("dates", found["patients"])
            found["prevalence"] = (
                None if split in hidden or not of else float(f"{found['positives'] / of:.6g}")
            )
    task["results"] = [result for result in task["results"] if result["split"] not in few]
    saturation = task["saturation"]
    if "held_out" in task["splits"]:
        task["prevalence"] = task["splits"]["held_out"].get("prevalence")
    if "held_out" in few:
        task["oracle"], task["details"] = None, []
        saturation["positives_needed"] = None
    # How many more are needed, and how many there are, say the same.
    if any(split in hidden or rule.base > 1 for split in saturation["more_needed"] or {}):
        saturation["more_needed"] = None
    if rule.base > 1 and saturation["positives_needed"]:
        saturation["positives_needed"] = int(float(f"{saturation['positives_needed']:.2g}"))
    for detail in task.get("details", []):
        for group in detail.get("subgroups", []):
            counts = (group["patients"], group["positives"])
            safe = all(isinstance(count, int) for count in counts)
            if not safe or rule.is_small(counts[0] - counts[1]):
                group.update(predicted=None, observed=None, auprc=None, auroc=None)
            elif rule.base > 1:
                group["observed"] = float(f"{counts[1] / counts[0]:.6g}") if counts[0] else None


def _curves(task: dict[str, Any], held_out: tuple[int, int] | None, rule: Rule) -> None:
    """Calibration, net benefit and risks by bands: bands are joined until none holds few patients.

    `held_out` are the patients asked and those with the outcome; null where they are hidden: the bands add up
    to them, and are left out.
    """
    for result in task["results"]:
        calibration = result["calibration"]
        if "curve" in calibration:
            calibration["curve"] = (
                joined_curve(calibration["curve"], result["seeds"], rule) if held_out else []
            )
    for detail in task.get("details", []):
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
