"""Values that a mapping does not know are counted and shown, unless they could identify a patient."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

MAPPING = """
patients:
  table: people
  patient: id
  birth: born
  sex: {{column: sex, male: [M], female: [F]}}
  death: {{column: died, only: {{column: gone, values: ["1"]}}}}
visits: {{table: visits, patient: id, visit: visit, start: from, end: to{stay}}}
codes: [{{table: drugs, patient: id, date: day, system: ATC, code: code,
         only: {{column: kind, values: [rx]}}, suspected: {{column: doubt, values: ["1"]}}}}]
"""
STAY = ", stay: {column: kind, values: [inpatient]}"


def claims(
    sex: str = "MFMF", gone: str = "00", kind: str = "inpatient", drug: str = "rx", doubt: str = ""
) -> dict[str, str]:
    """Four patients; each letter of `sex` is the sex of one."""
    people = "".join(f"P{place},1950,{one},,{gone[0]}\n" for place, one in enumerate(sex))
    visits = "".join(f"V{day},P0,2021-03-{day:02d},2021-03-{day + 2:02d},{kind}\n" for day in (1, 11))
    drugs = "".join(f"P0,2021-03-{day:02d},C08CA01,{drug},{doubt}\n" for day in (1, 2, 3))
    return {
        "people.csv": "id,born,sex,died,gone\n" + people,
        "visits.csv": "visit,id,from,to,kind\n" + visits,
        "drugs.csv": "id,day,code,kind,doubt\n" + drugs,
    }


def warnings(quality: dict[str, Any]) -> dict[str, int]:
    return {name: rows for name, rows in quality["warnings"].items() if name != "single hospital"}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, {}),
        ({"sex": "mfmf"}, {}),
        ({"sex": "MF M".replace(" ", "")}, {}),
        ({"sex": "1122"}, {"people.sex: '1', '2' taken for neither male nor female": 4}),
        ({"sex": "M11F"}, {"people.sex: '1' taken for neither male nor female": 2}),
        ({"sex": "MMFX"}, {"people.sex: values taken for neither male nor female": 1}),
        ({"sex": "XXXYY"}, {"people.sex: 'X', 'Y' taken for neither male nor female": 5}),
        ({"gone": "0"}, {}),
        ({"gone": "N"}, {}),
        ({"gone": "Y"}, {"people.gone: 'Y' taken for no death": 4}),
        ({"kind": "IP"}, {"visits.kind: 'IP' taken for no stay": 2}),
        ({"kind": "INPATIENT"}, {}),
        ({"kind": " inpatient "}, {}),
        ({"kind": ""}, {}),
        ({"drug": "dispensed"}, {"drugs.kind: 'dispensed' taken for not read": 3}),
        ({"drug": "RX"}, {}),
        ({"doubt": "0"}, {}),
        ({"doubt": "false"}, {}),
        ({"doubt": "No"}, {}),
        ({"doubt": "1"}, {}),
        ({"doubt": "suspected"}, {"drugs.doubt: 'suspected' taken for not suspected": 3}),
        (
            {"doubt": "a value of more than twenty letters"},
            {"drugs.doubt: values taken for not suspected": 3},
        ),
    ],
)
def test_values_that_map_to_nothing_are_counted(changed: dict, expected: dict, ingest) -> None:
    _, quality = ingest(claims(**changed), MAPPING.format(stay=STAY))
    assert warnings(quality) == expected


def test_values_that_map_in_part_are_only_counted_as_rows(ingest) -> None:
    files = claims()
    files["visits.csv"] += "V9,P1,2021-04-01,2021-04-02,outpatient\n"
    _, quality = ingest(files, MAPPING.format(stay=STAY))
    assert warnings(quality) == {}
    assert quality["source_rows"]["visits"]["without_event"]["not an inpatient stay"] == 1


BY_VERSION = """
patients: {table: people, patient: id, birth: born, sex: {column: sex, male: [M], female: [F]}}
codes:
  - {table: dx, patient: id, date: day, system: ICD9CM, code: code, only: {column: version, values: ["9"]}}
  - {table: dx, patient: id, date: day, system: ICD10, code: code, only: {column: version, values: ["10"]}}
  - {table: dx, patient: id, date: day, system: OTHER, code: code, only: {column: version, values: ["9"]}}
