"""UKE files become the simulator's own events again; whatever a file holds, it is read or refused."""

from __future__ import annotations

import datetime as dt
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from claimscale.config.sources import ReceiptSource
from claimscale.errors import BadInput
from claimscale.simulator.parameters import build_country
from claimscale.simulator.population import WriterOptions
from claimscale.simulator.writers.masters import SimulatedMasters
from claimscale.sources.issues import ISSUES
from claimscale.sources.japan import receipt, receipt_parsing
from claimscale.sources.japan.receipt_clinical import ParsedReceipts
from claimscale.sources.japan.receipt_records import ReceiptReader

HOSPITALS, SEED = 5, 11  # those of the fixtures
PAGE = Path(__file__).parents[3] / "docs" / "sources" / "receipt.md"
HEAD = "IR,1,13,1,1234567,,見本病院,202106,00,"
PATIENT = "1311234567-0042"
PERSON_CODES = ("MEDS_BIRTH", "SEX//F", "SEX//M")


def reading(engine, scratch: Path, folder: Path, **source: Any) -> receipt.RawEvents:
    scratch.mkdir(exist_ok=True)
    return receipt.read(ReceiptSource(kind="receipt", path=str(folder), **source), engine, scratch)


@pytest.fixture
def lines(engine, tmp_path: Path):
    """Read one file of the lines; returns the events as rows, and the raw events."""

    def read(*records: str, end: str = "\r\n", **source: Any) -> tuple[list[dict], receipt.RawEvents]:
        folder = tmp_path / "claims"
        folder.mkdir(exist_ok=True)
        content = "".join(record + end for record in (HEAD, *records, "GO,1,0,99"))
        (folder / "RECEIPTC.UKE").write_bytes(content.encode("cp932"))
        raw = reading(engine, tmp_path / "scratch", folder, **source)
        return engine.to_arrow(raw.table).to_pylist(), raw

    return read


def head(**fields: str) -> str:
    """RE of a woman in May 2021, with fields (`f4`) replaced."""
    values = {1: "RE", 2: "1", 3: "1112", 4: "202105", 6: "2", 7: "19500228", 14: "0042"}
    values |= {int(name[1:]): value for name, value in fields.items()}
    return ",".join(values.get(number, "") for number in range(1, 39))


def service(
    code: str, *days: int, record: str = "SI", block: str = "", quantity: str = "", points: str = "9"
):
    columns = ["1" if day in days else "" for day in range(1, 32)]
    between = [""] * (6 if record != "TO" else 10)
    return ",".join([record, block, "1", code, quantity, points, "1", *between, *columns])


