"""What every source hands over: events that nobody has checked yet, and an account of the rows read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

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
    "origin": EVENT_SCHEMA["code"],
    "fault": EVENT_SCHEMA["code"],
}
"""The columns of raw events beside `patient`."""


@dataclass(frozen=True)
class Crosswalk:
    """Codes of system `of` become others: whole code to whole code, each in its one spelling."""

    of: str
    targets: Mapping[str, str]


@dataclass(frozen=True)
class RawEvents:
    """The events of a source, before the gate.

    Attributes:
        table: `patient`, the source's own id of the patient (an int64 is the subject id, strings are
            numbered), the event columns, `origin`, the file kind or table that a row comes from, and `fault`,
            what the reader found wrong with the row (a name of `faults.FAULTS`), else null. Any value may be
            null, rows may be wrong or repeated.
        rows: the rows of each origin, `{"rows": read}`, and for those that make no event
            `"without_event": {reason: rows}`.
        patients: `patient` of everybody whom the source lists, perhaps repeatedly; others are unknown. None
            if it has no such list.
        events: about how many rows the table has, if that is cheaply known.
        observation: `patient`, `start`, `end` (timestamps, the last day included): when a patient could be
            seen, as the source says; several rows per patient are joined. None if the source does not say.
        warnings: what a user should know but what stops nothing: name to number of cases.
        crosswalks: what the gate makes of codes, one after the other, once they are in their one spelling.
    """

    table: ir.Table
    rows: dict[str, dict] = field(default_factory=dict)
    patients: ir.Table | None = None
    events: int | None = None
    observation: ir.Table | None = None
    warnings: dict[str, int] = field(default_factory=dict)
    crosswalks: tuple[Crosswalk, ...] = ()


def raw_events(table: ir.Table, **columns: ir.Value | Deferred | str) -> ir.Table:
    """The columns of raw events from a table with `patient`; those not given are empty, `suspected` false.

    A text stands for itself. Without `available_at` an event is known when it happens.
    """
    given: dict[str, Any] = {"suspected": ibis.literal(False)}
    given |= {"available_at": columns["time"]} if "time" in columns else {}
    given |= {
        name: ibis.literal(value) if isinstance(value, str) else value for name, value in columns.items()
    }
    return table.select(
        "patient", **{name: given.get(name, ibis.null(kind)).cast(kind) for name, kind in DETAILS.items()}
    )
