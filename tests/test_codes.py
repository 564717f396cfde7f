"""Codes keep their spelling, know their kind and are shortened as their system says."""

import pytest
from hypothesis import given, strategies as st

from claimscale import codes
from claimscale.errors import BadInput


@pytest.mark.parametrize(
    ("code", "suspected", "kind"),
    [
        ("ICD10//N189", False, "diagnosis"),
        ("ICD10//N189", True, "suspected"),
        ("ICD9CM//5859", False, "diagnosis"),
        ("ATC//N02BF02", True, "drug"),
        ("YJ//1190017", False, "drug"),
        ("NDC//00093075601", False, "drug"),
        ("KUBUN//D0052", False, "procedure"),
        ("HCPCS//99213", False, "procedure"),
        ("ICD9PROC//3995", False, "procedure"),
        ("VISIT//inpatient", False, "visit"),
        ("SEX//F", False, "sex"),
        ("MEDS_DEATH", False, "other"),
        ("LAB//718-7", False, "other"),
    ],
)
def test_kind_of_a_code(code: str, suspected: bool, kind: str) -> None:
    assert codes.type_of(code, suspected) == kind
    assert kind in codes.TYPES


def test_leading_zeros_survive_everything() -> None:
    assert codes.SYSTEMS["ICD9CM"].normalise(" 038.9") == "0389"
    assert codes.roll_up("ICD9CM//0389", {"ICD9CM": 3}) == "ICD9CM//038"
    assert codes.roll_up("NDC//00093075601", {}) == "NDC//00093075601"


@pytest.mark.parametrize(("level", "characters"), [(1, 1), (2, 3), (3, 4), (4, 5), (5, 7)])
def test_atc_levels(level: int, characters: int) -> None:
    assert codes.roll_up("ATC//N02BF02", {"ATC": level}) == "ATC//" + "N02BF02"[:characters]


@given(value=st.text("ABC0123456789", min_size=1, max_size=8), depth=st.integers(1, 9))
def test_rolling_up_twice_changes_nothing_and_yields_an_ancestor(value: str, depth: int) -> None:
    code = f"ICD10//{value}"
    rolled = codes.roll_up(code, {"ICD10": depth})
    assert code.startswith(rolled)
    assert codes.roll_up(rolled, {"ICD10": depth}) == rolled
    assert codes.merges_longer(rolled, {"ICD10": depth}) == (len(value) >= depth)


def test_prefixes_may_be_written_with_dots_but_stay_in_their_system() -> None:
    wanted = {"ICD10": ["n18.3", "Z99"], "ATC": ["B03"]}
    assert codes.has_prefix("ICD10//N183", wanted)
    assert codes.has_prefix("ATC//B03XA01", wanted)
    assert not codes.has_prefix("ICD10//N18", wanted)
    assert not codes.has_prefix("ICD10//B03", wanted)
    assert not codes.has_prefix("ICD10//N183", {})


@pytest.mark.parametrize(
    ("depths", "message"),
    [
        ({"ATC": 6}, "tokens.rollup.ATC: there are 5 levels, not 6"),
        ({"ICD11": 3}, "tokens.rollup.ICD11: no such"),
    ],
)
def test_impossible_roll_up_is_bad_input(depths: dict[str, int], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        codes.check_depths(depths)
