"""Tables with many columns of codes: each filled cell is an event, empty cells are nothing."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa
import pytest

from claimscale.errors import BadInput

PEOPLE = "id,born,sex\n7,19500401,1\n8,19600401,2\n"
PATIENTS = (
    'patients: {table: people, patient: id, birth: born, sex: {column: sex, male: ["1"], female: ["2"]}}\n'
)
ROW = "table: claims, patient: id, date: day"
CLAIMS = """id,day,dx1,DX2,dx3,dx10,poa_dx1,proc1,proc2,ver,doubt,amount
7,2021-03-01,I10,,N189,,Y,,99213,10,,5
7,2021-03-02,,,, ,,,,10,,
8,2021-03-03,4280,5859,,,N,36415,,9,1,7
8,2021-03-04,I10,I10,I10,E119,,,,10,,
"""


def codes(events: list[dict[str, Any]]) -> Counter[str]:
    return Counter(row["code"] for row in events if not row["code"].startswith(("MEDS_", "SEX//")))


I10, N189, E119, D4280, D5859 = "DX//I10", "DX//N189", "DX//E119", "DX//4280", "DX//5859"
FIRST_THREE = {I10: 2, N189: 1, D4280: 1, D5859: 1}
ALL = FIRST_THREE | {E119: 1}


@pytest.mark.parametrize(
    ("columns", "expected", "empty"),
    [
        ("[dx1, dx2, dx3]", FIRST_THREE, 1),
        ("[dx1, dx2, dx3, dx10]", ALL, 1),
        ("[DX1, Dx2, dX3]", FIRST_THREE, 1),
        ("[' dx1 ', dx2, dx3]", FIRST_THREE, 1),
        ("dx*", ALL, 1),
        ("DX*", ALL, 1),
        ("'dx?'", FIRST_THREE, 1),
        ("'dx[0-9]'", FIRST_THREE, 1),
        ("'dx[12]'", {I10: 2, D4280: 1, D5859: 1}, 1),
        ("['dx?', dx10]", ALL, 1),
        ("[dx*, dx1]", ALL, 1),
        ("[dx10, dx*]", ALL, 1),
        ("[dx3, dx10]", {N189: 1, I10: 1, E119: 1}, 2),
        ("'*x1'", {I10: 2, D4280: 1, "DX//Y": 1, "DX//N": 1}, 1),
        ("'dx[!1]'", {N189: 1, D5859: 1, I10: 1}, 1),
    ],
)
def test_columns_are_listed_or_matched(columns: str, expected: dict, empty: int, ingest) -> None:
    mapping = PATIENTS + f"codes: [{{{ROW}, system: DX, code: {columns}}}]"
    events, quality = ingest({"people.csv": PEOPLE, "claims.csv": CLAIMS}, mapping)
    assert codes(events) == expected
    assert not quality["quarantined"]
    assert quality["source_rows"]["claims"]["without_event"] == {"no code in any column": empty}
    assert quality["source_rows"]["claims"]["rows"] == 4
    assert quality["rows_in"] == quality["used"] + sum(quality["dropped"].values())


def test_one_column_keeps_its_missing_codes(ingest) -> None:
    mapping = PATIENTS + f"codes: [{{{ROW}, system: DX, code: dx1}}]"
    events, quality = ingest({"people.csv": PEOPLE, "claims.csv": CLAIMS}, mapping)
    assert codes(events) == {I10: 2, D4280: 1} and quality["quarantined"] == {"missing code": 1}


@pytest.mark.parametrize("pattern", ["poa_*", "'poa_dx?'", "'poa[_]dx1'"])
def test_a_pattern_of_one_column_is_one_column(pattern: str, ingest) -> None:
    mapping = PATIENTS + f"codes: [{{{ROW}, system: POA, code: {pattern}}}]"
    events, quality = ingest({"people.csv": PEOPLE, "claims.csv": CLAIMS}, mapping)
    assert codes(events) == {"POA//Y": 1, "POA//N": 1} and quality["quarantined"] == {"missing code": 2}


def test_a_table_that_is_listed_for_each_column_is_wide(ingest) -> None:
    listed = ",".join(f"{{{ROW}, system: DX, code: {name}}}" for name in ("dx1", "dx2", "dx3", "dx10"))
    events, quality = ingest({"people.csv": PEOPLE, "claims.csv": CLAIMS}, PATIENTS + f"codes: [{listed}]")
    assert codes(events) == ALL and not quality["quarantined"]


def test_diagnoses_and_procedures_of_one_table(ingest) -> None:
    mapping = (
        PATIENTS + f"codes: [{{{ROW}, system: DX, code: 'dx[1-3]'}}, {{{ROW}, system: HCPCS, code: proc*}}]"
    )
    events, quality = ingest({"people.csv": PEOPLE, "claims.csv": CLAIMS}, mapping)
    assert codes(events) == FIRST_THREE | {"HCPCS//99213": 1, "HCPCS//36415": 1}
    assert quality["source_rows"]["claims"]["without_event"] == {"no code in any column": 1}


def test_rows_by_version_suspicion_and_value(ingest) -> None:
    shared = f"{ROW}, code: dx*, value: amount, suspected: {{column: doubt, values: ['1']}}"
    only = "only: {{column: ver, values: ['{}']}}"
    mapping = PATIENTS + (
        f"codes: [{{{shared}, system: ICD10, {only.format(10)}}}, {{{shared}, system: ICD9CM, {only.format(9)}}}]"
    )
    events, quality = ingest({"people.csv": PEOPLE, "claims.csv": CLAIMS}, mapping)
    found = {(row["code"], row["suspected"], row["numeric_value"]) for row in events if "ICD" in row["code"]}
    assert found == {
        ("ICD10//I10", False, 5.0), ("ICD10//N189", False, 5.0), ("ICD10//I10", False, None),
        ("ICD10//E119", False, None), ("ICD9CM//4280", True, 7.0), ("ICD9CM//5859", True, 7.0),
    }  # fmt: skip
    assert not quality["quarantined"]


def test_width_and_lookup_apply_to_each_column(ingest) -> None:
    lookup = "lookup: {table: names, by: old, take: new}"
    mapping = PATIENTS + f"codes: [{{{ROW}, system: LAB, code: [a, b], width: 3, {lookup}}}]"
    claims = pa.table({"id": ["7", "7"], "day": ["20210301", "20210302"], "a": [1, 2], "b": [None, 3]})
    names = "old,new\n001,x\n002,y\n"
    files = {"people.csv": PEOPLE, "claims.parquet": claims, "names.csv": names}
    events, quality = ingest(files, mapping)
    assert codes(events) == {"LAB//x": 1, "LAB//y": 1}
    assert quality["quarantined"] == {"missing code": 1}, "003 is not in the code table"


def test_hospital_and_month_of_a_wide_row_come_from_its_visit(ingest) -> None:
    mapping = PATIENTS + (
        "visits: {table: visits, patient: id, visit: visit, hospital: place, month: month, start: from, end: to}\n"
        "codes: [{table: claims, patient: id, visit: visit, system: DX, code: dx*}]"
    )
    files = {
        "people.csv": PEOPLE,
        "visits.csv": "visit,id,place,month,from,to\nv,7,H,202103,,\n",
        "claims.csv": "visit,id,dx1,dx2\nv,7,I10,N189\n",
    }
    events, _ = ingest(files, mapping)
    found = {(row["code"], row["hospital_id"], f"{row['time']:%Y%m%d}") for row in events if row["visit_id"]}
    assert found == {(I10, "H", "20210301"), (N189, "H", "20210301")}


def test_twenty_five_columns(ingest) -> None:
    names = [f"dx{place}" for place in range(1, 26)]
    rows = [["7", f"2021-03-{day:02d}", f"C{day}", *[""] * 24] for day in range(1, 21)]
    rows.append(["7", "2021-03-21", *(f"D{place}" for place in range(25))])
    text = "\n".join(",".join(row) for row in [["id", "day", *names], *rows])
    mapping = PATIENTS + f"codes: [{{{ROW}, system: DX, code: [{', '.join(names)}]}}]"
    events, quality = ingest({"people.csv": PEOPLE, "claims.csv": text + "\n"}, mapping)
    assert codes(events).total() == 20 + 25
    assert quality["rows_in"] == 20 + 25 + 2 * 2, "no empty cell, and birth and sex of two patients"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("ds*", r"source\.mapping: table claims has no column ds\*$"),
        ("[dx1, ds*]", r"source\.mapping: table claims has no column ds\*$"),
        ("[dx1, dx4, dx5]", r"claims\.csv: has no column dx4, dx5 \(source\.mapping"),
        ("[]", r"mapping\.yaml: codes\.0\.code"),
        ("7", r"mapping\.yaml: codes\.0\.code"),
    ],
)
def test_columns_that_are_not_there_are_named(columns: str, message: str, ingest) -> None:
    mapping = PATIENTS + f"codes: [{{{ROW}, system: DX, code: {columns}}}]"
    with pytest.raises(BadInput, match=message) as caught:
        ingest({"people.csv": PEOPLE, "claims.csv": CLAIMS}, mapping)
    assert "\n" not in str(caught.value)


def test_one_column_of_numbers_among_texts_is_refused(ingest) -> None:
    claims = pa.table({"id": ["7"], "day": ["20210301"], "dx1": ["I10"], "dx2": [1]})
    mapping = PATIENTS + f"codes: [{{{ROW}, system: DX, code: dx*}}]"
    with pytest.raises(BadInput, match=r"claims\.dx2: holds numbers, so leading zeros are lost"):
        ingest({"people.csv": PEOPLE, "claims.parquet": claims}, mapping)


def test_a_column_named_with_a_sign_of_patterns_is_itself(ingest) -> None:
    mapping = PATIENTS + f"codes: [{{{ROW}, system: DX, code: 'dx*'}}]"
    claims = "id,day,dx*,dx1\n7,2021-03-01,I10,N189\n"
    events, _ = ingest({"people.csv": PEOPLE, "claims.csv": claims}, mapping)
    assert codes(events) == {I10: 1}
