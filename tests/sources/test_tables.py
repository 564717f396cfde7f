"""Flat tables become the simulator's own events again, and JMDC's columns mean what they say."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from claimscale import sources
from claimscale.config.sources import TablesSource
from claimscale.errors import BadInput
from claimscale.simulator.population import WriterOptions
from claimscale.sources import tables

COMPARED = ("subject_id", "time", "code", "hospital_id", "visit_id", "available_at", "suspected")


def source(folder: Path, **settings) -> TablesSource:
    return TablesSource(kind="tables", path=str(folder), **settings)


def comparable(events: pa.Table, ids: str) -> list[tuple]:
    columns = [events[ids].cast(pa.int64())] + [events[name] for name in COMPARED[1:]]
    # The tables have no hospital for birth, sex and death.
    return sorted(
        (*row[:3], None, None, None, row[6]) if row[2].startswith(("MEDS_", "SEX//")) else row
        for row in zip(*(column.to_pylist() for column in columns), strict=True)
    )


@pytest.mark.parametrize("csv", [False, True])
def test_round_trip_of_simulated_patients(csv, simulated, written, validated, engine, tmp_path) -> None:
    folder = written("tables", WriterOptions(csv=csv))
    raw = tables.read(source(folder), engine, tmp_path)
    events, quality = validated(raw)
    assert not quality["quarantined"] and not quality["dropped"]
    assert comparable(events, "source_id") == comparable(simulated, "subject_id")


def test_row_counts_equal_those_of_the_files(written, validated, engine, tmp_path) -> None:
    folder = written("tables")
    _, quality = validated(tables.read(source(folder), engine, tmp_path))
    for name, counts in quality["source_rows"].items():
        files = (folder / name).glob("*.parquet")
        assert counts["rows"] == sum(pq.read_metadata(file).num_rows for file in files)
    diagnoses, visits = quality["source_rows"]["diagnoses"], quality["source_rows"]["visits"]
    assert diagnoses["events"] == diagnoses["rows"]
    assert visits["events"] == 2 * (visits["rows"] - sum(visits["without_event"].values()))


KEYS = "member_id,claim_id,medical_facility_id,month_and_year_of_medical_care"
JMDC = {
    "enrollment": """member_id,month_and_year_of_birth_of_member,gender_of_member,observation_start,\
observation_end,withdrawal_death_flag
M1,195004,Male,201704,202303,
M2,196012,Female,201801,201906,1
""",
    "claim": f"""{KEYS},type_of_claim,admission_date,discharge_date
M1,C1,F1,201803,Outpatient,,
M2,C2,F2,201906,DPC,2019-06-03,2019-06-20
""",
    "diagnosis": f"""{KEYS},standard_disease_code,suspicion_flag
M1,C1,F1,201803,8833421,
M1,C1,F1,201803,0000001,1
M1,C1,F1,201803,9999999,
""",
    "diagnosis_master": "standard_disease_code,icd10_level4_code\n8833421,I10-\n0000001,N189\n",
    "drug": f"""{KEYS},jmdc_drug_code,date_of_prescription
M1,C1,F1,201803,100,2018-03-09
M1,C1,F1,201803,100,
""",
    "drug_master": "jmdc_drug_code,who_atc_code\n100,C08CA01\n",
    "procedure": f"""{KEYS},standardized_procedure_code,date_of_procedure
