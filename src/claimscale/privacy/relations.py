"""All counts of patients in a summary as one table, with the sums that a reader can derive.

A count that one part of the summary suppresses must not follow from another part. The cohort, its
distributions, codes and the labels of all tasks are therefore suppressed together.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from claimscale.privacy.counts import CountTable
from claimscale.privacy.suppression import Rule
from claimscale.summary.dataset_schema import CohortFlowEntry, DatasetEntry, GroupEntry, HistogramsEntry
from claimscale.summary.entries import Count
from claimscale.summary.task_schema import TaskEntry

COHORT_STEPS = ("patients", "seen_before_landmark", "in_sampled_hospitals", "with_enough_events", "included")
"""Steps of the cohort selection, each a part of the one before."""
SEXES = {"Women": "F", "Men": "M", "Sex unknown": "U"}
"""Subgroups by sex, and their keys in the description of the cohort."""
GROUPS = ("dataset", "description", "groups")
HISTOGRAMS = ("dataset", "description", "histograms")


@dataclass
class CohortCells:
    """Cells of the patients of the study: all of them, by split, and by group (a split or `all`) and sex."""

    whole: int
    splits: dict[str, int] = field(default_factory=dict)
    sexes: dict[tuple[str, str], int] = field(default_factory=dict)


@dataclass
class TaskCells:
    """Cells of one task by split: patients, index dates, and labels with the outcome."""

    patients: dict[str, int] = field(default_factory=dict)
    index_dates: dict[str, int] = field(default_factory=dict)
    positives: dict[str, int] = field(default_factory=dict)


def add_cohort(dataset: DatasetEntry, table: CountTable) -> CohortCells:
    """The patients of the study: steps of the selection, splits and sexes."""
    groups = dataset.description.groups if dataset.description else {}
    found = CohortCells(_whole(dataset, groups, table))
    for name, count in (dataset.cohort.splits if dataset.cohort else {}).items():
        found.splits[name] = table.cell(count, "dataset", "cohort", "splits", name)
        if name in groups and groups[name].patients == count:
            table.also(found.splits[name], *GROUPS, name, "patients")
    for name, group in groups.items():
        if name != "all" and name not in found.splits:
            found.splits[name] = table.cell(group.patients, *GROUPS, name, "patients")
    if found.splits:
        table.sum(found.whole, list(found.splits.values()))
    for name, group in groups.items():
        cells = {sex: table.cell(count, *GROUPS, name, "sex", sex) for sex, count in group.sex.items()}
        table.sum(found.whole if name == "all" else found.splits[name], list(cells.values()))
        found.sexes |= {(name, sex): cell for sex, cell in cells.items()}
    for sex in groups["all"].sex if groups else ():
        of_splits = [found.sexes[name, sex] for name in found.splits if (name, sex) in found.sexes]
        table.sum(found.sexes["all", sex], of_splits)
    return found


def _whole(dataset: DatasetEntry, groups: dict[str, GroupEntry], table: CountTable) -> int:
    """The patients of the study, after the steps of the selection."""
    steps = _steps(dataset.cohort, table) if dataset.cohort else []
    if groups:
        whole = table.cell(groups["all"].patients, *GROUPS, "all", "patients")
    elif steps:
        whole = steps[-1]
    else:
        whole = table.cell(dataset.patients, "dataset", "patients")
    for last in steps[-1:]:
        if table.counts[last] == table.counts[whole] and last != whole:
            table.sum(last, [whole])
    if table.counts[whole] == dataset.patients:
        table.also(whole, "dataset", "patients")
    return whole


def _steps(cohort: CohortFlowEntry, table: CountTable) -> list[int]:
    steps = [table.cell(getattr(cohort, step), "dataset", "cohort", step) for step in COHORT_STEPS]
    for before, after in itertools.pairwise(steps):
        table.sum(before, [after])
    return steps


def add_distributions(histograms: HistogramsEntry, cohort: CohortCells, table: CountTable) -> None:
    """Bands of age, sequence length and observation: parts of all patients, or of all patients of a sex.

    Patients in no band, because their age is unknown, are the remainder.
    """

    def add(total: int, counts: Sequence[Count], *path: str) -> None:
        table.sum(total, [table.cell(count, *HISTOGRAMS, *path, at) for at, count in enumerate(counts)])

    add(cohort.whole, histograms.sequence_length.counts, "sequence_length", "counts")
    add(cohort.whole, histograms.observation_years.counts, "observation_years", "counts")
    for sex, counts in histograms.age_by_sex.counts.items():
        add(cohort.sexes.get(("all", sex), cohort.whole), counts, "age_by_sex", "counts", sex)


def add_codes(dataset: DatasetEntry, cohort: CohortCells, table: CountTable) -> None:
    """Training patients with each frequent code, and those without it."""
    trained = cohort.splits.get("train", cohort.whole)
    for place, code in enumerate(dataset.codes):
        table.sum(trained, [table.cell(code.patients, "dataset", "codes", place, "patients")])


def add_task(place: int, task: TaskEntry, cohort: CohortCells, table: CountTable) -> TaskCells:
    """The labels of each split, part of all patients of that split, and the subgroups."""
    found, root = TaskCells(), ("tasks", place)
    for split, counts in task.splits.items():
        path = (*root, "splits", split)
        positives = table.cell(counts.positives, *path, "positives")
        patients = table.cell(counts.patients, *path, "patients")
        dates = table.cell(counts.index_dates, *path, "index_dates")
        if counts.index_dates == counts.patients:
            table.sum(dates, [patients])
        table.sum(dates, [positives])  # The remainder are those without the outcome.
        # Patients of the temporal split are held-out patients at a later date.
        of_split = cohort.splits.get("held_out" if split == "temporal" else split)
        if of_split is not None:
            table.sum(of_split, [patients])
        for number, result in enumerate(task.results):
            if result.split == split:
                table.also(positives, *root, "results", number, "positives")
                table.also(dates, *root, "results", number, "n_test")
        found.patients[split], found.index_dates[split], found.positives[split] = patients, dates, positives
    excluded = [table.cell(count, *root, "excluded", reason) for reason, count in task.excluded.items()]
    if excluded:
        parts = [*found.index_dates.values(), *excluded]
        assessed = table.implied_cell(sum(table.counts[part] for part in parts))
        table.sum(assessed, parts)
        if table.counts[assessed] == table.counts[cohort.whole]:
            table.sum(assessed, [cohort.whole])
    if task.pretraining_positives is not None and "train" in cohort.splits:
        seen = table.cell(task.pretraining_positives, *root, "pretraining_positives")
        table.sum(cohort.splits["train"], [seen])
    if "train" in found.patients and task.n_train is not None:
        table.also(found.patients["train"], *root, "n_train")
    if "held_out" in found.index_dates:
        table.also(found.index_dates["held_out"], *root, "n_test")
        table.also(found.positives["held_out"], *root, "positives")
        _add_subgroups(root, task, found, cohort, table)
    return found


def _add_subgroups(
    root: tuple[str | int, ...], task: TaskEntry, found: TaskCells, cohort: CohortCells, table: CountTable
) -> None:
    """Subgroups of held-out patients, the same for every model; those by sex are parts of the cohort."""
    models = [(place, one.subgroups) for place, one in enumerate(task.per_model) if one.subgroups]
    by_variable: dict[str, list[tuple[int, int]]] = {}
    for number, group in enumerate(models[0][1] if models else ()):
        (first, *others) = [(*root, "per_model", place, "subgroups", number) for place, _ in models]
        patients, cases = (
            table.cell(group.n_test, *first, "n_test"),
            table.cell(group.positives, *first, "positives"),
        )
        table.sum(patients, [cases])
        for path in others:
            table.also(patients, *path, "n_test")
            table.also(cases, *path, "positives")
        by_variable.setdefault(group.by, []).append((patients, cases))
        of_sex = ("held_out", SEXES.get(group.group, ""))
        if group.by == "sex" and of_sex in cohort.sexes:
            table.sum(cohort.sexes[of_sex], [patients])
    for cells in by_variable.values():
        for total, column in ((found.index_dates["held_out"], 0), (found.positives["held_out"], 1)):
            parts = [pair[column] for pair in cells]
            if table.counts[total] == sum(table.counts[part] for part in parts):
                table.sum(total, parts)


def may_show_hospitals(
    histograms: HistogramsEntry, cohort: CohortCells, table: CountTable, hidden: set[int], rule: Rule
) -> bool:
    """Whether patients per hospital may be shown: all of them or none.

    Held-out hospitals are a split, whose count is the sum of some of them. With that count, a single
    suppressed hospital could be computed; where that count is suppressed, the hospitals would disclose it.
    """
    counts = [count for count in histograms.patients_per_hospital if isinstance(count, int)]
    elsewhere = table.counts[cohort.whole] - sum(counts)
    few = any(0 < count < rule.least for count in [*counts, elsewhere])
    return not few and not hidden & {cohort.whole, cohort.splits.get("hospital", cohort.whole)}
