"""The vocabulary: a token for each code that enough training patients have before the landmark.

A token is a pair of code and type after roll-up, so a suspected diagnosis is a token of its own. A code that
has no token takes that of its longest ancestor with one: ICD10//E1165 may become ICD10//E11.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import ibis
import ibis.expr.types as ir
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from ibis import _

from claimscale.codes.systems import (
    TYPES,
    Depth,
    ancestors,
    check_depths,
    full_prefixes,
    merges_longer,
    roll_up,
    type_of,
)
from claimscale.cohort.selection import TRAIN
from claimscale.config.study import Study
from claimscale.constants import SEXES
from claimscale.engine import Engine
from claimscale.errors import BadInput
from claimscale.tokens.special_tokens import FIRST_SEX, SPECIAL_CODES

CODE_MAP_SCHEMA = pa.schema(
    [("code", pa.string()), ("suspected", pa.bool_()), ("rolled_code", pa.string()), ("type", pa.string())]
)


@dataclass(frozen=True)
class Vocabulary:
    """All tokens; a token's id is its position. Special tokens come first, then codes from the most common.

    Attributes:
        codes: code of each token, `SYSTEM//CODE`, or the name of a special token.
        types: int8 [size], index into `systems.TYPES`.
        patients: int64 [size], training patients with the code before the landmark; 0 for special tokens.
        events: int64 [size], their events with the code.
        merged: bool [size], whether longer codes have the token, by roll-up or because they are too rare.
    """

    codes: list[str]
    types: npt.NDArray[np.int8]
    patients: npt.NDArray[np.int64]
    events: npt.NDArray[np.int64]
    merged: npt.NDArray[np.bool_]

    @property
    def size(self) -> int:
        return len(self.codes)

    def tokens_with_prefix(self, prefixes: Mapping[str, Sequence[str]]) -> npt.NDArray[np.int32]:
        """Ids of all tokens of a code under the prefixes per system, with suspected ones.

        A merged token counts if one of its codes may be under a prefix: `Z99` for `Z992`.
        """
        wanted = full_prefixes(prefixes)
        ids = [
            token
            for token, (code, merged) in enumerate(zip(self.codes, self.merged, strict=True))
            if code.startswith(wanted) or (merged and any(prefix.startswith(code) for prefix in wanted))
        ]
        return np.array(ids, dtype=np.int32)

    def save(self, file: Path) -> None:
        table = pa.table(
            {
                "token": pa.array(range(self.size), pa.int32()),
                "code": self.codes,
                "type": [TYPES[kind] for kind in self.types],
                "patients": self.patients,
                "events": self.events,
                "merged": self.merged,
            }
        )
        pq.write_table(table, file, write_page_checksum=True)

    @classmethod
    def load(cls, file: Path) -> Vocabulary:
        table = pq.read_table(file)
        return cls(
            codes=table["code"].to_pylist(),
            types=np.array([TYPES.index(kind) for kind in table["type"].to_pylist()], dtype=np.int8),
            patients=table["patients"].to_numpy(),
            events=table["events"].to_numpy(),
            merged=table["merged"].to_numpy(),
        )


@dataclass(frozen=True)
class TokenLookup:
    """The token of each (code, suspected); `of_ancestor` has those whose token is an ancestor's.

    Codes that are not in `token` have none.
    """

    token: dict[tuple[str, bool], int]
    of_ancestor: frozenset[tuple[str, bool]]

    @classmethod
    def of(cls, vocabulary: Vocabulary, mapping: pa.Table) -> TokenLookup:
        """The lookup of the codes in `mapping`, a result of `code_map`."""
        ids = {
            (code, TYPES[kind]): token
            for token, (code, kind) in enumerate(zip(vocabulary.codes, vocabulary.types, strict=True))
        }
        forms, found, of_ancestor = known_forms(mapping, ids), {}, set()
        for row in mapping.to_pylist():
            rolled, key = (row["rolled_code"], row["type"]), (row["code"], row["suspected"])
            if rolled in forms:
                found[key] = ids[forms[rolled], row["type"]]
                if forms[rolled] != rolled[0]:
                    of_ancestor.add(key)
        return cls(found, frozenset(of_ancestor))


def known_forms(mapping: pa.Table, known: Container[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """For each (rolled-up code, type) of the mapping: the code or its longest ancestor that is `known`."""
    pairs = set(zip(mapping["rolled_code"].to_pylist(), mapping["type"].to_pylist(), strict=True))
    return {
        (code, kind): form
        for code, kind in pairs
        if (form := next((one for one in (code, *ancestors(code)) if (one, kind) in known), None))
    }


def code_map(events: ir.Table, engine: Engine, rollup: Mapping[str, Depth]) -> pa.Table:
    """The rolled-up code and type of each (code, suspected) of the events, with CODE_MAP_SCHEMA.

    Demographics are left out. Raises BadInput for a roll-up that no code system has.
    """
    distinct = events.filter(~_.demographic).select("code", "suspected").distinct()
    return map_codes(engine.to_arrow(distinct.order_by("code", "suspected")), rollup)


def map_codes(pairs: pa.Table, rollup: Mapping[str, Depth]) -> pa.Table:
    """As `code_map`, of distinct pairs of `code` and `suspected`."""
    check_depths(rollup)
    codes = pairs["code"].to_pylist()
    suspected = pairs["suspected"].to_pylist()
    kinds = [type_of(code, flag) for code, flag in zip(codes, suspected, strict=True)]
    rolled = [roll_up(code, rollup) for code in codes]
    return pa.table([pairs["code"], pairs["suspected"], rolled, kinds], schema=CODE_MAP_SCHEMA)


def build_vocabulary(
    events: ir.Table, cohort: pa.Table, mapping: pa.Table, landmark: int, study: Study, engine: Engine
) -> Vocabulary:
    """The vocabulary of training patients and of events known before the landmark (day number).

    `cohort` has subject_id, split and sex; `mapping` is the result of `code_map`. Raises BadInput if no code
    is common enough.
    """
    training = cohort.filter(pa.array(split == TRAIN for split in cohort["split"].to_pylist()))
    known = events.filter(_.available_day < landmark, ~_.demographic)
    known = known.semi_join(ibis.memtable(training.select(["subject_id"])), "subject_id")
    tokens = known.inner_join(ibis.memtable(mapping), ["code", "suspected"])
    counts = tokens.group_by("rolled_code", "type").aggregate(
        patients=_.subject_id.nunique(), events=_.count()
    )
    min_patients = study.tokens.min_patients
    common = counts.filter(_.patients >= min_patients)
    common = common.order_by(ibis.desc("patients"), "rolled_code", "type")
    table = engine.to_arrow(common)
    if len(table) == 0:
        raise BadInput(f"tokens.min_patients: no code occurs in {min_patients} of {len(training):,} patients")
    own = set(zip(table["rolled_code"].to_pylist(), table["type"].to_pylist(), strict=True))
    with_longer = {form for (code, _kind), form in known_forms(mapping, own).items() if form != code}
    codes = [*SPECIAL_CODES, *table["rolled_code"].to_pylist()]
    kinds = ["special"] * FIRST_SEX + ["sex"] * len(SEXES) + table["type"].to_pylist()
    sexes = training["sex"].to_pylist()
    head = [0] * FIRST_SEX + [sexes.count(sex) for sex in SEXES]
    return Vocabulary(
        codes=codes,
        types=np.array([TYPES.index(kind) for kind in kinds], dtype=np.int8),
        patients=np.array([*head, *table["patients"].to_pylist()]),
        events=np.array([*head, *table["events"].to_pylist()]),
        merged=np.array([code in with_longer or merges_longer(code, study.tokens.rollup) for code in codes]),
    )