M2,C2,F2,201906,160076210,2019-06-04
M2,C2,F2,201906,160076210,2019-06-31
""",
    "procedure_master": "standardized_procedure_code,procedure_code\n160076210,D007\n",
}


@pytest.fixture
def jmdc(tmp_path: Path) -> Path:
    folder = tmp_path / "jmdc"
    folder.mkdir()
    for name, text in JMDC.items():
        (folder / f"{name}.csv").write_text(text, "utf-8")
    return folder


def test_jmdc_tables_become_events(jmdc: Path, validated, engine, tmp_path) -> None:
    events, quality = validated(tables.read(source(jmdc, mapping="jmdc"), engine, tmp_path / "raw"))
    found = {
        (row["source_id"], row["code"], f"{row['time']:%Y-%m-%d}", f"{row['available_at']:%Y-%m-%d}",
         row["hospital_id"], row["suspected"])
        for row in events.to_pylist()
    }  # fmt: skip
    assert found == {
        ("M1", "MEDS_BIRTH", "1950-04-01", "1950-04-01", None, False),
        ("M1", "SEX//M", "1950-04-01", "1950-04-01", None, False),
        ("M2", "MEDS_BIRTH", "1960-12-01", "1960-12-01", None, False),
        ("M2", "SEX//F", "1960-12-01", "1960-12-01", None, False),
        ("M2", "MEDS_DEATH", "2019-06-30", "2019-06-30", None, False),
        ("M1", "ICD10//I10", "2018-03-01", "2018-03-31", "F1", False),
        ("M1", "ICD10//N189", "2018-03-01", "2018-03-31", "F1", True),
        ("M1", "ATC//C08CA01", "2018-03-09", "2018-03-31", "F1", False),
        ("M1", "ATC//C08CA01", "2018-03-01", "2018-03-31", "F1", False),
        ("M2", "KUBUN//D007", "2019-06-04", "2019-06-30", "F2", False),
        ("M2", "VISIT//ADMISSION", "2019-06-03", "2019-06-30", "F2", False),
        ("M2", "VISIT//DISCHARGE", "2019-06-20", "2019-06-30", "F2", False),
    }
    assert quality["quarantined"] == {"missing code": 1, "unreadable date": 1}
    observed = pq.read_table(tmp_path / "events/observation.parquet").to_pylist()
    assert [(row["start"].date(), row["end"].date()) for row in observed] == [
        (dt.date(2017, 4, 1), dt.date(2023, 3, 31)),
        (dt.date(2018, 1, 1), dt.date(2019, 6, 30)),
    ]


def test_periods_of_insurance_may_stand_in_a_table_of_their_own(
    jmdc: Path, validated, engine, tmp_path
) -> None:
    people = (
        "member_id,month_and_year_of_birth_of_member,gender_of_member,withdrawal_death_flag,observation_end"
    )
    (jmdc / "enrollment.csv").write_text(f"{people}\nM1,195004,Male,,\nM2,196012,Female,1,201906\n")
    periods = "MEMBER,FROM,TO\nM2,201801,201906\nM1,202001,202303\nM1,201704,201812\nM1,201902,201902\nM1,201705,201706\nM3,201704,201812\n"
    (jmdc / "insurance.csv").write_text(periods)
    built_in = (Path(tables.__file__).parent / "mappings" / "jmdc.yaml").read_text("utf-8")
    own = "observed: {table: insurance, patient: member, start: from, end: to}"
    changed = built_in.replace("observed: [observation_start, observation_end]", own)
    assert changed != built_in
    (tmp_path / "own.yaml").write_text(changed, "utf-8")
    raw = tables.read(source(jmdc, mapping=str(tmp_path / "own.yaml")), engine, tmp_path / "raw")
    _, quality = validated(raw)
    assert quality["source_rows"]["insurance"]["without_event"] == {"observation period": 6}
    subjects = {row["source_id"]: row["subject_id"] for row in pq.read_table(
        tmp_path / "events/subjects.parquet").to_pylist()}  # fmt: skip
    observed = [
        (row["subject_id"], row["start"].date(), row["end"].date())
        for row in pq.read_table(tmp_path / "events/observation.parquet").to_pylist()
    ]
    assert sorted(observed) == sorted([
        (subjects["M1"], dt.date(2017, 4, 1), dt.date(2019, 2, 28)),
        (subjects["M1"], dt.date(2020, 1, 1), dt.date(2023, 3, 31)),
        (subjects["M2"], dt.date(2018, 1, 1), dt.date(2019, 6, 30)),
    ])  # fmt: skip


def test_a_user_mapping_is_applied(tmp_path: Path, validated, engine) -> None:
    folder = tmp_path / "claims"
    folder.mkdir()
    (folder / "people.csv").write_bytes("番号,生年月日,性別\n007,3250401,男\n".encode("cp932"))
    (folder / "acts.csv").write_bytes("番号,日,コード\n007,4301203,620098801\n".encode("cp932"))
    mapping = {
        "dates": "wareki",
        "patients": {"table": "people", "patient": "番号", "birth": "生年月日",
                     "sex": {"column": "性別", "male": ["男"], "female": ["女"]}},
        "codes": [{"table": "acts", "patient": "番号", "date": "日", "system": "RECEIPT", "code": "コード"}],
    }  # fmt: skip
    (tmp_path / "mine.yaml").write_text(json.dumps(mapping, ensure_ascii=False), "utf-8")
    own = source(folder, mapping=str(tmp_path / "mine.yaml"), encoding="cp932")
    events, _ = validated(tables.read(own, engine, tmp_path / "raw"))
    found = {(row["source_id"], row["time"].date().isoformat(), row["code"]) for row in events.to_pylist()}
    assert found == {
        ("007", "1950-04-01", "MEDS_BIRTH"),
        ("007", "1950-04-01", "SEX//M"),
        ("007", "2018-12-03", "RECEIPT//620098801"),
    }


def test_numeric_codes_are_refused_without_a_width(tmp_path, written, engine) -> None:
    folder = tmp_path / "claims"
    folder.mkdir()
    for table in ("patients", "visits", "diagnoses", "drugs"):
        (folder / table).symlink_to(written("tables") / table)
    acts = pa.table(
        {"patient_id": ["1"], "visit_id": ["1"], "code": [112007410], "date": [dt.date(2020, 1, 2)]}
    )
    (folder / "procedures").mkdir()
    pq.write_table(acts, folder / "procedures" / "0.parquet")
    with pytest.raises(BadInput, match=r"procedures\.code: holds numbers, so leading zeros are lost"):
        tables.read(source(folder), engine, tmp_path / "raw")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("drug.csv missing", r"holds no table drug \(\.csv or \.parquet\)"),
        ("drug.csv twice", r"holds table drug as CSV and as Parquet"),
        ("drug.csv: member_id=nobody", r"drug\.csv: has no column member_id \(source\.mapping: jmdc\)"),
        ("drug.csv: claim_id=member_id", r"drug\.csv, line 1: column 'member_id' is repeated"),
        ("drug.csv: 100=1\0", r"drug\.csv, line 2: holds a NUL byte"),
        ("drug.csv: 100=\udcff", r"drug\.csv, line 2: is not utf-8 text"),
        ("drug.csv: C1=\"C1", r"drug\.csv, line 2: an unclosed quote"),
    ],
)  # fmt: skip
def test_errors_of_whole_files_name_the_file(change: str, message: str, jmdc: Path, engine, tmp_path) -> None:
    file = jmdc / "drug.csv"
    action = change.partition(": ")[2]
    if change.endswith("missing"):
        file.unlink()
    elif change.endswith("twice"):
        pq.write_table(pa_csv.read_csv(file), jmdc / "drug.parquet")
    else:
        old, new = action.split("=")
        file.write_bytes(JMDC["drug"].replace(old, new).encode("utf-8", "surrogateescape"))
    with pytest.raises(BadInput, match=message) as caught:
        engine.to_arrow(tables.read(source(jmdc, mapping="jmdc"), engine, tmp_path / "raw").table)
    assert "M1" not in str(caught.value)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ("jdmc", r"source\.mapping: 'jdmc' is none of jmdc, neutral, nor a YAML file"),
        ("absent.yaml", r"absent\.yaml: cannot be read"),
    ],
)
def test_a_wrong_mapping_is_named(mapping: str, message: str, jmdc: Path, engine, tmp_path) -> None:
    with pytest.raises(BadInput, match=message):
        tables.read(source(jmdc, mapping=mapping), engine, tmp_path / "raw")


def test_ids_unique_within_a_hospital_stay_apart(validated, engine, tmp_path) -> None:
    tables_of_two = {
        "people": "id,place,born,sex\n7,H1,19500401,1\n7,H2,19710501,2\n",
        "claims": "claim,id,place,from,to,in\nA,7,H1,20210301,20210302,1\nB,7,H2,20210303,20210304,0\n",
        "drugs": "claim,id,day,atc\nA,7,20210301,C08CA01\nB,7,20210303,A10BA02\nC,7,20210303,A10BA02\n",
    }
    folder = tmp_path / "two"
    folder.mkdir()
    for name, text in tables_of_two.items():
        (folder / f"{name}.csv").write_text(text, "utf-8")
    mapping = folder / "mine.yaml"
    mapping.write_text(
        """
