"""What the methods section says about a task."""

from __future__ import annotations

from collections.abc import Iterator

from claimscale.config.base import Codes
from claimscale.config.study import Study
from claimscale.config.tasks import Exclusion, Task
from claimscale.findings import Finding, finding
from claimscale.summary.schema import Summary

KINDS = {
    "disease": (finding("methods.disease"),),
    "medication": (finding("methods.medication"),),
    "other": (),
}


def paragraph(task: Task, summary: Summary, study: Study) -> Iterator[Finding]:
    """The definition of a task, and what models learn of it."""
    yield from _definition(task)
    if task.labels is None:
        if task.index == "landmark" and study.labels == "all_dates" and study.dates_per_patient > 1:
            yield finding("methods.earlier_dates", n=study.dates_per_patient - 1)
        if study.cohort.recency_days is not None:
            yield finding("methods.recency", days=study.cohort.recency_days)
    entry = next((one for one in summary.tasks if one.name == task.name), None)
    learnt = None if entry is None else entry.splits.get("train")
    if entry is None or learnt is None or not entry.results:
        return
    yield finding(
        "methods.learnt", dates=learnt.index_dates, patients=learnt.patients, positives=learnt.positives
    )
    if (
        any(result.arm == "pretrained" for result in entry.results)
        and entry.pretraining_positives is not None
    ):
        yield finding("methods.pretraining_positives", n=entry.pretraining_positives)


def _definition(task: Task) -> Iterator[Finding]:
    if task.labels is not None:
        yield finding("methods.label_file")
    else:
        yield from KINDS[task.kind]
        yield from _outcome(task)
        for exclusion in task.exclude:
            yield _exclusion(exclusion)
    if codes := _codes(task.hidden_codes):
        yield finding("methods.hidden_codes", codes=codes)
    if task.source:
        yield finding("methods.definition", source=task.source)


def _outcome(task: Task) -> Iterator[Finding]:
    first, last = task.gap_days + 1, task.gap_days + task.horizon_days
    yield finding("methods.outcome", codes=_codes(task.outcome), first=first, last=last)
    if task.confirmation_days is not None:
        yield finding("methods.confirmation_days", days=task.confirmation_days)
    if codes := _codes(task.confirmation_codes):
        yield finding("methods.confirmation_codes", codes=codes)
    if task.washout_days is None:
        yield finding("methods.washout_history")
    else:
        yield finding("methods.washout", days=task.washout_days)
    yield finding("methods.min_history", days=task.min_history_days)
    if task.index == "every_visit":
        yield finding("methods.index_every_visit", date=str(task.first_index_date))
    else:
        yield finding("methods.index_landmark")


def _exclusion(exclusion: Exclusion) -> Finding:
    codes, until = _codes(exclusion.codes), -exclusion.window_end_days
    if exclusion.look_back_days is None:
        return finding("methods.exclusion_history", codes=codes, until=until)
    return finding("methods.exclusion", codes=codes, start=exclusion.look_back_days, until=until)


def _codes(codes: Codes) -> list[str]:
    return [f"{system} {'/'.join(prefixes)}".strip() for system, prefixes in codes.items() if prefixes]
