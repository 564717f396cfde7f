"""Survey files become the events of the simulator again; invalid files are refused."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies

from claimscale.config.sources import CodeCrosswalk, DpcSource
from claimscale.errors import BadInput
from claimscale.sources import crosswalks
from claimscale.sources.japan import dpc
from claimscale.sources.japan.masters import MasterCodes
from claimscale.sources.row_writer import RowWriter

NO_MASTERS = MasterCodes({})


def source(folder: Path, **settings) -> DpcSource:
    return DpcSource(kind="dpc", path=str(folder), **settings)


def row(width: int, fields: dict[int, str]) -> str:
    """A line of so many fields, numbered from 1."""
    return "\t".join(fields.get(number, "") for number in range(1, width + 1))


def act(code: str, day: str, **changed: str) -> str:
    fields = {1: "011234567", 2: "0000000001", 3: "20210420", 4: "20210402", 5: "21", 6: "0001", 7: "001"}
    fields |= {9: code, 24: day, 30: "1"}
    return row(31, fields | {int(name[1:]): value for name, value in changed.items()})


def form(item: str, *values: str, admitted: str = "20210402") -> str:
    head = {1: "011234567", 2: "0000000001", 3: admitted, 4: "0", 5: "0", 6: item, 7: "20200401", 8: "1"}
    return row(17, head | dict(enumerate(values, 9)))


@pytest.fixture
def events(engine, tmp_path: Path):
    """Read one file's bytes; returns its events and the writer."""

    def read(name: str, content: bytes, masters: MasterCodes = NO_MASTERS) -> tuple[list[dict], RowWriter]:
        (tmp_path / name).write_bytes(content)
        writer = RowWriter(tmp_path / f"writer{len(list(tmp_path.iterdir()))}")
        dpc.read_file(tmp_path / name, masters, writer)
        return engine.to_arrow(writer.finish(engine).table).to_pylist(), writer

    return read


def lines(*texts: str) -> bytes:
    return "\r\n".join([*texts, ""]).encode("cp932")


def summary(rows: list[dict]) -> set[tuple]:
    return {(row["code"], None if row["time"] is None else f"{row['time']:%Y-%m-%d}") for row in rows}


def test_round_trip_of_simulated_patients(written, simulated, validated, engine, tmp_path) -> None:
    folder = written("dpc")
    raw = dpc.read(source(folder / "dpc", masters=str(folder / "masters")), engine, tmp_path)
    atc = CodeCrosswalk(
        source="YJ", target="ATC", file=str(folder / "masters/atc.csv"), columns=["price_code", "atc"]
    )
    events, quality = validated(dataclasses.replace(raw, crosswalks=tuple(map(crosswalks.load, [atc]))))
    assert not quality["quarantined"] and not quality["warnings"]
    rows = simulated.to_pylist()
    claimed = {row["subject_id"] for row in rows if row["visit_id"] is not None}
    with_stay = {row["subject_id"] for row in rows if row["code"] == "VISIT//ADMISSION"}
    expected = Counter(
        (row["subject_id"], row["time"], row["code"], row["suspected"])
        for row in rows
        # Sex is in Form 1 only; deaths are in stays that end with them.
        if row["subject_id"] in (with_stay if row["code"].startswith("SEX//") else claimed)
        and row["code"] != "MEDS_DEATH"
    )
    found = events.to_pylist()
    assert expected == Counter(
        (int(row["source_id"].rpartition("/")[2]), row["time"], row["code"], row["suspected"])
        for row in found
        if row["code"] != "MEDS_DEATH"
    )
    died = {row["subject_id"] for row in rows if row["code"] == "MEDS_DEATH"}
    found_dead = {int(row["source_id"].rpartition("/")[2]) for row in found if row["code"] == "MEDS_DEATH"}
    assert found_dead and found_dead <= died


def test_line_counts_equal_those_of_the_files(written, validated, engine, tmp_path) -> None:
    folder = written("dpc") / "dpc"
    _, quality = validated(dpc.read(source(folder), engine, tmp_path))
    rows = Counter()
    for file in folder.iterdir():
        rows[file.name[:3].upper()] += len(file.read_bytes().decode("cp932").splitlines())
    assert {kind: counts["rows"] for kind, counts in quality["source_rows"].items()} == rows


