"""The events of flat tables: births and deaths, stays, codes, as a mapping describes their columns."""

from __future__ import annotations

from dataclasses import dataclass

import ibis
import ibis.expr.types as ir
from ibis import _

from claimscale.codes.systems import BIRTH, DEATH, SEPARATOR, SEX_PREFIX
from claimscale.errors import BadInput
from claimscale.sources.casting import NO_TEXT, Expression, number_of, text_of
from claimscale.sources.dates import last_day_of, month_end, timestamp_of
from claimscale.sources.raw import raw_events
from claimscale.sources.tables_mapping import Codes, Flag, Mapping


@dataclass(frozen=True)
class Tables:
    """The tables of a source, each with the columns that the mapping uses."""

    mapping: Mapping
    tables: dict[str, ir.Table]
    visits: ir.Table | None = None
    """What rows take from their visit: `of_visit`, `visit_month`, `visit_hospital`."""

    def patient(self, id: Expression, hospital: Expression) -> Expression:
        """Who a row is about: the id, together with the hospital where ids are a hospital's own."""
        return id if self.mapping.patients.hospital is None else hospital.concat("/", id)

    def listed(self) -> Expression:
        """Who each row of the table of patients is about."""
        people = self.mapping.patients
        table = self.tables[people.table]
        return self.patient(text_of(table[people.patient]), _optional(table, people.hospital))

    def patients(self) -> ir.Table:
        """`patient` of everybody in the table of patients."""
        return self.tables[self.mapping.patients.table].select(patient=self.listed())

    def when(self, table: ir.Table, column: str | None) -> Expression:
        """A column as a date; null where it is none."""
        if column is None:
            return ibis.null("timestamp(6)")
        return timestamp_of(table[column], self.mapping.dates)

    def until(self, table: ir.Table, column: str | None) -> Expression:
        """A column as the last day that it can mean: of a month its last."""
        if column is None:
            return ibis.null("timestamp(6)")
        return last_day_of(table[column], self.mapping.dates)


def people(opened: Tables) -> ir.Table:
    people = opened.mapping.patients
    table = opened.tables[people.table]
    sex = text_of(table[people.sex.column]).upper()
    male, female = (
        sex.isin([value.upper() for value in values]) for values in (people.sex.male, people.sex.female)
    )
    death = people.death
    died = opened.until(table, death.column if death else None)
    told: Expression = text_of(table[death.column]).notnull() if death else ibis.literal(False)
    if death and death.only:
        told = told & is_flagged(table, death.only)
    known = table.select(
        patient=opened.listed(),
        birth=opened.when(table, people.birth),
        sex=ibis.cases((male, SEX_PREFIX + "M"), (female, SEX_PREFIX + "F"), else_=SEX_PREFIX + "U"),
        death=died,
        told=told.fill_null(False),
    )
    origin = people.table
    unreadable = _.birth.isnull().ifelse("unreadable date", NO_TEXT)
    born = [
        raw_events(known, code=code, time=_.birth, origin=origin, fault=unreadable) for code in (BIRTH, _.sex)
    ]
    dead = raw_events(
        known.filter(_.told),
        code=DEATH,
        time=_.death,
        origin=origin,
        fault=_.death.isnull().ifelse("unreadable date", NO_TEXT),
    )
    return ibis.union(*born, dead)


def stays(opened: Tables) -> ir.Table:
    """Each row of a stay, with whether it is the first to tell the admission, and the discharge.

    Monthly claims of a long stay tell both again. Rows with a fault stand for themselves.
    """
    visits = opened.mapping.visits
    assert visits is not None
    table = opened.tables[visits.table]
    start, end = opened.when(table, visits.start), opened.when(table, visits.end)
    hospital = _optional(table, visits.hospital)
    rows = table.filter(is_flagged(table, visits.stay)).select(
        patient=opened.patient(text_of(table[visits.patient]), hospital),
        start=start,
        end=end,
        told_start=text_of(table[visits.start]).notnull(),
        told_end=text_of(table[visits.end]).notnull(),
        visit_id=text_of(table[visits.visit]),
        hospital_id=hospital,
        known=ibis.coalesce(month_end(opened.when(table, visits.month)), month_end(end)),
    )
    fault = ibis.cases(
        ((_.told_start & _.start.isnull()) | (_.told_end & _.end.isnull()), "unreadable date"),
        (_.end < _.start, "end before start"),
        else_=NO_TEXT,
    )
    rows = rows.mutate(fault=fault, known=ibis.coalesce(_.known, month_end(_.start)))
    is_faulty = rows.fault.notnull() | rows.patient.isnull()

    def is_first(day: str) -> Expression:
        told_by = ibis.window(group_by=["patient", "hospital_id", day], order_by=["known", "visit_id"])
        # Rows that are equal in all are both the first: the gate drops one and counts it.
        return (ibis.rank().over(told_by) == 0) | is_faulty | rows[day].isnull()

    return rows.mutate(admits=is_first("start"), discharges=is_first("end") & _.told_end)


def ends_of_stays(opened: Tables, rows: ir.Table) -> ir.Table:
    """Admission and discharge of each of the `stays`; other visits have no event of their own."""
    assert opened.mapping.visits is not None
    shared = {name: _[name] for name in ("visit_id", "hospital_id", "fault")}
    shared |= {"origin": ibis.literal(opened.mapping.visits.table), "available_at": _.known}
    admitted = raw_events(rows.filter(_.admits), code="VISIT//ADMISSION", time=_.start, **shared)
    discharged = raw_events(rows.filter(_.discharges), code="VISIT//DISCHARGE", time=_.end, **shared)
    return ibis.union(admitted, discharged)


