"""Flat tables, CSV or Parquet, through a mapping that says what their columns mean (`tables_mapping`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import ibis
import ibis.expr.types as ir
from ibis import _

from claimscale.codes import BIRTH, DEATH, SEPARATOR, SEX_PREFIX
from claimscale.engine import Engine
from claimscale.errors import BadInput
from claimscale.runs import make_folder
from claimscale.sources import tables_mapping, text
from claimscale.sources.dates import Expression, last_day_of, month_end, timestamp_of
from claimscale.sources.raw import RawEvents, raw_events
from claimscale.sources.tables_mapping import Codes, Flag, Mapping
from claimscale.study import TablesSource

ENDINGS = (".parquet", ".csv")


def files_of(source: TablesSource) -> dict[str, list[Path]]:
    """The files of each table that the mapping names: `<table>.csv|parquet`, or all in a folder `<table>`.

    Raises BadInput when the folder, or a table, is missing, or a table is there in both kinds.
    """
    folder = Path(source.path)
    if not folder.is_dir():
        raise BadInput(f"source.path: {folder} is not a folder")
    return {
        table: _files_of_table(folder, table) for table in columns_used(tables_mapping.load(source.mapping))
    }


def _files_of_table(folder: Path, table: str) -> list[Path]:
    found = [
        file
        for place in (folder, folder / table)
        if place.is_dir()
        for file in sorted(place.iterdir())
        if file.suffix.lower() in ENDINGS and (place != folder or file.stem.lower() == table.lower())
    ]
    if not found:
        raise BadInput(f"source.path: {folder} holds no table {table} (.csv or .parquet)")
    if len({file.suffix.lower() for file in found}) > 1:
        raise BadInput(f"source.path: {folder} holds table {table} as CSV and as Parquet")
    return found


def columns_used(mapping: Mapping) -> dict[str, list[str]]:
    """The columns that the mapping asks of each table."""
    used: dict[str, list[str]] = {}

    def ask(table: str, *columns: str | None) -> None:
        used.setdefault(table, []).extend(
            column for column in columns if column and column not in used[table]
        )

    people, visits = mapping.patients, mapping.visits
    ask(people.table, people.patient, people.birth, people.sex.column, *(people.observed or ()))
    if people.death:
        ask(people.table, people.death.column, people.death.only.column if people.death.only else None)
    if visits:
        ask(visits.table, visits.patient, visits.visit, visits.hospital, visits.month, visits.start)
        ask(visits.table, visits.end, visits.stay.column)
    for each in mapping.codes:
        ask(each.table, each.patient, each.visit, each.hospital, each.month, each.date, each.code, each.value)
        ask(each.table, each.suspected.column if each.suspected else None)
        if each.lookup:
            ask(each.lookup.table, each.lookup.by, each.lookup.take)
    return used


@dataclass(frozen=True)
class Tables:
    """The tables of a source, each with the columns that the mapping uses."""

    mapping: Mapping
    tables: dict[str, ir.Table]
    visits: ir.Table | None = None
    """What rows take from their visit: `of_visit`, `visit_month`, `visit_hospital`."""

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


def read(source: TablesSource, engine: Engine, scratch: Path) -> RawEvents:
    """All tables as raw events. Raises BadInput for missing or unreadable files and columns."""
    mapping = tables_mapping.load(source.mapping)
    used = columns_used(mapping)
    make_folder(scratch)
    tables = {}
    for name, files in files_of(source).items():
        if files[0].suffix.lower() == ".csv":
            table = engine.read_csv(text.checked(files, source.encoding, scratch / "utf8" / name))
        else:
            table = engine.read_parquet(files)
        missing = [column for column in used[name] if column not in table.columns]
        if missing:
            raise BadInput(
                f"{files[0]}: has no column {', '.join(missing)} (source.mapping: {source.mapping})"
            )
        tables[name] = table.select(*used[name])
    opened = Tables(mapping, tables)
    if (visits := _told_by_visits(opened)) is not None:
        # Worked out once: every table of codes looks its visits up.
        engine.write_parquet(visits, scratch / "visits.parquet")
        opened = Tables(mapping, tables, engine.read_parquet(scratch / "visits.parquet"))
    parts = [_people(opened), *(_coded(opened, each) for each in mapping.codes)]
    parts += [_stays(opened)] if mapping.visits else []
    rows = _account(opened, engine)
    people = tables[mapping.patients.table]
    return RawEvents(
        ibis.union(*parts),
        rows,
        patients=people.select(patient=_text(people[mapping.patients.patient])),
        events=sum(account["rows"] for account in rows.values()),
        observation=_observation(opened),
    )


def _people(opened: Tables) -> ir.Table:
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
        told = told & _is(table, death.only)
    known = table.select(
        patient=_text(table[people.patient]),
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


def _stays(opened: Tables) -> ir.Table:
    """Admission and discharge of stays; other visits have no event of their own."""
    visits = opened.mapping.visits
    assert visits is not None
    table = opened.tables[visits.table]
    start, end = opened.when(table, visits.start), opened.when(table, visits.end)
    known = ibis.coalesce(month_end(opened.when(table, visits.month)), month_end(end))
    stays = table.filter(_is(table, visits.stay)).select(
        patient=_text(table[visits.patient]),
        start=start,
        end=end,
        told_start=_text(table[visits.start]).notnull(),
        told_end=_text(table[visits.end]).notnull(),
        visit_id=_text(table[visits.visit]),
        hospital_id=_text(table[visits.hospital]) if visits.hospital else ibis.null("string"),
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


def _coded(opened: Tables, codes: Codes) -> ir.Table:
    """One event per row of a table of codes."""
    table = opened.tables[codes.table]
    date = opened.when(table, codes.date)
    told: Expression = _text(table[codes.date]).notnull() if codes.date else ibis.literal(False)
    rows = table.select(
        patient=_text(table[codes.patient]),
        code=_code(table, codes),
        date=date,
        is_unreadable=told & date.isnull(),
        month=opened.when(table, codes.month),
        hospital_id=_text(table[codes.hospital]) if codes.hospital else ibis.null("string"),
        visit_id=_text(table[codes.visit]) if codes.visit else ibis.null("string"),
        suspected=_is(table, codes.suspected) if codes.suspected else ibis.literal(False),
        numeric_value=table[codes.value].try_cast("float32") if codes.value else ibis.null("float32"),
    )
    if codes.lookup:
        rows = _looked_up(rows, opened, codes)
    rows = _with_visits(rows, opened, codes)
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


def _told_by_visits(opened: Tables) -> ir.Table | None:
    """Month and hospital of each visit; None where no row needs them."""
    visits = opened.mapping.visits
    if visits is None or all(each.hospital and each.month for each in opened.mapping.codes):
        return None
    table = opened.tables[visits.table]
    told = table.select(
        of_visit=_text(table[visits.visit]),
        visit_month=opened.when(table, visits.month),
        visit_hospital=_text(table[visits.hospital]) if visits.hospital else ibis.null("string"),
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


def _is(table: ir.Table, flag: Flag) -> Expression:
    told = _text(table[flag.column]).lower().isin([value.lower() for value in flag.values])
    return ibis.coalesce(told, False)


def _observation(opened: Tables) -> ir.Table | None:
    people = opened.mapping.patients
    if people.observed is None:
        return None
    table = opened.tables[people.table]
    first, last = people.observed
    return table.select(
        patient=_text(table[people.patient]),
        start=opened.when(table, first),
        end=opened.until(table, last),
    )


def _account(opened: Tables, engine: Engine) -> dict[str, dict]:
    """Rows of each table, and why some of them make no event."""
    visits = opened.mapping.visits
    with_codes = {opened.mapping.patients.table, *(each.table for each in opened.mapping.codes)}
    accounts: dict[str, dict] = {}
    for name, table in opened.tables.items():
        rows = accounts[name] = {"rows": _count(engine, table)}
        if visits is not None and name == visits.table:
            others = _count(engine, table.filter(~_is(table, visits.stay)))
            rows["without_event"] = {"visit that is no stay": others}
        elif name not in with_codes:
            rows["without_event"] = {"code table": rows["rows"]}
    return accounts


def _count(engine: Engine, table: ir.Table) -> int:
    return engine.to_arrow(table.aggregate(rows=table.count()))["rows"][0].as_py()
