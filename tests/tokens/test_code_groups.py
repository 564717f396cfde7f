from __future__ import annotations

import numpy as np
import pytest

from claimscale.codes.systems import TYPES, type_of
from claimscale.tokens.code_groups import ICD9_CHAPTERS, ICD10_CHAPTERS, CodeGroups, chapter
from claimscale.tokens.vocabulary import Vocabulary

CODES = [
    ("ICD10//N181", False), ("ICD10//N189", False), ("ICD10//N189", True), ("ICD10//N10", False),
    ("ICD10//I10", False), ("ICD10//N17", True), ("ATC//A10BA02", False), ("ATC//A10BB01", False),
    ("ATC//N02BF02", False), ("ATC//N02BF01", False), ("YJ//1190017F1", False), ("ICD9CM//25000", False),
]  # fmt: skip


@pytest.fixture
def vocabulary() -> Vocabulary:
    types = np.array([TYPES.index(type_of(code, suspected)) for code, suspected in CODES], dtype=np.int8)
    none = np.zeros(len(CODES), dtype=np.int64)
    return Vocabulary([code for code, _ in CODES], types, none, none, none.astype(bool))


def test_groups_unite_codes_of_one_class(vocabulary: Vocabulary) -> None:
    groups = CodeGroups.of(vocabulary)
    members: dict[tuple[str, int], set[str]] = {}
    for place, name in enumerate(groups.names[vocabulary.size :], start=vocabulary.size):
        rows = (groups.columns == place).any(axis=1).nonzero()[0]
        members[name, int(vocabulary.types[rows[0]])] = {vocabulary.codes[token] for token in rows}
        assert len({int(vocabulary.types[token]) for token in rows}) == 1, "a suspicion is not a diagnosis"
    assert members == {
        ("ICD10//N18", 2): {"ICD10//N181", "ICD10//N189"},
        ("ICD10//N00~", 2): {"ICD10//N181", "ICD10//N189", "ICD10//N10"},
        ("ICD10//N00~", 3): {"ICD10//N189", "ICD10//N17"},
        ("ATC//N02BF", 4): {"ATC//N02BF01", "ATC//N02BF02"},
        ("ATC//A10B", 4): {"ATC//A10BA02", "ATC//A10BB01"},
    }


def test_no_two_columns_are_the_same(vocabulary: Vocabulary) -> None:
    groups = CodeGroups.of(vocabulary)
    tokens = [tuple((groups.columns == place).any(axis=1).nonzero()[0]) for place in range(groups.count)]
    assert len(set(tokens)) == groups.count and all(tokens)


@pytest.mark.parametrize(("system", "starts"), [("ICD10", ICD10_CHAPTERS), ("ICD9CM", ICD9_CHAPTERS)])
def test_a_chapter_starts_with_its_first_code(system: str, starts: tuple[str, ...]) -> None:
    assert list(starts) == sorted(starts)
    names = [chapter(f"{system}//{start}") for start in starts]
    assert len(set(names)) == len(starts)
    assert chapter("ICD10//H599") != chapter("ICD10//H600")
    assert chapter("ICD10//S00") == chapter("ICD10//T983")
    assert chapter("ICD9CM//2399") != chapter("ICD9CM//240")
