"""The events of flat tables: births and deaths, stays, codes, as a mapping describes their columns."""

from __future__ import annotations

from dataclasses import dataclass

import ibis
import ibis.expr.types as ir
from ibis import _

from claimscale.codes import BIRTH, DEATH, SEPARATOR, SEX_PREFIX
from claimscale.errors import BadInput
from claimscale.sources.dates import Expression, last_day_of, month_end, timestamp_of
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
        return self.patient(_text(table[people.patient]), _optional(table, people.hospital))

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
    sex = _text(table[people.sex.column]).upper()
    male, female = (
        sex.isin([value.upper() for value in values]) for values in (people.sex.male, people.sex.female)
    )
    death = people.death
    died = opened.until(table, death.column if death else None)
    told: Expression = _text(table[death.column]).notnull() if death else ibis.literal(False)
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
    unreadable = _.birth.isnull().ifelse("unreadable date", ibis.null("string"))
    born = [
        raw_events(known, code=code, time=_.birth, origin=origin, fault=unreadable) for code in (BIRTH, _.sex)
    ]
    dead = raw_events(
        known.filter(_.told),
        code=DEATH,
        time=_.death,
        origin=origin,
        fault=_.death.isnull().ifelse("unreadable date", ibis.null("string")),
    )
    return ibis.union(*born, dead)


def stays(opened: Tables) -> ir.Table:
    """Admission and discharge of stays; other visits have no event of their own."""
    visits = opened.mapping.visits
    assert visits is not None
    table = opened.tables[visits.table]
    start, end = opened.when(table, visits.start), opened.when(table, visits.end)
    known = ibis.coalesce(month_end(opened.when(table, visits.month)), month_end(end))
    hospital = _optional(table, visits.hospital)
    stays = table.filter(is_flagged(table, visits.stay)).select(
        patient=opened.patient(_text(table[visits.patient]), hospital),
        start=start,
        end=end,
        told_start=_text(table[visits.start]).notnull(),
        told_end=_text(table[visits.end]).notnull(),
        visit_id=_text(table[visits.visit]),
        hospital_id=hospital,
        available_at=known,
    )
    fault = ibis.cases(
        ((_.told_start & _.start.isnull()) | (_.told_end & _.end.isnull()), "unreadable date"),
        (_.end < _.start, "end before start"),
        else_=ibis.null("string"),
    )
    shared = {name: _[name] for name in ("visit_id", "hospital_id")}
    shared |= {"origin": visits.table, "fault": fault}
    admitted = raw_events(
        stays,
        code="VISIT//ADMISSION",
        time=_.start,
        available_at=ibis.coalesce(_.available_at, month_end(_.start)),
        **shared,
    )
    discharged = raw_events(
        stays.filter(_.told_end),
        code="VISIT//DISCHARGE",
        time=_.end,
        available_at=_.available_at,
        **shared,
    )
    return ibis.union(admitted, discharged)


def coded(opened: Tables, codes: Codes) -> ir.Table:
    """One event per row of a table of codes, or per row that `only` picks."""
    table = opened.tables[codes.table]
    if codes.only is not None:
        table = table.filter(is_flagged(table, codes.only))
    date = opened.when(table, codes.date)
    told: Expression = _text(table[codes.date]).notnull() if codes.date else ibis.literal(False)
    rows = table.select(
        patient=_text(table[codes.patient]),
        code=_code(table, codes),
        date=date,
        is_unreadable=told & date.isnull(),
        month=opened.when(table, codes.month),
        hospital_id=_optional(table, codes.hospital),
        visit_id=_optional(table, codes.visit),
        suspected=is_flagged(table, codes.suspected) if codes.suspected else ibis.literal(False),
        numeric_value=table[codes.value].try_cast("float32") if codes.value else ibis.null("float32"),
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
        fault=_.is_unreadable.ifelse("unreadable date", ibis.null("string")),
        **{name: _[name] for name in ("hospital_id", "visit_id", "suspected", "numeric_value")},
    )


def _code(table: ir.Table, codes: Codes) -> Expression:
    """The code in its system's spelling, null if empty. Raises BadInput for a column of numbers."""
    column = table[codes.code]
    if not isinstance(column, ir.StringValue) and codes.width is None:
        raise BadInput(
            f"{codes.table}.{codes.code}: holds numbers, so leading zeros are lost "
            f"(say `width` in source.mapping if all its codes have one)"
        )
    spelt = _text(column)
    if codes.width is not None:
        spelt = spelt.lpad(codes.width, "0")
    return spelt


def _looked_up(rows: ir.Table, opened: Tables, codes: Codes) -> ir.Table:
    """The code that a code table gives instead; a code that it lacks is missing."""
    lookup = codes.lookup
    assert lookup is not None
    table = opened.tables[lookup.table]
    pairs = table.select(by=_text(table[lookup.by]), taken=_text(table[lookup.take]))
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
        of_visit=_text(table[visits.visit]),
        visit_month=opened.when(table, visits.month),
        visit_hospital=_optional(table, visits.hospital),
    )
    # A visit told twice must not double its rows.
    return told.group_by("of_visit").aggregate(
        visit_month=_.visit_month.max(), visit_hospital=_.visit_hospital.min()
    )


def _with_visits(rows: ir.Table, opened: Tables, codes: Codes) -> ir.Table:
    """The hospital and month of a row's visit, where the row does not tell."""
    if opened.visits is None or codes.visit is None or (codes.hospital and codes.month):
        return rows
    joined = rows.left_join(opened.visits, [("visit_id", "of_visit")])
    return joined.mutate(
        month=ibis.coalesce(_.month, _.visit_month),
        hospital_id=ibis.coalesce(_.hospital_id, _.visit_hospital),
    ).drop("of_visit", "visit_month", "visit_hospital")


def _text(column: Expression) -> Expression:
    """A column as text without blanks around it; empty is null."""
    return column.cast("string").strip().nullif("")


def _optional(table: ir.Table, column: str | None) -> Expression:
    return ibis.null("string") if column is None else _text(table[column])


def is_flagged(table: ir.Table, flag: Flag) -> Expression:
    told = _text(table[flag.column]).lower().isin([value.lower() for value in flag.values])
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
