"""A draft of unknown tables reads the simulated patients that were written into them."""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
import yaml

from claimscale import sources
from claimscale.config import loading
from claimscale.errors import BadInput
from claimscale.simulator.population import WriterOptions
from claimscale.sources import draft_files, preview, tables_mapping
from claimscale.sources.draft_files import write_draft
from claimscale.sources.draft_mapping import draft

NEUTRAL = ("patients", "visits", "diagnoses", "drugs", "procedures")
SYNPUF = ("Beneficiary_Summary_File", "Inpatient_Claims", "Outpatient_Claims", "Carrier_Claims",
          "Prescription_Drug_Events")  # fmt: skip
SECRET = "Kuroda Midori"


def neutral(folder: Path) -> dict[str, pa.Table]:
    """The simulated tables, with ids that no other number equals."""
    found = {name: pq.read_table(folder / name) for name in NEUTRAL}
    for name, table in found.items():
        ids = pa.array([f"Q{int(id):06d}" for id in table["patient_id"].to_pylist()])
        found[name] = table.set_column(table.schema.get_field_index("patient_id"), "patient_id", ids)
    return found


def day_of(value: object) -> dt.date | None:
    """A day, or the first day of a month, of the neutral tables."""
    return dt.date.fromisoformat(f"{value}-01"[:10]) if value else None


def text(column: pa.ChunkedArray, form: str) -> list[str]:
    days = map(day_of, column.to_pylist())
    return [day.strftime(form) if day else "" for day in days]


