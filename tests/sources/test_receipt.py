"""Receipts become the simulator's own events again; what is no receipt is told, never guessed."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies

from claimscale.errors import BadInput
from claimscale.simulator.population import WriterOptions
from claimscale.sources import maps, receipt
from claimscale.sources.masters import Masters
from claimscale.sources.parts import Parts
from claimscale.study import CodeMap, ReceiptSource

NO_MASTERS = Masters({})
CALENDAR = 31


def source(folder: Path, **settings) -> ReceiptSource:
    return ReceiptSource(kind="receipt", path=str(folder), **settings)


def act(record: str, code: str, *days: int, count: str = "1") -> str:
    calendar = [count if day in days else "" for day in range(1, CALENDAR + 1)]
    return ",".join([record, "21", "1", code, "1", "10", "1", *[""] * 6, *calendar])


def patient(month: str = "202110", birth: str = "19911121", kind: str = "1122", chart: str = "00697") -> str:
    return f"RE,1,{kind},{month},,1,{birth},,,,,28,,{chart}"


FACILITY = "IR,1,12,1,0000000,,,202111,00,"


def uke(*lines: str, end: str = "\r\n") -> bytes:
    return (end.join([*lines, ""])).encode("cp932")


@pytest.fixture
def events(engine, tmp_path: Path):
    """Read one file's bytes; returns its events and the account."""

    def read(content: bytes, masters: Masters = NO_MASTERS, key: str = "chart") -> tuple[list[dict], Parts]:
        file = tmp_path / "RECEIPTC.UKE"
        file.write_bytes(content)
        parts = Parts(tmp_path / f"parts{len(list(tmp_path.iterdir()))}")
        receipt.read_file(file, key, masters, parts)
        return engine.to_arrow(parts.finish(engine).table).to_pylist(), parts

    return read


def summary(rows: list[dict]) -> set[tuple]:
    return {(row["code"], None if row["time"] is None else f"{row['time']:%Y-%m-%d}") for row in rows}


@pytest.mark.parametrize("wareki", [False, True])
def test_round_trip_of_simulated_patients(wareki, written, simulated, through_gate, engine, tmp_path) -> None:
    folder = written("uke", WriterOptions(wareki=wareki))
    raw = receipt.read(source(folder / "uke", masters=str(folder / "masters")), engine, tmp_path)
    atc = CodeMap(of="YJ", to="ATC", file=str(folder / "masters/atc.csv"), columns=["price_code", "atc"])
    events, quality = through_gate(maps.applied(raw, [atc], engine, tmp_path))
    assert not quality["quarantined"] and not quality["warnings"]
    # The facility and the chart number; the day of death is lost, as docs/simulated-formats.md says.
    found = Counter(
        (int(row["source_id"].rpartition("/")[2]), row["time"], row["code"], row["suspected"])
        for row in events.to_pylist()
        if row["code"] != "MEDS_DEATH"
    )
    with_claim = {row["subject_id"] for row in simulated.to_pylist() if row["visit_id"] is not None}
    expected = Counter(
        (row["subject_id"], row["time"], row["code"], row["suspected"])
        for row in simulated.to_pylist()
        if row["subject_id"] in with_claim and row["code"] != "MEDS_DEATH"
    )
    assert found == expected
    known = {(row["visit_id"], row["available_at"]) for row in events.to_pylist() if row["visit_id"]}
    assert len(known) == len({visit for visit, _ in known})


def test_deaths_told_by_a_claim_fall_into_their_month(written, simulated, through_gate, engine, tmp_path):
    raw = receipt.read(source(written("uke", WriterOptions()) / "uke"), engine, tmp_path)
    events, _ = through_gate(raw)
    true = {row["subject_id"]: row["time"] for row in simulated.to_pylist() if row["code"] == "MEDS_DEATH"}
    told = {
        int(row["source_id"].rpartition("/")[2]): row["time"]
        for row in events.to_pylist()
        if row["code"] == "MEDS_DEATH"
    }
    assert told and told.keys() <= true.keys()
    assert all((day.year, day.month) == (true[who].year, true[who].month) for who, day in told.items())


