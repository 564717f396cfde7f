"""Counts of the rows of flat tables: which make no event and why, and values that the mapping lacks."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator
from dataclasses import dataclass

import ibis
import ibis.expr.types as ir
from ibis import _

from claimscale.engine import Engine
from claimscale.sources.casting import Expression, text_of
from claimscale.sources.raw import RowCounts
from claimscale.sources.tables_events import MappedTables, is_selected
from claimscale.sources.tables_mapping import RowFilter
from claimscale.sources.tables_stays import is_stay

MAX_SHOWN, MAX_LENGTH, MIN_ROWS = 10, 20, 2
"""A value is shown if it is short, in several rows, and one of few: it cannot be a patient's id."""
NEGATIVES = ("0", "false", "f", "no", "n")
"""Values of a flag that rightly match nothing."""


@dataclass(frozen=True)
class MappedValues:
    """A column with the values that the mapping knows. `all`: every value must be one of them."""

    column: str
    known: tuple[str, ...]
    meaning: str
    all: bool = False

    def filled(self, table: ir.Table) -> Expression:
        """Rows with a value."""
        return text_of(table[self.column]).notnull()

    def unknown(self, table: ir.Table) -> Expression:
        """Rows with another value."""
        value = text_of(table[self.column]).lower()
        others: Expression = ~value.isin([each.lower() for each in self.known])
        return ibis.coalesce(others, False)


def count_rows(opened: MappedTables, engine: Engine) -> RowCounts:
    """Rows of each table, why some of them make no event, and warnings. Each table is read once."""
    counts = RowCounts()
    for name, table in opened.tables.items():
        reasons, values = dict(_without_event(opened, name)), list(_mapped_values(opened, name))
        wanted = {f"reason_{place}": each for place, each in enumerate(reasons.values())}
        wanted |= {f"unknown_{place}": each.unknown(table) for place, each in enumerate(values)}
        wanted |= {f"filled_{place}": each.filled(table) for place, each in enumerate(values)}
        sums = {column: rows.sum() for column, rows in wanted.items()}
        (found,) = engine.to_arrow(table.aggregate(rows=table.count(), **sums)).to_pylist()
        counts.rows[name] = found["rows"]
        for place, reason in enumerate(reasons):
            counts.no_event(name, reason, found[f"reason_{place}"] or 0)
        if not _is_read(opened, name):
            counts.no_event(name, "reference table", found["rows"])
        for place, each in enumerate(values):
            unknown = found[f"unknown_{place}"] or 0
            if unknown and (each.all or unknown == found[f"filled_{place}"]):
                counts.warnings[_warning(name, table, each, engine)] += unknown
    return counts


def _is_read(opened: MappedTables, name: str) -> bool:
    mapping = opened.mapping
    visits = mapping.visits.table if mapping.visits else None
    return name in {mapping.patients.table, visits, *(each.table for each in mapping.codes)}


def _without_event(opened: MappedTables, name: str) -> Iterator[tuple[str, Expression]]:
    """The reasons why rows of the table make no event, each with its rows."""
    mapping, table = opened.mapping, opened.tables[name]
    listed = [each for each in mapping.codes if each.table == name]
    if mapping.visits is not None and name == mapping.visits.table and not listed:
        yield "not an inpatient stay", ~is_stay(opened, table)
    filters = [each.only for each in listed if each.only is not None]
    chosen: Expression = ibis.literal(True)
    if filters and len(filters) == len(listed) and name != (mapping.visits and mapping.visits.table):
        chosen = functools.reduce(operator.or_, (is_selected(table, only) for only in filters))
        yield "not selected by `only`", ~chosen
    if listed and mapping.has_empty_cells(listed[0]):
        columns = {column for each in listed for column in each.code_columns}
        empty = functools.reduce(
            operator.and_, (text_of(table[column]).isnull() for column in sorted(columns))
        )
        yield "no code in any column", chosen & empty


def _mapped_values(opened: MappedTables, name: str) -> Iterator[MappedValues]:
    mapping = opened.mapping
    people, visits = mapping.patients, mapping.visits

    def rows(only: RowFilter | None, meaning: str, more: tuple[str, ...] = ()) -> Iterator[MappedValues]:
        if only is not None:
            yield MappedValues(only.column, (*only.values, *more), meaning)

    if name == people.table:
        sexes = (*people.sex.male, *people.sex.female)
        yield MappedValues(people.sex.column, sexes, "neither male nor female", all=True)
        yield from rows(people.death.only if people.death else None, "no death", NEGATIVES)
    if visits is not None and name == visits.table:
        yield from rows(visits.stay, "no stay")
    for each in mapping.codes:
        if each.table == name:
            yield from rows(each.suspected, "not suspected", NEGATIVES)
            yield from rows(each.only, "not read")


def _warning(name: str, table: ir.Table, values: MappedValues, engine: Engine) -> str:
    """The column, what its unknown values are taken for, and the values if they cannot be patients' ids."""
    unknown = table.filter(values.unknown(table)).select(value=text_of(table[values.column]))
    common = unknown.group_by("value").aggregate(rows=_.count())
    found = engine.to_arrow(common.order_by([ibis.desc("rows"), "value"]).limit(MAX_SHOWN + 1)).to_pylist()
    shown = [
        repr(row["value"]) for row in found if row["rows"] >= MIN_ROWS and len(row["value"]) <= MAX_LENGTH
    ]
    listed = ", ".join(shown) if shown and len(found) <= MAX_SHOWN else "values"
    return f"{name}.{values.column}: {listed} taken for {values.meaning}"
