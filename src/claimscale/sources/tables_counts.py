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
    """Values that a part of the mapping looks for in a column.

    Attributes:
        values: these values.
        others: values that other parts of the mapping look for in it, or that rightly match nothing.
        meaning: what all other values are taken for.
        is_list: whether other values are unexpected even where some of `values` occur.
    """

    column: str
    values: tuple[str, ...]
    others: tuple[str, ...]
    meaning: str
    is_list: bool = False

    def matched(self, table: ir.Table) -> Expression:
        """Rows with one of the values."""
        return ibis.coalesce(self._among(table, self.values), False)

    def unknown(self, table: ir.Table) -> Expression:
        """Rows with a value that no part of the mapping looks for."""
        return ibis.coalesce(~self._among(table, self.values + self.others), False)

    def _among(self, table: ir.Table, values: tuple[str, ...]) -> Expression:
        return text_of(table[self.column]).lower().isin([value.lower() for value in values])


def count_rows(opened: MappedTables, engine: Engine) -> RowCounts:
    """Rows of each table, why some of them make no event, and warnings. Each table is read once."""
    counts = RowCounts()
    for name, table in opened.tables.items():
        reasons, values = dict(_without_event(opened, name)), list(_mapped_values(opened, name))
        wanted = {f"reason_{place}": each for place, each in enumerate(reasons.values())}
        wanted |= {f"unknown_{place}": each.unknown(table) for place, each in enumerate(values)}
        wanted |= {f"matched_{place}": each.matched(table) for place, each in enumerate(values)}
        sums = {column: rows.sum() for column, rows in wanted.items()}
        (found,) = engine.to_arrow(table.aggregate(rows=table.count(), **sums)).to_pylist()
        counts.rows[name] = found["rows"]
        for place, reason in enumerate(reasons):
            counts.no_event(name, reason, found[f"reason_{place}"] or 0)
        if not _is_read(opened, name):
            periods = opened.mapping.patients.period_table
            is_period = periods is not None and periods.table == name
            counts.no_event(name, "observation period" if is_period else "reference table", found["rows"])
        for place, each in enumerate(values):
            unknown = found[f"unknown_{place}"] or 0
            if unknown and (each.is_list or not found[f"matched_{place}"]):
                counts.warnings[_warning(name, table, each, engine)] = unknown
    return counts


def _is_read(opened: MappedTables, name: str) -> bool:
    mapping = opened.mapping
    visits = mapping.visits.table if mapping.visits else None
    people = {mapping.patients.table, mapping.patients.death_table}
    return name in {*people, visits, *(each.table for each in mapping.codes)}


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
    """What the mapping looks for in the columns of the table."""
    mapping = opened.mapping
    people, visits = mapping.patients, mapping.visits
    filters: list[tuple[RowFilter | None, str, tuple[str, ...]]] = []
    if name == people.table:
        sexes = (*people.sex.male, *people.sex.female)
        yield MappedValues(people.sex.column, sexes, (), "neither male nor female", is_list=True)
    if name == (people.death_table or people.table):
        filters.append((people.death.only if people.death else None, "no death", NEGATIVES))
    if visits is not None and name == visits.table:
        filters.append((visits.stay, "no stay", ()))
    for each in mapping.codes:
        if each.table == name:
            filters += [(each.suspected, "not suspected", NEGATIVES), (each.only, "not read", ())]
    for rows, meaning, negatives in filters:
        if rows is not None:
            same = [one for one, *_ in filters if one is not None and one.column == rows.column]
            others = tuple(value for one in same for value in one.values)
            yield MappedValues(rows.column, tuple(rows.values), others + negatives, meaning)


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
