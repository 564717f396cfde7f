"""Raw events made row by row, written to Parquet in parts so that they need not fit in memory."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
from ibis import _

from claimscale.artifacts import make_folder
from claimscale.codes.systems import DEATH, SEX_PREFIX
from claimscale.engine import Engine
from claimscale.sources.casting import Expression
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

    *Facts* are rows that lines and files tell again and again (birth, sex, ends of stays): each is kept once,
    as it was known first. Of several sexes the one told by more files stands.
    """

    folder: Path
    lines: Counter[str] = field(default_factory=Counter)
    without_event: dict[str, Counter[str]] = field(default_factory=dict)
    warnings: Counter[str] = field(default_factory=Counter)
    _rows: list[Row] = field(default_factory=list)
    _facts: list[Row] = field(default_factory=list)
    _facts_of_file: set[Row] = field(default_factory=set)
    _written: int = 0

    def add(self, row: Row) -> None:
        self._rows.append(row)
        if len(self._rows) >= PART_ROWS:
            self._write("rows", self._rows)

    def add_fact(self, row: Row) -> None:
        self._facts_of_file.add(row)

    def end_file(self) -> None:
        """Facts are remembered for the length of a file, so that memory does not grow with their number."""
        self._facts += sorted(self._facts_of_file, key=repr)
        self._facts_of_file.clear()
        if len(self._facts) >= PART_ROWS:
            self._write("facts", self._facts)

    def silent(self, origin: str, reason: str, lines: int = 1) -> None:
        """Lines that make no event."""
        self.without_event.setdefault(origin, Counter())[reason] += lines

    def finish(self, engine: Engine) -> RawEvents:
        """Everything added, as raw events."""
        self.end_file()
        self._write("rows", self._rows)
        self._write("facts", self._facts)
        facts = _once(engine.read_parquet(self.folder / "facts-*.parquet"))
        for origin, repeats in _repeats(facts, engine).items():
            self.silent(origin, "told before", repeats)
        kept = facts.filter(_.place == 0).select(*SCHEMA.names)
        table = engine.read_parquet(self.folder / "rows-*.parquet").select(*SCHEMA.names).union(kept)
        details = {name: table[name] for name in SCHEMA.names if name != "patient"}
        accounts = {
            origin: {"rows": lines, "without_event": dict(self.without_event.get(origin, {}))}
            for origin, lines in sorted(self.lines.items())
        }
        return RawEvents(raw_events(table, **details), accounts, warnings=dict(self.warnings))

    def _write(self, name: str, rows: list[Row]) -> None:
        make_folder(self.folder)
        columns = list(zip(*rows, strict=True)) or [()] * len(SCHEMA)
        arrays = [pa.array(values, kind.type) for values, kind in zip(columns, SCHEMA, strict=True)]
        table = pa.Table.from_arrays(arrays, schema=SCHEMA)
        pq.write_table(table, self.folder / f"{name}-{self._written:06d}.parquet", compression="lz4")
        self._written += 1
        rows.clear()


def _once(facts: Expression) -> Expression:
    """The facts with `place`, 0 for the first to tell each, and sexes that are outvoted with their fault.

    A known sex stands before an unknown one; in a draw the gate decides for none.
    """
    same = ["patient", "time", "code", "hospital_id", "visit_id", "suspected", "fault"]
    first = ibis.window(group_by=same, order_by=["available_at", "origin"])
    code: Expression = facts.code
    is_sex = code.startswith(SEX_PREFIX)
    told = facts.count().over(ibis.window(group_by=["patient", "code"]))
    is_known: Expression = code.isin([SEX_PREFIX + "F", SEX_PREFIX + "M"]) & facts.patient.notnull()
    facts = facts.mutate(
        place=ibis.row_number().over(first),
        is_sex=is_sex,
        told=is_known.ifelse(told, ibis.literal(0, "int64")),
    )
    most = facts.told.max().over(ibis.window(group_by="patient"))
    lost = (facts.is_sex & (facts.told < most)).ifelse("contradicts another sex", ibis.null("string"))
    return facts.mutate(fault=ibis.coalesce(facts.fault, lost))


def _repeats(facts: Expression, engine: Engine) -> dict[str, int]:
    """Lines of Form 1 that tell nothing new, by origin: acts are events of their own whatever else they tell.

    Sex stands in the line of the birth, death in that of the discharge: they are not counted again.
    """
    again = facts.filter(_.place > 0, ~_.is_sex, _.code != DEATH, _.origin == "FF1")
    return {"FF1": repeats} if (repeats := engine.count(again)) else {}
