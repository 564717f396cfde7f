"""Label files made by another program: reading, checks against the cohort, and counts of exclusions."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from claimscale.cohort.selection import HELD_OUT, TEMPORAL, TRAIN, read_patients
from claimscale.config.secrets import expand
from claimscale.config.study import Study
from claimscale.config.tasks import Task
from claimscale.errors import BadInput
from claimscale.events.observation import read_periods
from claimscale.events.source_ids import read_source_ids
from claimscale.events.table import day_number, usable_days
from claimscale.seeded_random import hashed_order

NOT_FOUND = -1
COLUMNS = ("subject_id", "prediction_time", "boolean_value")
UNKNOWN, NOT_IN_COHORT = "unknown_patient", "not_in_cohort"
OUTSIDE, AFTER, REPEATED, NOT_SAMPLED = "outside_observation", "after_landmark", "repeated_row", "not_sampled"


def identity(study: Study) -> dict[str, str]:
    """Digests of all label files, by name."""
    files = [(task.labels, file) for task in study.tasks if task.labels for file in _files(task)]
    return {f"{place}/{file.name}": _digest(file) for place, file in files}


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read(task: Task, study: Study, events: Path, cohort: Path) -> tuple[pa.Table, dict[str, int]]:
    """The usable labels of a task's file, and the number of excluded rows by reason.

    Returns subject_id, split, index_day, boolean_value, observed_until (day numbers), by patient and day. A
    time of day becomes the day before, because what became known on that day may be later. Patients keep the
    cohort's splits. Outside training each patient has one index date, chosen by salted md5.

    Raises BadInput for a file without MEDS labels, or with two labels of one patient and day.
    """
    given = _read(task)
    excluded: dict[str, int] = dict.fromkeys(
        (UNKNOWN, NOT_IN_COHORT, OUTSIDE, AFTER, REPEATED, NOT_SAMPLED), 0
    )
    subject, is_known = _subject_ids(given["subject_id"], task, events)
    day = usable_days(given["prediction_time"])
    value = given["boolean_value"].to_numpy()

    start, end, is_seen = read_periods(events).on(subject, day)
    patients = read_patients(cohort)
    place, is_patient = _places(subject, patients["subject_id"].to_numpy())
    split = np.asarray(patients["split"].to_pylist(), dtype="U16")[place]
    landmark, later = study.cohort.landmark, study.cohort.splits.temporal_date
    is_after = day >= day_number(landmark)
    is_temporal = is_after & (split == HELD_OUT) & (day < day_number(later or landmark))
    split[is_temporal] = TEMPORAL

    left = np.full(len(day), "", dtype="U24")
    for reason, rule in (
        (UNKNOWN, ~(is_known & is_seen)),
        (NOT_IN_COHORT, ~is_patient),
        (AFTER, is_after & ~is_temporal),
        (OUTSIDE, (day < start) | (day > end)),
    ):
        left[(left == "") & rule] = reason
    _mark_repeated(left, subject, day, value, task)
    kept = left == ""
    left[kept] = np.where(_one_each(subject[kept], day[kept], split[kept], study), "", NOT_SAMPLED)
    excluded |= {reason: int(np.count_nonzero(left == reason)) for reason in excluded}

    rows = np.flatnonzero(left == "")
    rows = rows[np.lexsort((day[rows], subject[rows]))]
    labels = {"subject_id": subject, "split": split, "index_day": day, "boolean_value": value}
    table = pa.table({name: pa.array(values[rows]) for name, values in labels.items()})
    return table.append_column("observed_until", pa.array(end[rows])), excluded


def _files(task: Task) -> list[Path]:
    assert task.labels is not None
    place = Path(expand(task.labels, f"tasks.{task.name}.labels"))
    files = sorted(place.rglob("*.parquet")) if place.is_dir() else [place]
    if not files:
        raise BadInput(f"task {task.name}: labels: {place}: holds no Parquet file")
    if not place.exists():
        raise BadInput(f"task {task.name}: labels: {place}: no such file")
    return files


def _read(task: Task) -> pa.Table:
    tables = []
    for file in _files(task):
        cause = None
        try:
            table = pq.read_table(file)
        except (OSError, pa.ArrowInvalid) as error:
            raise BadInput(
                f"task {task.name}: labels: {file}: cannot be read ({str(error).splitlines()[0]})"
            ) from None
        missing = [name for name in COLUMNS if name not in table.column_names]
        if missing:
            cause = f"has no column {missing[0]}"
        elif not pa.types.is_boolean(table.schema.field("boolean_value").type):
            cause = "boolean_value is not true or false"
        elif not pa.types.is_timestamp(table.schema.field("prediction_time").type):
            cause = "prediction_time is not a time"
        elif any(table[name].null_count for name in COLUMNS):
            cause = f"{next(name for name in COLUMNS if table[name].null_count)} is empty in some rows"
        if cause:
            raise BadInput(f"task {task.name}: labels: {file}: {cause}")
        tables.append(table.select(COLUMNS))
    return pa.concat_tables(tables, promote_options="permissive")


def _subject_ids(given: pa.ChunkedArray, task: Task, events: Path) -> tuple[np.ndarray, np.ndarray]:
    """Subject ids of the events, and which are known. Text ids are looked up among those of the source."""
    if pa.types.is_integer(given.type):
        return given.to_numpy().astype(np.int64), np.ones(len(given), bool)
    table = read_source_ids(events)
    if table is None:
        cause = f"subject_id is {given.type}, but the events' ids are integers"
        raise BadInput(f"task {task.name}: labels: {cause}")
    source_ids = table["source_id"].to_pylist()
    numbers = dict(zip(source_ids, table["subject_id"].to_pylist(), strict=True))
    subject = np.array(
        [numbers.get(text, NOT_FOUND) for text in given.cast(pa.string()).to_pylist()], np.int64
    )
    return subject, subject != NOT_FOUND


def _places(subject: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The position of each subject in `known` (any position if it is missing), and whether it is there."""
    order = np.argsort(known, kind="stable")
    place = np.minimum(np.searchsorted(known, subject, sorter=order), len(known) - 1)
    return order[place], known[order[place]] == subject


def _look_up(
    subject: np.ndarray, table: pa.Table, names: list[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    place, is_there = _places(subject, table["subject_id"].to_numpy())
    days = [table[name].to_numpy().astype("datetime64[D]").astype(np.int32)[place] for name in names]
    return days[0], days[1], is_there


def _mark_repeated(
    left: np.ndarray, subject: np.ndarray, day: np.ndarray, value: np.ndarray, task: Task
) -> None:
    """Keep one of equal rows. Raises BadInput if a patient has two labels on one day."""
    kept = np.flatnonzero(left == "")
    order = kept[np.lexsort((day[kept], subject[kept]))]
    same = (np.diff(subject[order]) == 0) & (np.diff(day[order]) == 0)
    if np.any(same & (value[order][1:] != value[order][:-1])):
        raise BadInput(f"task {task.name}: labels: a patient is positive and negative on one day")
    left[order[1:][same]] = REPEATED


def _one_each(subject: np.ndarray, day: np.ndarray, split: np.ndarray, study: Study) -> np.ndarray:
    """All rows of training patients, and one row, by salted md5, per other patient and split. Bool [n]."""
    chosen = split == TRAIN
    others = np.flatnonzero(~chosen)
    dates = [f"{subject[row]}/{day[row]}" for row in others]
    order = others[hashed_order(dates, f"index/{study.seed}")]
    keys = np.rec.fromarrays([subject[order], split[order]])
    _values, firsts = np.unique(keys, return_index=True)
    chosen[order[firsts]] = True
    return chosen
