"""Labels: for each clinical question, who may be asked, when, and what happened.

`labels/` holds `<task>.parquet` (MEDS labels, and nothing else), `asked/<task>.parquet` (for the same index
dates `split` and `observed_until`) and `labels.json` (counts per task and split). All rules count in whole
days. The index date is the last day on which anything became known before the landmark; whatever decides that
a patient may be asked was known by then.
"""

from __future__ import annotations

import functools
import operator
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from ibis import Deferred, _

from claimscale.codes import DEATH, full_prefixes
from claimscale.corpus import cohort as cohorts, events as event_table, observation
from claimscale.corpus.cohort import HELD_OUT, TEMPORAL, TRAIN, TUNING
from claimscale.engine import Engine
from claimscale.errors import BadInput
from claimscale.runs import make_folder, write_json
from claimscale.study import Codes, Study, Task

CONFIRM_BEFORE_DAYS = 30
"""A confirming drug or procedure counts from this long before the outcome's first code."""

KEYS = ["subject_id", "prediction_time"]
EXCLUSIONS = ("dead", "history_too_short", "outcome_before_index")


def build(study: Study, engine: Engine, events: Path, cohort: Path, target: Path) -> None:
    """Write the labels of every task.

    Raises BadInput when a task cannot be learned or tested: nobody to ask in the train, tuning or held-out
    split, or only one class in the train or held-out split.
    """
    patients = ibis.memtable(cohorts.read(cohort).select(["subject_id", "split"]))
    table = event_table.read(engine, events).inner_join(patients, "subject_id")
    index = observation.with_stated(engine.to_arrow(index_dates(table, study)), events)
    account = {}
    for task in study.tasks:
        asked = engine.to_arrow(ask(task, ibis.memtable(index), table))
        labels = asked.filter(asked["excluded"].is_null())
        account[task.name] = _account(asked, labels, task)
        _check_classes(task, account[task.name]["splits"])
        _write(labels, target, task.name)
    write_json(target / "labels.json", account)


def read(labels: Path, task: str) -> pa.Table:
    """The labels of a task: subject_id, prediction_time, boolean_value, split, observed_until."""
    asked = pq.read_table(labels / "asked" / f"{task}.parquet")
    table = pq.read_table(labels / f"{task}.parquet")
    assert table.select(KEYS).equals(asked.select(KEYS)), f"{task}: labels and who was asked differ"
    for name in ("split", "observed_until"):
        table = table.append_column(name, asked[name])
    return table


def index_dates(table: ir.Table, study: Study) -> ir.Table:
    """One row per patient and landmark: subject_id, split, index_day, first_day, dead, observed_until."""
    landmark = event_table.day_number(study.cohort.landmark)
    index = _last_contacts(table, landmark, study.cohort.min_events)
    if study.cohort.splits.temporal is None:
        return index
    later = event_table.day_number(study.cohort.splits.temporal)
    test_patients = table.filter(_.split == HELD_OUT)
    again = _last_contacts(test_patients, later, study.cohort.min_events)
    # Without a contact since the first landmark it would be the same question a second time.
    again = again.filter(_.index_day >= landmark).mutate(split=ibis.literal(TEMPORAL))
    return index.union(again)


def _last_contacts(table: ir.Table, landmark: int, min_events: int) -> ir.Table:
    contacts = table.filter(~_.demographic).mutate(known=_.available_day < landmark)
    index = contacts.group_by("subject_id", "split").aggregate(
        index_day=_.available_day.max(where=_.known),
        first_day=_.day.min(where=_.known),
        events=_.known.sum(),
        dead=(_.known & (_.code == DEATH)).any(),
        observed_until=_.day.max(),
    )
    return index.filter(_.events >= min_events).drop("events")


