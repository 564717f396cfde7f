"""Who is labelled for each question, and who is excluded and why, as text for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from claimscale import formatting
from claimscale.config.study import Study
from claimscale.privacy.counts import CountTable
from claimscale.privacy.suppression import PROFILES, Shown
from claimscale.tasks.label_counts import SPLIT_NAMES, LabelCounts
from claimscale.tasks.outcome_codes import absent_codes

LACKING = {"positive": "with", "negative": "without"}


def questions_text(study: Study, labels: Mapping[str, LabelCounts], codes: Sequence[str]) -> str:
    """A line per task: eligible index dates, cases in all and by split, and excluded dates by reason.

    `labels` is the content of `labels.json`, `codes` are the codes of all events. Lines below the table name
    tasks that no model is trained for, and rules with codes that no event has. Small counts are suppressed
    as the privacy profile says.
    """
    names = list(dict.fromkeys(split for counts in labels.values() for split in counts["splits"]))
    rows = [["question", "eligible", "cases", *(SPLIT_NAMES.get(name, name) for name in names), "excluded"]]
    notes: list[str] = []
    for task in study.tasks:
        counts = labels[task.name]
        rows.append([task.name, *_counted(counts, names, study.privacy.profile)])
        if (lacking := counts["insufficient_data"]) is not None:
            group = LACKING[lacking["label"]]
            splits = " and ".join(SPLIT_NAMES.get(name, name) for name in lacking["observed"])
            needed = f"{splits} need {lacking['required']} each"
            notes.append(f"{task.name}: no model is trained; too few patients {group} the outcome ({needed})")
        notes += [
            f"{task.name}: no event has a code of {rule}: right if these claims cannot have one"
            for rule in absent_codes(task, codes)
        ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:-1], widths[1:]), row[-1]]).rstrip()
        for row in rows
    ]
    return "\n".join(lines + notes)


def _counted(counts: LabelCounts, names: Sequence[str], profile: str) -> list[str]:
    """Eligible index dates, cases, cases by split, and excluded dates by reason, as shown."""
    splits, table = counts["splits"], CountTable()
    dates = [table.cell(splits[name]["n"] if name in splits else 0, name, "n") for name in names]
    cases = [table.cell(splits[name]["positives"] if name in splits else 0, name) for name in names]
    for whole, part in zip(dates, cases, strict=True):
        table.sum(whole, [part])
    eligible, outcomes = (table.cell(sum(table.counts[cell] for cell in cells)) for cells in (dates, cases))
    table.sum(eligible, dates)
    table.sum(outcomes, cases)
    excluded = {reason: table.cell(count) for reason, count in counts["excluded"].items() if count}
    shown = _shown(table, profile)
    reasons = [f"{shown[cell]} {reason.replace('_', ' ')}" for reason, cell in excluded.items()]
    return [*(shown[cell] for cell in (eligible, outcomes, *cases)), ", ".join(reasons) or "none"]


def _shown(table: CountTable, profile: str) -> list[str]:
    rule = PROFILES[profile]
    for number, paths in enumerate(table.paths):
        paths[:] = [(number,)]
    found: Mapping[tuple[int], Shown] = {(n,): count for n, count in enumerate(table.counts)}
    if rule is not None:
        found = table.suppress(rule)[0]  # pyright: ignore[reportAssignmentType]
    return [formatting.count(found[(number,)]) for number in range(len(table.counts))]