"""


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        (["10", "10"], {}),
        (["9", "10"], {}),
        (["9", "9"], {}),
        (["10", "IX", "IX"], {"dx.version: 'IX' taken for not read": 2}),
        (["IX", "IX", "X", "X"], {"dx.version: 'IX', 'X' taken for not read": 4}),
        (["9", "10", "11"], {}),
        ([""], {}),
    ],
)
def test_filters_of_one_column_know_each_other(versions: list[str], expected: dict, ingest) -> None:
    rows = "".join(f"P0,2021-03-{day:02d},N189,{one}\n" for day, one in enumerate(versions, 1))
    files = {"people.csv": "id,born,sex\nP0,1950,M\n", "dx.csv": "id,day,code,version\n" + rows}
    _, quality = ingest(files, BY_VERSION)
    assert warnings(quality) == expected
    none = quality["source_rows"]["dx"]["without_event"]["not selected by `only`"]
    assert none == sum(one not in ("9", "10") for one in versions)


def test_ids_in_the_place_of_a_sex_are_never_shown(ingest) -> None:
    files = claims()
    people = "".join(f"P{place},1950,SECRET{place},,0\n" * 2 for place in range(30))
    files["people.csv"] = "id,born,sex,died,gone\n" + people
    _, quality = ingest(files, MAPPING.format(stay=STAY))
    assert warnings(quality) == {"people.sex: values taken for neither male nor female": 60}
    assert "SECRET" not in str(quality)


def test_columns_of_truth_values_are_read(ingest) -> None:
    files: dict[str, Any] = claims()
    del files["drugs.csv"]
    files["drugs.parquet"] = pa.table(
        {
            "id": ["P0"] * 2,
            "day": ["20210301"] * 2,
            "code": ["C08CA01"] * 2,
            "kind": ["rx"] * 2,
            "doubt": [True, False],
        }
    )
    mapping = MAPPING.replace('column: doubt, values: ["1"]', 'column: doubt, values: ["true"]')
    events, quality = ingest(files, mapping.format(stay=STAY))
    assert [row["suspected"] for row in events if row["code"] == "ATC//C08CA01"] == [False, True]
    assert warnings(quality) == {}


@pytest.mark.parametrize(
    ("age", "at", "born"),
    [
        ("52", "2018", "1966-01-01"), ("52.0", "2018-12-31", "1966-01-01"), ("0", "201804", "2018-01-01"),
        ("x", "2018", None), ("52", "x", None), ("", "2018", None), ("52.5", "2018", None),
    ],
)  # fmt: skip
def test_a_birth_may_be_an_age_and_its_date(age: str, at: str, born: str | None, ingest) -> None:
    files = claims()
    files["people.csv"] = f"id,age,at,sex,died,gone\nP0,{age},{at},M,,0\nP1,30,2000,M,,0\n"
    mapping = MAPPING.format(stay=STAY).replace("birth: born", "birth: {age: age, at: at}")
    events, quality = ingest(files, mapping)
    found = {row["source_id"]: f"{row['time']:%Y-%m-%d}" for row in events if row["code"] == "MEDS_BIRTH"}
    assert found == {"P1": "1970-01-01"} | ({"P0": born} if born else {})
    assert quality["quarantined"].get("unreadable date", 0) == (0 if born else 2)


GENDERS = "person_id,gender_concept_id,year_of_birth\n1,8507,1950\n2,8532,1960\n"


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("", {}),
        ("3,,1970\n", {}),
        ("3,0,1970\n4,0,1980\n", {"person.gender_concept_id: 0 taken for neither male nor female": 2}),
        ("3,8551,1970\n", {"person.gender_concept_id: 8551 taken for neither male nor female": 1}),
    ],
)
def test_genders_of_omop_that_are_no_sex_are_counted(rows: str, expected: dict, ingest) -> None:
    _, quality = ingest({"person.csv": GENDERS + rows}, kind="omop")
    assert warnings(quality) == expected
