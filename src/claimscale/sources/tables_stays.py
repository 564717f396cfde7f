"""The stays of flat tables: which visits are stays, and their admissions and discharges."""

from __future__ import annotations

import ibis
import ibis.expr.types as ir
from ibis import _

from claimscale.codes.systems import ADMISSION, DISCHARGE
from claimscale.sources.casting import NO_TEXT, Expression, text_id_of, text_of
from claimscale.sources.dates import month_end
from claimscale.sources.raw import raw_events
from claimscale.sources.tables_events import (
    MappedTables,
    has_text,
    is_selected,
    optional_text,
    unreadable_id,
)


def is_stay(opened: MappedTables, table: ir.Table) -> Expression:
    """Whether a visit is a stay: the mapping says so, or it lasts at least one night.

    Visits whose dates cannot be read, or are in the wrong order, count as stays: they are quarantined.
    """
    visits = opened.mapping.visits
    assert visits is not None
    if visits.stay is not None:
        return is_selected(table, visits.stay)
    same_day: Expression = opened.date(table, visits.start) == opened.date(table, visits.end)
    return has_text(table, visits.start) & has_text(table, visits.end) & ~same_day.fill_null(False)


def stays(opened: MappedTables) -> ir.Table:
    """Each row of a stay, with `admits` and `discharges`: whether it is the first with this admission or
    discharge.

    Monthly claims of a long stay repeat both. Rows with an issue are kept, each on its own.
    """
    visits = opened.mapping.visits
    assert visits is not None
    table = opened.tables[visits.table]
    start, end = opened.date(table, visits.start), opened.date(table, visits.end)
    hospital = optional_text(table, visits.hospital)
    rows = table.filter(is_stay(opened, table)).select(
        patient=opened.unique_patient(text_id_of(table[visits.patient]), hospital),
        is_unreadable=unreadable_id(table, visits.patient),
        start=start,
        end=end,
        has_start=has_text(table, visits.start),
        has_end=has_text(table, visits.end),
        visit_id=text_of(table[visits.visit]),
        hospital_id=hospital,
        known=ibis.coalesce(month_end(opened.date(table, visits.month)), month_end(end)),
    )
    issue = ibis.cases(
        (_.is_unreadable, "unreadable id"),
        ((_.has_start & _.start.isnull()) | (_.has_end & _.end.isnull()), "unreadable date"),
        (_.end < _.start, "end before start"),
        else_=NO_TEXT,
    )
    rows = rows.mutate(issue=issue, known=ibis.coalesce(_.known, month_end(_.start)))
    has_issue = rows.issue.notnull() | rows.patient.isnull()

    def is_first(day: str) -> Expression:
        same = ibis.window(group_by=["patient", "hospital_id", day], order_by=["known", "visit_id"])
        # Rows that are equal in all columns are both first. Validation drops one and counts it.
        return (ibis.rank().over(same) == 0) | has_issue | rows[day].isnull()

    return rows.mutate(admits=is_first("start"), discharges=is_first("end") & _.has_end)


def admissions_and_discharges(opened: MappedTables, rows: ir.Table) -> ir.Table:
    """Admission and discharge of each of the `stays`; other visits make no event."""
    assert opened.mapping.visits is not None
    shared = {name: _[name] for name in ("visit_id", "hospital_id", "issue")}
    shared |= {"source_table": ibis.literal(opened.mapping.visits.table), "available_at": _.known}
    admissions = raw_events(rows.filter(_.admits), code=ADMISSION, time=_.start, **shared)
    discharges = raw_events(rows.filter(_.discharges), code=DISCHARGE, time=_.end, **shared)
    return ibis.union(admissions, discharges)