def test_every_line_is_accounted_for(written, through_gate, engine, tmp_path) -> None:
    folder = written("uke", WriterOptions()) / "uke"
    _, quality = through_gate(receipt.read(source(folder), engine, tmp_path))
    lines = Counter(
        line[:2] for file in folder.rglob("*.UKE") for line in file.read_bytes().decode("cp932").splitlines()
    )
    accounts = quality["source_rows"]
    assert {record: account["rows"] for record, account in accounts.items()} == lines
    for record in ("SI", "IY", "CD", "SB"):
        assert accounts[record]["events"] == accounts[record]["rows"]
    assert accounts["SY"]["events"] > accounts["SY"]["rows"]  # some tell of a death as well
    for record in ("IR", "HO", "KK", "GO"):
        assert sum(accounts[record]["without_event"].values()) == accounts[record]["rows"]


def test_an_event_per_day_with_a_number(events) -> None:
    rows, _ = events(uke(FACILITY, patient(), act("IY", "620098801", 3, 17), act("SI", "111000110", 3)))
    acts = {row for row in summary(rows) if row[0].startswith("RECEIPT")}
    assert acts == {
        ("RECEIPT//620098801", "2021-10-03"),
        ("RECEIPT//620098801", "2021-10-17"),
        ("RECEIPT//111000110", "2021-10-03"),
    }
    assert {f"{row['available_at']:%Y-%m-%d}" for row in rows if row["origin"] == "IY"} == {"2021-10-31"}


def test_without_days_an_act_is_dated_to_its_month(events) -> None:
    rows, _ = events(uke(FACILITY, patient(), "SI,11,1,111000110,,288,1"))
    assert ("RECEIPT//111000110", "2021-10-01") in summary(rows)


@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_old_and_new_dates_mean_the_same(end: str, events) -> None:
    lines = ["SY,8833421,20210801,1,,,,", act("SI", "111000110", 30)]
    new, _ = events(uke(FACILITY, patient(), *lines, end=end))
    old, _ = events(uke(FACILITY, patient(month="50310", birth="4031121"[:1] + "031121"), *lines, end=end))
    assert summary(new) == summary(old)


@pytest.mark.parametrize(
    ("modifiers", "suspected"),
    [("8002", True), ("20498002", True), ("1800200", False), ("", False), ("2049", False), ("28002", False)],
)
def test_suspicion_is_a_modifier_of_its_own(modifiers: str, suspected: bool, events) -> None:
    rows, _ = events(uke(FACILITY, patient(), f"SY,8833421,20210801,1,{modifiers},,"))
    (row,) = (row for row in rows if row["code"] == "DISEASE//8833421")
    assert row["suspected"] is suspected


def test_a_stay_has_its_ends_and_its_death(events) -> None:
    stay = "RE,1,4112,202110,,2,19501121,,20211002,,,,,00697"
    rows, _ = events(uke(FACILITY, stay, "BU,999999xx99x0xx,20211002,20211020,6", "SB,0000999,,,I500,11,,"))
    assert summary(rows) == {
        ("MEDS_BIRTH", "1950-11-21"),
        ("SEX//F", "1950-11-21"),
        ("VISIT//ADMISSION", "2021-10-02"),
        ("VISIT//DISCHARGE", "2021-10-20"),
        ("MEDS_DEATH", "2021-10-20"),
        ("ICD10//I500", "2021-10-01"),
    }


def test_masters_explain_codes_and_what_they_lack_is_counted(events) -> None:
    masters = Masters({"DISEASE//8833421": "ICD10//I10", "RECEIPT//620098801": "YJ//1149019F1560"})
    lines = ["SY,8833421,,1", "SY,0000001,,1", "SY,0000999,,1,,何か", act("IY", "620098801", 1)]
    rows, parts = events(uke(FACILITY, patient(), *lines, act("TO", "710010001", 1)), masters)
    codes = {row["code"] for row in rows} - {"MEDS_BIRTH", "SEX//M"}
    assert codes == {"ICD10//I10", "DISEASE//0000001", "YJ//1149019F1560", "MATERIAL//710010001"}
    assert parts.warnings["code not in masters"] == 1
    assert parts.without_event["SY"] == {"free text": 1}


