"""Tasks as ACES configurations (es-aces 0.7), so that another program can compute the same labels.

ACES finds trigger events in MEDS data and counts predicates in windows around them; a window with counts
that are not allowed drops its trigger. A label of ACES is the count of one predicate in one window. Two
rules therefore need a second file: a first code in the gap makes a negative, and a code may need
confirmation. `<task>.yaml` finds eligible index dates, with the label before these rules;
`<task>.positives.yaml` finds the positives by the full rule. Comments in both files list what ACES cannot
express.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import yaml

from claimscale.artifacts import write_text
from claimscale.codes.systems import DEATH, SEX_PREFIX, SYSTEMS, full_prefixes
from claimscale.config.base import Codes
from claimscale.config.tasks import Task

INDEX = "INDEX//DATE"
"""The event that marks an index date in the data given to ACES."""
CONTACT_SYSTEMS = [name for name in SYSTEMS if name + "//" != SEX_PREFIX]
NO, SOME = "(None, 0)", "(1, None)"
Window = dict[str, object]


def export(tasks: Mapping[str, Task], folder: Path) -> list[Path]:
    """Write the configurations of all tasks without a label file; returns the files."""
    written = []
    for name, task in tasks.items():
        if task.labels is not None:
            continue
        contents = {f"{name}.yaml": eligible(task)}
        if needs_positives(task):
            contents[f"{name}.positives.yaml"] = positives(task)
        for file, text in contents.items():
            write_text(folder / file, text)
            written.append(folder / file)
    return written


def needs_positives(task: Task) -> bool:
    """Whether the label of the task needs more than one window."""
    return task.gap_days > 0 or task.confirmation_days is not None


def eligible(task: Task) -> str:
    """The configuration that finds eligible index dates, labelled by an outcome code in the target window."""
    target = _window(f"trigger + {task.gap_days}d", f"start + {task.horizon_days}d", starts=False)
    target["label"] = "outcome"
    return _text(
        task, {**_eligibility(task), "target": target}, "eligible index dates, and whether an outcome follows"
    )


def positives(task: Task) -> str:
    """The configuration that finds the positives: the first code is after the gap, and confirmed."""
    windows = _eligibility(task)
    if task.gap_days:
        windows["gap"] = _window("trigger", f"start + {task.gap_days}d", starts=False, has={"outcome": NO})
    after_gap = f"trigger + {task.gap_days}d"
    windows["target"] = _window(
        after_gap, f"start + {task.horizon_days}d", starts=False, has={"outcome": SOME}
    )
    if task.confirmation_days is not None:
        windows["onset"] = _window(after_gap, "start -> outcome", starts=False)
        windows["confirmation"] = _window(
            f"onset.end + {task.confirmation_days}d", None, has={"outcome": SOME}
        )
    return _text(task, windows, "the positives only, by the full rule")


def _eligibility(task: Task) -> dict[str, Window]:
    """The windows before the index date that decide eligibility."""
    windows = {"alive": _window(None, "trigger", has={"death": NO}) | {"index_timestamp": "end"}}
    if task.min_history_days:
        windows["history"] = _window(None, f"trigger - {task.min_history_days}d", has={"contact": SOME})
    windows["washout"] = _look_back(task.washout_days, 0, "outcome")
    for number, exclusion in enumerate(task.exclude, 1):
        found = _look_back(exclusion.look_back_days, exclusion.window_end_days, f"excluded_{number}")
        windows[f"without_{number}"] = found
    return windows


def _look_back(days: int | None, until: int, predicate: str) -> Window:
    end = "trigger" if until == 0 else f"trigger - {-until}d"
    if days is None:
        return _window(None, end, has={predicate: NO})
    start = f"end - {days + until}d"
    return _window(start, end, starts=False, has={predicate: NO})


def _window(
    start: str | None, end: str | None, starts: bool = True, has: dict[str, str] | None = None
) -> Window:
    return {"start": start, "end": end, "start_inclusive": starts, "end_inclusive": True, "has": has or {}}


def _text(task: Task, windows: dict[str, Window], finds: str) -> str:
    coded = {"outcome": task.outcome}
    coded |= {f"excluded_{number}": rule.codes for number, rule in enumerate(task.exclude, 1)}
    predicates: dict[str, dict[str, object]] = {
        "index_date": {"code": INDEX},
        "death": {"code": DEATH},
        "contact": {"code": {"regex": f"^({'|'.join(CONTACT_SYSTEMS)})//"}},
    }
    predicates |= {
        name: {"code": {"regex": _regex(codes)}, "suspected": False} for name, codes in coded.items()
    }
    used = {name for window in windows.values() for name in window["has"]}  # pyright: ignore
    used |= {"index_date", "outcome"}
    content = {
        "description": f"{task.name}: {finds}",
        "predicates": {name: rule for name, rule in predicates.items() if name in used},
        "trigger": "index_date",
        "windows": windows,
    }
    comments = "".join(f"# {line}\n" for line in _comments(task))
    return comments + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)


def _regex(codes: Codes) -> str:
    return f"^({'|'.join(re.escape(prefix) for prefix in full_prefixes(codes))})"


def _comments(task: Task) -> list[str]:
    """Notes for the reader: the source, what must be added to the data, what is left out."""
    lines = [
        f"{task.name} for ACES (es-aces 0.7), written by claimscale. {task.source}".strip(),
        f"Give each index date as an event {INDEX}; those of claimscale are the prediction times of",
        f"labels/{task.name}.parquet. ACES cannot sample dates or require a recent contact by itself.",
        "`suspected` is a column of claimscale's events; remove it for data without it.",
        "ACES has one time per event: an event that became known later than it happened counts as known.",
    ]
    if needs_positives(task):
        lines.append(
            f"{task.name}.yaml counts any outcome code of the target window; {task.name}.positives.yaml finds"
        )
        lines.append("those whose first code is in it" + _confirmation(task) + ".")
    if task.confirmation_codes:
        lines.append("Confirmation by a drug or procedure (confirmation_codes), an alternative, is left out.")
    if task.gap_days < 30:
        lines.append(
            "claimscale does not count outcomes in the calendar month of the index date; ACES does here."
        )
    if task.washout_days is not None and task.washout_days < 31:
        lines.append("claimscale extends the washout to the first day of the index date's calendar month.")
    if task.hidden_codes:
        lines.append("Codes that claimscale hides from models (hidden_codes) do not affect labels.")
    return lines


def _confirmation(task: Task) -> str:
    return (
        ""
        if task.confirmation_days is None
        else f" and is followed by another {task.confirmation_days} days later or more"
    )