def ask(task: Task, index: ir.Table, table: ir.Table) -> ir.Table:
    """One row per patient and index date, whether the patient may be asked and what happened.

    Columns beside those of `index`: `excluded` (one of EXCLUSIONS, or null), `boolean_value`,
    `onset_in_gap` (the first code came too early to count: such a patient is a negative) and `censored`
    (negative, but last observed before the window's end).
    """
    dates = index.select("subject_id", "split", "index_day")
    outcomes = _days_of(table, task.outcome).inner_join(dates, "subject_id")
    in_washout = _.day > _.index_day - task.washout_days if task.washout_days else ibis.literal(True)
    seen = outcomes.mutate(known=_.available_day <= _.index_day, in_washout=in_washout)
    seen = seen.group_by("subject_id", "split").aggregate(
        before=(_.known & _.in_washout).any(), first=_.day.min(where=~_.known), last=_.day.max(where=~_.known)
    )
    confirmed = _days_of(table, task.confirm_codes)
    confirmed = confirmed.group_by("subject_id").aggregate(last_confirming=_.day.max())

    joined = index.left_join(seen, ["subject_id", "split"]).drop("subject_id_right", "split_right")
    joined = joined.left_join(confirmed, "subject_id").drop("subject_id_right")
    start = _.index_day + task.gap_days
    end = start + task.horizon_days
    has_history = _.first_day <= _.index_day - task.history_days
    reason = _.before.fill_null(False).ifelse("outcome_before_index", ibis.null("string"))
    in_window = ((_.first > start) & (_.first <= end)).fill_null(False)
    labelled = joined.mutate(
        excluded=_.dead.ifelse("dead", has_history.ifelse(reason, "history_too_short")),
        boolean_value=in_window & _is_confirmed(task),
        onset_in_gap=(_.first <= start).fill_null(False),
        window_end=end,
    )
    labelled = labelled.mutate(censored=~_.boolean_value & (_.observed_until < _.window_end))
    labelled = labelled.drop("before", "first", "last", "last_confirming", "window_end")
    return labelled.order_by("subject_id", "index_day")


def _is_confirmed(task: Task) -> Deferred:
    """Whether what came later bears the first code out; either kind of confirmation will do."""
    rules = []
    if task.confirm_days is not None:
        rules.append(_.last >= _.first + task.confirm_days)
    if task.confirm_codes:
        rules.append(_.last_confirming >= _.first - CONFIRM_BEFORE_DAYS)
    if not rules:
        return _.first.notnull()
    return functools.reduce(operator.or_, (rule.fill_null(False) for rule in rules))


def _days_of(table: ir.Table, codes: Codes) -> ir.Table:
    """When the codes were given, suspicions left out: subject_id, day, available_day."""
    starts = (_.code.startswith(prefix) for prefix in full_prefixes(codes))
    matches: Deferred | bool = functools.reduce(operator.or_, starts, False)
    return table.filter(matches, ~_.suspected).select("subject_id", "day", "available_day")


def _write(labels: pa.Table, target: Path, task: str) -> None:
    """The labels with the columns that MEDS allows, and beside them, row for row, who was asked."""

    def at_midnight(name: str) -> pa.Array:
        return event_table.timestamps(labels[name].to_numpy())

    keys = {"subject_id": labels["subject_id"], "prediction_time": at_midnight("index_day")}
    table = pa.table(keys | {"boolean_value": labels["boolean_value"]})
    asked = pa.table(keys | {"split": labels["split"], "observed_until": at_midnight("observed_until")})
    make_folder(target / "asked")
    pq.write_table(table, target / f"{task}.parquet", write_page_checksum=True)
    pq.write_table(asked, target / "asked" / f"{task}.parquet", write_page_checksum=True)


def _account(asked: pa.Table, labels: pa.Table, task: Task) -> dict[str, Any]:
    """Counts of a task: per split the index dates asked at, and how many were left out why."""
    split = np.array(labels["split"].to_pylist(), dtype=str)
    positive = labels["boolean_value"].to_numpy()
    in_gap = labels["onset_in_gap"].to_numpy()
    censored = labels["censored"].to_numpy()
    splits = {}
    for name in (TRAIN, TUNING, HELD_OUT, *np.setdiff1d(split, (TRAIN, TUNING, HELD_OUT)).tolist()):
        inside = split == name
        n = int(inside.sum())
        splits[name] = {
            "n": n,
            "positives": int(positive[inside].sum()),
            "prevalence": float(positive[inside].mean()) if n else None,
            "onset_in_gap": int(in_gap[inside].sum()),
            "censored_share": float(censored[inside].mean()) if n else None,
        }
    reasons = asked["excluded"].to_pylist()
    return {
        "kind": task.kind,
        "splits": splits,
        "excluded": {reason: reasons.count(reason) for reason in EXCLUSIONS},
    }


def _check_classes(task: Task, splits: dict[str, dict[str, Any]]) -> None:
    names = {TRAIN: "training", TUNING: "tuning", HELD_OUT: "held-out"}
    for split, name in names.items():
        n, positives = splits[split]["n"], splits[split]["positives"]
        if n == 0:
            raise BadInput(
                f"task {task.name}: no {name} patient can be asked (history_days or washout_days leave none)"
            )
        if split != TUNING and positives in (0, n):
            label = "positive" if positives else "negative"
            raise BadInput(f"task {task.name}: all {n:,} {name} patients are {label} ({_codes_text(task)})")


def _codes_text(task: Task) -> str:
    listed = "; ".join(f"{system} {', '.join(prefixes)}" for system, prefixes in task.outcome.items())
    return f"outcome {listed} within {task.horizon_days} days"
