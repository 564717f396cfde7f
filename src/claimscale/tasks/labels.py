"""Labels: for each clinical question, who may be asked, when, and what happened.

`labels/` holds `<task>.parquet` (MEDS labels, and nothing else), `asked/<task>.parquet` (for the same index
dates `split` and `observed_until`) and `labels.json` (counts per task and split). All rules count in whole
days. Whatever decides that a patient may be asked was known on the index date.
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

from claimscale.artifacts import make_folder, write_json
from claimscale.codes.systems import full_prefixes
from claimscale.cohort import selection as cohorts
from claimscale.cohort.selection import HELD_OUT, TRAIN, TUNING
from claimscale.config.base import Codes
from claimscale.config.study import Study
from claimscale.config.tasks import Task
from claimscale.engine import Engine
from claimscale.errors import BadInput
from claimscale.events import observation
from claimscale.events.table import read_events, timestamps
from claimscale.tasks import index_dates, label_files, labelled_subsets as subsets

CONFIRM_BEFORE_DAYS = 30
"""A confirming drug or procedure counts from this long before the outcome's first code."""
MIN_PER_CLASS = 10
"""With fewer cases, or fewer others, in training or testing nothing is trained. A predictor needs about ten
cases to be estimated (Peduzzi 1996, doi 10.1016/S0895-4356(96)00236-3); and of 2,000 bootstrap draws of a
test set with 10 cases hardly one has none (e^-10 each), with 5 a dozen."""

KEYS = ["subject_id", "prediction_time"]
DATES = ["subject_id", "split", "index_day"]
EXCLUSIONS = ("dead", "history_too_short", "outcome_before_index", "excluded_code")


def build(study: Study, engine: Engine, events: Path, cohort: Path, target: Path) -> None:
    """Write the labels of every task.

    A task with too few cases has a `shortage` in the account, and the others go on. Raises BadInput when no
    task can be asked of anybody in the train, tuning or held-out split, or a label file is unusable.
    """
    patients = ibis.memtable(cohorts.read_patients(cohort).select(["subject_id", "split"]))
    table = read_events(engine, events).inner_join(patients, "subject_id")

    @functools.cache
    def at_landmark() -> pa.Table:
        return observation.with_stated(engine.to_arrow(index_dates.landmark_dates(table, study)), events)

    account = {}
    for task in study.tasks:
        if task.labels is not None:
            labels, excluded = label_files.read(task, study, events, cohort)
        else:
            dates = (
                at_landmark()
                if task.first_index_date is None
                else _visits(engine, table, study, task, events)
            )
            asked = engine.to_arrow(label_index_dates(task, dates, table))
            labels, excluded = _of_those_asked(asked, study, task)
        account[task.name] = _account(labels, excluded, task, study.seed)
        _write(labels, target, task.name)
    if all(_nobody(found["splits"]) for found in account.values()):
        task = study.tasks[0]
        found = account[task.name]
        others = f", and none of the {len(account)} tasks can be asked" if len(account) > 1 else ""
        raise BadInput(
            f"task {task.name}: no {_nobody(found['splits'])} patient can be asked "
            f"({_left_out(found)}){others}"
        )
    write_json(target / "labels.json", account)


def _visits(engine: Engine, table: ir.Table, study: Study, task: Task, events: Path) -> pa.Table:
    assert task.first_index_date is not None
    dates = engine.to_arrow(index_dates.visit_dates(table, study, task.first_index_date))
    return observation.with_stated(dates, events)


def _of_those_asked(asked: pa.Table, study: Study, task: Task) -> tuple[pa.Table, dict[str, int]]:
    """The labels of the index dates at which somebody is asked, and how many were left out why."""
    reasons = asked["excluded"].to_pylist()
    excluded = {reason: reasons.count(reason) for reason in EXCLUSIONS}
    labels = asked.filter(asked["excluded"].is_null())
    if task.first_index_date is not None:
        chosen = index_dates.sample_one_per_patient(labels, study, task.first_index_date)
        excluded["not_sampled"] = int(np.count_nonzero(~chosen))
        labels = labels.filter(pa.array(chosen))
    return labels, excluded