def coded(opened: Tables, codes: Codes) -> ir.Table:
    """One event per row of a table of codes, or per row that `only` picks."""
    table = opened.tables[codes.table]
    if codes.only is not None:
        table = table.filter(is_flagged(table, codes.only))
    date = opened.when(table, codes.date)
    told: Expression = text_of(table[codes.date]).notnull() if codes.date else ibis.literal(False)
    number, is_no_number = ibis.null("float32"), ibis.literal(False)
    if codes.value:
        number, is_no_number = number_of(table[codes.value])
    rows = table.select(
        patient=text_of(table[codes.patient]),
        code=_code(table, codes),
        date=date,
        is_unreadable=told & date.isnull(),
        month=opened.when(table, codes.month),
        hospital_id=_optional(table, codes.hospital),
        visit_id=_optional(table, codes.visit),
        suspected=is_flagged(table, codes.suspected) if codes.suspected else ibis.literal(False),
        numeric_value=number,
        is_no_number=is_no_number,
    )
    if codes.lookup:
        rows = _looked_up(rows, opened, codes)
    rows = _with_visits(rows, opened, codes)
    rows = rows.mutate(patient=opened.patient(rows.patient, rows.hospital_id))
    time = ibis.coalesce(_.date, _.month)
    return raw_events(
        rows,
        time=time,
        code=(codes.system + SEPARATOR) + _.code,
        # A claim is known when its month has ended; where no month is told, that of the event.
        available_at=month_end(ibis.coalesce(_.month, _.date)),
        origin=codes.table,
        fault=ibis.cases(
            (_.is_unreadable, "unreadable date"), (_.is_no_number, "unreadable value"), else_=NO_TEXT
        ),
        **{name: _[name] for name in ("hospital_id", "visit_id", "suspected", "numeric_value")},
    )


def _code(table: ir.Table, codes: Codes) -> Expression:
    """The code as it is written, null if empty. Raises BadInput for a column of numbers."""
    if codes.width is None:
        _refuse_numbers(table, codes.table, codes.code)
    spelt = text_of(table[codes.code])
    if codes.width is not None:
        spelt = spelt.lpad(codes.width, "0")
    return spelt


def _refuse_numbers(table: ir.Table, name: str, column: str) -> None:
    if not isinstance(table[column], ir.StringValue | ir.NullValue):
        raise BadInput(
            f"{name}.{column}: holds numbers, so leading zeros are lost "
            f"(say `width` in source.mapping if all its codes have one)"
        )


def _looked_up(rows: ir.Table, opened: Tables, codes: Codes) -> ir.Table:
    """The code that a code table gives instead; a code that it lacks is missing."""
    lookup = codes.lookup
    assert lookup is not None
    table = opened.tables[lookup.table]
    _refuse_numbers(table, lookup.table, lookup.take)
    if codes.width is None:
        _refuse_numbers(table, lookup.table, lookup.by)
    pairs = table.select(by=text_of(table[lookup.by]), taken=text_of(table[lookup.take]))
    # One target per code, the same on every engine, so that no event is doubled.
    pairs = pairs.filter(_.by.notnull(), _.taken.notnull()).group_by("by").aggregate(taken=_.taken.min())
    joined = rows.left_join(pairs, [("code", "by")])
    return joined.mutate(code=_.taken).drop("by", "taken")


def told_by_visits(opened: Tables) -> ir.Table | None:
    """Month and hospital of each visit; None where no row needs them."""
    visits = opened.mapping.visits
    if visits is None or all(each.hospital and each.month for each in opened.mapping.codes):
        return None
    table = opened.tables[visits.table]
    told = table.select(
        of_visit=text_of(table[visits.visit]),
        of_id=text_of(table[visits.patient]),
        visit_month=opened.when(table, visits.month),
        visit_hospital=_optional(table, visits.hospital),
    )
    # A visit told twice must not double its rows.
    hospital: Expression = _.visit_hospital.min()
    if opened.mapping.patients.hospital is not None:
        # Two hospitals may give the same ids: whose visit it was, nobody can tell.
        hospital = (hospital == _.visit_hospital.max()).ifelse(hospital, NO_TEXT)
    return told.group_by("of_visit", "of_id").aggregate(
        visit_month=_.visit_month.max(), visit_hospital=hospital
    )


def _with_visits(rows: ir.Table, opened: Tables, codes: Codes) -> ir.Table:
    """The hospital and month of a row's visit, where the row does not tell."""
    if opened.visits is None or codes.visit is None or (codes.hospital and codes.month):
        return rows
    joined = rows.left_join(opened.visits, [("visit_id", "of_visit"), ("patient", "of_id")])
    return joined.mutate(
        month=ibis.coalesce(_.month, _.visit_month),
        hospital_id=ibis.coalesce(_.hospital_id, _.visit_hospital),
    ).drop("of_visit", "of_id", "visit_month", "visit_hospital")


def _optional(table: ir.Table, column: str | None) -> Expression:
    return NO_TEXT if column is None else text_of(table[column])


def is_flagged(table: ir.Table, flag: Flag) -> Expression:
    told = text_of(table[flag.column]).lower().isin([value.lower() for value in flag.values])
    return ibis.coalesce(told, False)


def observation(opened: Tables) -> ir.Table | None:
    people = opened.mapping.patients
    if people.observed is None:
        return None
    table = opened.tables[people.table]
    first, last = people.observed
    return table.select(
        patient=opened.listed(),
        start=opened.when(table, first),
        end=opened.until(table, last),
    )
