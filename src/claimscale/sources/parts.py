"""Raw events made row by row, written to Parquet in parts so that they need not fit in memory."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from claimscale.engine import Engine
from claimscale.runs import make_folder
from claimscale.sources.raw import RawEvents, raw_events

PART_ROWS = 500_000
COLUMNS = (
    "patient",
    "time",
    "code",
    "hospital_id",
    "visit_id",
    "available_at",
    "suspected",
    "origin",
    "fault",
)
SCHEMA = pa.schema(
    [(name, pa.date32() if name in ("time", "available_at") else pa.string()) for name in COLUMNS]
).set(COLUMNS.index("suspected"), pa.field("suspected", pa.bool_()))

Row = tuple[
    str | None, dt.date | None, str | None, str | None, str | None, dt.date | None, bool, str, str | None
]
"""The values of SCHEMA's columns."""


@dataclass
class Parts:
    """Collects rows, and what becomes of the lines that they are made from.

    `facts` are rows that files tell again and again (birth, sex, death): each is kept once.
    """

    folder: Path
    lines: Counter[str] = field(default_factory=Counter)
    without_event: dict[str, Counter[str]] = field(default_factory=dict)
    warnings: Counter[str] = field(default_factory=Counter)
    _rows: list[Row] = field(default_factory=list)
    _facts: set[Row] = field(default_factory=set)
    _written: int = 0

    def add(self, row: Row) -> None:
        self._rows.append(row)
        if len(self._rows) >= PART_ROWS:
            self._write()

    def add_fact(self, row: Row) -> None:
        self._facts.add(row)

    def silent(self, origin: str, reason: str, lines: int = 1) -> None:
        """Lines that make no event."""
        self.without_event.setdefault(origin, Counter())[reason] += lines

    def finish(self, engine: Engine) -> RawEvents:
        """Everything added, as raw events."""
        self._rows += sorted(self._facts, key=repr)
        self._write()
        table = engine.read_parquet(self.folder / "*.parquet")
        details = {name: table[name] for name in SCHEMA.names if name != "patient"}
        accounts = {
            origin: {"rows": lines, "without_event": dict(self.without_event.get(origin, {}))}
            for origin, lines in sorted(self.lines.items())
        }
        return RawEvents(raw_events(table, **details), accounts, warnings=dict(self.warnings))

    def _write(self) -> None:
        make_folder(self.folder)
        columns = list(zip(*self._rows, strict=True)) or [()] * len(SCHEMA)
        arrays = [pa.array(values, kind.type) for values, kind in zip(columns, SCHEMA, strict=True)]
        table = pa.Table.from_arrays(arrays, schema=SCHEMA)
        pq.write_table(table, self.folder / f"{self._written:06d}.parquet", compression="lz4")
        self._written += 1
        self._rows.clear()
