"""Labels: eligibility, index dates and outcomes of each task.

`labels/` holds `<task>.parquet` (MEDS labels), `index/<task>.parquet` (`split` and `observed_until` of the
same rows) and `labels.json` (counts per task and split). All rules count in whole days. Eligibility depends
only on what was known on the index date.
"""

from __future__ import annotations

import datetime as dt
import functools
import operator
from pathlib import Path

import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from ibis import Deferred, _

from claimscale.artifacts import make_folder, write_json
from claimscale.codes.systems import full_prefixes
from claimscale.cohort.selection import read_patients
from claimscale.config.base import Codes
from claimscale.config.study import Study
from claimscale.config.tasks import Task
from claimscale.engine import Engine
from claimscale.errors import BadInput
from claimscale.events import observation
from claimscale.events.table import day_number, read_codes, read_events, span_of_claims, timestamps
from claimscale.tasks import index_dates, label_files, phenome_dates
from claimscale.tasks.index_dates import DATES
from claimscale.tasks.label_counts import LabelCounts, count_labels, refuse_empty_splits
from claimscale.tasks.labelled_subsets import order_seed
from claimscale.tasks.outcome_codes import refuse_absent_outcomes

CONFIRM_BEFORE_DAYS = 30
"""A confirming drug or procedure counts from so many days before the first outcome code."""
KEYS = ["subject_id", "prediction_time"]
MONTHS = ("month_start", "month_end")
EXCLUSIONS = ("dead", "no_recent_contact", "history_too_short", "outcome_before_index", "excluded_code")


def build_labels(study: Study, engine: Engine, events: Path, cohort: Path, target: Path) -> None:
    """Write the labels of every task.

    A task with insufficient data is marked in `labels.json`. Raises BadInput if no event has an outcome code
    of a task, no task has an eligible patient in the train, tuning and held-out split, or a label file cannot
    be used.
    """
    if any(task.labels is None for task in study.tasks):
        refuse_absent_outcomes(study.tasks, read_codes(events))
    refuse_landmark_after_claims(study, events)
    patients = ibis.memtable(read_patients(cohort).select(["subject_id", "split"]))
    table = read_events(engine, events).inner_join(patients, "subject_id")

    @functools.cache
    def at_landmark(min_history_days: int) -> pa.Table:
        found = index_dates.landmark_dates(table, study)
        if study.labels == "all_dates":
            earlier = index_dates.earlier_dates(read_patients(cohort), study, min_history_days)
            found = found.union(index_dates.known_at(table, ibis.memtable(earlier), study.cohort.min_events))
        return observation.with_stated(engine.to_arrow(found), events)

    def at_visits(first: dt.date) -> pa.Table:
        return observation.with_stated(engine.to_arrow(index_dates.visit_dates(table, study, first)), events)

    seeds = [order_seed(study.seed, seed) for seed in study.finetune.seeds]
    counts: dict[str, LabelCounts] = {}
    for task in study.tasks:
        if task.labels is not None:
            labels, excluded = label_files.read(task, study, events, cohort)
        else:
            first = task.first_index_date
            dates = at_landmark(task.min_history_days) if first is None else at_visits(first)
            found = label_index_dates(task, dates, table, study.cohort.recency_days)
            labels, excluded = _eligible(engine.to_arrow(found), study, task)
        counts[task.name] = count_labels(labels, excluded, task, seeds)
        _write(labels, target, task.name)
    refuse_empty_splits(counts, f"cohort.landmark is {study.cohort.landmark}, {span_of_claims(events)}")
    if study.phenome is not None:
        make_folder(target)
        phenome_dates.write(at_landmark(study.phenome.min_history_days), study, target)
    write_json(target / "labels.json", counts)


def refuse_landmark_after_claims(study: Study, events: Path) -> None:
    """Raise BadInput for a task whose outcome has its time after the claims: more patients would not help."""
    claims = observation.last_claim(events)
    tasks = [task for task in study.tasks if task.index == "landmark" and task.labels is None]
    if claims is None or not tasks:
        return
    latest = max(tasks, key=lambda task: task.gap_days)
    if day_number(study.cohort.landmark) + latest.gap_days > day_number(observation.month_end(claims)):
        raise BadInput(
            f"cohort.landmark is {study.cohort.landmark}, {span_of_claims(events)}: no claim is left in "
            f"which the outcome of task {latest.name} could be found"
        )


def _eligible(index: pa.Table, study: Study, task: Task) -> tuple[pa.Table, dict[str, int]]:
    """The labels of eligible index dates, and the number of excluded dates by reason."""
    reasons = index["excluded"].to_pylist()
    excluded = {reason: reasons.count(reason) for reason in EXCLUSIONS}
    labels = index.filter(index["excluded"].is_null())
    if task.first_index_date is not None:
        chosen = index_dates.sample_one_per_patient(labels, study, task.first_index_date)
        excluded["not_sampled"] = int(np.count_nonzero(~chosen))
        labels = labels.filter(pa.array(chosen))
    return labels, excluded


def read_labels(labels: Path, task: str) -> pa.Table:
    """The labels of a task: subject_id, prediction_time, boolean_value, split, observed_until."""
    index = pq.read_table(labels / "index" / f"{task}.parquet")
    table = pq.read_table(labels / f"{task}.parquet")
    assert table.select(KEYS).equals(index.select(KEYS)), f"{task}: labels and index have different rows"
    for name in ("split", "observed_until"):
        table = table.append_column(name, index[name])
    return table