def test_one_person_is_known_across_hospitals_by_insurance_only(events) -> None:
    def receipt_of(hospital: str, chart: str) -> list[str]:
        return [f"IR,1,12,1,{hospital},,,202111,00,", patient(chart=chart), "HO,01010016,A,1,1,100"]

    content = uke(*receipt_of("0000001", "7"), *receipt_of("0000002", "9"))
    by_insurance, _ = events(content, key="insurance")
    by_chart, _ = events(content)
    assert len({row["patient"] for row in by_insurance}) == 1
    assert len({row["patient"] for row in by_chart}) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xef\xbb\xbf" + uke(FACILITY), r"line 1: begins with a UTF-8 mark"),
        (uke(FACILITY, patient(), "SY,\0"), r"line 3: holds a NUL byte"),
        (uke(FACILITY, patient()) + "SY,8833421,,1,,高血圧症\r\n".encode(), r"line 3: is not text in CP932"),
        (uke(patient()), r"line 1: a receipt \(RE\) before any facility"),
        (uke(FACILITY, "SY,8833421"), r"line 2: SY before any receipt"),
    ],
)
def test_what_is_no_receipt_file_is_refused(content: bytes, message: str, events) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        events(content)
    assert "8833421" not in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "fault", "warning"),
    [
        ([patient(month="202113"), "SY,8833421"], "unreadable date", None),
        ([patient(birth="19910231")], "unreadable date", None),
        ([patient(), act("SI", "111000110", 31, count="x")], "unreadable value", None),
        ([patient(month="202102"), act("SI", "111000110", 30)], "unreadable date", None),
        ([patient(), "ZZ,1"], None, "unknown record"),
        ([patient(), "GO,2,100,99"], None, "totals differ"),
        ([patient()], None, "file without totals"),
    ],
)
def test_faults_of_lines_are_told(lines: list[str], fault: str | None, warning: str | None, events) -> None:
    rows, parts = events(uke(FACILITY, *lines))
    assert {row["fault"] for row in rows} - {None} == ({fault} if fault else set())
    assert warning is None or parts.warnings[warning] == 1


FIELDS = strategies.lists(
    strategies.sampled_from(["RE", "SY", "SI", "BU", "", "1", "8002", "202110", "5031001", "0", "x", "あ"]),
    max_size=50,
)
LINES = strategies.lists(FIELDS.map(",".join), max_size=30)


@settings(max_examples=300, deadline=None)
@given(strategies.one_of(strategies.binary(max_size=300), LINES.map(lambda lines: uke(FACILITY, *lines))))
def test_any_bytes_are_read_or_refused(tmp_path_factory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "RECEIPTC.UKE").write_bytes(content)
    parts = Parts(folder / "parts")
    try:
        receipt.read_file(folder / "RECEIPTC.UKE", "chart", NO_MASTERS, parts)
    except BadInput:
        return
    silent = sum(sum(reasons.values()) for reasons in parts.without_event.values())
    assert silent <= sum(parts.lines.values())


@pytest.mark.parametrize("name", ["a.uke", "deep/RECEIPTD.UKE"])
def test_files_are_found_below_the_folder(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(uke(FACILITY))
    assert receipt.files_of(source(tmp_path))["receipts"] == [file]


def test_a_folder_without_receipts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"source\.path: .* holds no receipts"):
        receipt.files_of(source(tmp_path))
    with pytest.raises(BadInput, match=r"source\.path: .*absent is not a folder"):
        receipt.files_of(source(tmp_path / "absent"))


def real_folder() -> Path:
    beside = Path(__file__).parents[2].parent / "shared" / "data"
    return Path(os.environ.get("CLAIMSCALE_UKE", beside))


@pytest.mark.skipif(not (real_folder() / "uke").is_dir(), reason="no sample receipts: set CLAIMSCALE_UKE")
def test_a_public_sample_is_read_whole(through_gate, engine, tmp_path: Path) -> None:
    folder = real_folder()
    raw = receipt.read(source(folder / "uke", masters=str(folder / "jp-masters")), engine, tmp_path)
    events, quality = through_gate(raw)
    (file,) = receipt.files_of(source(folder / "uke"))["receipts"]
    lines = len(file.read_bytes().decode("cp932").splitlines())
    assert sum(account["rows"] for account in quality["source_rows"].values()) == lines
    systems = {code.partition("//")[0] for code in events["code"].to_pylist()}
    assert {"ICD10", "KUBUN", "YJ"} <= systems