def wide_layout(folder: Path, out: Path) -> None:
    """Claims with four diagnoses and a procedure per row, dates M/D/YYYY, numbers for the sex; CSV with bars.

    Columns as in public descriptions of employer claims (enrolid, dobyr, svcdate, dx1, ndcnum).
    """
    found = neutral(folder)
    people, diagnoses, drugs = found["patients"], found["diagnoses"], found["drugs"]
    write(out / "enrollment_detail.csv", {
        "ENROLID": people["patient_id"].to_pylist(),
        "DOBYR": [str(day)[:4] for day in people["birth_date"].to_pylist()],
        "SEX": ["1" if sex == "M" else "2" for sex in people["sex"].to_pylist()],
        "DEATHDT": text(people["death_date"], "%m/%d/%Y"),
        "EGEOLOC": ["11"] * len(people),
    })  # fmt: skip
    rows = diagnoses.num_rows // 4 * 4
    codes = diagnoses["code"].to_pylist()
    write(out / "outpatient_services.csv", {
        "ENROLID": diagnoses["patient_id"].to_pylist()[:rows:4],
        "SVCDATE": text(diagnoses["month"], "%m/%d/%Y")[:rows:4],
        **{f"DX{place + 1}": codes[place:rows:4] for place in range(4)},
        "PAY": ["12.50"] * (rows // 4),
    })  # fmt: skip
    write(out / "pharmacy.csv", {
        "ENROLID": drugs["patient_id"].to_pylist(),
        "SVCDATE": text(drugs["date"], "%m/%d/%Y"),
        "ATC_CD": drugs["code"].to_pylist(),
        "DAYSUPP": ["30"] * len(drugs),
    })  # fmt: skip


def flagged_layout(folder: Path, out: Path) -> None:
    """One diagnosis per row with the ICD version beside it, Parquet, dates of a date type, sexes in words.

    Columns as in public descriptions of clinical extracts (patid, yrdob, gdr_cd, fst_dt, diag, icd_flag).
    """
    found = neutral(folder)
    people, diagnoses, drugs = found["patients"], found["diagnoses"], found["drugs"]

    def days(column: pa.ChunkedArray) -> pa.Array:
        return pa.array(list(map(day_of, column.to_pylist())))

    pq.write_table(pa.table({
        "patid": pa.array(people["patient_id"].to_pylist()),
        "yrdob": pa.array([int(str(day)[:4]) for day in people["birth_date"].to_pylist()]),
        "gdr_cd": pa.array([{"M": "Male", "F": "Female"}[sex] for sex in people["sex"].to_pylist()]),
        "race": pa.array(["U"] * len(people)),
        "surname": pa.array([SECRET] * len(people)),
    }), out / "member.parquet")  # fmt: skip
    old = np.arange(diagnoses.num_rows) % 10 == 0
    codes = [
        "4019" if is_old else code for is_old, code in zip(old, diagnoses["code"].to_pylist(), strict=True)
    ]
    pq.write_table(pa.table({
        "patid": pa.array(diagnoses["patient_id"].to_pylist()),
        "clmid": pa.array(diagnoses["visit_id"].to_pylist()),
        "fst_dt": days(diagnoses["month"]),
        "diag": pa.array(codes),
        "icd_flag": pa.array(["9" if is_old else "10" for is_old in old]),
    }), out / "med_diagnosis.parquet")  # fmt: skip
    pq.write_table(pa.table({
        "patid": pa.array(drugs["patient_id"].to_pylist()),
        "fill_dt": days(drugs["date"]),
        "atc": pa.array(drugs["code"].to_pylist()),
    }), out / "rx_claims.parquet")  # fmt: skip


def network_layout(folder: Path, out: Path) -> None:
    """Encounters and deaths in tables of their own, ICD-9 and ICD-10 in one column; CSV.

    Columns as in the PCORnet Common Data Model (patid, birth_date, encounterid, dx, dx_type, death_date).
    """
    found = neutral(folder)
    people, visits, diagnoses, drugs = (found[name] for name in ("patients", "visits", "diagnoses", "drugs"))
    day = "%Y-%m-%d"
    write(out / "demographic.csv", {
        "PATID": people["patient_id"].to_pylist(),
        "BIRTH_DATE": text(people["birth_date"], day),
        "SEX": people["sex"].to_pylist(),
        "HISPANIC": ["NI"] * len(people),
    })  # fmt: skip
    is_dead = people["death_date"].is_valid()
    write(out / "death.csv", {
        "PATID": people["patient_id"].filter(is_dead).to_pylist(),
        "DEATH_DATE": text(people["death_date"].filter(is_dead), day),
    })  # fmt: skip
    write(out / "claims.csv", {
        "ENCOUNTERID": visits["visit_id"].to_pylist(),
        "PATID": visits["patient_id"].to_pylist(),
        "ADMIT_DATE": text(visits["start_date"], day),
        "DISCHARGE_DATE": text(visits["end_date"], day),
        "FACILITYID": visits["hospital_id"].to_pylist(),
    })  # fmt: skip
    write(out / "diagnosis.csv", {
        "DIAGNOSISID": [f"D{place}" for place in range(len(diagnoses))],
        "PATID": diagnoses["patient_id"].to_pylist(),
        "ENCOUNTERID": diagnoses["visit_id"].to_pylist(),
        "ADMIT_DATE": text(diagnoses["month"], day),
        "DX": diagnoses["code"].to_pylist(),
        "DX_TYPE": ["10"] * len(diagnoses),
    })  # fmt: skip
    write(out / "dispensing.csv", {
        "PATID": drugs["patient_id"].to_pylist(),
        "DISPENSE_DATE": text(drugs["date"], day),
        "ATC": drugs["code"].to_pylist(),
    })  # fmt: skip


def write(file: Path, columns: dict[str, list[str]]) -> None:
    table = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
    pa_csv.write_csv(table, file, pa_csv.WriteOptions(delimiter="|", quoting_style="none"))


@pytest.fixture(params=[wide_layout, flagged_layout, network_layout])
def layout(request, written, tmp_path) -> tuple[str, Path]:
    folder = tmp_path / "claims"
    folder.mkdir()
    request.param(written("tables", WriterOptions(csv=False)), folder)
    return request.param.__name__, folder


def test_a_draft_reads_other_layouts(layout, written, validated, engine, tmp_path) -> None:
    name, folder = layout
    found = neutral(written("tables", WriterOptions(csv=False)))
    write_draft(folder, tmp_path / "draft")
    study = loading.load(tmp_path / "draft" / draft_files.STUDY)
    events, quality = validated(sources.read(study, engine, tmp_path / "raw"))
    assert {"before birth", "missing code"}.isdisjoint(quality["quarantined"])
    codes = Counter(code.partition("//")[0] for code in events["code"].to_pylist())
    people = len(found["patients"])
    assert codes["MEDS_BIRTH"] == people and codes["SEX"] == people
    sexes = Counter(code for code in events["code"].to_pylist() if code.startswith("SEX//"))
    assert sexes == Counter(f"SEX//{sex}" for sex in found["patients"]["sex"].to_pylist())
    rows = found["diagnoses"].num_rows
    read = quality["source_rows"]
    if name == "wide_layout":
        assert read["outpatient_services"]["events"] == rows // 4 * 4
        assert codes["MEDS_DEATH"] == len(found["patients"]["death_date"].drop_null())
    elif name == "flagged_layout":
        assert read["med_diagnosis"]["events"] == rows and codes["ICD9CM"] > 0
    else:
        assert read["diagnosis"]["events"] == rows and codes["ICD10"]
        assert codes["MEDS_DEATH"] == len(found["patients"]["death_date"].drop_null())
        assert codes["VISIT"] > 0 and set(events["hospital_id"].drop_null().to_pylist())
    assert codes["ATC"] > 0.9 * found["drugs"].num_rows  # some repeat each other


def test_a_draft_shows_no_value_of_a_patient(layout, written, engine, tmp_path) -> None:
    _, folder = layout
    write_draft(folder, tmp_path / "draft")
    study = loading.load(tmp_path / "draft" / draft_files.STUDY)
    shown = preview.preview(study.source, engine, tmp_path / "samples")
    for file in (tmp_path / "draft").iterdir():
        shown += file.read_text("utf-8")
    ids = set(neutral(written("tables", WriterOptions(csv=False)))["patients"]["patient_id"].to_pylist())
    words = set(re.findall(r"[\w-]+", shown))
    assert SECRET not in shown and not ids & words


@pytest.mark.parametrize(
    ("kind", "files"),
    [
        ("omop", ["person.csv", "condition_occurrence.csv"]),
        ("meds", ["data/train/0.parquet"]),
        ("receipt", ["2021/a.UKE"]),
        ("dpc", ["FF1_900000001_2104.txt"]),
        ("synpuf", [f"{name}_Sample_1.csv" for name in SYNPUF]),
    ],
)
def test_known_formats_need_no_mapping(kind, files, tmp_path) -> None:
    for name in files:
        (tmp_path / "claims" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "claims" / name).touch()
    assert write_draft(tmp_path / "claims", tmp_path / "out") is None
    assert loading.load(tmp_path / "out" / draft_files.STUDY).source.kind == kind
    assert [file.name for file in (tmp_path / "out").iterdir()] == [draft_files.STUDY]


def test_a_built_in_mapping_is_recognised_by_its_columns(written, tmp_path) -> None:
    folder = written("tables", WriterOptions(csv=False))
    assert write_draft(folder, tmp_path / "known") is None
    renamed = tmp_path / "renamed"
    renamed.mkdir()
    for name, table in neutral(folder).items():
        columns = ["member" if column == "patient_id" else column for column in table.column_names]
        pq.write_table(table.rename_columns(columns), renamed / f"{name}.parquet")
    found = write_draft(renamed, tmp_path / "draft")
    assert found is not None and found.mapping["patients"]["patient"] == "member"
    assert found.mapping["visits"]["table"] == "visits"


def test_a_preview_finds_what_a_mapping_gets_wrong(engine, tmp_path) -> None:
    mapping = """
dates: month_first
patients: {table: people, patient: id, birth: born, sex: {column: sex, male: [m], female: [f]}}
codes: [{table: dx, patient: id, date: day, system: ICD10, code: icd}]
"""
    sexes = ["f", "m", "x", "f", "x", "x", "x", "x"]
    people = "id,born,sex\n" + "".join(f"{place},31/12/1950,{sex}\n" for place, sex in enumerate(sexes))
    people += "8,,f\n"
    codes = "id,day,icd\n1,03/04/2020,I10\n2,25/04/2020,I10\n3,03/04/2020,ABCDE\n3,03/04/2020,\n"
    (tmp_path / "claims").mkdir()
    (tmp_path / "mapping.yaml").write_text(mapping, "utf-8")
    (tmp_path / "claims" / "people.csv").write_text(people, "utf-8")
    (tmp_path / "claims" / "dx.csv").write_text(codes, "utf-8")
    source = {"kind": "tables", "path": str(tmp_path / "claims"), "mapping": str(tmp_path / "mapping.yaml")}
    fields = {"name": "x", "source": source, "cohort": {"landmark": dt.date(2021, 1, 1)}, "sizes": ["80k"]}
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(fields | {"tasks": ["ckd"]}), "utf-8")
    shown = preview.preview(loading.load(file).source, engine, tmp_path / "samples")
    seen = "born has 99/99/9999 and 1 empty cells (dates: day_first reads them)"
    assert f"! 9 rows: unreadable date; {seen}" in shown
    assert shown.endswith("Cells are not shown: 9 stands for a digit, A and a for a letter.")
    assert "! 5 rows: sex is neither male nor female: x" in shown
    assert "! 1 rows: unreadable date; day has 99/99/9999 (dates: day_first reads them)" in shown
    assert "! 1 events: not of the form of ICD10: AAAAA" in shown and "! 1 rows: no code" in shown