patients: {table: people, patient: id, hospital: place, birth: born,
           sex: {column: sex, male: ["1"], female: ["2"]}}
visits: {table: claims, patient: id, visit: claim, hospital: place, start: from, end: to,
         stay: {column: in, values: ["1"]}}
codes: [{table: drugs, patient: id, visit: claim, date: day, system: ATC, code: atc}]
""",
        "utf-8",
    )
    raw = tables.read(source(folder, mapping=str(mapping)), engine, tmp_path / "raw")
    events, quality = validated(raw)
    assert {(row["source_id"], row["code"]) for row in events.to_pylist()} == {
        ("H1/7", "MEDS_BIRTH"), ("H1/7", "SEX//M"), ("H1/7", "ATC//C08CA01"),
        ("H1/7", "VISIT//ADMISSION"), ("H1/7", "VISIT//DISCHARGE"),
        ("H2/7", "MEDS_BIRTH"), ("H2/7", "SEX//F"), ("H2/7", "ATC//A10BA02"),
    }  # fmt: skip
    # A row of an unknown visit is nobody's.
    assert quality["quarantined"] == {"missing patient": 1}
    assert (quality["hospitals"], quality["patients_in_several_hospitals"]) == (2, 0)
    text = mapping.read_text("utf-8").replace("visit: claim, date", "date")
    mapping.write_text(text, "utf-8")
    with pytest.raises(BadInput, match="drugs has no hospital, which distinguishes patients"):
        tables.read(source(folder, mapping=str(mapping)), engine, tmp_path / "again")


def test_one_table_may_have_several_code_systems(validated, engine, tmp_path) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    (folder / "people.csv").write_text("id,born,sex\n7,19500401,1\n", "utf-8")
    (folder / "dx.csv").write_text(
        "id,day,version,code\n7,20210301,9,5859\n7,20210302,10,N189\n7,20210303,11,GB61\n", "utf-8"
    )
    mapping = folder / "mine.yaml"
    mapping.write_text(
        """