def label_index_dates(
    task: Task, index: pa.Table, table: ir.Table, recency_days: int | None = None
) -> ir.Table:
    """Eligibility and label of each patient and index date.

    Eligible patients have had a contact within `recency_days` before the index date, or are then under
    observation as the source states it.

    Columns beside those of `index` (index_dates.COLUMNS): `excluded` (one of EXCLUSIONS, or null),
    `boolean_value`, `outcome_in_gap` (the first outcome code is too early, which makes a negative) and
    `censored` (negative, and last observed before the window's end).
    """
    return label_dates(task, ibis.memtable(with_months(index)), table, recency_days)


def label_dates(task: Task, dates: ir.Table, table: ir.Table, recency_days: int | None) -> ir.Table:
    """As `label_index_dates`, for a table of index dates with the columns that `with_months` adds."""
    joined = dates.left_join(_outcomes(task, dates, table), DATES)
    joined = joined.drop(*(f"{name}_right" for name in DATES))
    confirmed = _days_of(table, task.confirmation_codes)
    confirmed = confirmed.group_by("subject_id").aggregate(last_confirming=_.day.max())
    joined = joined.left_join(confirmed, "subject_id").drop("subject_id_right")
    barred = _excluded_dates(task, dates, table)
    joined = joined.left_join(barred, DATES).drop(*(f"{name}_right" for name in DATES))

    # Claims carry months: an outcome in the month of the index date may precede it.
    start = ibis.greatest(_.index_day + task.gap_days, _.month_end)
    end = _.index_day + task.gap_days + task.horizon_days
    unseen = ibis.literal(False) if recency_days is None else _.last_contact <= _.index_day - recency_days
    reasons = {
        "dead": _.dead,
        "no_recent_contact": unseen,
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
    kept = [name for name in dates.columns if name not in MONTHS]
    kept += ["excluded", "boolean_value", "outcome_in_gap", "censored"]
    return labelled.select(kept).order_by("subject_id", "index_day")


def with_months(index: pa.Table) -> pa.Table:
    """The index dates with the first and the last day of their calendar months, as day numbers."""
    months = index["index_day"].to_numpy().astype("datetime64[D]").astype("datetime64[M]")
    start = months.astype("datetime64[D]").astype(np.int32)
    end = (months + 1).astype("datetime64[D]").astype(np.int32) - 1
    for name, days in zip(MONTHS, (start, end), strict=True):
        index = index.append_column(name, pa.array(days))
    return index


def _outcomes(task: Task, dates: ir.Table, table: ir.Table) -> ir.Table:
    """Per index date with an outcome: whether one is `before` it, and the `first` and `last` day after it."""
    outcomes = _days_of(table, task.outcome).inner_join(dates, "subject_id")
    in_washout: Deferred | ir.Value = ibis.literal(True)
    if task.washout_days is not None:
        in_washout = (_.day > _.index_day - task.washout_days) | (_.day >= _.month_start)
    seen = outcomes.mutate(known=_.available_day <= _.index_day, in_washout=in_washout)
    return seen.group_by(DATES).aggregate(
        before=(_.known & _.in_washout).any(), first=_.day.min(where=~_.known), last=_.day.max(where=~_.known)
    )


def _excluded_dates(task: Task, dates: ir.Table, table: ir.Table) -> ir.Table:
    """The index dates with a known code of `exclude` in its window: DATES, and `barred`, which is true."""
    found = dates.filter(False).select(DATES)
    for exclusion in task.exclude:
        given = _days_of(table, exclusion.codes).inner_join(dates, "subject_id")
        given = given.filter(_.available_day <= _.index_day, _.day <= _.index_day + exclusion.window_end_days)
        if exclusion.look_back_days is not None:
            given = given.filter(_.day > _.index_day - exclusion.look_back_days)
        found = found.union(given.select(DATES))
    return found.distinct().mutate(barred=ibis.literal(True))


def _is_confirmed(task: Task) -> Deferred:
    """Whether the first outcome code is confirmed; either kind of confirmation is enough."""
    rules = []
    if task.confirmation_days is not None:
        rules.append(_.last >= _.first + task.confirmation_days)
    if task.confirmation_codes:
        rules.append(_.last_confirming >= _.first - CONFIRM_BEFORE_DAYS)
    if not rules:
        return _.first.notnull()
    return functools.reduce(operator.or_, (rule.fill_null(False) for rule in rules))


def _days_of(table: ir.Table, codes: Codes) -> ir.Table:
    """The days of the codes, without suspected ones: subject_id, day, available_day."""
    starts = (_.code.startswith(prefix) for prefix in full_prefixes(codes))
    matches: Deferred | bool = functools.reduce(operator.or_, starts, False)
    return table.filter(matches, ~_.suspected).select("subject_id", "day", "available_day")


def _write(labels: pa.Table, target: Path, task: str) -> None:
    """Write the labels with the columns of MEDS, and the other columns of the same rows as `index`."""

    def at_midnight(name: str) -> pa.Array:
        return timestamps(labels[name].to_numpy())

    keys = {"subject_id": labels["subject_id"], "prediction_time": at_midnight("index_day")}
    table = pa.table(keys | {"boolean_value": labels["boolean_value"]})
    index = pa.table(keys | {"split": labels["split"], "observed_until": at_midnight("observed_until")})
    make_folder(target / "index")
    pq.write_table(table, target / f"{task}.parquet", write_page_checksum=True)
    pq.write_table(index, target / "index" / f"{task}.parquet", write_page_checksum=True)
