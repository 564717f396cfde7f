"""The codes of clinical rows of an OMOP source, by its vocabulary.

A code is decided once per pair of standard and source concept that occurs, not once per row. So a vocabulary
of millions of concepts is scanned once, and clinical rows are joined with the pairs that occur.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import ibis
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq
from ibis import _

from claimscale.errors import BadInput
from claimscale.sources.casting import Expression
from claimscale.sources.issues import UNLISTED_CONCEPT
from claimscale.sources.omop_concepts import Concepts
from claimscale.sources.omop_tables import CONCEPT, DOMAINS, OmopDomain, OmopTables
from claimscale.sources.omop_translation import Translator


class Pair(NamedTuple):
    """What a row of a clinical table says of its code; a concept of 0 is none."""

    table: str
    standard: int
    own: int
    has_value: bool


PAIRS = pa.schema(
    [
        ("source_table", pa.string()),
        ("pair_standard", pa.int64()),
        ("pair_own", pa.int64()),
        ("named", pa.string()),
        ("is_unlisted", pa.bool_()),
    ]
)
"""`named`: the code, null if the vocabulary has none. `is_unlisted`: a concept is given, but has no code."""


@dataclass(frozen=True)
class PairCodes:
    """The codes of all pairs (PAIRS), rows by clinical table, and rows by what is unusual in their codes."""

    table: ir.Table
    rows: Mapping[str, int]
    warnings: Mapping[str, int]

    def join(self, rows: ir.Table, domain: OmopDomain) -> ir.Table:
        """The rows of a clinical table with `named` and `is_unlisted`, given `standard` and `own`."""
        pairs = self.table.filter(_.source_table == domain.table).drop("source_table")
        return rows.left_join(pairs, [("standard", "pair_standard"), ("own", "pair_own")])


def pair_of(tables: OmopTables, domain: OmopDomain) -> dict[str, Expression]:
    """`standard` and `own`: the standard and the source concept of a row, 0 for none."""
    own = tables.id(domain.table, f"{domain.stem}_source_concept_id", optional=True)
    standard = tables.id(domain.table, f"{domain.stem}_concept_id")
    return {"standard": standard.fill_null(0), "own": own.fill_null(0)}


def pair_codes(tables: OmopTables, scratch: Path) -> PairCodes | None:
    """The codes of the pairs that occur; None without a vocabulary.

    Raises BadInput if a vocabulary table lacks a column, or is missing for a translation.
    """
    if not tables.has(CONCEPT):
        if tables.translate_to:
            system = tables.translate_to[0]
            raise BadInput(f"source.translate_to: {system} needs table {CONCEPT} of the vocabulary")
        return None
    usage, rows = _usage(tables), Counter[str]()
    for pair, count in usage.items():
        rows[pair.table] += count
    ids = {id for pair in usage for id in (pair.standard, pair.own)} - {0}
    concepts = Concepts(tables, scratch / "vocabulary")
    codes = concepts.codes(ids)
    translator = Translator(concepts, tables.translate_to, ids)
    warnings = Counter[str]()
    decided: dict[tuple[str, int, int], tuple[str | None, bool]] = {}
    for pair, count in sorted(usage.items()):
        considered = (pair.standard,) if tables.codes == "standard" else (pair.own, pair.standard)
        code = next((codes[id] for id in considered if id in codes), None)
        said = [_unlisted(pair, considered, codes)]
        if code is not None:
            code, remark = translator.translate(pair.table, code, (pair.standard, *considered))
            said.append(remark)
        warnings.update({f"{pair.table}: {remark}": count for remark in said if remark})
        decided[pair[:3]] = (code, code is None and any(considered))
    columns = zip(*((*pair, *outcome) for pair, outcome in decided.items()), strict=True)
    table = pa.table(list(columns) or [[] for _name in PAIRS], schema=PAIRS)
    pq.write_table(table, scratch / "vocabulary" / "pairs.parquet")
    return PairCodes(tables.engine.read_parquet([scratch / "vocabulary" / "pairs.parquet"]), rows, warnings)


def _unlisted(pair: Pair, considered: tuple[int, ...], codes: Mapping[int, str]) -> str | None:
    """What takes the place of a concept that the vocabulary lacks."""
    wanted = next((id for id in considered if id), None)
    if wanted is None or wanted in codes:
        return None
    if any(id in codes for id in considered):
        return f"source {UNLISTED_CONCEPT}, standard concept used"
    return f"{UNLISTED_CONCEPT}, source value used" if pair.has_value else None


def _usage(tables: OmopTables) -> dict[Pair, int]:
    """Rows by what they say of their code."""
    parts: list[ir.Table] = []
    for domain in DOMAINS:
        if tables.has(domain.table):
            value = tables.text(domain.table, f"{domain.stem}_source_value")
            has_value = ibis.literal(False) if tables.codes == "standard" else value.notnull()
            rows = tables[domain.table].select(
                table=ibis.literal(domain.table), **pair_of(tables, domain), has_value=has_value
            )
            parts.append(rows.group_by(list(Pair._fields)).aggregate(rows=_.count()))
    if not parts:
        return {}
    found = tables.engine.to_arrow(ibis.union(*parts))
    keys = zip(*(found[name].to_pylist() for name in Pair._fields), strict=True)
    return dict(zip(map(Pair._make, keys), found["rows"].to_pylist(), strict=True))