def test_the_line_that_opens_an_act_does_not_count_twice(events) -> None:
    content = lines(act("620098801", "20210405", _7="000"), act("620098801", "20210405"))
    rows, writer = events("EFn_011234567_2104.txt", content)
    assert summary(rows) == {
        ("VISIT//ADMISSION", "2021-04-02"),
        ("VISIT//DISCHARGE", "2021-04-20"),
        ("RECEIPT//620098801", "2021-04-05"),
    }
    assert writer.counts.without_event["EFN"] == {"header of an act": 1}
    assert {f"{row['available_at']:%Y-%m-%d}" for row in rows} == {"2021-04-30"}


@pytest.mark.parametrize("header", [[], ["施設コード\tデータ識別番号"]])
def test_a_line_of_column_names_makes_no_event(header: list[str], events) -> None:
    rows, writer = events("EFn_011234567_2104.txt", lines(*header, act("620098801", "20210405")))
    assert len(rows) == 3
    assert writer.counts.without_event == ({"EFN": {"column names": 1}} if header else {})


def test_a_stay_without_an_end_has_no_discharge(events) -> None:
    rows, _ = events("EFn_011234567_2104.txt", lines(act("620098801", "20210405", _3="00000000")))
    assert "VISIT//DISCHARGE" not in {row["code"] for row in rows}


def test_rows_of_d_files_become_events(events) -> None:
    line = {1: "011234567", 2: "0000000001", 3: "00000000", 4: "20210402", 5: "92", 8: "190077410"}
    rows, _ = events("Dn_011234567_2104.txt", lines(row(30, line | {7: "000", 18: "20210403"})))
    assert summary(rows) == {("VISIT//ADMISSION", "2021-04-02"), ("RECEIPT//190077410", "2021-04-03")}


def test_items_of_form_1_become_events(events) -> None:
    content = lines(
        form("A000010", "19501121", "2", "0000000"),
        form("A000020", "20210402"),
        form("A000030", "20210420", "", "6"),
        form("A006010", "", "I500", "", "8833421"),
        form("A006030", "", "I500", "", "8833421"),
        form("A006040", "", "N189", "", "8844106", "2049", "8002"),
        form("A001010", "160", "50"),
    )
    rows, writer = events("FF1_011234567_2104.txt", content)
    assert summary(rows) == {
        ("MEDS_BIRTH", "1950-11-21"),
        ("SEX//F", "1950-11-21"),
        ("VISIT//ADMISSION", "2021-04-02"),
        ("VISIT//DISCHARGE", "2021-04-20"),
        ("MEDS_DEATH", "2021-04-20"),
        ("ICD10//I500", "2021-04-01"),
        ("ICD10//N189", "2021-04-01"),
    }
    assert {row["code"] for row in rows if row["suspected"]} == {"ICD10//N189"}
    assert len([row for row in rows if row["code"] == "ICD10//I500"]) == 1
    assert writer.counts.without_event["FF1"] == {"item not read": 1}


@pytest.mark.parametrize(
    ("line", "issue"),
    [
        (act("620098801", "20210431"), "unreadable date"),
        (act("620098801", ""), "unreadable date"),
        (act("620098801", "20210405", _4="2021040X"), "unreadable date"),
    ],
)
def test_issues_of_lines_are_named(line: str, issue: str, events) -> None:
    rows, _ = events("EFn_011234567_2104.txt", lines(line))
    assert issue in {row["issue"] for row in rows}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xef\xbb\xbf" + lines(act("1", "20210405")), "line 1: begins with a UTF-8 mark"),
        (lines(act("1\0", "20210405")), "line 1: holds a NUL byte"),
        (lines(act("1", "20210405")) + "高\t血".encode(), "line 2: is not text in CP932"),
        (lines(act("1", "20210405"), "1,2,3"), "line 2: has no fields between tabs"),
    ],
)
def test_invalid_survey_files_are_refused(content: bytes, message: str, events) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        events("EFn_011234567_2104.txt", content)
    assert "0000000001" not in str(caught.value)


FIELDS = strategies.lists(
    strategies.sampled_from(["011234567", "A000010", "SY", "000", "001", "", "20210402", "x", "8002", "あ"]),
    max_size=40,
)


