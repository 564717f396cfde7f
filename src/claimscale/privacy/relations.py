"""All counts of patients in a summary as one table, with every sum that a reader knows them to follow.

What one part of the report hides, another must not give away: cohort, distributions, codes and the patients
asked each question are therefore settled together.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from claimscale.privacy.counts import Table

ATTRITION = ("patients", "seen_before_landmark", "in_sampled_hospitals", "with_enough_events", "included")
"""Steps of the cohort, each a part of the one before."""
SEXES = {"Women": "F", "Men": "M", "Sex unknown": "U"}
"""Subgroups by sex, and what the description of the cohort calls them."""


@dataclass
class Cohort:
    """Cells of the patients studied: all of them, by split, and by group (a split or `all`) and sex."""

    whole: int
    splits: dict[str, int] = field(default_factory=dict)
    sexes: dict[tuple[str, str], int] = field(default_factory=dict)


@dataclass
class Asked:
    """Cells of one task by split: patients, how often they were asked, and those with the outcome."""

    patients: dict[str, int] = field(default_factory=dict)
    dates: dict[str, int] = field(default_factory=dict)
    positives: dict[str, int] = field(default_factory=dict)


def add_cohort(dataset: dict[str, Any], table: Table) -> Cohort:
    """Who is in the cohort: the steps to it, splits and sexes."""
    cohort, description = dataset.get("cohort") or {}, dataset.get("description")
    groups = description["groups"] if description else {}
    found = Cohort(_whole(dataset, cohort, groups, table))
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


def _whole(dataset: dict[str, Any], cohort: dict[str, Any], groups: dict[str, Any], table: Table) -> int:
    """The patients studied, who stand at three places, after the steps that led to them."""
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


def add_distributions(histograms: dict[str, Any], cohort: Cohort, table: Table) -> None:
    """Bands of age, sequence length and observation: parts of all patients, and of all of a sex.

    Who is in no band, for the age is unknown, is what the bands leave of the total.
    """
    of_patients = [
        (cohort.whole, histograms[name]["counts"]) for name in ("sequence_length", "observation_years")
    ]
    by_sex = histograms["age_by_sex"]["counts"]
    of_sexes = [(cohort.sexes.get(("all", sex), cohort.whole), counts) for sex, counts in by_sex.items()]
    for total, counts in [*of_patients, *of_sexes]:
        table.sum(total, [table.cell(counts, place) for place in range(len(counts))])


def add_codes(dataset: dict[str, Any], cohort: Cohort, table: Table) -> None:
    """Patients of each frequent code, who are of the training split, and those without it."""
    trained = cohort.splits.get("train", cohort.whole)
    for code in dataset.get("codes", []):
        table.sum(trained, [table.cell(code, "patients")])


def add_task(task: dict[str, Any], cohort: Cohort, table: Table) -> Asked:
    """Who was asked in each split, of all patients of that split, and the subgroups."""
    found = Asked()
    for split, told in task["splits"].items():
        positives, patients = table.cell(told, "positives"), table.cell(told, "patients")
        dates = table.cell(told, "index_dates")
        if told["index_dates"] == told["patients"]:
            table.sum(dates, [patients])
        table.sum(dates, [positives])  # what is missing are those without the outcome
        # Who is asked again later is of the held-out patients.
        of_split = cohort.splits.get("held_out" if split == "temporal" else split)
        if of_split is not None:
            table.sum(of_split, [patients])
        for result in task["results"]:
            if result["split"] == split:
                table.also(positives, result, "positives")
                table.also(dates, result, "n_test")
        found.patients[split], found.dates[split], found.positives[split] = patients, dates, positives
    if "train" in found.patients:
        table.also(found.patients["train"], task, "n_train")
    if "held_out" in found.dates:
        table.also(found.dates["held_out"], task, "n_test")
        table.also(found.positives["held_out"], task, "positives")
        _add_subgroups(task, found, cohort, table)
    return found


def _add_subgroups(task: dict[str, Any], asked: Asked, cohort: Cohort, table: Table) -> None:
    """Subgroups of the held-out patients, the same for every model; those by sex are parts of the cohort."""
    lists = [detail["subgroups"] for detail in task.get("per_model", []) if detail.get("subgroups")]
    by_kind: dict[str, list[tuple[int, int]]] = {}
    for same in zip(*lists, strict=True):
        patients, cases = table.cell(same[0], "n_test"), table.cell(same[0], "positives")
        table.sum(patients, [cases])
        for other in same[1:]:
            table.also(patients, other, "n_test")
            table.also(cases, other, "positives")
        by_kind.setdefault(same[0]["by"], []).append((patients, cases))
        of_sex = ("held_out", SEXES.get(same[0]["group"], ""))
        if same[0]["by"] == "sex" and of_sex in cohort.sexes:
            table.sum(cohort.sexes[of_sex], [patients])
    for cells in by_kind.values():
        for total, place in ((asked.dates["held_out"], 0), (asked.positives["held_out"], 1)):
            parts = [pair[place] for pair in cells]
            if table.counts[total] == sum(table.counts[part] for part in parts):
                table.sum(total, parts)


def hospitals_may_show(
    histograms: Mapping[str, Any], cohort: Cohort, table: Table, hidden: set[int], least: int
) -> bool:
    """Whether patients per hospital may be shown: all of them or none.

    Held-out hospitals are a split of their own, that is a sum of some of them: beside its count, one hidden
    or joined with others could be worked out. And where that count is hidden, they would tell it.
    """
    counts = histograms["patients_per_hospital"]
    elsewhere = table.counts[cohort.whole] - sum(counts)
    few = any(0 < count < least for count in [*counts, elsewhere])
    return not few and not hidden & {cohort.whole, cohort.splits.get("hospital", cohort.whole)}
