from __future__ import annotations

import csv

import pytest

from claimscale.config.tasks import catalogue
from claimscale.errors import BadInput
from claimscale.simulator.writers.masters import SimulatedMasters


def columns(file) -> list[list[str]]:
    return list(csv.reader(file.read_bytes().decode("cp932").split("\r\n")[:-1]))


def test_tables_have_the_national_widths_and_are_quoted(tmp_path, country_codes):
    SimulatedMasters.of(country_codes).write(tmp_path)
    for name, width in (("b_00000000.txt", 46), ("z_00000000.txt", 19), ("y_ALL00000000.csv", 40)):
        assert {len(row) for row in columns(tmp_path / name)} == {width}
    assert {len(row) for row in columns(tmp_path / "s_ALL00000000.csv")} == {150}
    assert (tmp_path / "b_00000000.txt").read_bytes().startswith(b'"0","B","0070001"')


def test_suspicion_is_the_national_modifier(tmp_path, country_codes):
    SimulatedMasters.of(country_codes).write(tmp_path)
    (row,) = columns(tmp_path / "z_00000000.txt")
    assert (row[2], row[6], row[18]) == ("8002", "の疑い", "A8000000")


def test_codes_have_their_shape_and_are_unique(country_codes):
    masters = SimulatedMasters.of(country_codes)
    drugs, acts = masters.drugs.values(), masters.acts.values()
    assert all(len(code) == 7 and code.isdecimal() for code in masters.diseases.values())
    assert all(len(drug.receipt_code) == 9 and drug.receipt_code[0] == "6" for drug in drugs)
    assert all(len(act.receipt_code) == 9 and act.receipt_code[0] == "1" for act in acts)
    assert all(len(drug.price_code) == 12 for drug in drugs)
    for table in (
        [*masters.diseases.values()],
        [drug.receipt_code for drug in drugs],
        [drug.price_code for drug in drugs],
        [act.receipt_code for act in acts],
    ):
        assert len(set(table)) == len(table) > 0


def test_catalogue_drugs_have_real_ingredients_and_others_none():
    atc = ["A10AB05", "A10AE04", "A10BA02", "A10BB12", "A10BH01", "A10BH02", "C08CA01", "N02BF02", "N03AX16"]
    drugs = SimulatedMasters.of([f"ATC//{code}" for code in atc]).drugs
    price = {code: drug.price_code for code, drug in drugs.items()}
    assert price["N02BF02"][:7] == price["N03AX16"][:7] == "1190017"
    assert price["A10BA02"].startswith("3962002")
    assert [price["A10BH01"][:7], price["A10BH02"][:7]] == ["3969010", "3969011"]
    assert price["A10AB05"].startswith("2492")
    assert price["A10BB12"][0] == price["C08CA01"][0] == "9"
    assert len(set(price.values())) == len(price)


def test_price_codes_and_atc_select_the_same_drugs():
    """A drug is under an outcome's YJ prefixes exactly if it is under its ATC prefixes."""
    outcomes = [task.outcome for task in catalogue().values() if task.kind == "medication"]
    atc = sorted(
        {f"{prefix}{'A10AB05X'[len(prefix) : 7]}" for outcome in outcomes for prefix in outcome["ATC"]}
    )
    atc += ["A10BH" + f"{number:02d}" for number in range(20)] + ["C08CA01", "N06AX11", "B01AC06"]
    drugs = SimulatedMasters.of([f"ATC//{code}" for code in sorted(set(atc))]).drugs
    for outcome in outcomes:
        by_atc = {code for code in drugs if code.startswith(tuple(outcome["ATC"]))}
        by_price = {code for code, drug in drugs.items() if drug.price_code.startswith(tuple(outcome["YJ"]))}
        assert by_atc == by_price != set()


@pytest.mark.parametrize(
    ("code", "section", "branch", "item"),
    [
        ("A002", "002", 0, 0),
        ("D0071", "007", 0, 1),
        ("B00127", "001", 0, 27),
        ("K920-2", "920", 2, 0),
        ("K695-23", "695", 2, 3),
        ("G010-10", "010", 10, 0),
    ],
)
def test_procedure_codes_survive_a_round_trip(code, section, branch, item):
    act = SimulatedMasters.of([f"KUBUN//{code}"]).act(code)
    assert (act.section, act.branch, act.item, act.kubun) == (section, branch, item, code)


@pytest.mark.parametrize("code", ["D00", "D00701", "X001", "d0071", "K920-", "D0071234"])
def test_procedures_outside_the_fee_schedule_are_bad_input(code):
    with pytest.raises(BadInput, match="KUBUN//"):
        SimulatedMasters.of([f"KUBUN//{code}"])


def test_masters_follow_from_the_codes_alone_in_any_order(country_codes):
    reordered = [*country_codes[::-1], "VISIT//ADMISSION", "SEX//F"]
    assert SimulatedMasters.of(country_codes) == SimulatedMasters.of(reordered)
