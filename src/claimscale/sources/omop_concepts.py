"""The vocabulary tables of an OMOP source: concepts, their relationships and their ancestors."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq
from ibis import _

from claimscale.artifacts import make_folder
from claimscale.codes.systems import SEPARATOR
from claimscale.sources.casting import Expression, text_of
from claimscale.sources.omop_tables import ANCESTOR, CONCEPT, RELATIONSHIP, OmopTables

SYSTEM_OF_VOCABULARY = dict.fromkeys(("ICD10", "ICD10CM", "ICD10GM", "KCD7"), "ICD10")
SYSTEM_OF_VOCABULARY |= {"ICD9CM": "ICD9CM", "ICD9Proc": "ICD9PROC"}

MAPS_TO = "Maps to"
RXNORM_TO_ATC = "RxNorm - ATC"
"""What the relationships of a drug with ATC begin with."""


class Concepts:
    """Questions to the vocabulary tables. Each is one scan, limited to the concepts that are given."""

    def __init__(self, tables: OmopTables, scratch: Path) -> None:
        self._tables = tables
        self._scratch = scratch
        make_folder(scratch)
        vocabulary = text_of(tables.column(CONCEPT, "vocabulary_id"))
        system: Expression = ibis.cases(
            *((vocabulary == name, system) for name, system in SYSTEM_OF_VOCABULARY.items()),
            else_=vocabulary.replace(" ", ""),
        )
        self._concepts = (
            tables[CONCEPT]
            .select(
                concept_id=tables.id(CONCEPT, "concept_id"),
                system=system,
                code=system.concat(SEPARATOR, text_of(tables.column(CONCEPT, "concept_code"))),
                is_valid=tables.text(CONCEPT, "invalid_reason").isnull(),
            )
            .filter(_.code.notnull())
        )

    def has(self, table: str) -> bool:
        return self._tables.has(table)

    def codes(self, ids: Collection[int]) -> dict[int, str]:
        """`SYSTEM//CODE` of each concept that the vocabulary lists, valid or not."""
        listed = self._concepts.semi_join(self._given(ids), [("concept_id", "id")])
        # A concept that is listed twice must not double its events.
        codes = listed.group_by("concept_id").aggregate(code=_.code.min())
        found = self._tables.engine.to_arrow(codes)
        return dict(zip(found["concept_id"].to_pylist(), found["code"].to_pylist(), strict=True))

    def standard_concepts(self, ids: Collection[int]) -> dict[int, set[int]]:
        """The concepts that each concept maps to, by relationships that are valid."""
        maps = self._relationships(MAPS_TO).semi_join(self._given(ids), [("first", "id")])
        return _grouped(self._rows(maps, "first", "second"))

    def sources(self, ids: Collection[int], system: str) -> tuple[dict[int, set[str]], set[int]]:
        """The valid codes of a system that map to each concept and to no other.

        Also returns the concepts to which a code maps that maps to others as well: such a code means several
        concepts together.
        """
        valid = self._concepts.filter(_.system == system, _.is_valid)
        maps = self._relationships(MAPS_TO).inner_join(valid, [("first", "concept_id")])
        targets = maps.group_by("code").aggregate(targets=_.second.nunique()).rename(counted="code")
        wanted = maps.semi_join(self._given(ids), [("second", "id")])
        rows = self._rows(
            wanted.inner_join(targets, [("code", "counted")]).mutate(is_whole=_.targets == 1),
            *("second", "code", "is_whole"),
        )
        whole = _grouped((concept, code) for concept, code, is_whole in rows if is_whole)
        return whole, {concept for concept, _code, is_whole in rows if not is_whole}

    def ancestors(self, ids: Collection[int], system: str) -> dict[int, set[str]]:
        """The valid codes of a system that are ancestors of each concept."""
        table = self._tables[ANCESTOR]
        rows = table.select(
            first=self._tables.id(ANCESTOR, "descendant_concept_id"),
            second=self._tables.id(ANCESTOR, "ancestor_concept_id"),
        )
        return self._codes_of_second(rows, ids, system)

    def related(self, ids: Collection[int], system: str, relationship: str) -> dict[int, set[str]]:
        """The valid codes of a system to which a relationship of that name (or beginning) leads."""
        return self._codes_of_second(self._relationships(relationship), ids, system)

    def _codes_of_second(self, rows: ir.Table, ids: Collection[int], system: str) -> dict[int, set[str]]:
        valid = self._concepts.filter(_.system == system, _.is_valid)
        wanted = rows.semi_join(self._given(ids), [("first", "id")])
        return _grouped(self._rows(wanted.inner_join(valid, [("second", "concept_id")]), "first", "code"))

    def _relationships(self, name: str) -> ir.Table:
        """`first` and `second` of the valid relationships of that name (or beginning)."""
        table = self._tables[RELATIONSHIP]
        rows = table.select(
            first=self._tables.id(RELATIONSHIP, "concept_id_1"),
            second=self._tables.id(RELATIONSHIP, "concept_id_2"),
            kind=text_of(self._tables.column(RELATIONSHIP, "relationship_id")),
            invalid=self._tables.text(RELATIONSHIP, "invalid_reason"),
        )
        is_wanted = _.kind == name if name == MAPS_TO else _.kind.startswith(name)
        return rows.filter(is_wanted, _.invalid.isnull()).select("first", "second")

    def _rows(self, table: ir.Table, *columns: str) -> list[tuple]:
        found = self._tables.engine.to_arrow(table.select(*columns).distinct())
        return list(zip(*(found[name].to_pylist() for name in columns), strict=True))

    def _given(self, ids: Collection[int]) -> ir.Table:
        """`id`: the given concepts, as a table of the engine."""
        file = self._scratch / f"concepts_{len(list(self._scratch.glob('concepts_*')))}.parquet"
        pq.write_table(pa.table({"id": pa.array(sorted(ids), pa.int64())}), file)
        return self._tables.engine.read_parquet([file])


def _grouped(rows: Iterable[tuple[int, Any]]) -> dict[int, set[Any]]:
    grouped: defaultdict[int, set[Any]] = defaultdict(set)
    for first, second in rows:
        grouped[first].add(second)
    return dict(grouped)