def read(labels: Path, task: str) -> pa.Table:
    """The labels of a task: subject_id, prediction_time, boolean_value, split, observed_until."""
    asked = pq.read_table(labels / "index" / f"{task}.parquet")
    table = pq.read_table(labels / f"{task}.parquet")
    assert table.select(KEYS).equals(asked.select(KEYS)), f"{task}: labels and who was asked differ"
    for name in ("split", "observed_until"):
        table = table.append_column(name, asked[name])
    return table


def label_index_dates(task: Task, index: pa.Table, table: ir.Table) -> ir.Table:
    """One row per patient and index date, whether the patient may be asked and what happened.

    Columns beside those of `index` (index_dates.COLUMNS): `excluded` (one of EXCLUSIONS, or null),
    `boolean_value`, `outcome_in_gap` (the first code came too early to count: such a patient is a negative) and
    `censored` (negative, but last observed before the window's end).
    """
    dates = ibis.memtable(_with_months(index))
    joined = dates.left_join(_outcomes(task, dates, table), DATES)
    joined = joined.drop(*(f"{name}_right" for name in DATES))
    confirmed = _days_of(table, task.confirmation_codes)
    confirmed = confirmed.group_by("subject_id").aggregate(last_confirming=_.day.max())
    joined = joined.left_join(confirmed, "subject_id").drop("subject_id_right")
    barred = _excluded_dates(task, dates, table)
    joined = joined.left_join(barred, DATES).drop(*(f"{name}_right" for name in DATES))

    # Claims carry months: an outcome of the index date's month cannot be said to have come after it.
    start = ibis.greatest(_.index_day + task.gap_days, _.month_end)
    end = _.index_day + task.gap_days + task.horizon_days
    reasons = {
        "dead": _.dead,
        "history_too_short": _.first_day > _.index_day - task.min_history_days,
        "outcome_before_index": _.before.fill_null(False),
        "excluded_code": _.barred.fill_null(False),
    }
    excluded = ibis.cases(*((rule, reason) for reason, rule in reasons.items()), else_=ibis.null("string"))
    in_window = ((_.first > start) & (_.first <= end)).fill_null(False)
    labelled = joined.mutate(
        excluded=excluded,
        boolean_value=in_window & _is_confirmed(task),
        outcome_in_gap=(_.first <= start).fill_null(False),
        window_end=end,
    )
    labelled = labelled.mutate(censored=~_.boolean_value & (_.observed_until < _.window_end))
    kept = [*index.column_names, "excluded", "boolean_value", "outcome_in_gap", "censored"]
    return labelled.select(kept).order_by("subject_id", "index_day")


def _with_months(index: pa.Table) -> pa.Table:
    """The index dates with the first and the last day of their calendar months, as day numbers."""
    months = index["index_day"].to_numpy().astype("datetime64[D]").astype("datetime64[M]")
    start = months.astype("datetime64[D]").astype(np.int32)
    end = (months + 1).astype("datetime64[D]").astype(np.int32) - 1
    return index.append_column("month_start", pa.array(start)).append_column("month_end", pa.array(end))


def _outcomes(task: Task, dates: ir.Table, table: ir.Table) -> ir.Table:
    """Per index date with an outcome: whether one came `before`, and the `first` and `last` day since."""
    outcomes = _days_of(table, task.outcome).inner_join(dates, "subject_id")
    in_washout: Deferred | ir.Value = ibis.literal(True)
    if task.washout_days is not None:
        in_washout = (_.day > _.index_day - task.washout_days) | (_.day >= _.month_start)
    seen = outcomes.mutate(known=_.available_day <= _.index_day, in_washout=in_washout)
    return seen.group_by(DATES).aggregate(
        before=(_.known & _.in_washout).any(), first=_.day.min(where=~_.known), last=_.day.max(where=~_.known)
    )


