"""Raw events that are made row by row, written to Parquet in parts so that they need not fit in memory."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
from ibis import _

from claimscale.artifacts import make_folder
from claimscale.codes.systems import DEATH, SEX_PREFIX
from claimscale.engine import Engine
from claimscale.sources.casting import Expression
from claimscale.sources.raw import RawEvents, RowCounts, raw_events

PART_ROWS = 500_000


class RawRow(NamedTuple):
    """One raw event; the columns of SCHEMA."""

    patient: str | None
    time: dt.date | None
    code: str | None
    hospital_id: str | None
    visit_id: str | None
    available_at: dt.date | None
    suspected: bool
    source_table: str
    issue: str | None


TYPES = {"time": pa.date32(), "available_at": pa.date32(), "suspected": pa.bool_()}
SCHEMA = pa.schema([(name, TYPES.get(name, pa.string())) for name in RawRow._fields])


@dataclass
class RowWriter:
    """Collects rows, and counts the lines that they are made from.

    *Facts* are rows that lines and files repeat (birth, sex, ends of stays). Each is kept once, with its
    earliest availability. Of several sexes of a patient, the one in most files counts.
    """

    folder: Path
    counts: RowCounts = field(default_factory=RowCounts)
    _rows: list[RawRow] = field(default_factory=list)
    _facts: list[RawRow] = field(default_factory=list)
    _facts_of_file: set[RawRow] = field(default_factory=set)
    _written: int = 0

    def add(self, row: RawRow) -> None:
        self._rows.append(row)
        if len(self._rows) >= PART_ROWS:
            self._write("rows", self._rows)

    def add_fact(self, row: RawRow) -> None:
        self._facts_of_file.add(row)

    def end_file(self) -> None:
        """Facts are deduplicated in memory within a file only, which bounds the memory."""
        self._facts += sorted(self._facts_of_file, key=lambda row: repr(tuple(row)))
        self._facts_of_file.clear()
        if len(self._facts) >= PART_ROWS:
            self._write("facts", self._facts)

    def finish(self, engine: Engine) -> RawEvents:
        """All rows and facts as raw events."""
        self.end_file()
        self._write("rows", self._rows)
        self._write("facts", self._facts)
        facts = _rank_facts(engine.read_parquet(self.folder / "facts-*.parquet"))
        # Only Form 1 has lines that hold facts alone. Sex shares the line of the birth, death that of the
        # discharge: they are not counted again.
        repeated = facts.filter(_.rank > 0, ~_.is_sex, _.code != DEATH, _.source_table == "FF1")
        if lines := engine.count(repeated):
            self.counts.no_event("FF1", "repeated", lines)
        first = facts.filter(_.rank == 0).select(*SCHEMA.names)
        table = engine.read_parquet(self.folder / "rows-*.parquet").select(*SCHEMA.names).union(first)
        details = {name: table[name] for name in SCHEMA.names if name != "patient"}
        return RawEvents(
            raw_events(table, **details), self.counts.tables(), warnings=dict(self.counts.warnings)
        )

    def _write(self, name: str, rows: list[RawRow]) -> None:
        make_folder(self.folder)
        columns = list(zip(*rows, strict=True)) or [()] * len(SCHEMA)
        arrays = [pa.array(values, kind.type) for values, kind in zip(columns, SCHEMA, strict=True)]
        table = pa.Table.from_arrays(arrays, schema=SCHEMA)
        pq.write_table(table, self.folder / f"{name}-{self._written:06d}.parquet", compression="lz4")
        self._written += 1
        rows.clear()


def _rank_facts(facts: Expression) -> Expression:
    """The facts with `rank`, 0 for the first of equal facts, and an issue for sexes of a minority.

    A known sex counts before an unknown one. Validation quarantines both sexes of a tie.
    """
    same = ["patient", "time", "code", "hospital_id", "visit_id", "suspected", "issue"]
    earliest = ibis.window(group_by=same, order_by=["available_at", "source_table"])
    code: Expression = facts.code
    votes = facts.count().over(ibis.window(group_by=["patient", "code"]))
    is_known: Expression = code.isin([SEX_PREFIX + "F", SEX_PREFIX + "M"]) & facts.patient.notnull()
    facts = facts.mutate(
        rank=ibis.row_number().over(earliest),
        is_sex=code.startswith(SEX_PREFIX),
        votes=is_known.ifelse(votes, ibis.literal(0, "int64")),
    )
    most = facts.votes.max().over(ibis.window(group_by="patient"))
    conflict = (facts.is_sex & (facts.votes < most)).ifelse("conflicting sex", ibis.null("string"))
    return facts.mutate(issue=ibis.coalesce(facts.issue, conflict))
