"""Faults planted into sound claims reach their declared handling; sound claims raise no issue.

`make test` plants each kind once, `make test-faults` five times, in different places.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from claimscale import sources
from claimscale.config.execution import EngineSettings
from claimscale.config.study import Study
from claimscale.engine import Engine
from claimscale.errors import BadInput
from claimscale.events.build import write_events_folder
from claimscale.simulator.writers.masters import SimulatedMasters
from claimscale.sources.issues import ISSUES, Handling

PLACES = int(os.environ.get("CLAIMSCALE_FAULT_PLACES", "1"))
PATIENTS = 12
Random = np.random.Generator
Change = Callable[[str], str]


@dataclass(frozen=True)
class Planted:
    """One kind of fault: what it does to the claims, and the expected handling.

    `rejected` is a part of the line that refuses the source. Otherwise `issues` counts rows by issue, and
    `warning` names a warning.
    """

    name: str
    source: str
    plant: Callable[[Path, Random], None]
    rejected: str | None = None
    issues: dict[str, int] | None = None
    warning: str | None = None


def sound_tables(folder: Path) -> None:
    """Patients with a birth, some with a death in 2022, visits, diagnoses, drugs and procedures of 2021."""
    tables = {
        "patients": ["patient_id,birth_date,sex,death_date,hospital_id"],
        "visits": ["visit_id,patient_id,hospital_id,kind,claim_month,start_date,end_date"],
        "diagnoses": ["visit_id,patient_id,code,month,suspected"],
        "drugs": ["visit_id,patient_id,code,date"],
        "procedures": ["visit_id,patient_id,code,date"],
    }
    for number in range(1, PATIENTS + 1):
        who, visit, day = f"P{number:03d}", f"V{number:03d}", f"2021-03-{number:02d}"
        tables["patients"].append(f"{who},1950-01-{number:02d},{'FM'[number % 2]},2022-01-05,H{number % 3}")
        tables["visits"].append(f"{visit},{who},H{number % 3},inpatient,2021-03,{day},2021-03-28")
        tables["diagnoses"].append(f"{visit},{who},N189,2021-03,false")
        tables["drugs"].append(f"{visit},{who},C08CA01,{day}")
        tables["procedures"].append(f"{visit},{who},D007,{day}")
    folder.mkdir()
    for name, lines in tables.items():
        (folder / f"{name}.csv").write_text("\n".join([*lines, ""]), "utf-8")


MASTERS = SimulatedMasters.of(["ICD10//I10", "ATC//C08CA01", "KUBUN//A001"])
DISEASE, ACT = MASTERS.disease("I10"), MASTERS.act("A001").receipt_code
DRUG = MASTERS.drug("C08CA01").receipt_code


def sound_receipts(folder: Path) -> None:
    lines = ["IR,1,12,1,0000001,,,202104,00,"]
    for number in range(1, PATIENTS + 1):
        lines += [f"RE,{number},1122,202103,,1,195001{number:02d},,,,,,,C{number:03d}"]
        lines += [f"SY,{DISEASE},20200105,1,,,01", f"SI,12,1,{ACT},,73,1,,,,,,,1" + "," * 30]
    folder.mkdir()
    (folder / "a.UKE").write_bytes("\r\n".join([*lines, f"GO,{PATIENTS},0,99", ""]).encode("cp932"))
    other = ["IR,1,12,1,0000002,,,202104,00,", *lines[1:4], "GO,1,0,99", ""]
    (folder / "b.UKE").write_bytes("\r\n".join(other).encode("cp932"))
    MASTERS.write(folder / "masters")


def sound_surveys(folder: Path) -> None:
    """Form 1 and acts of a stay of each patient, half of them in a second facility."""
    folder.mkdir()
    for place in ("121000001", "121000002"):
        form, acts = [], []
        for number in range(1, PATIENTS // 2 + 1):
            stay = f"{place}\t{number:010d}\t20210402\t0\t0"
            form += [f"{stay}\tA000010\t20200401\t1\t195001{number:02d}\t2" + "\t" * 7]
            form += [f"{stay}\tA006010\t20200401\t1\t\tI500" + "\t" * 7]
            cells = [place, f"{number:010d}", "20210420", "20210402", "21", "0001", "001", "", DRUG]
            acts += ["\t".join([*cells, *[""] * 14, "20210405", *[""] * 7])]
        for name, lines in (("FF1", form), ("EFn", acts)):
            text = "\r\n".join([*lines, ""])
            (folder / f"{name}_{place}_2104.txt").write_bytes(text.encode("cp932"))
    MASTERS.write(folder / "masters")


def sound_omop(folder: Path) -> None:
    tables = {
        "person": ["person_id,gender_concept_id,year_of_birth,month_of_birth,day_of_birth"],
        "care_site": ["care_site_id,care_site_source_value", "1,H1", "2,H2"],
        "visit_occurrence": [
            "visit_occurrence_id,person_id,visit_concept_id,visit_start_date,visit_end_date,care_site_id"
        ],
        "condition_occurrence": [
            "condition_occurrence_id,person_id,condition_concept_id,condition_start_date,"
            "condition_source_value,condition_source_concept_id,visit_occurrence_id"
        ],
        "concept": ["concept_id,vocabulary_id,concept_code", "7,ICD10CM,N189"],
    }
    for number in range(1, PATIENTS + 1):
        day = f"2021-03-{number:02d}"
        tables["person"].append(f"{number},8507,1950,4,{number}")
        tables["visit_occurrence"].append(f"{number},{number},9201,{day},2021-03-28,{1 + number % 2}")
        tables["condition_occurrence"].append(f"{number},{number},0,{day},N18.9,7,{number}")
    folder.mkdir()
    for name, lines in tables.items():
        (folder / f"{name}.csv").write_text("\n".join([*lines, ""]), "utf-8")


SOUND = {"tables": sound_tables, "receipt": sound_receipts, "dpc": sound_surveys, "omop": sound_omop}
SOUND_EVENTS = {
    "tables": 8 * PATIENTS,
    "receipt": 4 * (PATIENTS + 1),
    "dpc": 6 * PATIENTS,
    "omop": 5 * PATIENTS,
}


def a_row(random: Random) -> int:
    """The place of a data row; the first line is the header."""
    return int(random.integers(1, PATIENTS + 1))


def row(table: str, change: Change) -> Callable[[Path, Random], None]:
    """Change one row."""

    def plant(folder: Path, random: Random) -> None:
        file = folder / f"{table}.csv"
        lines = file.read_text("utf-8").split("\n")
        place = a_row(random)
        changed = change(lines[place])
        assert changed != lines[place]
        lines[place] = changed
        file.write_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))

    return plant


def cell(table: str, column: int, value: str) -> Callable[[Path, Random], None]:
    def change(line: str) -> str:
        cells = line.split(",")
        return ",".join([*cells[:column], value, *cells[column + 1 :]])

    return row(table, change)


def also(table: str, change: Change) -> Callable[[Path, Random], None]:
    """Repeat one row, changed."""
    return row(table, lambda line: f"{line}\n{change(line)}")


def whole(table: str, change: Callable[[bytes], bytes]) -> Callable[[Path, Random], None]:
    def plant(folder: Path, random: Random) -> None:
        file = folder / f"{table}.csv"
        file.write_bytes(change(file.read_bytes()))

    return plant


def as_parquet(table: str, change: Callable[[pa.Table], pa.Table] = lambda table: table, cut: int = 0):
    def plant(folder: Path, random: Random) -> None:
        file = folder / f"{table}.csv"
        content = pa_csv.read_csv(file)
        pq.write_table(change(content), file.with_suffix(".parquet"))
        if cut:
            data = file.with_suffix(".parquet").read_bytes()
            file.with_suffix(".parquet").write_bytes(data[:-cut])
        file.unlink()

    return plant


def codes_as_numbers(table: pa.Table) -> pa.Table:
    return table.set_column(2, "code", pa.array(range(len(table))))


def line(change: Callable[[list[str], int], None]) -> Callable[[Path, Random], None]:
    """Change the lines of a receipt file, given the place of some receipt (RE)."""

    def plant(folder: Path, random: Random) -> None:
        file = folder / "a.UKE"
        lines = file.read_bytes().decode("cp932").split("\r\n")
        change(lines, 1 + 3 * int(random.integers(PATIENTS)))
        file.write_bytes("\r\n".join(lines).encode("utf-8", "surrogateescape"))

    return plant


def survey(kind: str, change: Change) -> Callable[[Path, Random], None]:
    """Change one line of a survey file of a facility."""

    def plant(folder: Path, random: Random) -> None:
        file = folder / f"{kind}_12100000{random.integers(1, 3)}_2104.txt"
        lines = file.read_bytes().decode("cp932").split("\r\n")
        # Form 1 has two lines per patient, of which the first has the birth.
        place = int(random.integers(PATIENTS // 2)) * (2 if kind == "FF1" else 1)
        changed = change(lines[place])
        assert changed != lines[place]
        lines[place] = changed
        file.write_bytes("\r\n".join(lines).encode("cp932"))

    return plant


def field(number: int, value: str) -> Change:
    """Put a value into a field of a line with tabs, counted from 1."""

    def change(line: str) -> str:
        cells = line.split("\t")
        return "\t".join([*cells[: number - 1], value, *cells[number:]])

    return change


def retired(folder: Path, random: Random) -> None:
    """One disease of the claims has an abolished code."""
    file = next((folder / "masters").glob("b_*.txt"))
    rows = file.read_bytes().decode("cp932")
    old = rows.split("\r\n")[0].replace(DISEASE, "9999998").replace("99999999", "20200331")
    file.write_bytes((rows + old + "\r\n").encode("cp932"))
    line(lambda lines, at: put(lines, at + 1, "SY,9999998,,1"))(folder, random)


def put(lines: list[str], place: int, text: str) -> None:
    lines[place] = text


def remove(folder: Path, random: Random) -> None:
    (folder / "drugs.csv").unlink()


def twice(folder: Path, random: Random) -> None:
    pq.write_table(pa_csv.read_csv(folder / "drugs.csv"), folder / "drugs.parquet")


def headers_only(folder: Path, random: Random) -> None:
    for file in folder.glob("*.csv"):
        file.write_text(file.read_text("utf-8").split("\n")[0] + "\n", "utf-8")


def no_header(folder: Path, random: Random) -> None:
    file = folder / "drugs.csv"
    file.write_text(file.read_text("utf-8").partition("\n")[2], "utf-8")


def T(name: str, plant: Callable[[Path, Random], None], **expected: Any) -> Planted:
    return Planted(name, "tables", plant, **expected)


def R(name: str, plant: Callable[[Path, Random], None], **expected: Any) -> Planted:
    return Planted(name, "receipt", plant, **expected)


def D(name: str, plant: Callable[[Path, Random], None], **expected: Any) -> Planted:
    return Planted(name, "dpc", plant, **expected)


def M(name: str, plant: Callable[[Path, Random], None], **expected: Any) -> Planted:
    return Planted(name, "omop", plant, **expected)


def only_one_hospital(folder: Path, random: Random) -> None:
    for name in ("patients", "visits"):
        file = folder / f"{name}.csv"
        file.write_text(re.sub(r"\bH\d\b", f"H{random.integers(9)}", file.read_text("utf-8")), "utf-8")


UNREADABLE = {"unreadable date": 1}
SPELT = {"non-canonical code": 1}
KINDS = [
    # Files that are no tables.
    T("cut in the middle of a row", whole("drugs", lambda data: data[:-20]), rejected="line \\d+: \\d cells? instead of 4"),
    T("cut in the middle of a character", whole("drugs", lambda data: data + "高".encode()[:2]), rejected="character"),
    T("a byte that is no UTF-8", row("drugs", lambda text: text + "\udcff"), rejected="is not utf-8"),
    T("CP932", row("drugs", lambda text: text + "\udc8d\udc82"), rejected="is not utf-8"),
    T("UTF-16", whole("drugs", lambda data: data.decode().encode("utf-16")), rejected="NUL|not utf-8"),
    T("a NUL byte", row("drugs", lambda text: text.replace("C08", "C\0")), rejected="NUL"),
    T("an unclosed quote", row("drugs", lambda text: text.replace("C08", '"C08')), rejected="line \\d+: an unclosed quote"),
    T("a huge field", row("drugs", lambda text: text.replace("C08", "C" * 3_000_000)), rejected="line \\d+: .*cell of more than"),
    T("a cell too many", row("drugs", lambda text: text + ",x"), rejected="line \\d+: more than 4 cells"),
    T("a cell too few", row("drugs", lambda text: text.rpartition(",")[0]), rejected="line \\d+: 3 cells instead of 4"),
    T("a column named twice", whole("drugs", lambda data: data.replace(b"code", b"date", 1)), rejected="is repeated"),
    T("a column renamed", whole("drugs", lambda data: data.replace(b"code", b"kode", 1)), rejected="no column code"),
    T("semicolons in a row", row("drugs", lambda text: text.replace(",", ";")), rejected="line \\d+: 1 cell instead of 4"),
    T("no header", no_header, rejected="no column|is repeated"),
    T("an empty file", whole("drugs", lambda data: b""), rejected="is empty"),
    T("headers without rows", headers_only, rejected="none of its 0 events"),
    T("a missing table", remove, rejected="holds no table drugs"),
    T("a table in two kinds", twice, rejected="as CSV and as Parquet"),
    T("Parquet cut short", as_parquet("drugs", cut=50), rejected="cannot be read"),
    T("Parquet that is none", as_parquet("drugs", cut=10**9), rejected="cannot be read"),
    T("codes as numbers", as_parquet("drugs", codes_as_numbers), rejected="leading zeros are lost"),
    # Dates.
    T("a day that is not", cell("drugs", 3, "2021-02-30"), issues=UNREADABLE),
    T("a month that is not", cell("diagnoses", 3, "2021-13"), issues=UNREADABLE),
    T("an era date unannounced", cell("drugs", 3, "5030309"), issues=UNREADABLE),
    T("a serial number unannounced", cell("drugs", 3, "44264"), issues=UNREADABLE),
    T("a zero date", cell("drugs", 3, "00000000"), issues=UNREADABLE),
    T("day before month", cell("drugs", 3, "13/03/2021"), issues=UNREADABLE),
    T("words for a date", cell("drugs", 3, "unknown"), issues=UNREADABLE),
    T("swapped columns", row("drugs", lambda text: ",".join(np.array(text.split(","))[[0, 1, 3, 2]])), issues=UNREADABLE),
    T("admission unreadable", cell("visits", 5, "2021-3-x"), issues={"unreadable date": 2}),
    T("discharge before admission", cell("visits", 6, "2021-02-27"), issues={"end before start": 2}),
    T("future date", cell("drugs", 3, "2098-01-01"), issues={"future date": 1}),
    T("in 9999", cell("drugs", 3, "9999-12-31"), issues={"placeholder date": 1}),
    T("in 1900", cell("drugs", 3, "1900-01-01"), issues={"placeholder date": 1}),
    T("before birth", cell("drugs", 3, "1949-12-31"), issues={"before birth": 1}),
    T("after death", cell("drugs", 3, "2022-01-06"), issues={"after death": 1}),
    T("birth unreadable", cell("patients", 1, "19500230"), issues={"unreadable date": 2, "unknown patient": 6}),
    T("death unreadable", cell("patients", 3, "2022-02-30"), issues=UNREADABLE),
    T("no date anywhere", row("drugs", lambda text: ",".join(["VX", *text.split(",")[1:3], ""])), issues={"missing time": 1}),
    # Patients.
    T("two birth dates", also("patients", lambda text: text.replace("1950", "1951")), issues={"conflicting birth date": 1, "same patient, time, code, value and visit": 1}),
    T("two death dates", also("patients", lambda text: text.replace("2022-01-05", "2022-02-05")), issues={"conflicting death date": 1, "same patient, time, code, value and visit": 2}),
    T("another sex", also("patients", lambda text: text.replace(",F,", ",X,").replace(",M,", ",X,")), issues={"conflicting sex": 1, "same patient, time, code, value and visit": 2}),
    T("a patient not listed", cell("drugs", 1, "P999"), issues={"unknown patient": 1}),
    T("a patient's id in other letters", row("drugs", lambda text: text.replace("P0", "p0")), issues={"unknown patient": 1}),
    T("no patient", cell("drugs", 1, ""), issues={"missing patient": 1}),
    T("a blank patient", cell("drugs", 1, "  "), issues={"missing patient": 1}),
    T("one id in two hospitals", also("patients", lambda text: text.replace("1950", "1971").replace(",H", ",H1")), issues={"conflicting birth date": 1, "same patient, time, code, value and visit": 1}),
    T("claims of one hospital", only_one_hospital, warning="single hospital"),
    # Codes.
    T("no code", cell("drugs", 2, ""), issues={"missing code": 1}),
    T("a blank code", cell("drugs", 2, "   "), issues={"missing code": 1}),
    T("a code of another system", cell("drugs", 2, "N189"), issues={"malformed code": 1}),
    T("a code cut short", cell("diagnoses", 2, "N"), issues={"malformed code": 1}),
    T("a code that lost its zero", cell("procedures", 2, "7"), issues={"malformed code": 1}),
    T("words for a code", cell("diagnoses", 2, "kidney disease"), issues={"malformed code": 1}),
    T("full-width letters", cell("diagnoses", 2, "Ｎ１８９"), issues=SPELT),
    T("small letters", cell("diagnoses", 2, "n189"), issues=SPELT),
    T("a dot", cell("diagnoses", 2, "N18.9"), issues=SPELT),
    T("a hyphen for nothing", cell("diagnoses", 2, "N18-"), issues=SPELT),
    # Rows.
    T("a row twice", also("drugs", lambda text: text), issues={"same patient, time, code, value and visit": 1}),
    T("a visit twice", also("visits", lambda text: text), issues={"same patient, time, code, value and visit": 2}),
    # Receipts.
    R("a UTF-8 mark", line(lambda lines, at: put(lines, 0, "\ufeff" + lines[0])), rejected="UTF-8 mark"),
    R("a NUL byte in a receipt", line(lambda lines, at: put(lines, at + 1, "SY,\0")), rejected="NUL"),
    R("UTF-8 among CP932", line(lambda lines, at: put(lines, at + 1, "SY,0000999,,1,,\udce9\udcab\udc98")), rejected="CP932"),
    R("no facility", line(lambda lines, at: lines.pop(0)), rejected="before any facility"),
    R("a disease before any receipt", line(lambda lines, at: lines.insert(1, lines[at + 1])), rejected="before any receipt"),
    R("an unknown record", line(lambda lines, at: lines.insert(at + 1, "ZZ,1")), warning="unknown record"),
    R("a receipt lost", line(lambda lines, at: lines.__delitem__(slice(at, at + 3))), warning="totals differ"),
    R("no totals", line(lambda lines, at: lines.__delitem__(-2)), rejected="ends before GO"),
    R("an unknown disease", line(lambda lines, at: put(lines, at + 1, "SY,1234567,,1")), warning="code not in masters"),
    R("a disease without a code", line(lambda lines, at: put(lines, at + 1, "SY,,,1")), issues={"missing code": 1}),
    R("a code of five digits", line(lambda lines, at: put(lines, at + 1, "SY,12345,,1")), issues={"missing code": 1}, warning="unreadable code"),
    R("no chart number", line(lambda lines, at: put(lines, at, lines[at].rpartition(",")[0])), issues={"missing patient": 4}),
    R("an impossible month", line(lambda lines, at: put(lines, at, lines[at].replace("202103", "202113"))), issues={"unreadable date": 2}),
    R("an impossible birth", line(lambda lines, at: put(lines, at, lines[at].replace("195001", "195013"))), issues={"unreadable date": 2, "unknown patient": 2}),
    R("words for a number of times", line(lambda lines, at: put(lines, at + 2, f"SI,12,1,{ACT},,73,1,,,,,,,once")), issues={"unreadable value": 1}),
    R("the thirty-first of a short month", line(lambda lines, at: (put(lines, at, lines[at].replace("202103", "202102")), put(lines, at + 2, f"SI,12,1,{ACT},,73,1,,,,,," + "," * 31 + "1"))), issues={"unreadable date": 1}),
    R("a retired disease", retired, warning="abolished code"),
    # Survey files.
    D("a NUL byte in a survey file", survey("EFn", field(8, "\0")), rejected="NUL"),
    D("a line without tabs", survey("EFn", lambda text: text.replace("\t", " ")), rejected="no fields between tabs"),
    D("an act on no day", survey("EFn", field(24, "20210431")), issues=UNREADABLE),
    D("an act without a day", survey("EFn", field(24, "")), issues=UNREADABLE),
    D("an act without a code", survey("EFn", field(9, "")), issues={"missing code": 1}),
    D("a survey's impossible birth", survey("FF1", field(9, "19501301")), issues={"unreadable date": 2, "unknown patient": 4}),
    # OMOP.
    M("a person not listed", cell("condition_occurrence", 1, "77"), issues={"unknown patient": 1}),
    M("an id that is no number", cell("condition_occurrence", 1, "x7"), issues={"unreadable id": 1}),
    M("a condition on no day", cell("condition_occurrence", 3, "2021-02-29"), issues=UNREADABLE),
    M("a condition without a code", row("condition_occurrence", lambda text: text.replace("N18.9,7", ",0")), issues={"missing code": 1}),
    M("a visit that ends before it begins", cell("visit_occurrence", 4, "2021-02-28"), issues={"end before start": 2}),
    M("a birth without a year", cell("person", 2, ""), issues={"unreadable date": 2, "unknown patient": 3}),
]  # fmt: skip


@pytest.fixture(scope="module")
def ingest(tmp_path_factory: pytest.TempPathFactory):
    """Ingest the claims of a folder; returns the quality."""
    with Engine(EngineSettings(), tmp_path_factory.mktemp("engine")) as engine:

        def run(kind: str, folder: Path, target: Path) -> dict:
            source = {"kind": kind, "path": str(folder)}
            if (folder / "masters").exists():
                source["masters"] = str(folder / "masters")
            settings = {"name": "x", "source": source, "cohort": {"landmark": "2021-06-01"}}
            study = Study.model_validate(settings | {"sizes": ["80k"], "tasks": ["ckd"]}, strict=False)
            shutil.rmtree(target, ignore_errors=True)
            (target / "scratch").mkdir(parents=True)
            raw = sources.read(study, engine, target / "scratch")
            quality = write_events_folder(raw, engine, target / "shards", target / "events")
            if quality["used"] == 0:
                raise BadInput(f"none of its {quality['rows_in']} events is usable")
            return quality

        yield run


@pytest.mark.parametrize("kind", SOUND)
def test_sound_claims_raise_no_alarm(kind: str, ingest, tmp_path: Path) -> None:
    SOUND[kind](tmp_path / "claims")
    quality = ingest(kind, tmp_path / "claims", tmp_path / "target")
    assert not any(quality[name] for name in ("quarantined", "dropped", "repaired", "warnings"))
    assert quality["used"] == SOUND_EVENTS[kind]


def test_a_byte_order_mark_is_accepted(ingest, tmp_path: Path) -> None:
    sound_tables(tmp_path / "claims")
    file = tmp_path / "claims/drugs.csv"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    quality = ingest("tables", tmp_path / "claims", tmp_path / "target")
    assert quality["used"] == quality["rows_in"]


@pytest.mark.parametrize("place", range(PLACES))
@pytest.mark.parametrize("planted", KINDS, ids=[planted.name for planted in KINDS])
def test_each_planted_fault_has_its_handling(planted: Planted, place: int, ingest, tmp_path: Path) -> None:
    folder = tmp_path / "claims"
    SOUND[planted.source](folder)
    planted.plant(folder, np.random.default_rng(place))
    if planted.rejected:
        with pytest.raises(BadInput, match=planted.rejected) as caught:
            ingest(planted.source, folder, tmp_path / "target")
        assert "\n" not in str(caught.value)
        assert "P0" not in str(caught.value)
        return
    quality = ingest(planted.source, folder, tmp_path / "target")
    kinds = {Handling.QUARANTINE: "quarantined", Handling.DROP: "dropped", Handling.REPAIR: "repaired"}
    expected: dict[str, dict[str, int]] = {name: {} for name in kinds.values()}
    for name, rows in (planted.issues or {}).items():
        expected[kinds[ISSUES[name]]][name] = rows
    assert {name: quality[name] for name in expected} == expected
    assert quality["warnings"] == ({planted.warning: 1} if planted.warning else quality["warnings"])
    aside = sum(quality["quarantined"].values()) + sum(quality["dropped"].values())
    assert quality["rows_in"] == quality["used"] + aside


def test_there_are_sixty_kinds_with_distinct_names() -> None:
    assert len({planted.name for planted in KINDS}) == len(KINDS) >= 60
