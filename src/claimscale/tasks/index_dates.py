"""Index dates: the days on which a patient is assessed. They do not depend on what follows."""

from __future__ import annotations

import datetime as dt

import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
from ibis import _

from claimscale.codes.systems import DEATH
from claimscale.cohort.selection import HELD_OUT, TEMPORAL, TRAIN, TUNING
from claimscale.config.study import Study
from claimscale.events.table import day_number
from claimscale.seeded_random import hashed_uniform

COLUMNS = ["subject_id", "split", "index_day", "first_day", "last_contact", "dead", "observed_until"]
DATES = COLUMNS[:3]
SPACING_DAYS = 180
"""Fewest days between the index dates of a patient: closer ones repeat each other."""
LEARNING_SPLITS = (TRAIN, TUNING)


def landmark_dates(table: ir.Table, study: Study) -> ir.Table:
    """The landmark as the index date of every patient, and the later landmark of held-out patients.

    The index day is the one before, as inputs are what was known until the landmark.

    Returns COLUMNS, one row per patient and landmark with enough known events.
    """
    dates = _everyone(table, study.cohort.landmark)
    if study.cohort.splits.temporal_date is not None:
        later = _everyone(table.filter(_.split == HELD_OUT), study.cohort.splits.temporal_date)
        dates = dates.union(later.mutate(split=ibis.literal(TEMPORAL)))
    return known_at(table, dates, study.cohort.min_events)


def earlier_dates(patients: pa.Table, study: Study, min_history_days: int) -> pa.Table:
    """Further index dates of training and tuning patients, before the landmark.

    Each patient's time between the shortest history and the landmark is divided into equal parts, at most
    `dates_per_patient` - 1 and none shorter than SPACING_DAYS. Each part has one date; a hash of the patient
    decides where. Nothing after a date decides whether it is used, and every window ends by the end of the
    landmark's.

    `patients` has subject_id, split and first_day (a day number). Returns DATES.
    """
    split = np.asarray(patients["split"].to_pylist(), dtype=str)
    learning = np.isin(split, LEARNING_SPLITS)
    subject = patients["subject_id"].to_numpy()[learning]
    start = patients["first_day"].to_numpy()[learning].astype(np.int64) + min_history_days
    span = day_before(study.cohort.landmark) - start
    parts = np.clip(span // SPACING_DAYS, 0, study.dates_per_patient - 1)
    row = np.repeat(np.arange(len(subject)), parts)
    number = np.arange(len(row)) - np.repeat(np.cumsum(parts) - parts, parts)
    share = (number + hashed_uniform(subject, f"date/{study.seed}")[row]) / parts[row]
    return pa.table(
        {
            "subject_id": pa.array(subject[row], pa.int64()),
            "split": pa.array(split[learning][row], pa.string()),
            "index_day": pa.array((start[row] + np.floor(span[row] * share)).astype(np.int32)),
        }
    )


def known_at(table: ir.Table, dates: ir.Table, min_events: int) -> ir.Table:
    """What is known of each patient on each of their `dates` (DATES); dates with too few events are left out.

    Returns COLUMNS. `first_day` and `last_contact` (of the patient's claims) and `dead` are what was known
    on the index date; `observed_until` is the last contact, used for counts of censoring only.
    """
    contacts = table.filter(~_.demographic).select("subject_id", "code", "day", "available_day")
    joined = dates.inner_join(contacts, "subject_id").mutate(known=_.available_day <= _.index_day)
    index = joined.group_by(DATES).aggregate(
        first_day=_.day.min(where=_.known),
        last_contact=_.day.max(where=_.known),
        events=_.known.sum(),
        dead=(_.known & (_.code == DEATH)).any(),
        observed_until=_.day.max(),
    )
    return index.filter(_.events >= min_events).select(COLUMNS)


def day_before(landmark: dt.date) -> int:
    """The index day of a landmark."""
    return day_number(landmark) - 1


def _everyone(table: ir.Table, landmark: dt.date) -> ir.Table:
    day = day_before(landmark)
    return table.select("subject_id", "split").distinct().mutate(index_day=ibis.literal(day, "int32"))


def visit_dates(table: ir.Table, study: Study, first: dt.date) -> ir.Table:
    """The first date of each month on which something became known, from `first` to the landmark.

    The last date of a month would be known only after the month. Held-out patients have further index dates
    from the landmark to the later landmark. Returns COLUMNS.
    """
    contacts = table.filter(~_.demographic)
    daily = contacts.group_by("subject_id", "split", "available_day").aggregate(
        month=(_.available_at.year() * 12 + _.available_at.month()).min(),
        events=_.count(),
        first_day=_.day.min(),
        last_contact=_.day.max(),
        deaths=(_.code == DEATH).sum(),
    )
    until_then = ibis.cumulative_window(group_by="subject_id", order_by="available_day")
    known = daily.mutate(
        events=_.events.sum().over(until_then),
        first_day=_.first_day.min().over(until_then),
        last_contact=_.last_contact.max().over(until_then),
        dead=_.deaths.sum().over(until_then) > 0,
    ).filter(_.events >= study.cohort.min_events)
    seen = contacts.group_by("subject_id").aggregate(observed_until=_.day.max())
    dates = known.rename(index_day="available_day").inner_join(seen, "subject_id")
    landmark = day_number(study.cohort.landmark)
    index = _first_of_month(dates, day_number(first), landmark)
    if study.cohort.splits.temporal_date is None:
        return index
    later = day_number(study.cohort.splits.temporal_date)
    again = _first_of_month(dates.filter(_.split == HELD_OUT), landmark, later)
    return index.union(again.mutate(split=ibis.literal(TEMPORAL)))


def _first_of_month(dates: ir.Table, first: int, end: int) -> ir.Table:
    inside = dates.filter(_.index_day >= first, _.index_day < end)
    of_month = ibis.window(group_by=["subject_id", "month"], order_by="index_day")
    placed = inside.mutate(place=ibis.row_number().over(of_month))
    return placed.filter(_.place == 0).select(COLUMNS)


def sample_one_per_patient(index: pa.Table, study: Study, first: dt.date) -> np.ndarray:
    """The index dates to use: all in training, and at most one per patient elsewhere. Bool [n].

    For each patient a day of the period is sampled by salted md5, and the first index date from it on is
    used. Nothing after an index date can change whether it is used. A sample among all dates of a patient
    would depend on the future, because a patient with an early outcome has fewer dates.

    `index` has subject_id, split and index_day, sorted by subject and day.
    """
    subject, day = index["subject_id"].to_numpy(), index["index_day"].to_numpy()
    split = np.asarray(index["split"].to_pylist(), dtype=str)
    landmark, temporal = study.cohort.landmark, study.cohort.splits.temporal_date
    begins = np.full(len(index), day_number(first))
    ends = np.full(len(index), day_number(landmark))
    is_later = split == TEMPORAL
    begins[is_later] = day_number(landmark)
    ends[is_later] = day_number(temporal or landmark)
    share = hashed_uniform(subject, f"index/{study.seed}")
    candidates = np.flatnonzero((split != TRAIN) & (day >= begins + np.floor(share * (ends - begins))))
    keys = np.rec.fromarrays([subject[candidates], is_later[candidates]])
    _values, firsts = np.unique(keys, return_index=True)
    chosen = split == TRAIN
    chosen[candidates[firsts]] = True
    return chosen
