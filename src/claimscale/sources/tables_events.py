"""The events of flat tables: births and deaths, and codes, by the mapping of their columns."""

from __future__ import annotations

from dataclasses import dataclass

import ibis
import ibis.expr.types as ir
from ibis import _, selectors

from claimscale.codes.systems import BIRTH, DEATH, SEPARATOR, SEX_PREFIX
from claimscale.errors import BadInput
from claimscale.sources.casting import (
    NO_TEXT,
    Expression,
    integer_of,
    is_unreadable,
    number_of,
    text_id_of,
    text_of,
)
from claimscale.sources.dates import birth_of, last_day_of, month_end, timestamp_of
from claimscale.sources.raw import raw_events
from claimscale.sources.tables_mapping import CodeTable, RowFilter, TableMapping


@dataclass(frozen=True)
class MappedTables:
    """The tables of a source, each with the columns that the mapping uses.

    `visits` has what rows take from their visit: `of_visit`, `of_id`, `visit_month`, `visit_hospital`.
    """

    mapping: TableMapping
    tables: dict[str, ir.Table]
    visits: ir.Table | None = None

    def unique_patient(self, id: Expression, hospital: Expression) -> Expression:
        """The id, combined with the hospital if ids are unique within a hospital only."""
        return id if self.mapping.patients.hospital is None else hospital.concat("/", id)

    def listed(self) -> Expression:
        """The patient of each row of the table of patients."""
        people = self.mapping.patients
        table = self.tables[people.table]
        return self.unique_patient(text_id_of(table[people.patient]), optional_text(table, people.hospital))

    def patients(self) -> ir.Table:
        """`patient` of each row of the table of patients."""
        return self.tables[self.mapping.patients.table].select(patient=self.listed())

    def anchors(self, column: str) -> ir.Table:
        """`patient` and `anchor`, the date in a column of the table of patients."""
        table = self.tables[self.mapping.patients.table]
        return table.select(patient=self.listed(), anchor=birth_of(table[column], self.mapping.dates))

    def birth(self, table: ir.Table) -> Expression:
        """The birth of each row of the table of patients."""
        birth = self.mapping.patients.birth
        if isinstance(birth, str):
            return birth_of(table[birth], self.mapping.dates)
        at: Expression = birth_of(table[birth.at], self.mapping.dates)
        year = (at.year() - integer_of(table[birth.age])).cast("string")
        return year.concat("-01-01").try_cast("date").cast("timestamp(6)")

    def date(self, table: ir.Table, column: str | None) -> Expression:
        """A column as a date; null where it holds none."""
        if column is None:
            return ibis.null("timestamp(6)")
        return timestamp_of(table[column], self.mapping.dates)

    def last_day(self, table: ir.Table, column: str | None) -> Expression:
        """A column as a date, with the last day of a month where it holds a month."""
        if column is None:
            return ibis.null("timestamp(6)")
        return last_day_of(table[column], self.mapping.dates)


def optional_text(table: ir.Table, column: str | None) -> Expression:
    return NO_TEXT if column is None else text_of(table[column])


def has_text(table: ir.Table, column: str | None) -> Expression:
    return ibis.literal(False) if column is None else text_of(table[column]).notnull()


def unreadable_id(table: ir.Table, column: str) -> Expression:
    return is_unreadable(table[column], text_id_of(table[column]))


def is_selected(table: ir.Table, rows: RowFilter) -> Expression:
    selected = text_of(table[rows.column]).lower().isin([value.lower() for value in rows.values])
    return ibis.coalesce(selected, False)


def people(opened: MappedTables) -> ir.Table:
    """Birth and sex of each row of the table of patients, and death of the dead."""
    people = opened.mapping.patients
    table = opened.tables[people.table]
    sex = text_of(table[people.sex.column]).upper()
    male, female = (
        sex.isin([value.upper() for value in values]) for values in (people.sex.male, people.sex.female)
    )
    known = table.select(
        patient=opened.listed(),
        is_unreadable=unreadable_id(table, people.patient),
        time=opened.birth(table),
        sex=ibis.cases((male, SEX_PREFIX + "M"), (female, SEX_PREFIX + "F"), else_=SEX_PREFIX + "U"),
    )
    both = (_of_person(known, code, people.table) for code in (BIRTH, _.sex))
    return ibis.union(*both, *([deaths(opened)] if people.death else []))


def deaths(opened: MappedTables) -> ir.Table:
    """The death of each row with a day of death, or of those that `only` selects."""
    people, death = opened.mapping.patients, opened.mapping.patients.death
    assert death is not None
    name = people.death_table or people.table
    table = opened.tables[name]
    id = (death.patient or people.patient) if people.death_table else people.patient
    is_dead = has_text(table, death.column)
    if death.only:
        is_dead &= is_selected(table, death.only)
    known = table.select(
        patient=text_id_of(table[id]) if people.death_table else opened.listed(),
        is_unreadable=unreadable_id(table, id),
        time=opened.last_day(table, death.column),
        is_dead=is_dead.fill_null(False),
    )
    return _of_person(known.filter(_.is_dead), DEATH, name)


def _of_person(rows: ir.Table, code: Expression, table: str) -> ir.Table:
    issue = ibis.cases(
        (_.is_unreadable, "unreadable id"), (_.time.isnull(), "unreadable date"), else_=NO_TEXT
    )
    return raw_events(rows, code=code, time=_.time, source_table=table, issue=issue)


