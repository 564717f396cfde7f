"""All counts of patients in a summary as one table, with every sum that a reader knows.

A count that one part of the report hides must not follow from another part. Cohort, distributions, codes and
the patients of each task are therefore suppressed together.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

from claimscale.evaluation.predictions import HELD_OUT
from claimscale.privacy.counts import Table
from claimscale.privacy.suppression import Rule

ATTRITION = ("patients", "seen_before_landmark", "in_sampled_hospitals", "with_enough_events", "included")
"""Steps of the cohort, each a subset of the one before."""
SEXES = {"Women": "F", "Men": "M", "Sex unknown": "U"}
"""Subgroups by sex, with their keys in the description of the cohort."""

Entry = dict[str, Any]
"""A part of the summary."""


@dataclass
class CohortCells:
    """Cells of the included patients: all of them, by split, and by group (a split or `all`) and sex."""

    whole: int
    splits: dict[str, int] = field(default_factory=dict)
    sexes: dict[tuple[str, str], int] = field(default_factory=dict)


@dataclass
class TaskCells:
    """Cells of one task by split: patients, index dates, and index dates with the outcome."""

    patients: dict[str, int] = field(default_factory=dict)
    index_dates: dict[str, int] = field(default_factory=dict)
    positives: dict[str, int] = field(default_factory=dict)


def add_cohort(dataset: Entry, table: Table) -> CohortCells:
    """The steps to the cohort, its splits and sexes."""
    cohort, description = dataset.get("cohort") or {}, dataset.get("description")
    groups = description["groups"] if description else {}
    found = CohortCells(_whole(dataset, cohort, groups, table))
    for name, count in (cohort.get("splits") or {}).items():
        found.splits[name] = table.cell(cohort["splits"], name)
        if name in groups and groups[name]["patients"] == count:
            table.also(found.splits[name], groups[name], "patients")
    for name in groups:
        if name != "all" and name not in found.splits:
            found.splits[name] = table.cell(groups[name], "patients")
    if found.splits:
        table.sum(found.whole, list(found.splits.values()))
    for name, group in groups.items():
        cells = {sex: table.cell(group["sex"], sex) for sex in group["sex"]}
        table.sum(found.whole if name == "all" else found.splits[name], list(cells.values()))
        found.sexes |= {(name, sex): cell for sex, cell in cells.items()}
    for sex in groups.get("all", {}).get("sex", {}):
        of_splits = [found.sexes[name, sex] for name in found.splits if (name, sex) in found.sexes]
        table.sum(found.sexes["all", sex], of_splits)
    return found


def _whole(dataset: Entry, cohort: Entry, groups: Entry, table: Table) -> int:
    """The included patients, who are counted at three places, after the steps that lead to them."""
    steps = [table.cell(cohort, step) for step in ATTRITION if cohort.get(step) is not None]
    for before, after in itertools.pairwise(steps):
        table.sum(before, [after])
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
    return whole


def add_distributions(histograms: Entry, cohort: CohortCells, table: Table) -> None:
    """Bands of age, sequence length and observation: parts of all patients, or of all patients of a sex.

    Patients in no band, because their age is unknown, are the remainder.
    """
    of_patients = [
        (cohort.whole, histograms[name]["counts"]) for name in ("sequence_length", "observation_years")
    ]
    by_sex = histograms["age_by_sex"]["counts"]
    of_sexes = [(cohort.sexes.get(("all", sex), cohort.whole), counts) for sex, counts in by_sex.items()]
    for total, counts in [*of_patients, *of_sexes]:
        table.sum(total, [table.cell(counts, place) for place in range(len(counts))])


def add_codes(dataset: Entry, cohort: CohortCells, table: Table) -> None:
    """Training patients with each frequent code, and those without it."""
    trained = cohort.splits.get("train", cohort.whole)
    for code in dataset.get("codes", []):
        table.sum(trained, [table.cell(code, "patients")])


def add_task(task: Entry, cohort: CohortCells, table: Table) -> TaskCells:
    """The labelled patients of each split, among all patients of that split, and the subgroups."""
    found = TaskCells()
    for split, counts in task["splits"].items():
        positives, patients = table.cell(counts, "positives"), table.cell(counts, "patients")
        index_dates = table.cell(counts, "index_dates")
        if counts["index_dates"] == counts["patients"]:
            table.sum(index_dates, [patients])
        table.sum(index_dates, [positives])  # the remainder is without the outcome
        # The later landmark tests held-out patients again.
        of_split = cohort.splits.get(HELD_OUT if split == "temporal" else split)
        if of_split is not None:
            table.sum(of_split, [patients])
        for result in task["results"]:
            if result["split"] == split:
                table.also(positives, result, "positives")
                table.also(index_dates, result, "n_test")
        found.patients[split], found.index_dates[split] = patients, index_dates
        found.positives[split] = positives
    if "train" in found.patients:
        table.also(found.patients["train"], task, "n_train")
    if HELD_OUT in found.index_dates:
        table.also(found.index_dates[HELD_OUT], task, "n_test")
        table.also(found.positives[HELD_OUT], task, "positives")
        _add_subgroups(task, found, cohort, table)
    return found


def _add_subgroups(task: Entry, cells: TaskCells, cohort: CohortCells, table: Table) -> None:
    """Subgroups of held-out patients, the same for every model; those by sex are parts of the cohort."""
    lists = [model["subgroups"] for model in task.get("per_model", []) if model.get("subgroups")]
    by_variable: dict[str, list[tuple[int, int]]] = {}
    for same in zip(*lists, strict=True):
        patients, cases = table.cell(same[0], "n_test"), table.cell(same[0], "positives")
        table.sum(patients, [cases])
        for other in same[1:]:
            table.also(patients, other, "n_test")
            table.also(cases, other, "positives")
        by_variable.setdefault(same[0]["by"], []).append((patients, cases))
        of_sex = (HELD_OUT, SEXES.get(same[0]["group"], ""))
        if same[0]["by"] == "sex" and of_sex in cohort.sexes:
            table.sum(cohort.sexes[of_sex], [patients])
    for pairs in by_variable.values():
        for total, place in ((cells.index_dates[HELD_OUT], 0), (cells.positives[HELD_OUT], 1)):
            parts = [pair[place] for pair in pairs]
            if table.counts[total] == sum(table.counts[part] for part in parts):
                table.sum(total, parts)


def may_show_hospitals(
    histograms: Entry, cohort: CohortCells, table: Table, hidden: set[int], rule: Rule
) -> bool:
    """Whether patients per hospital may be shown: all of them or none.

    The held-out hospitals are a split, whose count is a sum of some of them: with that count, a hidden or
    merged hospital could be derived. If the count of the split is hidden, its hospitals would disclose it.
    """
    counts = histograms["patients_per_hospital"]
    elsewhere = table.counts[cohort.whole] - sum(counts)
    few = any(0 < count < rule.least for count in [*counts, elsewhere])
    return not few and not hidden & {cohort.whole, cohort.splits.get("hospital", cohort.whole)}