def day(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


def coded(rows: list[dict], *names: str) -> list[tuple]:
    """Code and the named columns of all events but birth and sex, sorted."""
    return sorted(
        (tuple(row[name] for name in ("code", *names)) for row in rows if row["code"] not in PERSON_CODES),
        key=repr,
    )


# What was simulated comes back.


@pytest.fixture(scope="session")
def price_codes() -> dict[str, str]:
    """The code on the masters' side of each of the country's codes."""
    country = SimulatedMasters.of(build_country(HOSPITALS, SEED).codes)
    return {f"ATC//{atc}": f"YJ//{each.price_code}" for atc, each in country.drugs.items()}


def facts(table: pa.Table, patient: str, codes: dict[str, str]) -> set[tuple]:
    """Patient, day, code, suspected, hospital and availability, of all events but deaths."""
    return {
        (
            row[patient],
            row["time"],
            codes.get(row["code"], row["code"]),
            row["suspected"],
            row["available_at"],
        )
        for row in table.to_pylist()
        if row["code"] != "MEDS_DEATH"
    }


def patients_by_hospital(table: pa.Table) -> dict[int, str]:
    """The reader's patient ids of simulated patients with claims: hospital and chart number."""
    hospitals = {row["subject_id"]: row["hospital_id"] for row in table.to_pylist() if row["visit_id"]}
    return {
        subject: f"{int(hospital[1:]) % 47 + 1:02d}1{int(hospital[1:]):07d}-{subject}"
        for subject, hospital in hospitals.items()
    }


@pytest.mark.parametrize("wareki", [False, True])
def test_round_trip_of_simulated_patients(wareki, simulated, written, engine, tmp_path, price_codes) -> None:
    folder = written("uke", WriterOptions(wareki=wareki))
    raw = reading(engine, tmp_path / "scratch", folder / "uke", masters=str(folder / "masters"))
    table = engine.to_arrow(raw.table)
    assert set(table["issue"].to_pylist()) == {None}
    assert not raw.warnings
    names = patients_by_hospital(simulated)
    came = simulated.filter(pa.array([subject in names for subject in simulated["subject_id"].to_pylist()]))
    named = came.set_column(0, "patient", pa.array([names[each] for each in came["subject_id"].to_pylist()]))
    assert facts(table, "patient", {}) == facts(named, "patient", price_codes)
    assert len(facts(table, "patient", {})) > 20_000


def test_deaths_return_with_a_claim_of_the_month(simulated, written, engine, tmp_path) -> None:
    folder = written("uke")
    raw = reading(engine, tmp_path / "scratch", folder / "uke", masters=str(folder / "masters"))
    found = {
        row["patient"]: row["time"]
        for row in engine.to_arrow(raw.table).to_pylist()
        if row["code"] == "MEDS_DEATH"
    }
    names = patients_by_hospital(simulated)
    rows = [row for row in simulated.to_pylist() if row["subject_id"] in names]
    died = {names[row["subject_id"]]: row["time"] for row in rows if row["code"] == "MEDS_DEATH"}
    diagnosed = {
        names[row["subject_id"]]
        for row in rows
        if row["code"].startswith("ICD10//") and names[row["subject_id"]] in died
        if row["time"] == died[names[row["subject_id"]]].replace(day=1)
    }
    assert found
    assert all((found[who].year, found[who].month) == (died[who].year, died[who].month) for who in found)
    # Only a claim with diseases can have an outcome, if it is the last of the month.
    assert set(found) <= set(died)
    assert len(diagnosed - set(found)) <= 0.1 * len(diagnosed)


def test_line_counts_equal_those_of_the_files(written, engine, tmp_path) -> None:
    folder = written("uke")
    raw = reading(engine, tmp_path / "scratch", folder / "uke")
    assert line_counts(raw) == lines_of_files(sorted((folder / "uke").rglob("*.UKE")))
    table = engine.to_arrow(raw.table)
    made = Counter(table["source_table"].to_pylist())
    for table_name, counts in raw.rows.items():
        silent = sum(counts["without_event"].values())
        # A simulated SI, IY, CD, SY or SB makes one event; a BU one or two.
        if table_name in ("SI", "IY", "CD", "SB"):
            assert made[table_name] + silent == counts["rows"]
        assert bool(made[table_name]) == (silent < counts["rows"])
    deaths = sum(code == "MEDS_DEATH" for code in table["code"].to_pylist())
    assert made["SY"] + made["BU"] == raw.rows["SY"]["rows"] + raw.rows["BU"]["rows"] + deaths
    assert raw.warnings == {
        "code not in masters": sum(made[name] for name in ("SI", "IY", "CD")) + raw.rows["SY"]["rows"]
    }


def line_counts(raw: receipt.RawEvents) -> dict[str, int]:
    return {table_name: counts["rows"] for table_name, counts in raw.rows.items()}


def lines_of_files(files: list[Path]) -> dict[str, int]:
    content = [line for file in files for line in file.read_bytes().decode("cp932").splitlines()]
    return Counter(line[:2] for line in content)


def test_one_visit_is_one_receipt(simulated, written, engine, tmp_path) -> None:
    raw = reading(engine, tmp_path / "scratch", written("uke") / "uke")
    rows = [row for row in engine.to_arrow(raw.table).to_pylist() if row["visit_id"]]
    claims = {row["visit_id"] for row in simulated.to_pylist() if row["visit_id"]}
    visits = {row["visit_id"] for row in rows}
    assert len(visits) == len(claims) == raw.rows["RE"]["rows"]
    assert len({(row["visit_id"], row["patient"], row["hospital_id"]) for row in rows}) == len(visits)


# The page is right.


def test_the_example_of_the_page(engine, tmp_path) -> None:
    fences = dict(re.findall(r"```(uke|events)\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL))
    folder = tmp_path / "claims"
    folder.mkdir()
    (folder / "RECEIPTC.UKE").write_bytes(fences["uke"].encode("cp932"))
    raw = reading(engine, tmp_path / "scratch", folder)
    rows = engine.to_arrow(raw.table).to_pylist()
    found = [
        (
            row["patient"],
            f"{row['time']:%Y-%m-%d}",
            row["code"],
            "suspected" if row["suspected"] else "-",
            "-" if row["numeric_value"] is None else f"{row['numeric_value']:g}",
        )
        for row in rows
    ]
    assert sorted(found) == [tuple(line.split()) for line in fences["events"].splitlines()[1:]]
    known = {row["available_at"] for row in rows if row["code"] not in PERSON_CODES}
    assert known == {day("2021-05-31")}
    assert raw.rows["SY"]["without_event"] == {"free text": 1}
    assert raw.rows["CO"]["without_event"] == {"comment": 1}
    assert raw.warnings == {"code not in masters": 7, "unknown record": 1}


# What single records mean.


def test_diseases_are_dated_to_the_month(lines) -> None:
    rows, _ = lines(
        head(),
        "SY,8833421,19980401,1,,,01,",
        "SY,8844106,20210510,1,20498002,,,",
        "SY,8842373,2021",
        "SY,8838112,,1,18002000,,,",
    )
    assert coded(rows, "time", "available_at", "suspected") == [
        (f"DISEASE//{code}", day("2021-05-01"), day("2021-05-31"), suspected)
        for code, suspected in (("8833421", False), ("8838112", False), ("8842373", False), ("8844106", True))
    ]


def test_a_newborns_first_month_begins_with_the_birth(lines) -> None:
    rows, _ = lines(head(f7="20210518"), "SY,8833421,20210518,1,,,,", service("112007410"))
    assert {row["time"] for row in rows} == {day("2021-05-18")}


def test_each_day_with_a_count_is_an_event(lines) -> None:
    rows, raw = lines(
        head(),
        service("620098801", 3, 31, record="IY", quantity="1.5"),
        service("710010001", 4, record="TO", quantity="2"),
        service("112007410"),
        service("112007410", 8)[: -len(",1" + "," * 23)] + ",0",
    )
    assert coded(rows, "time", "numeric_value") == [
        ("MATERIAL//710010001", day("2021-05-04"), 2.0),
        ("RECEIPT//112007410", day("2021-05-01"), None),
        ("RECEIPT//620098801", day("2021-05-03"), 1.5),
        ("RECEIPT//620098801", day("2021-05-31"), 1.5),
    ]
    assert raw.warnings["dated to the month"] == 1
    assert raw.rows["SI"]["without_event"] == {"no day with a count": 1}


def test_members_of_a_unit_share_the_days_of_its_end(lines) -> None:
    rows, raw = lines(
        head(),
        service("620000001", record="IY", block="21", points=""),
        service("620000002", 7, record="IY"),
        service("620000003", record="IY", points=""),
        service("620000004", 9, record="IY", block="22"),
        service("620000005", record="IY", points=""),
    )
    # The third is alone: the next record begins another block. The last is never ended.
    assert coded(rows, "time") == [
        ("RECEIPT//620000001", day("2021-05-07")),
        ("RECEIPT//620000002", day("2021-05-07")),
        ("RECEIPT//620000003", day("2021-05-01")),
        ("RECEIPT//620000004", day("2021-05-09")),
        ("RECEIPT//620000005", day("2021-05-01")),
    ]
    assert raw.warnings["dated to the month"] == 2


def test_a_stay_over_two_months_has_one_admission(lines) -> None:
    rows, raw = lines(
        head(f3="4112", f9="20210520"),
        "BU,010060x2990401,20210520,,,",
        head(f3="4112", f4="202106", f9="20210520"),
        "BU,010060x2990401,20210520,20210603,2,",
        "SB,8833421,8002,,,01,,",
        "SB,8833421,,,I10,01,,",
    )
    assert coded(rows, "time", "available_at", "suspected") == [
        ("DISEASE//8833421", day("2021-06-01"), day("2021-06-30"), True),
        ("ICD10//I10", day("2021-06-01"), day("2021-06-30"), False),
        ("VISIT//ADMISSION", day("2021-05-20"), day("2021-05-31"), False),
        ("VISIT//DISCHARGE", day("2021-06-03"), day("2021-06-30"), False),
    ]
    # The admission belongs to the receipt of its month, the discharge to that of June.
    visits = {row["code"]: row["visit_id"] for row in rows if row["code"].startswith("VISIT//")}
    assert visits == {"VISIT//ADMISSION": "1", "VISIT//DISCHARGE": "2"}
    assert raw.rows["RE"]["without_event"] == {"repeated birth, sex and admission": 1}
    assert raw.rows["BU"]["without_event"] == {"stay not ended": 1}


def test_a_death_takes_the_day_of_the_discharge(lines) -> None:
    stay = head(f3="4112", f9="20210501"), "BU,0,20210501,20210511,7,", "SY,8833421,,3,,,,"
    rows, _ = lines(*stay)
    assert [row["time"] for row in rows if row["code"] == "MEDS_DEATH"] == [day("2021-05-11")]
    rows, _ = lines(head(), "SY,0000999,,3,,知らぬ病,,")
    assert [row["time"] for row in rows if row["code"] == "MEDS_DEATH"] == [day("2021-05-31")]


def test_a_discharge_dates_deaths_of_other_receipts(lines, validated) -> None:
    stay = head(f3="4112", f9="20210502")
    records = (stay, "BU,010060x2990401,20210502,20210510,6", head(), "SY,8833421,20200101,3,,,")
    events, quality = validated(lines(*records)[1])
    deaths = [row["time"] for row in events.to_pylist() if row["code"] == "MEDS_DEATH"]
    assert deaths == [day("2021-05-10")]
    # The outpatient receipt's disease is dated to the month's first day, so it is not after the death.
    assert quality["quarantined"] == {"conflicting death date": 1}


def test_the_sex_of_most_records_is_used(lines, validated) -> None:
    records = [head(f4=f"2021{month:02d}", f6="1" if month == 3 else "2") for month in range(1, 7)]
    events, quality = validated(lines(*records)[1])
    assert [row["code"] for row in events.to_pylist()] == ["MEDS_BIRTH", "SEX//F"]
    assert quality["quarantined"] == {"conflicting sex": 1}


def test_a_tie_of_sexes_is_undecided(lines, validated) -> None:
    tie = [head(f4="202101"), head(f4="202102", f6="1"), head(f4="202103", f6="9")]
    events, quality = validated(lines(*tie)[1])
    assert [row["code"] for row in events.to_pylist()] == ["MEDS_BIRTH"]
    assert quality["quarantined"] == {"conflicting sex": 3}


def test_an_uncoded_material_ends_its_unit(lines) -> None:
    rows, _ = lines(
        head(),
        service("140000610", block="40", points=""),
        service("777770000", 5, record="TO"),
        service("140009310", 20),
    )
    assert coded(rows, "time") == [
        ("RECEIPT//140000610", day("2021-05-05")),
        ("RECEIPT//140009310", day("2021-05-20")),
    ]


def test_a_receipt_sent_again_is_the_same_visit(lines, validated) -> None:
    once = head(), "SY,8833421,,1,,,,", service("112007410", 3)
    rows, _ = lines(*once, *once)
    assert {row["visit_id"] for row in rows if row["visit_id"]} == {"1"}
    _, raw = lines(*once, *once, head(f4="202106"), "SY,8833421,,1,,,,")
    events, quality = validated(raw)
    assert quality["dropped"] == {"same patient, time, code, value and visit": 2}
    assert quality["quarantined"] == {}
    assert set(events["source_id"].to_pylist()) == {PATIENT}


def test_by_insurance_a_person_is_the_same_in_every_hospital(lines) -> None:
    of_person = "HO,06990019,１２,３４,1,0", "SN,1,01,,,,01,,"
    another = "HO,06990019,12,34,1,0", "SN,1,01,,,,02,,"
    rows, _ = lines(
        head(),
        *of_person,
        "IR,1,14,1,7654321,,,202106,00,",
        head(f7="3250228", f14=""),
        *(each.replace("１２", "12").replace("３４", "34") for each in of_person),
        head(),
        *another,
        head(),
        "KO,83136019,1111111,,1,0",
        patient="insurance",
    )
    births = [(row["patient"], row["issue"]) for row in rows if row["code"] == "MEDS_BIRTH"]
    people = {patient for patient, _ in births}
    assert len(people) == 3 and None in people
    assert sorted(issue or "" for _, issue in births) == ["", "", "missing patient"]


def test_codes_that_masters_lack_are_counted(lines, tmp_path) -> None:
    country = SimulatedMasters.of(["ICD10//N189", "ATC//A10BA02", "KUBUN//K695-23"])
    country.write(tmp_path / "masters")
    disease, drug, act = country.disease("N189"), country.drug("A10BA02"), country.act("K695-23")
    rows, raw = lines(
        head(),
        f"SY,{disease},,1,,,,",
        "SY,8833421,,1,,,,",
        service(drug.receipt_code, 2, record="IY"),
        service(act.receipt_code, 2),
        service("820000001", 2),
        masters=str(tmp_path / "masters"),
    )
    assert [code for (code,) in coded(rows)] == [
        "DISEASE//8833421", "ICD10//N189", "KUBUN//K695-23", f"YJ//{drug.price_code}"
    ]  # fmt: skip
    assert raw.warnings == {"code not in masters": 1}
    assert raw.rows["SI"]["without_event"] == {"comment": 1}


# What is wrong with rows, and with files.


@pytest.mark.parametrize(
    ("records", "code", "issue"),
    [
        ((head(f4="202113"), service("112007410", 1)), "RECEIPT//112007410", "unreadable date"),
        ((head(f4="202113"), "CD,20210501,60,1,1,160000410,,,,1,"), "RECEIPT//160000410", "unreadable date"),
        ((head(f4="202102"), service("112007410", 30)), "RECEIPT//112007410", "unreadable date"),
        ((head(), "CD,20210431,60,1,1,160000410,,,,1,"), "RECEIPT//160000410", "unreadable date"),
        ((head(f7="19500230"),), "MEDS_BIRTH", "unreadable date"),
        ((head(f9="5030532"),), "VISIT//ADMISSION", "unreadable date"),
        ((head(), "BU,0,,20210532,2,"), "VISIT//DISCHARGE", "unreadable date"),
        ((head(), "BU,0,20210520,,6,"), "MEDS_DEATH", "unreadable date"),
        ((head(), "BU,0,20210520,20210519,2,"), "VISIT//DISCHARGE", "end before start"),
        ((head(), service("112007410", 1, quantity="一錠")), "RECEIPT//112007410", "unreadable value"),
        ((head(), service("112007410", 1, quantity="1e3")), "RECEIPT//112007410", "unreadable value"),
        ((head(), service("112007410") + "x"), "RECEIPT//112007410", "unreadable value"),
        ((head(f14=" "), "SY,8833421,,1,,,,"), "DISEASE//8833421", "missing patient"),
    ],
)  # fmt: skip
def test_issues_of_rows_are_named(records, code, issue, lines) -> None:
    rows, _ = lines(*records)
    assert [row["issue"] for row in rows if row["code"] == code] == [issue]
    if issue == "unreadable date":
        assert all(row["time"] is None or row["available_at"] is None for row in rows if row["issue"])


def test_malformed_receipt_codes_are_missing(lines) -> None:
    rows, raw = lines(head(), "SY,患者太郎,,1,,,,", service("16000", 3))
    assert [code for (code,) in coded(rows)] == [None, None]
    assert raw.warnings["unreadable code"] == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"RECEIPTC\.uke: is empty"),
        (HEAD.encode("cp932"), r"line 1: it is cut off"),
        (f"{HEAD}\n{head()}\nSY,8833421,2021".encode("cp932"), r"line 3: it is cut off"),
        (f"{HEAD}\n{head()}\nSY,88\x0033421\nGO,1,0,99".encode("cp932"), r"line 3: holds a NUL byte"),
        (f"{HEAD}\n".encode("cp932") + "SJ,症状、\n".encode() + b"GO,0,0,99", r"line 2: is not text"),
        ((HEAD + "\n").encode("utf-8-sig"), r"line 1: begins with a UTF-8 mark"),
        (f"{head()}\n{HEAD}\nGO,1,0,99".encode("cp932"), r"line 1: a record RE before any facility"),
        (f"{HEAD}\nSY,8833421,,1,,,,\nGO,1,0,99".encode("cp932"), r"line 2: a record SY before any receipt"),
        (f"{HEAD}\n{head()}\nGO,1,0,99\nSI,,1".encode("cp932"), r"line 4: a record SI before any receipt"),
        (b"IR,1,13,1,12345,,,202106,00,\nGO,0,0,99", r"line 1: IR names no facility"),
        (b"IR,1,13,9,1234567,,,202106,00,\nGO,0,0,99", r"line 1: IR names no fee table"),
        (f"{HEAD}\r{head()}\rGO,1,0,99".encode("cp932"), r"line 1: holds a carriage return"),
        (b"anything at all", r"line 1: no facility"),
        (b"x" * (3 << 20), r"line 1: is longer than any record"),
    ],
)  # fmt: skip
def test_invalid_files_are_refused_with_their_line(content, message, engine, tmp_path) -> None:
    folder = tmp_path / "claims" / "deep"
    folder.mkdir(parents=True)
    (folder / "RECEIPTC.uke").write_bytes(content)
    with pytest.raises(BadInput, match=message) as raised:
        reading(engine, tmp_path / "scratch", tmp_path / "claims")
    assert "RECEIPTC.uke" in str(raised.value)
    assert "8833421" not in str(raised.value)


