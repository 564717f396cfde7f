"""What every source hands over: events that nobody has checked yet, and an account of the rows read."""

from __future__ import annotations

from dataclasses import dataclass, field

import ibis
import ibis.expr.types as ir

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


@dataclass(frozen=True)
class RawEvents:
    """The events of a source, before the gate.

    Attributes:
        table: the columns of EVENT_SCHEMA; any may be null, rows may be wrong or repeated.
        rows: per file or table of the source, `{"rows": read, "events": made from them}`.
        subjects: `source_id` (string) to `subject_id` (int64), for sources whose ids are no integers.
    """

    table: ir.Table
    rows: dict[str, dict[str, int]] = field(default_factory=dict)
    subjects: ir.Table | None = None
