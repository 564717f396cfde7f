"""Flat tables, CSV or Parquet, through a mapping that says what their columns mean (`tables_mapping`)."""

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
from claimscale.sources import csv_checks as text, tables_events, tables_mapping
from claimscale.sources.raw import RawEvents
from claimscale.sources.tables_mapping import Mapping

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


def depends_on(source: TablesSource) -> dict[str, Any]:
    """The mapping: a file of the user's may say something else tomorrow."""
    return tables_mapping.load(source.mapping).model_dump(mode="json")


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
    ask(
        people.table,
        people.patient,
        people.hospital,
        people.birth,
        people.sex.column,
        *(people.observed or ()),
    )
    if people.death:
        ask(people.table, people.death.column, people.death.only.column if people.death.only else None)
    if visits:
        ask(visits.table, visits.patient, visits.visit, visits.hospital, visits.month, visits.start)
        ask(visits.table, visits.end, visits.stay.column)
    for each in mapping.codes:
        ask(each.table, each.patient, each.visit, each.hospital, each.month, each.date, each.code, each.value)
        ask(each.table, *(flag.column for flag in (each.suspected, each.only) if flag))
        if each.lookup:
            ask(each.lookup.table, each.lookup.by, each.lookup.take)
    return used


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
    opened = tables_events.Tables(mapping, tables)
    if (visits := tables_events.told_by_visits(opened)) is not None:
        # Worked out once: every table of codes looks its visits up.
        engine.write_parquet(visits, scratch / "visits.parquet")
        opened = tables_events.Tables(mapping, tables, engine.read_parquet(scratch / "visits.parquet"))
    parts = [tables_events.people(opened), *(tables_events.coded(opened, each) for each in mapping.codes)]
    rows = _account(opened, engine)
    if mapping.visits:
        stays = tables_events.stays(opened)
        parts.append(tables_events.ends_of_stays(opened, stays))
        without = rows[mapping.visits.table].setdefault("without_event", {})
        without["stay told before"] = engine.count(stays.filter(~(_.admits | _.discharges)))
    return RawEvents(
        ibis.union(*parts),
        rows,
        patients=opened.patients(),
        events=sum(account["rows"] for account in rows.values()),
        observation=tables_events.observation(opened),
    )


def _account(opened: tables_events.Tables, engine: Engine) -> dict[str, dict]:
    """Rows of each table, and why some of them make no event."""
    mapping = opened.mapping
    is_flagged = tables_events.is_flagged
    accounts: dict[str, dict] = {}
    for name, table in opened.tables.items():
        rows = accounts[name] = {"rows": engine.count(table)}
        listed = [each.only for each in mapping.codes if each.table == name]
        picks = [is_flagged(table, only) for only in listed if only is not None]
        if mapping.visits is not None and name == mapping.visits.table:
            others = engine.count(table.filter(~is_flagged(table, mapping.visits.stay)))
            rows["without_event"] = {"visit that is no stay": others}
        elif listed and len(picks) == len(listed):
            others = engine.count(table.filter(~functools.reduce(operator.or_, picks)))
            rows["without_event"] = {"picked by no `only`": others}
        elif not listed and name != mapping.patients.table:
            rows["without_event"] = {"code table": rows["rows"]}
    return accounts