def test_missing_folder_and_files_are_named(engine, tmp_path) -> None:
    with pytest.raises(BadInput, match=r"source\.path: .*absent is not a folder"):
        reading(engine, tmp_path / "scratch", tmp_path / "absent")
    (tmp_path / "folder.UKE").mkdir()
    with pytest.raises(BadInput, match=r"source\.path: .* holds no receipts"):
        reading(engine, tmp_path / "scratch", tmp_path)


def test_line_ends_and_unknown_records_are_accepted(lines, tmp_path) -> None:
    records = head(), "SY,8833421,,1,,,,", "MN,1,2,3", "", "山田,太郎"
    rows, raw = lines(*records)
    assert raw.rows["other"] == {"rows": 3, "without_event": {"unknown record": 2, "blank line": 1}}
    assert raw.warnings["unknown record"] == 2
    assert sorted(lines(*records, end="\n")[0], key=repr) == sorted(rows, key=repr)
    file = tmp_path / "claims" / "RECEIPTC.UKE"
    parsed = ParsedReceipts()
    ReceiptReader(False, frozenset({"8002"}), parsed).read("file", [file.read_bytes() + b"\x1a"], 0)
    assert parsed.counts.rows["other"] == 3


def test_claims_of_other_kinds_are_counted_only(lines) -> None:
    pharmacy = "IR,1,13,4,7654321,,薬局,202106,00,", "RE,1,4112", "SH,1", "IY,1,620098801", "GO,1,0,99"
    rows, raw = lines(head(), "GO,1,0,99", *pharmacy)
    assert {row["source_table"] for row in rows} == {"RE"}
    assert raw.rows["IY"] == {"rows": 1, "without_event": {"not a medical receipt": 1}}


