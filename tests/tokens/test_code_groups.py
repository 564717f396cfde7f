from __future__ import annotations

import pytest

from claimscale.tokens.code_groups import ICD9_CHAPTERS, ICD10_CHAPTERS, CodeGroups, chapter


def test_groups_unite_what_belongs_together(stores) -> None:
    vocabulary = stores.make([[]], [0], [3]).vocabulary
    groups = CodeGroups.of(vocabulary)
    members = {}
    for place, name in enumerate(groups.names[vocabulary.size :], start=vocabulary.size):
        rows = (groups.columns == place).any(axis=1).nonzero()[0]
        members[name, vocabulary.types[rows[0]]] = {vocabulary.codes[token] for token in rows}
        assert len({vocabulary.types[token] for token in rows}) == 1, "a suspicion is not a diagnosis"
    assert members == {
        ("ICD10//N18", 2): {"ICD10//N181", "ICD10//N189"},
        ("ICD10//N00~", 2): {"ICD10//N181", "ICD10//N189", "ICD10//N10"},
        ("ICD10//N00~", 3): {"ICD10//N189", "ICD10//N17"},
        ("ATC//N02BF", 4): {"ATC//N02BF01", "ATC//N02BF02"},
        ("ATC//A10B", 4): {"ATC//A10BA02", "ATC//A10BB01"},
    }


def test_no_two_columns_are_the_same(stores) -> None:
    groups = CodeGroups.of(stores.make([[]], [0], [3]).vocabulary)
    tokens = [tuple((groups.columns == place).any(axis=1).nonzero()[0]) for place in range(groups.count)]
    assert len(set(tokens)) == groups.count and all(tokens)


@pytest.mark.parametrize(("system", "starts"), [("ICD10", ICD10_CHAPTERS), ("ICD9CM", ICD9_CHAPTERS)])
def test_a_chapter_begins_where_it_begins_and_not_before(system: str, starts: tuple[str, ...]) -> None:
    assert list(starts) == sorted(starts)
    names = [chapter(f"{system}//{start}") for start in starts]
    assert len(set(names)) == len(starts)
    assert chapter("ICD10//H599") != chapter("ICD10//H600")
    assert chapter("ICD10//S00") == chapter("ICD10//T983")
    assert chapter("ICD9CM//2399") != chapter("ICD9CM//240")
