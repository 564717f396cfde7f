"""A rare code is read as its longest ancestor with a token, and the token then counts as merged."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from claimscale.codes.systems import TYPES
from claimscale.tokens.vocabulary import CODE_MAP_SCHEMA, TokenLookup, Vocabulary, known_forms

CODES = ["ICD10//E11", "ICD10//E116", "ATC//N02B", "NDC//00093"]
KINDS = ["diagnosis", "diagnosis", "drug", "drug"]


def mapping(*codes: tuple[str, str, bool]) -> pa.Table:
    columns = [
        [c for c, _, _ in codes],
        [s for _, _, s in codes],
        [c for c, _, _ in codes],
        [k for _, k, _ in codes],
    ]
    return pa.table(columns, schema=CODE_MAP_SCHEMA)


def test_the_longest_known_ancestor_of_the_same_type_is_taken() -> None:
    vocabulary = Vocabulary(
        CODES, np.array([TYPES.index(k) for k in KINDS], np.int8), np.ones(4), np.ones(4), np.zeros(4, bool)
    )
    table = mapping(
        ("ICD10//E1165", "diagnosis", False),
        ("ICD10//E119", "diagnosis", False),
        ("ICD10//E11", "diagnosis", False),
        ("ICD10//E1165", "suspected", True),
        ("ATC//N02BF02", "drug", False),
        ("NDC//0009307", "drug", False),
        ("ICD10//E10", "diagnosis", False),
    )
    lookup = TokenLookup.of(vocabulary, table)
    assert lookup.token == {
        ("ICD10//E1165", False): 1,
        ("ICD10//E119", False): 0,
        ("ICD10//E11", False): 0,
        ("ATC//N02BF02", False): 2,
    }
    assert lookup.of_ancestor == {("ICD10//E1165", False), ("ICD10//E119", False), ("ATC//N02BF02", False)}
    assert known_forms(table, {("ICD10//E1", "diagnosis")}) == {}, "a chapter stands for no code"
