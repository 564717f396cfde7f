"""The privacy step: what a summary shows under a privacy profile.

It is applied once, to all numbers of a study, before anything is written. The sentences, the page, the
figures and the tables use only its result. `suppression` defines which counts are small.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from claimscale.privacy.counts import CountTable, Path, replaced
from claimscale.privacy.phenome import protected_phenome
from claimscale.privacy.relations import (
    add_codes,
    add_cohort,
    add_distributions,
    add_task,
    may_show_hospitals,
)
from claimscale.privacy.suppression import PROFILES, Rule, Shown
from claimscale.privacy.task_results import protected_task
from claimscale.summary.dataset_schema import DescriptionEntry, GroupEntry, QualityEntry, SpreadEntry
from claimscale.summary.decision_schema import SUPPRESSED
from claimscale.summary.statistics_schema import (
    CheckEntry,
    InteractionEntry,
    PrivacyEntry,
    Profile,
    Statistics,
)

SPREADS = ("age", "visits", "sequence_length", "observation_days")
Numbers = TypeVar("Numbers", bound=Statistics)


def suppress(statistics: Numbers, profile: Profile) -> Numbers:
    """The statistics as they may be shown under the profile, which `privacy` names.

    Small counts of patients and of rows become text such as '<10'. Counts that would disclose one become
    null, and so does everything computed from either.
    """
    rule, privacy = PROFILES[profile], PrivacyEntry(profile=profile)
    if rule is None:
        return statistics.model_copy(update={"privacy": privacy})
    dataset, table = statistics.dataset, CountTable()
    cohort = add_cohort(dataset, table)
    if dataset.description:
        add_distributions(dataset.description.histograms, cohort, table)
    add_codes(dataset, cohort, table)
    cells = [add_task(place, task, cohort, table) for place, task in enumerate(statistics.tasks)]
    counts, hidden = table.suppress(rule)
    values: dict[Path, object] = {**counts, **_quality(dataset.quality, rule)}
    if dataset.description:
        histograms = dataset.description.histograms
        may_show = may_show_hospitals(histograms, cohort, table, hidden, rule)
        values |= _description(dataset.description, may_show, rule)
    shown = replaced(statistics, values)
    tasks = tuple(
        protected_task(task, own, table, hidden, rule) for task, own in zip(shown.tasks, cells, strict=True)
    )
    checks = tuple(_check(check, rule) for check in shown.checks)
    phenome = shown.phenome and protected_phenome(shown.phenome, rule)
    changed = {"privacy": privacy, "tasks": tasks, "checks": checks, "phenome": phenome}
    return _without_suppressed(shown.model_copy(update=changed))


def _description(description: DescriptionEntry, hospitals_shown: bool, rule: Rule) -> dict[Path, object]:
    """Spreads without ranges, and patients per hospital, by path."""
    root: Path = ("dataset", "description")
    bars = description.histograms.patients_per_hospital if hospitals_shown else ()
    shown = tuple(rule.rounded(count) for count in bars if isinstance(count, int))
    found: dict[Path, object] = {(*root, "histograms", "patients_per_hospital"): shown}
    for name, group in description.groups.items():
        for path, spread in _spreads(group):
            found[(*root, "groups", name, *path)] = _without_extremes(spread, group, rule)
    return found


def _spreads(group: GroupEntry) -> list[tuple[Path, SpreadEntry]]:
    found: list[tuple[Path, SpreadEntry]] = [((name,), getattr(group, name)) for name in SPREADS]
    return found + [(("codes", kind), spread) for kind, spread in group.codes.items()]


def _without_extremes(spread: SpreadEntry, group: GroupEntry, rule: Rule) -> SpreadEntry:
    """The range is the values of two patients; with few patients, every value is close to one patient's."""
    small = isinstance(group.patients, int) and rule.is_small(group.patients)
    names = SpreadEntry.model_fields if small else ("min", "max")
    return spread.model_copy(update=dict.fromkeys(names))


def _quality(quality: QualityEntry | None, rule: Rule) -> Mapping[Path, Shown]:
    """The reconciliation of rows: an issue of few rows may point to few patients."""
    if quality is None:
        return {}
    root, table = ("dataset", "quality"), CountTable()
    used, rows = (table.cell(getattr(quality, name), *root, name) for name in ("used", "rows_in"))

    def cells(kind: str) -> list[int]:
        return [table.cell(count, *root, kind, why) for why, count in getattr(quality, kind).items()]

    table.sum(rows, [used, *cells("quarantined"), *cells("dropped")])
    for kind in ("repaired", "warnings"):
        cells(kind)
    events: list[int] = []
    for name, source in quality.source_rows.items():
        path = (*root, "source_rows", name)
        read, made = table.cell(source.rows, *path, "rows"), table.cell(source.events, *path, "events")
        events.append(made)
        lost = [table.cell(count, *path, "without_event", why) for why, count in source.without_event.items()]
        if table.counts[read] == table.counts[made] + sum(table.counts[cell] for cell in lost):
            table.sum(read, [made, *lost])
    if events and sum(table.counts[cell] for cell in events) == table.counts[rows]:
        table.sum(rows, events)
    return table.suppress(rule)[0]


def _check(check: CheckEntry, rule: Rule) -> CheckEntry:
    text = check.text.with_counts(lambda n: rule.mark if rule.is_small(n) else rule.rounded(n))
    return check.model_copy(update={"text": text})


def _without_suppressed(shown: Numbers) -> Numbers:
    """The results over all tasks, without the tasks whose results are suppressed."""
    names = {task.name for task in shown.tasks if task.saturation.reason == SUPPRESSED}
    if not names:
        return shown
    forecast = shown.forecast.model_copy(
        update={
            "tasks": tuple(entry for entry in shown.forecast.tasks if entry.task not in names),
            "curve_fits": {
                task: fits for task, fits in shown.forecast.curve_fits.items() if task not in names
            },
            "pareto": {task: sizes for task, sizes in shown.forecast.pareto.items() if task not in names},
        }
    )
    # With the results of the other tasks, the interaction and the means would disclose the suppressed one.
    hidden = {"task_size_interaction": InteractionEntry(), "task_families": ()}
    return shown.model_copy(update={"forecast": forecast, **hidden})