def test_totals_are_compared(lines, engine, tmp_path) -> None:
    _, raw = lines(head(), "HO,06990019,,,1,0")
    assert "totals differ" not in raw.warnings
    _, raw = lines(head(), "HO,06990019,,,1,70")
    assert raw.warnings["totals differ"] == 1
    _, raw = lines(head(), head())
    assert raw.warnings["totals differ"] == 1


def test_parts_do_not_depend_on_processes(written, engine, tmp_path, monkeypatch) -> None:
    folder = written("uke") / "uke"
    files = receipt.files_of(ReceiptSource(kind="receipt", path=str(folder)))["receipts"]
    size = sum(file.stat().st_size for file in files)
    monkeypatch.setattr(receipt_parsing, "CHUNK_BYTES", size // 3)
    parsed = {}
    for processes in (1, 2):
        monkeypatch.setattr(receipt_parsing.os, "cpu_count", lambda count=processes: count)
        parts = tmp_path / str(processes)
        parts.mkdir()
        counts = receipt_parsing.parse_files(files, False, frozenset({"8002"}), parts)
        parsed[processes] = counts, {file.name: file.read_bytes() for file in parts.iterdir()}
    assert parsed[1] == parsed[2]
    assert len(parsed[1][1]) == 6


# No bytes whatever make it raise anything but BadInput.


VALID = "\r\n".join(
    (
        *(HEAD, head(f9="20210501"), "HO,06990019,1,2,3,9", "SN,1,01,,,,01,,", "BU,0,20210501,20210509,6,"),
        *("SB,8833421,8002,,I10,01,,", "SY,0000999,,3,,謎,,", service("112007410", 3, 4, block="12")),
        *(service("620098801", record="IY", points=""), service("710010001", 5, record="TO", quantity="2")),
        *("CD,20210502,33,1,1,640412032,1,,,1,", "CO,1,1,810000001,痛", "GO,1,9,99", ""),
    )
).encode("cp932")
SPLICES = [b"", b",", b"\n", b"\r", b"\0", b"\x1a", b"\x82", "あ".encode(), "９".encode("cp932")]
SPLICES += [
    b"RE,",
    b"GO,",
    b"IR,1,13,4,1234567",
    b"9" * 400,
    b"-1",
    b"00000000",
    b"99999999",
    b"0000000",
    b"1e9",
    b"nan",
    b" ",
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid file with pieces removed, doubled or replaced."""
    content = VALID
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, len(content)))
        stop = min(len(content), start + draw(st.integers(0, 60)))
        content = (
            content[:start] + draw(st.sampled_from([*SPLICES, content[start:stop] * 2])) + content[stop:]
        )
    return content


def check(content: bytes, by_insurance: bool) -> None:
    """The file is refused with its line, or every line is counted and every row can be stored."""
    parsed = ParsedReceipts()
    reader = ReceiptReader(by_insurance, frozenset({"8002"}), parsed)
    blocks = [content[start : start + 97] for start in range(0, len(content), 97)]
    try:
        reader.read("file", blocks, 0)
    except BadInput as error:
        assert re.match(r"file(, line \d+)?: ", str(error))
        return
    stripped = content.rstrip(b"\x1a")
    assert parsed.counts.rows.total() == stripped.count(b"\n") + (not stripped.endswith(b"\n"))
    made = Counter(table_name for _, table_name, *_ in parsed.events)
    for table_name in set(made) | set(parsed.counts.without_event):
        silent = parsed.counts.without_event[table_name].total()
        assert silent <= parsed.counts.rows[table_name]
        assert (made[table_name] > 0) == (silent < parsed.counts.rows[table_name])
    assert {issue for *_, issue in parsed.events} <= {None, *ISSUES}
    assert all((at is None) <= (issue == "unreadable date") for *_, at, _, _, issue in parsed.events)
    events = receipt_parsing.as_table(parsed.events, receipt_parsing.EVENTS) if parsed.events else None
    assert events is None or events.num_rows == len(parsed.events)
    receipts = (
        receipt_parsing.as_table(parsed.receipts, receipt_parsing.RECEIPTS) if parsed.receipts else None
    )
    assert (
        receipts is None
        or receipts.num_rows == parsed.counts.rows["RE"] - parsed.counts.without_event["RE"].total()
    )


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutated(), st.booleans())
def test_mutated_files_are_read_or_refused(content: bytes, by_insurance: bool) -> None:
    check(content, by_insurance)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400), st.booleans())
def test_any_bytes_are_read_or_refused(content: bytes, by_insurance: bool) -> None:
    check(content, by_insurance)
    check(HEAD.encode("cp932") + b"\n" + head().encode() + b"\n" + content + b"\nGO,1,0,99", by_insurance)


# Files of the real world.


def real_folder(name: str) -> Path:
    beside = Path(__file__).parents[3].parent / "shared" / "data" / name
    return Path(os.environ.get(f"CLAIMSCALE_{name.upper().replace('-', '_')}", beside))


@pytest.mark.skipif(
    not (real_folder("uke").is_dir() and real_folder("jp-masters").is_dir()),
    reason="no sample receipts and masters: set CLAIMSCALE_UKE and CLAIMSCALE_JP_MASTERS",
)
def test_sample_receipts_are_read_whole(engine, tmp_path) -> None:
    raw = reading(engine, tmp_path / "scratch", real_folder("uke"), masters=str(real_folder("jp-masters")))
    table = engine.to_arrow(raw.table)
    files = [file for file in real_folder("uke").rglob("*") if file.suffix.lower() == ".uke"]
    assert line_counts(raw) == lines_of_files(files)
    assert set(table["issue"].to_pylist()) == {None}
    codes = table["code"].to_pylist()
    systems = Counter(code.partition("//")[0] for code in codes)
    assert systems["ICD10"] == raw.rows["SY"]["rows"] - raw.rows["SY"]["without_event"]["free text"]
    assert systems["KUBUN"] > 0.9 * raw.rows["SI"]["rows"]
    assert systems["YJ"] == raw.rows["IY"]["rows"]
    assert sum(table["suspected"].to_pylist()) > 0