patients: {table: people, patient: id, birth: born, sex: {column: sex, male: ["1"], female: ["2"]}}
codes:
  - {table: dx, patient: id, date: day, system: ICD9CM, code: code, only: {column: version, values: ["9"]}}
  - {table: dx, patient: id, date: day, system: ICD10, code: code, only: {column: version, values: ["10"]}}
""",
        "utf-8",
    )
    events, quality = validated(tables.read(source(folder, mapping=str(mapping)), engine, tmp_path / "raw"))
    codes = [code for code in events["code"].to_pylist() if code.startswith("ICD")]
    assert sorted(codes) == ["ICD10//N189", "ICD9CM//5859"]
    counts = quality["source_rows"]["dx"]
    assert counts == {"rows": 3, "events": 2, "without_event": {"not selected by `only`": 1}}


PEOPLE = "id,born,sex\n7,19500401,1\n8,19600401,2\n"
MINE = """
patients: {table: people, patient: id, birth: born, sex: {column: sex, male: ["1"], female: ["2"]}}
codes: [{table: drugs, patient: id, date: day, system: LAB, code: code, value: amount}]
"""


@pytest.fixture
def read_mine(tmp_path: Path, engine, validated):
    """Read files given by name, through a mapping; returns the events and the quality."""

    def read(files: dict[str, str | pa.Table], mapping: str = MINE) -> tuple[list[dict], dict]:
        folder = tmp_path / "mine"
        folder.mkdir(exist_ok=True)
        for name, content in files.items():
            if isinstance(content, str):
                (folder / f"{name}.csv").write_text(content, "utf-8")
            else:
                pq.write_table(content, folder / f"{name}.parquet")
        (folder / "mine.yaml").write_text(mapping, "utf-8")
        settings = source(folder, mapping=str(folder / "mine.yaml"))
        events, quality = validated(tables.read(settings, engine, tmp_path / "raw"))
        return events.to_pylist(), quality

    return read


def test_lines_with_a_hash_are_data(read_mine) -> None:
    lines = [f"7,202103{day:02d},x,\n" for day in range(1, 11)]
    drugs = "id,day,code,amount\n" + "".join(lines) + "#7,20210311,x,\n#N/A,20210312,y,\n"
    _, quality = read_mine({"people": PEOPLE, "drugs": drugs})
    assert quality["source_rows"]["drugs"]["rows"] == 12
    assert quality["quarantined"] == {"unknown patient": 2}


def test_text_that_is_no_number_is_quarantined(read_mine) -> None:
    amounts = ["5", "5.5", "1_0", "5f", "NaN", "", "1e2", "x"]
    drugs = "id,day,code,amount\n" + "".join(
        f"7,202103{day:02d},x,{amount}\n" for day, amount in enumerate(amounts, 1)
    )
    events, quality = read_mine({"people": PEOPLE, "drugs": drugs})
    values = [row["numeric_value"] for row in sorted(events, key=lambda row: row["time"])]
    assert [value for value in values if value is not None] == [5.0, 5.5, 100.0]
    assert quality["quarantined"] == {"unreadable value": 4}


def test_whole_floats_become_integers(read_mine) -> None:
    drugs = pa.table(
        {
            "id": pa.array([7.0, None, 8.5], pa.float64()),
            "day": ["20210301"] * 3,
            "code": pa.array([123.0, 123.0, 123.0]),
            "amount": [1.0, 1.0, 1.0],
        }
    )
    events, quality = read_mine(
        {"people": PEOPLE, "drugs": drugs}, MINE.replace("code: code", "code: code, width: 5")
    )
    assert [row["code"] for row in events if row["code"].startswith("LAB")] == ["LAB//00123"]
    assert quality["quarantined"] == {"missing patient": 1, "unreadable id": 1}


def test_nan_dates_are_quarantined(read_mine) -> None:
    days = pa.array([20210301.0, float("nan")])
    drugs = pa.table({"id": ["7", "7"], "day": days, "code": ["x", "x"], "amount": [1.0, 1.0]})
    _, quality = read_mine({"people": PEOPLE, "drugs": drugs})
    assert quality["quarantined"] == {"unreadable date": 1}


def test_visits_are_joined_by_visit_and_patient(read_mine) -> None:
    mapping = """