def _excluded_dates(task: Task, dates: ir.Table, table: ir.Table) -> ir.Table:
    """The index dates at which a code of `exclude` was known and in its window: DATES and `barred`, true."""
    found = dates.filter(False).select(DATES)
    for exclusion in task.exclude:
        given = _days_of(table, exclusion.codes).inner_join(dates, "subject_id")
        given = given.filter(_.available_day <= _.index_day, _.day <= _.index_day + exclusion.window_end_days)
        if exclusion.look_back_days is not None:
            given = given.filter(_.day > _.index_day - exclusion.look_back_days)
        found = found.union(given.select(DATES))
    return found.distinct().mutate(barred=ibis.literal(True))


def _is_confirmed(task: Task) -> Deferred:
    """Whether what came later bears the first code out; either kind of confirmation will do."""
    rules = []
    if task.confirmation_days is not None:
        rules.append(_.last >= _.first + task.confirmation_days)
    if task.confirmation_codes:
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
        return timestamps(labels[name].to_numpy())

    keys = {"subject_id": labels["subject_id"], "prediction_time": at_midnight("index_day")}
    table = pa.table(keys | {"boolean_value": labels["boolean_value"]})
    asked = pa.table(keys | {"split": labels["split"], "observed_until": at_midnight("observed_until")})
    make_folder(target / "index")
    pq.write_table(table, target / f"{task}.parquet", write_page_checksum=True)
    pq.write_table(asked, target / "index" / f"{task}.parquet", write_page_checksum=True)


def _account(labels: pa.Table, excluded: dict[str, int], task: Task, seed: int) -> dict[str, Any]:
    """Counts of a task: per split the index dates asked at, how many were left out why, what is lacking."""
    split = np.array(labels["split"].to_pylist(), dtype=str)
    positive = labels["boolean_value"].to_numpy()
    splits = {}
    for name in (TRAIN, TUNING, HELD_OUT, *np.setdiff1d(split, (TRAIN, TUNING, HELD_OUT)).tolist()):
        inside = split == name
        n = int(inside.sum())
        splits[name] = {
            "n": n,
            "patients": len(np.unique(labels["subject_id"].to_numpy()[inside])),
            "positives": int(positive[inside].sum()),
            "prevalence": float(positive[inside].mean()) if n else None,
        }
        if "censored" in labels.column_names:  # a label file does not say how long its windows are
            splits[name]["outcome_in_gap"] = int(labels["outcome_in_gap"].to_numpy()[inside].sum())
            censored = labels["censored"].to_numpy()[inside]
            splits[name]["censored_share"] = float(censored.mean()) if n else None
    return {
        "kind": task.kind,
        "splits": splits,
        "excluded": excluded,
        "insufficient_data": _shortage(splits),
        "min_labelled_patients": subsets.min_labelled_patients(
            labels["subject_id"].to_numpy(), split, np.asarray(positive, dtype=bool), seed
        ),
    }


def _shortage(splits: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
    """What a task lacks for anything to be trained and tested; None if it lacks nothing.

    `label`: of which patients there are too few, `positive` or `negative`; `have`: how many train and test,
    or, where only those are lacking that models are chosen by, how many tune.
    """
    for names, fewest in (((TRAIN, HELD_OUT), MIN_PER_CLASS), ((TUNING,), subsets.MIN_TO_TUNE)):
        have = {
            "positive": {name: splits[name]["positives"] for name in names},
            "negative": {name: splits[name]["n"] - splits[name]["positives"] for name in names},
        }
        scarcest = min(have, key=lambda label: min(have[label].values()))
        if min(have[scarcest].values()) < fewest:
            return {"label": scarcest, "observed": have[scarcest], "required": fewest}
    return None


def _nobody(splits: dict[str, dict[str, Any]]) -> str | None:
    """The first split in which nobody can be asked, in words."""
    names = {TRAIN: "training", TUNING: "tuning", HELD_OUT: "held-out"}
    return next((name for split, name in names.items() if splits[split]["n"] == 0), None)


def _left_out(found: dict[str, Any]) -> str:
    reasons = [f"{count:,} {reason}" for reason, count in found["excluded"].items() if count]
    return ", ".join(reasons) or "nobody is left out, there is nobody"
