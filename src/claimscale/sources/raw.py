"""What every source returns: raw events, which are not yet validated, and counts of the rows it has read."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NotRequired, TypedDict

import ibis
import ibis.expr.types as ir
from ibis import Deferred

EVENT_SCHEMA = ibis.schema(
    {
        "subject_id": "int64",
        "time": "timestamp(6)",
        "code": "string",
        "numeric_value": "float32",
        "hospital_id": "string",
        "visit_id": "string",
        "available_at": "timestamp(6)",
        "suspected": "boolean",
    }
)
"""The columns of events. `available_at`: when an event could have been known. Times are local."""

DETAILS = {name: kind for name, kind in EVENT_SCHEMA.items() if name != "subject_id"} | {
    "source_table": EVENT_SCHEMA["code"],
    "issue": EVENT_SCHEMA["code"],
}
"""The columns of raw events except `patient`."""


class TableRows(TypedDict):
    """Rows of a source table, and how many of them make no event, by reason."""

    rows: int
    without_event: NotRequired[dict[str, int]]


@dataclass
class RowCounts:
    """Rows by source table, rows that make no event by table and reason, and warnings."""

    rows: Counter[str] = field(default_factory=Counter)
    without_event: dict[str, Counter[str]] = field(default_factory=partial(defaultdict, Counter))
    warnings: Counter[str] = field(default_factory=Counter)

    def no_event(self, table: str, reason: str, rows: int = 1) -> None:
        self.without_event[table][reason] += rows

    def add(self, other: RowCounts) -> None:
        self.rows += other.rows
        self.warnings += other.warnings
        for table, reasons in other.without_event.items():
            self.without_event[table] += reasons

    def tables(self) -> dict[str, TableRows]:
        return {
            table: {"rows": rows, "without_event": dict(self.without_event.get(table, {}))}
            for table, rows in sorted(self.rows.items())
        }


@dataclass(frozen=True)
class Crosswalk:
    """Codes of a system and the codes that replace them: whole code to whole code, in canonical form."""

    system: str
    targets: Mapping[str, str]


@dataclass(frozen=True)
class RawEvents:
    """The events of a source before validation.

    Attributes:
        table: `patient`, the source's own id of the patient (int64 ids are the subject ids, text ids are
            numbered); the event columns; `source_table`, the table or file kind of the row; and `issue`, what
            the reader found wrong with the row (a key of `issues.ISSUES`), else null. Any value may be null,
            rows may be wrong or repeated.
        rows: the rows of each source table.
        patients: `patient` of everybody whom the source lists, possibly repeated; other patients are unknown.
            None if the source has no such list.
        events: about how many rows `table` has, if that is cheap to know.
        observation: `patient`, `start`, `end` (timestamps, the last day included): observation periods that
            the source states, several rows per patient possible. None if it states none.
        warnings: what a user should know but what stops nothing: name to number of cases.
        crosswalks: applied in turn to the canonical codes.
        anchors: `patient`, `anchor` (a timestamp), possibly repeated: the column that anchors shifted dates.
            None if the first contact does, or dates are not shifted.
        shifted: whether times count from the anchor of each patient, so that no calendar is common to them.
    """

    table: ir.Table
    rows: dict[str, TableRows] = field(default_factory=dict)
    patients: ir.Table | None = None
    events: int | None = None
    observation: ir.Table | None = None
    warnings: dict[str, int] = field(default_factory=dict)
    crosswalks: tuple[Crosswalk, ...] = ()
    anchors: ir.Table | None = None
    shifted: bool = False


def raw_events(table: ir.Table, **columns: ir.Value | Deferred | str) -> ir.Table:
    """The columns of raw events from a table with `patient`. Columns that are not given are null.

    A text is a constant. `available_at` is `time` unless given, `suspected` is false unless given.
    """
    given: dict[str, Any] = {"suspected": ibis.literal(False)}
    given |= {"available_at": columns["time"]} if "time" in columns else {}
    given |= {
        name: ibis.literal(value) if isinstance(value, str) else value for name, value in columns.items()
    }
    return table.select(
        "patient", **{name: given.get(name, ibis.null(kind)).cast(kind) for name, kind in DETAILS.items()}
    )
