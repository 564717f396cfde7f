"""Observation periods: the time in which a patient's claims are complete, for example while insured.

A source may state the periods, several for a patient who left and came back. Otherwise the period of a
patient runs from the first contact to the last.
"""

from __future__ import annotations

import calendar
import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from ibis import _

from claimscale.codes.systems import BIRTH, SEX_PREFIX
from claimscale.engine import Engine
from claimscale.events.columns import EventColumns
from claimscale.events.table import day_number
from claimscale.sources.raw import RawEvents

SCHEMA = pa.schema([("subject_id", pa.int64()), ("start", pa.timestamp("us")), ("end", pa.timestamp("us"))])
GAP_DAYS = 32
"""Days without insurance that do not end a period: claims are by month, and renewals are written late."""
DAY_RANGE = 2**23
"""More than twice the largest day number, for keys of subject and day."""
NEVER, ALWAYS = -(10**6), 10**7
"""Days before and after all others."""
STATED = b"stated by the source"
"""Metadata key of `observation.parquet`: yes or no."""
CLAIMS_UNTIL = b"claims until"
"""Metadata key of `observation.parquet`: the day of the last contact of all patients."""


@dataclass(frozen=True)
class Periods:
    """Observation periods as day numbers, int64 [n], by subject and start; those of a subject are apart."""

    subject: np.ndarray
    start: np.ndarray
    end: np.ndarray

    def on(self, subject: np.ndarray, day: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Start and end of the period that began last by the day, or else of the first; who has a period.

        Later periods are not used: on the day, nobody knows that a patient will be insured again.
        """
        if not len(self.subject):
            return day, day, np.zeros(len(day), bool)
        known = np.unique(self.subject)
        number = np.searchsorted(known, subject)
        listed = known[np.minimum(number, len(known) - 1)] == subject
        keys = np.searchsorted(known, self.subject) * DAY_RANGE + self.start
        begun = np.searchsorted(keys, number * DAY_RANGE + day.astype(np.int64), side="right") - 1
        first = np.minimum(np.searchsorted(self.subject, subject), len(keys) - 1)
        place = np.maximum(begun, first)
        return self.start[place], self.end[place], listed


def read_periods(events: Path) -> Periods:
    """The observation periods of an events folder."""
    table = pq.read_table(events / "observation.parquet").sort_by(
        [("subject_id", "ascending"), ("start", "ascending")]
    )
    start, end = (
        table[name].to_numpy().astype("datetime64[D]").astype(np.int64) for name in ("start", "end")
    )
    return Periods(table["subject_id"].to_numpy(), start, end)


def stated_periods(raw: RawEvents, patients: ir.Table, engine: Engine) -> pa.Table | None:
    """The periods of each patient as the source states them; None if it states none.

    Periods that overlap, or that GAP_DAYS or less separate, are one.
    """
    if raw.observation is None:
        return None
    periods = raw.observation.inner_join(patients, "patient").filter(_.start.notnull(), _.end.notnull())
    earlier = ibis.window(group_by="subject_id", order_by=["start", "end"], rows=(None, -1))
    so_far = ibis.window(group_by="subject_id", order_by=["start", "end"], rows=(None, 0))
    marked = periods.mutate(ended=_.end.max().over(earlier))
    marked = marked.mutate(begins=(_.start > _.ended + ibis.interval(days=GAP_DAYS)).ifelse(1, 0))
    numbered = marked.mutate(number=_.begins.sum().over(so_far))
    joined = numbered.group_by("subject_id", "number").aggregate(start=_.start.min(), end=_.end.max())
    return engine.to_arrow(joined.order_by("subject_id", "start").drop("number")).cast(SCHEMA)


def contact_periods(events: EventColumns) -> pa.Table:
    """First and last contact of each patient. `events` are sorted by subject and time."""
    codes = events.texts["code"].to_pylist()
    is_contact = np.array([code != BIRTH and not code.startswith(SEX_PREFIX) for code in codes] + [False])
    contacts = events.where(is_contact[events.columns["code"]])
    first = contacts.first_of_subjects()
    last = np.append(first[1:], len(contacts))[: len(first)] - 1
    time = contacts.columns["time"].view("datetime64[us]")
    return pa.table([contacts.subject[first], time[first], time[last]], schema=SCHEMA)


def write(periods: pa.Table, stated: bool, file: Path, claims_until: dt.date | None = None) -> None:
    """Write periods of SCHEMA (the last day is included), who states them, and the day of the last claim."""
    metadata = {STATED: b"yes" if stated else b"no"}
    if claims_until is not None:
        metadata[CLAIMS_UNTIL] = claims_until.isoformat().encode()
    pq.write_table(periods.replace_schema_metadata(metadata), file, write_page_checksum=True)


def last_contact(contacts: pa.Table) -> dt.date | None:
    """The last day on which any patient had a contact; None without contacts."""
    times = contacts["end"].to_numpy()
    return times.max().astype("datetime64[D]").item() if len(times) else None


def last_claim(events: Path) -> dt.date | None:
    """The last day on which any patient of an events folder had a contact; None if it is not written."""
    return _last_claim(pq.read_schema(events / "observation.parquet").metadata or {})


def _last_claim(metadata: Mapping[bytes, bytes]) -> dt.date | None:
    day = metadata.get(CLAIMS_UNTIL)
    return None if day is None else dt.date.fromisoformat(day.decode())


def month_end(day: dt.date) -> dt.date:
    """The last day of the month, to which claims are taken to be complete.

    >>> str(month_end(dt.date(2020, 2, 3)))
    '2020-02-29'
    """
    return day.replace(day=calendar.monthrange(day.year, day.month)[1])


def with_stated(index: pa.Table, events: Path) -> pa.Table:
    """Index dates (columns as of `tasks.index_dates`) with the observation periods that the source states.

    The period is that which began last by the index date. `first_day`, which decides who has enough history,
    becomes its start unless that is after the index date, when it was not known yet. `last_contact`, which
    decides who has been seen recently, becomes the index date for those who are then observed, and NEVER for
    those who are not. `observed_until`, which decides censoring only, becomes its end, at most the end of the
    month of the last claim: coverage often ends long after the claims do, or is open. Nothing changes for
    patients without a stated period.
    """
    metadata = pq.read_schema(events / "observation.parquet").metadata or {}
    if metadata.get(STATED) != b"yes":
        return index
    last = _last_claim(metadata)
    complete_until = ALWAYS if last is None else day_number(month_end(last))
    first_day, last_contact, observed_until, index_day = (
        index[name].to_numpy() for name in ("first_day", "last_contact", "observed_until", "index_day")
    )
    start, end, listed = read_periods(events).on(index["subject_id"].to_numpy(), index_day)
    known = listed & (start <= index_day)
    seen = np.where(listed, NEVER, last_contact)
    changed = {
        "first_day": np.where(known, start, first_day),
        "last_contact": np.where(known & (end >= index_day), index_day, seen),
        "observed_until": np.where(listed, np.minimum(end, complete_until), observed_until),
    }
    for name, values in changed.items():
        position = index.schema.get_field_index(name)
        index = index.set_column(position, name, pa.array(values, index[name].type))
    return index