@settings(max_examples=300, deadline=None)
@given(
    strategies.sampled_from(["EFn", "EFg", "Dn", "FF1", "FF4"]),
    strategies.one_of(
        strategies.binary(max_size=300),
        strategies.lists(FIELDS.map("\t".join)).map(lambda rows: lines(*rows)),
    ),
)
def test_any_bytes_are_read_or_refused(tmp_path_factory, kind: str, content: bytes) -> None:
    file = tmp_path_factory.mktemp("hostile") / f"{kind}_011234567_2104.txt"
    file.write_bytes(content)
    writer = RowWriter(file.parent / "writer")
    try:
        dpc.read_file(file, NO_MASTERS, writer)
    except BadInput:
        return
    silent = sum(sum(reasons.values()) for reasons in writer.counts.without_event.values())
    assert silent <= sum(writer.counts.rows.values())


def test_a_folder_without_survey_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds no DPC files"):
        dpc.files_of(source(tmp_path))


def read_all(files: dict[str, bytes], tmp_path: Path, engine) -> tuple[list[dict], dict]:
    writer = RowWriter(tmp_path / "together")
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        dpc.read_file(tmp_path / name, NO_MASTERS, writer)
    raw = writer.finish(engine)
    return engine.to_arrow(raw.table).to_pylist(), raw.rows


def test_a_stay_of_several_months_begins_once(tmp_path: Path, engine) -> None:
    content = lines(act("620098801", "20210425", _3="20210610", _4="20210420"))
    names = [f"EFn_011234567_{month}.txt" for month in ("2104", "2105", "2106")]
    rows, _ = read_all(dict.fromkeys(names, content), tmp_path, engine)
    admissions = [row for row in rows if row["code"] == "VISIT//ADMISSION"]
    assert [f"{row['available_at']:%Y-%m-%d}" for row in admissions] == ["2021-04-30"]


def test_the_sex_of_most_records_is_used(tmp_path: Path, engine) -> None:
    sexes = ["2", "2", "1", "2"]
    files = {
        f"FF1_011234567_21{month:02d}.txt": lines(form("A000010", "19501121", sex))
        for month, sex in enumerate(sexes, 1)
    }
    rows, counts = read_all(files, tmp_path, engine)
    sexes = {row["code"]: row["issue"] for row in rows if row["code"].startswith("SEX//")}
    assert sexes == {"SEX//F": None, "SEX//M": "conflicting sex"}
    assert counts["FF1"] == {"rows": 4, "without_event": {"repeated": 3}}


def test_outpatients_of_dpc_hospitals_have_no_admission_date(events) -> None:
    content = lines(
        act("620098801", "20210405", _3="00000000", _4="00000000"),
        act("620098801", "20210409", _3="00000000", _4="00000000"),
    )
    rows, _ = events("EFg_011234567_2104.txt", content)
    assert [row["issue"] for row in rows] == [None, None]
    assert len({row["visit_id"] for row in rows}) == 2


def test_free_text_and_comments_make_no_event(events) -> None:
    disease = {"_5": "SY", "_10": ""}
    content = lines(
        act("0000999", "20210405", **disease),
        act("777770000", "20210405"),
        act("62009880", "20210405"),
        act("8833421", "20210405", _5="SY", _10="20498002"),
    )
    rows, writer = events("EFg_011234567_2104.txt", content)
    assert writer.counts.without_event["EFG"] == {"free text": 2}
    assert writer.counts.warnings == {"unreadable code": 1, "code not in masters": 1}
    assert {row["code"] for row in rows if row["suspected"]} == {"DISEASE//8833421"}


@pytest.mark.parametrize("name", ["EFn_011234567_201204.txt", "EFn_011234567_2113.txt", "EFn_2104.txt"])
def test_a_name_without_a_month_is_refused(name: str, tmp_path: Path, engine) -> None:
    (tmp_path / name).write_bytes(lines(act("620098801", "20210405")))
    with pytest.raises(BadInput, match="is not named like a DPC file"):
        dpc.read(source(tmp_path), engine, tmp_path / "scratch")


def test_form_1_counts_stays_without_an_end(events) -> None:
    content = lines(form("A000030", "00000000", "", "1"), form("A000030", "", "", "6"))
    rows, writer = events("FF1_011234567_2104.txt", content)
    assert writer.counts.without_event["FF1"] == {"stay not ended": 1}
    assert [(row["code"], row["issue"]) for row in rows] == [("MEDS_DEATH", "unreadable date")]
