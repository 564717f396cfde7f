"""Flat tables, CSV or Parquet, read through a mapping of their columns (`tables_mapping`)."""

from __future__ import annotations

import functools
import operator
from pathlib import Path
from typing import Any

import ibis
from ibis import _

from claimscale.artifacts import make_folder
from claimscale.config.sources import TablesSource
from claimscale.engine import Engine
from claimscale.errors import BadInput
from claimscale.sources import tables_events, tables_mapping
from claimscale.sources.raw import RawEvents, RowCounts
from claimscale.sources.table_files import files_of_table, folder_of, no_table, open_table
from claimscale.sources.tables_events import MappedTables, is_selected
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


def other_inputs(source: TablesSource) -> dict[str, Any]:
    """The mapping: the content of the user's file may change."""
    return tables_mapping.load(source.mapping).model_dump(mode="json")


def columns_used(mapping: TableMapping) -> dict[str, list[str]]:
    """The columns of each table that the mapping uses."""
    used: dict[str, list[str]] = {}

    def use(table: str, *columns: str | None) -> None:
        used.setdefault(table, []).extend(
            column for column in columns if column and column not in used[table]
        )

    def column_of(rows: RowFilter | None) -> str | None:
        return rows.column if rows else None

    people, visits, death = mapping.patients, mapping.visits, mapping.patients.death
    use(people.table, people.patient, people.hospital, people.birth, people.sex.column)
    use(people.table, *(people.observed or ()))
    if death:
        use(people.table, death.column, column_of(death.only))
    if visits:
        use(visits.table, visits.patient, visits.visit, visits.hospital, visits.month, visits.start)
        use(visits.table, visits.end, visits.stay.column)
    for each in mapping.codes:
        use(each.table, each.patient, each.visit, each.hospital, each.month, each.date, each.code, each.value)
        use(each.table, column_of(each.suspected), column_of(each.only))
        if each.lookup:
            use(each.lookup.table, each.lookup.by, each.lookup.take)
    return used


def read(source: TablesSource, engine: Engine, scratch: Path) -> RawEvents:
    """All tables as raw events. Raises BadInput for missing or unreadable files and columns."""
    mapping = tables_mapping.load(source.mapping)
    used = columns_used(mapping)
    make_folder(scratch)
    tables = {}
    for name, files in files_of(source).items():
        table = open_table(files, engine, scratch / "utf8" / name, source.encoding)
        missing = [column for column in used[name] if column not in table.columns]
        if missing:
            raise BadInput(
                f"{files[0]}: has no column {', '.join(missing)} (source.mapping: {source.mapping})"
            )
        tables[name] = table.select(*used[name])
    opened = MappedTables(mapping, tables)
    if (visits := tables_events.visit_details(opened)) is not None:
        # Evaluated once, because every table of codes joins it.
        engine.write_parquet(visits, scratch / "visits.parquet")
        opened = MappedTables(mapping, tables, engine.read_parquet(scratch / "visits.parquet"))
    events = [tables_events.people(opened), *(tables_events.coded(opened, each) for each in mapping.codes)]
    counts = _count_rows(opened, engine)
    if mapping.visits:
        stays = tables_events.stays(opened)
        events.append(tables_events.admissions_and_discharges(opened, stays))
        repeated = engine.count(stays.filter(~(_.admits | _.discharges)))
        counts.no_event(mapping.visits.table, "repeated stay", repeated)
    return RawEvents(
        ibis.union(*events),
        counts.tables(),
        patients=opened.patients(),
        events=counts.rows.total(),
        observation=tables_events.observation(opened),
    )


def _count_rows(opened: MappedTables, engine: Engine) -> RowCounts:
    """Rows of each table, and why some of them make no event."""
    mapping, counts = opened.mapping, RowCounts()
    for name, table in opened.tables.items():
        counts.rows[name] = engine.count(table)
        filters = [each.only for each in mapping.codes if each.table == name]
        selected = [is_selected(table, only) for only in filters if only is not None]
        if mapping.visits is not None and name == mapping.visits.table:
            others = engine.count(table.filter(~is_selected(table, mapping.visits.stay)))
            counts.no_event(name, "not an inpatient stay", others)
        elif filters and len(selected) == len(filters):
            others = engine.count(table.filter(~functools.reduce(operator.or_, selected)))
            counts.no_event(name, "not selected by `only`", others)
        elif not filters and name != mapping.patients.table:
            counts.no_event(name, "reference table", counts.rows[name])
    return counts