patients: {table: people, patient: id, hospital: place, birth: born,
           sex: {column: sex, male: ["1"], female: ["2"]}}
visits: {table: visits, patient: id, visit: visit, hospital: place, month: month, start: from, end: to,
         stay: {column: in, values: ["1"]}}
codes: [{table: drugs, patient: id, visit: visit, date: day, system: ATC, code: atc}]
"""
    files = {
        "people": "id,place,born,sex\n7,A,19500401,1\n8,B,19600401,1\n9,A,19500401,1\n9,B,19500401,1\n",
        "visits": "visit,id,place,month,from,to,in\n1,7,A,202103,,,0\n1,8,B,202109,,,0\n"
        "2,9,A,202103,,,0\n2,9,B,202103,,,0\n",
        "drugs": "visit,id,day,atc\n1,7,20210305,C08CA01\n1,8,20210905,A10BA02\n2,9,20210301,C08CA01\n",
    }
    events, quality = read_mine(files, mapping)
    found = {(row["source_id"], row["code"], row["available_at"].month) for row in events if row["visit_id"]}
    assert found == {("A/7", "ATC//C08CA01", 3), ("B/8", "ATC//A10BA02", 9)}
    # The hospital of visit 2 is ambiguous.
    assert quality["quarantined"] == {"missing patient": 1}


def test_a_stay_repeated_by_monthly_claims_is_one_stay(read_mine) -> None:
    mapping = """
patients: {table: people, patient: id, birth: born, sex: {column: sex, male: ["1"], female: ["2"]}}
visits: {table: visits, patient: id, visit: visit, hospital: place, month: month, start: from, end: to,
         stay: {column: in, values: ["1"]}}
codes: [{table: drugs, patient: id, visit: visit, date: day, system: ATC, code: atc}]
"""
    files = {
        "people": PEOPLE,
        "visits": "visit,id,place,month,from,to,in\nC1,7,A,202104,20210420,,1\nC2,7,A,202105,20210420,,1\n"
        "C3,7,A,202106,20210420,20210610,1\n",
        "drugs": "visit,id,day,atc\n",
    }
    events, quality = read_mine(files, mapping)
    ends = [(row["code"], f"{row['available_at']:%Y%m%d}") for row in events if row["visit_id"]]
    assert sorted(ends) == [("VISIT//ADMISSION", "20210430"), ("VISIT//DISCHARGE", "20210630")]
    assert quality["source_rows"]["visits"]["without_event"]["repeated stay"] == 1


def test_targets_of_a_code_table_must_be_text(read_mine) -> None:
    mapping = MINE.replace("code: code", "code: code, lookup: {table: names, by: code, take: name}")
    names = pa.table({"code": ["x"], "name": [1234567]})
    drugs = "id,day,code,amount\n7,20210301,x,\n"
    with pytest.raises(BadInput, match=r"names\.name: holds numbers, so leading zeros are lost"):
        read_mine({"people": PEOPLE, "drugs": drugs, "names": names}, mapping)


def test_the_fingerprint_depends_on_the_mapping(tmp_path: Path) -> None:
    for name, text in {"people": PEOPLE, "drugs": "id,day,code,amount,other\n"}.items():
        (tmp_path / f"{name}.csv").write_text(text, "utf-8")
    mapping = tmp_path / "mine.yaml"
    mapping.write_text(MINE, "utf-8")
    before = sources.fingerprint(source(tmp_path, mapping=str(mapping)))
    assert before == sources.fingerprint(source(tmp_path, mapping=str(mapping)))
    mapping.write_text(MINE.replace("code: code", "code: other"), "utf-8")
    assert before != sources.fingerprint(source(tmp_path, mapping=str(mapping)))