def coded(opened: MappedTables, codes: CodeTable) -> ir.Table:
    """One event per code of the rows of a table, or of those that `only` selects."""
    table = opened.tables[codes.table]
    if codes.only is not None:
        table = table.filter(is_selected(table, codes.only))
    date = opened.date(table, codes.date)
    number, is_no_number = ibis.null("float32"), ibis.literal(False)
    if codes.value:
        number, is_no_number = number_of(table[codes.value])
    rows = table.select(
        patient=text_id_of(table[codes.patient]),
        is_unreadable=unreadable_id(table, codes.patient),
        **{f"code_{place}": _code(table, codes, name) for place, name in enumerate(codes.code_columns)},
        date=date,
        is_no_date=has_text(table, codes.date) & date.isnull(),
        month=opened.date(table, codes.month),
        hospital_id=optional_text(table, codes.hospital),
        visit_id=optional_text(table, codes.visit),
        suspected=is_selected(table, codes.suspected) if codes.suspected else ibis.literal(False),
        numeric_value=number,
        is_no_number=is_no_number,
    )
    rows = _one_code_per_row(rows, opened, codes)
    if codes.lookup:
        rows = _with_lookup(rows, opened, codes)
    rows = _with_visits(rows, opened, codes)
    rows = rows.mutate(patient=opened.unique_patient(rows.patient, rows.hospital_id))
    return raw_events(
        rows,
        time=ibis.coalesce(_.date, _.month),
        code=(codes.system + SEPARATOR) + _.code,
        # A claim is available when its month has ended; without a month, the month of the event.
        available_at=month_end(ibis.coalesce(_.month, _.date)),
        source_table=codes.table,
        issue=ibis.cases(
            (_.is_unreadable, "unreadable id"),
            (_.is_no_date, "unreadable date"),
            (_.is_no_number, "unreadable value"),
            else_=NO_TEXT,
        ),
        **{name: _[name] for name in ("hospital_id", "visit_id", "suspected", "numeric_value")},
    )


def _code(table: ir.Table, codes: CodeTable, column: str) -> Expression:
    """The code as text, null if empty. Raises BadInput for a column of numbers."""
    if codes.width is None:
        _refuse_numbers(table, codes.table, column)
        return text_of(table[column])
    return text_of(table[column]).lpad(codes.width, "0")


def _one_code_per_row(rows: ir.Table, opened: MappedTables, codes: CodeTable) -> ir.Table:
    """The rows with `code`: several columns of codes below each other, without their empty cells."""
    if len(codes.code_columns) == 1:
        rows = rows.rename(code="code_0")
    else:
        places = [f"code_{place}" for place in range(len(codes.code_columns))]
        rows = rows.pivot_longer(selectors.cols(*places), names_to="of_column", values_to="code")
        rows = rows.drop("of_column")
    return rows.filter(_.code.notnull()) if opened.mapping.has_empty_cells(codes) else rows


def _refuse_numbers(table: ir.Table, name: str, column: str) -> None:
    if not isinstance(table[column], ir.StringValue | ir.NullValue):
        raise BadInput(
            f"{name}.{column}: holds numbers, so leading zeros are lost "
            f"(set `width` in source.mapping if all its codes have the same length)"
        )


def _with_lookup(rows: ir.Table, opened: MappedTables, codes: CodeTable) -> ir.Table:
    """The rows with codes replaced by those of a code table; a code that it lacks becomes null."""
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


def visit_details(opened: MappedTables) -> ir.Table | None:
    """Month and hospital of each visit; None if every table of codes has its own."""
    visits = opened.mapping.visits
    if visits is None or all(each.hospital and each.month for each in opened.mapping.codes):
        return None
    table = opened.tables[visits.table]
    details = table.select(
        of_visit=text_of(table[visits.visit]),
        of_id=text_id_of(table[visits.patient]),
        visit_month=opened.date(table, visits.month),
        visit_hospital=optional_text(table, visits.hospital),
    )
    # A repeated visit must not double its rows.
    hospital: Expression = _.visit_hospital.min()
    if opened.mapping.patients.hospital is not None:
        # Two hospitals may use the same ids. The hospital of such a visit is unknown.
        hospital = (hospital == _.visit_hospital.max()).ifelse(hospital, NO_TEXT)
    return details.group_by("of_visit", "of_id").aggregate(
        visit_month=_.visit_month.max(), visit_hospital=hospital
    )


def _with_visits(rows: ir.Table, opened: MappedTables, codes: CodeTable) -> ir.Table:
    """The rows with the hospital and month of their visit where they have none."""
    if opened.visits is None or codes.visit is None or (codes.hospital and codes.month):
        return rows
    joined = rows.left_join(opened.visits, [("visit_id", "of_visit"), ("patient", "of_id")])
    return joined.mutate(
        month=ibis.coalesce(_.month, _.visit_month),
        hospital_id=ibis.coalesce(_.hospital_id, _.visit_hospital),
    ).drop("of_visit", "of_id", "visit_month", "visit_hospital")


def observation(opened: MappedTables) -> ir.Table | None:
    """Observation periods, if the mapping has them."""
    people = opened.mapping.patients
    if people.observed is None:
        return None
    if isinstance(people.observed, tuple):
        table, patient = opened.tables[people.table], opened.listed()
        first, last = people.observed
    else:
        periods = people.observed
        table, first, last = opened.tables[periods.table], periods.start, periods.end
        patient = text_id_of(table[periods.patient or people.patient])
    return table.select(
        patient=patient,
        start=opened.date(table, first),
        end=opened.last_day(table, last),
    )
