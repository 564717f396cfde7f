"""Index dates: the days on which a patient is assessed. They do not depend on what follows."""

from __future__ import annotations

import datetime as dt

import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
from ibis import _

from claimscale.codes.systems import DEATH
from claimscale.cohort.selection import HELD_OUT, TEMPORAL, TRAIN
from claimscale.config.study import Study
from claimscale.events.table import day_number
from claimscale.seeded_random import hashed_uniform

COLUMNS = ["subject_id", "split", "index_day", "first_day", "dead", "observed_until"]


def landmark_dates(table: ir.Table, study: Study) -> ir.Table:
    """The last contact of each patient before the landmark, and of held-out patients before the later one.

    Returns COLUMNS, one row per patient and landmark. `first_day` (of the patient's claims) and `dead` are
    what was known on the index date; `observed_until` is the last contact, used for counts of censoring
    only.
    """
    landmark = day_number(study.cohort.landmark)
    index = _last_contacts(table, landmark, study.cohort.min_events)
    if study.cohort.splits.temporal_date is None:
        return index
    later = day_number(study.cohort.splits.temporal_date)
    test_patients = table.filter(_.split == HELD_OUT)
    again = _last_contacts(test_patients, later, study.cohort.min_events)
    # Without a contact since the first landmark the index date would be the same again.
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
    return index.filter(_.events >= min_events).select(COLUMNS)


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
        deaths=(_.code == DEATH).sum(),
    )
    until_then = ibis.cumulative_window(group_by="subject_id", order_by="available_day")
    known = daily.mutate(
        events=_.events.sum().over(until_then),
        first_day=_.first_day.min().over(until_then),
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
