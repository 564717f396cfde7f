"""Flat tables, CSV or Parquet, read through a mapping of their columns (`tables_mapping`)."""

from __future__ import annotations

from pathlib import Path

import ibis
import ibis.expr.types as ir
from ibis import _

from claimscale.artifacts import make_folder
from claimscale.config.sources import FIRST_CONTACT, TablesSource
from claimscale.engine import Engine
from claimscale.errors import BadInput
from claimscale.sources import tables_events, tables_mapping, tables_stays
from claimscale.sources.raw import RawEvents
from claimscale.sources.table_files import check_types, files_of_table, folder_of, no_table, open_table
from claimscale.sources.tables_counts import count_rows
from claimscale.sources.tables_events import MappedTables
from claimscale.sources.tables_mapping import RowFilter, TableMapping


def files_of(source: TablesSource) -> dict[str, list[Path]]:
    """The files of each table that the mapping names: `<table>.csv|parquet`, or all in a folder `<table>`.

    Raises BadInput if the folder or a table is missing, or a table exists as both CSV and Parquet.
    """
    folder = folder_of(source.path)
    found = {name: files_of_table(folder, name) for name in columns_used(tables_mapping.load(source.mapping))}
    for name, files in found.items():
        if not files:
            raise no_table(folder, name)
    return found


def other_inputs(source: TablesSource) -> dict[str, object]:
    """The mapping: the content of the user's file may change."""
    return tables_mapping.load(source.mapping).model_dump(mode="json")


def columns_used(mapping: TableMapping) -> dict[str, list[str]]:
    """The columns of each table that the mapping uses."""
    used: dict[str, list[str]] = {}

    def use(table: str, *columns: str | None) -> None:
        used.setdefault(table, []).extend(
            column for column in dict.fromkeys(columns) if column and column not in used[table]
        )

    def column_of(rows: RowFilter | None) -> str | None:
        return rows.column if rows else None

    people, visits, death = mapping.patients, mapping.visits, mapping.patients.death
    use(people.table, people.patient, people.hospital, *mapping.birth_columns, people.sex.column)
    if (periods := people.period_table) is not None:
        use(periods.table, periods.patient or people.patient, periods.start, periods.end)
    elif isinstance(people.observed, tuple):
        use(people.table, *people.observed)
    if death and people.death_table:
        use(people.death_table, death.patient or people.patient)
    if death:
        use(people.death_table or people.table, death.column, column_of(death.only))
    if visits:
        use(visits.table, visits.patient, visits.visit, visits.hospital, visits.month, visits.start)
        use(visits.table, visits.end, column_of(visits.stay))
    for each in mapping.codes:
        use(each.table, each.patient, each.visit, each.hospital, each.month, each.date, each.value)
        use(each.table, *each.code_columns, column_of(each.suspected), column_of(each.only))
        if each.lookup:
            use(each.lookup.table, each.lookup.by, each.lookup.take)
    return used


def read(source: TablesSource, engine: Engine, scratch: Path) -> RawEvents:
    """All tables as raw events. Raises BadInput for missing or unreadable files and columns."""
    opened = _open(source, engine, scratch)
    mapping = opened.mapping
    if (visits := tables_events.visit_details(opened)) is not None:
        # Evaluated once, because every table of codes joins it.
        engine.write_parquet(visits, scratch / "visits.parquet")
        opened = MappedTables(mapping, opened.tables, engine.read_parquet(scratch / "visits.parquet"))
    events = [tables_events.people(opened), *(tables_events.coded(opened, each) for each in mapping.codes)]
    counts = count_rows(opened, engine)
    if mapping.visits:
        stays = tables_stays.stays(opened)
        events.append(tables_stays.admissions_and_discharges(opened, stays))
        repeated = engine.count(stays.filter(~(_.admits | _.discharges)))
        counts.no_event(mapping.visits.table, "repeated stay", repeated)
    return RawEvents(
        ibis.union(*events),
        counts.tables(),
        patients=opened.patients(),
        events=counts.rows.total(),
        observation=tables_events.observation(opened),
        warnings=dict(counts.warnings),
        anchors=None if source.anchor == FIRST_CONTACT else opened.anchors(_anchor(source)),
    )


def _anchor(source: TablesSource) -> str:
    return source.anchor.strip().lower()


def _open(source: TablesSource, engine: Engine, scratch: Path) -> MappedTables:
    """The tables with the columns that are used. Raises BadInput if one cannot be read or lacks a column."""
    mapping, files = tables_mapping.load(source.mapping), files_of(source)
    make_folder(scratch)
    whole = {
        name: open_table(found, engine, scratch / "utf8" / name, source.encoding)
        for name, found in files.items()
    }
    mapping = mapping.with_columns({name: table.columns for name, table in whole.items()})
    used = columns_used(mapping)
    if source.anchor != FIRST_CONTACT and _anchor(source) not in used[mapping.patients.table]:
        used[mapping.patients.table].append(_anchor(source))
    tables: dict[str, ir.Table] = {}
    for name, table in whole.items():
        missing = [column for column in used[name] if column not in table.columns]
        if missing:
            raise BadInput(
                f"{files[name][0]}: has no column {', '.join(missing)} (source.mapping: {source.mapping})"
            )
        tables[name] = table.select(*used[name])
        check_types(tables[name], files[name][0])
    return MappedTables(mapping, tables)
