"""Dates that were shifted for de-identification, moved so that the anchor of every patient is the same day.

Such databases (MIMIC: years 2110 to 2202) move all dates of a patient by one unknown time. Differences
between the dates of a patient are right, calendar dates mean nothing. After anchoring, a date says how long
before or after the anchor something happened.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import ibis
import ibis.expr.types as ir
from ibis import _

from claimscale.artifacts import make_folder
from claimscale.codes.systems import BIRTH, SEX_PREFIX
from claimscale.engine import Engine
from claimscale.sources.casting import NO_TEXT, Expression
from claimscale.sources.raw import RawEvents

ANCHOR_DAY = "2000-01-01"
"""The day on which every anchor falls."""
EARLIEST_CONTACT = "1900-01-01"
"""A contact on or before this day is a placeholder, which must not anchor a patient."""


def anchored(raw: RawEvents, engine: Engine, scratch: Path) -> RawEvents:
    """The events with the times of each patient moved by whole days, so that the anchor is ANCHOR_DAY.

    Rows of a patient without an anchor have the issue `missing anchor`. `scratch` holds the rows, which are
    read twice, so it must outlive the result.
    """
    make_folder(scratch)
    engine.write_parquet(raw.table, scratch / "unanchored.parquet")
    table = engine.read_parquet(scratch / "unanchored.parquet")
    anchors = _first_contacts(table) if raw.anchors is None else raw.anchors
    known = anchors.filter(_.patient.notnull(), _.anchor.notnull())
    known = known.group_by("patient").aggregate(anchor=_.anchor.min())
    days: Expression = ibis.date(ANCHOR_DAY).delta(known.anchor.cast("date"), unit="day")
    engine.write_parquet(known.select(of_patient=known.patient, shift=days), scratch / "anchors.parquet")
    shifts = engine.read_parquet(scratch / "anchors.parquet")
    joined = table.left_join(shifts, [("patient", "of_patient")])
    has_no_anchor: Expression = joined["shift"].isnull() & joined.patient.notnull()
    events = joined.mutate(
        time=_moved(joined.time, joined["shift"]),
        available_at=_moved(joined.available_at, joined["shift"]),
        issue=ibis.coalesce(joined.issue, has_no_anchor.ifelse("missing anchor", NO_TEXT)),
    )
    return dataclasses.replace(
        raw,
        table=events.select(table.columns),
        observation=None if raw.observation is None else _moved_periods(raw.observation, shifts),
        shifted=True,
    )


def _first_contacts(table: ir.Table) -> ir.Table:
    contacts = table.filter(
        _.issue.isnull(),
        _.code != BIRTH,
        ~_.code.startswith(SEX_PREFIX),
        _.time > ibis.timestamp(f"{EARLIEST_CONTACT} 00:00:00"),
    )
    return contacts.select("patient", anchor=_.time)


def _moved_periods(periods: ir.Table, shifts: ir.Table) -> ir.Table:
    joined = periods.inner_join(shifts, [("patient", "of_patient")])
    edges = {name: _moved(joined[name], joined["shift"]) for name in ("start", "end")}
    return joined.select("patient", **edges)


def _moved(time: Expression, days: Expression) -> Expression:
    return (time + days.as_interval("D")).cast("timestamp(6)")