@pytest.mark.parametrize(
    ("files", "cause"),
    [
        ({}, "holds no table"),
        (
            {"people.csv": "id,born\n1,1950-01-01\n"},
            r"people has an id of a patient \(id\) and a birth \(born\), but not a sex; call .* column sex;",
        ),
        ({"people.csv": "id,birth,sex\n" + "1,1950-01-01,M\n" * 9}, "no column of codes"),
        ({"people.csv": b"id,birth\n\xff\xfe\x81,\x9d"}, "is no text in"),
        ({"people.parquet": "not Parquet"}, "no Parquet file"),
        ({"people.csv": ""}, "is empty"),
    ],
)
def test_unknown_folders_end_in_one_line(files, cause, tmp_path) -> None:
    folder = tmp_path / "claims"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BadInput, match=cause):
        draft(folder)
    with pytest.raises(BadInput, match=cause):
        write_draft(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("form", ["%Y-%m-%d", "%m/%d/%Y", "%d.%m.%Y", "%Y%m%d", "%d%b%Y"])
def test_the_landmark_is_that_of_any_form_of_dates(form, tmp_path) -> None:
    """Claims of every day of 2018 to 2020: fourteen months before their end is October 2019."""
    (tmp_path / "claims").mkdir()
    days = [dt.date(2018, 1, 1) + dt.timedelta(days=number) for number in range(3 * 365)]
    write(tmp_path / "claims" / "member.csv", {
        "member_id": [f"P{number}" for number in range(20)],
        "dob": [dt.date(1950, 1, 13 + number % 10).strftime(form) for number in range(20)],
        "sex": ["F", "M"] * 10,
    })  # fmt: skip
    write(tmp_path / "claims" / "medical.csv", {
        "member_id": [f"P{number % 20}" for number in range(len(days))],
        "claim_id": [f"C{number}" for number in range(len(days))],
        "provid": ["H1"] * len(days),
        "svc_date": [day.strftime(form) for day in days],
        "paid_date": [(day + dt.timedelta(days=30)).strftime(form) for day in days],
        "dx": ["N18.9", "I10"] * (len(days) // 2) + ["I10"] * (len(days) % 2),
    })  # fmt: skip
    write_draft(tmp_path / "claims", tmp_path / "mine")
    study = yaml.safe_load((tmp_path / "mine" / "study.yaml").read_text("utf-8"))
    assert study["cohort"]["landmark"] == dt.date(2019, 10, 1)
    checks = (tmp_path / "mine" / "mapping.yaml").read_text("utf-8")
    assert "# Check: visits: no table has the id" in checks
    unused = "claim_id (a visit?), provid (a hospital?), paid_date (a date?)"
    assert f"# Check: medical: not used are {unused}" in checks


def test_a_folder_without_a_patient_id_says_what_was_seen(tmp_path) -> None:
    (tmp_path / "claims").mkdir()
    write(tmp_path / "claims" / "elig.csv", {
        "strange": [f"P{number}" for number in range(20)], "mbr_dob": ["1950-01-13"] * 20,
        "gender_cd": ["F", "M"] * 10,
    })  # fmt: skip
    seen = r"elig has a birth \(mbr_dob\) and a sex \(gender_cd\), but not an id of a patient; call .* patient_id;"
    with pytest.raises(BadInput, match=seen):
        draft(tmp_path / "claims")


def test_abbreviated_names_open_coverage_and_columns_of_other_codes_are_seen(tmp_path) -> None:
    (tmp_path / "claims").mkdir()
    write(tmp_path / "claims" / "elig.csv", {
        "MBR_ID": [f"P{number}" for number in range(20)], "BRTH_DT": ["01/13/1950"] * 20,
        "SEX_CD": ["F", "M"] * 10, "COV_EFF_DT": ["01/01/2018"] * 20, "COV_TERM_DT": ["12/31/9999"] * 20,
    })  # fmt: skip
    write(tmp_path / "claims" / "medical.csv", {
        "MBR_ID": [f"P{number}" for number in range(20)], "SRVC_DT": ["02/13/2019"] * 20,
        "ICD_DX1": ["N18.9", "I10"] * 10, "ICD_PX1": ["0BJ08ZZ", "02703DZ"] * 10, "DRG_CD": ["470", "871"] * 10,
    })  # fmt: skip
    found = draft(tmp_path / "claims")
    patients = found.mapping["patients"]
    assert (patients["patient"], patients["birth"]) == ("mbr_id", "brth_dt")
    assert patients.get("observed") == ["cov_eff_dt", "cov_term_dt"]
    assert "medical: not used are icd_px1 (codes?), drg_cd (codes?)" in found.notes
    (sample,) = (table for table in found.tables if table.name == "elig")
    assert sample.columns["cov_eff_dt"].looks_like() == "days, 2018 (month_first), 100 % filled"
    assert sample.columns["cov_term_dt"].looks_like() == "days (month_first), 100 % filled"


def test_a_table_of_insurance_is_drafted_as_the_periods_of_observation(tmp_path) -> None:
    (tmp_path / "claims").mkdir()
    ids = [f"P{number}" for number in range(20)]
    write(tmp_path / "claims" / "patients.csv", {
        "patient_id": ids, "birth_date": ["1950-01-13"] * 20, "sex": ["F", "M"] * 10,
    })  # fmt: skip
    write(tmp_path / "claims" / "enrollment.csv", {
        "patient_id": ids, "plan": ["A", "B"] * 10, "start_date": ["2018-01-01"] * 20,
        "end_date": ["2020-12-31"] * 20,
    })  # fmt: skip
    write(tmp_path / "claims" / "diagnoses.csv", {
        "patient_id": ids, "date": ["2019-02-13"] * 20, "icd": ["N18.9", "I10"] * 10,
    })  # fmt: skip
    found = draft(tmp_path / "claims").mapping["patients"].get("observed")
    columns = {"start": "start_date", "end": "end_date"}
    assert found == {"table": "enrollment", "patient": "patient_id"} | columns
    write_draft(tmp_path / "claims", tmp_path / "mine")
    assert tables_mapping.load(str(tmp_path / "mine/mapping.yaml")).patients.period_table is not None
