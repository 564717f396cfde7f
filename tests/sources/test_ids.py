"""Ids of any length: all of int64 is an id, and patients who differ only in the last digit stay apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ibis
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from claimscale.config.sources import MedsSource, OmopSource, TablesSource
from claimscale.engine import Engine
from claimscale.sources import casting, meds, omop, tables
from claimscale.sources.raw import RawEvents

Validated = Callable[[RawEvents], tuple[pa.Table, dict[str, Any]]]

LARGEST, SMALLEST = 2**63 - 1, -(2**63)
ALIKE = (1234567890123456781, 1234567890123456782)


def write_omop(folder: Path, persons: list[str], visits: list[str], kind: str = "csv") -> OmopSource:
    """Each person has one stay at hospital 3 and one condition in it."""
    contents = {
        "person": ["person_id,gender_concept_id,year_of_birth"],
        "visit_occurrence": [
            "visit_occurrence_id,person_id,visit_concept_id,visit_start_date,visit_end_date,care_site_id"
        ],
        "condition_occurrence": [
            "person_id,condition_concept_id,condition_start_date,condition_source_value,visit_occurrence_id"
        ],
    }
    for person, visit in zip(persons, visits, strict=True):
        contents["person"].append(f"{person},8507,1950")
        contents["visit_occurrence"].append(f"{visit},{person},9201,2020-01-05,2020-01-09,3")
        contents["condition_occurrence"].append(f"{person},0,2020-01-06,N18,{visit}")
    folder.mkdir()
    for name, lines in contents.items():
        file = folder / f"{name}.csv"
        file.write_text("\n".join([*lines, ""]), "utf-8")
        if kind == "parquet":
            pq.write_table(pa_csv.read_csv(file), file.with_suffix(".parquet"))
            file.unlink()
    return OmopSource(kind="omop", path=str(folder))


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_all_of_int64_is_an_id(kind: str, validated: Validated, engine: Engine, tmp_path: Path) -> None:
    persons = [LARGEST, SMALLEST, *ALIKE]
    visits = [*ALIKE, LARGEST, -7]
    source = write_omop(tmp_path / "cdm", [*map(str, persons)], [*map(str, visits)], kind)
    events, quality = validated(omop.read(source, engine, tmp_path))
    assert not quality["quarantined"]
    rows = [row for row in events.to_pylist() if row["code"] == "SOURCE//N18"]
    assert {row["subject_id"]: row["visit_id"] for row in rows} == {
        person: str(visit) for person, visit in zip(persons, visits, strict=True)
    }
    assert {row["hospital_id"] for row in rows} == {"3"}


def test_longer_person_ids_are_quarantined_as_unreadable(
    validated: Validated, engine: Engine, tmp_path: Path
) -> None:
    persons = ["1", "12345678901234567891", "12345678901234567892", "9223372036854775808"]
    source = write_omop(tmp_path / "cdm", persons, ["1", "2", "3", "4"])
    events, quality = validated(omop.read(source, engine, tmp_path))
    assert set(events["subject_id"].to_pylist()) == {1}
    assert quality["quarantined"] == {"unreadable id": 3 * 5}


def test_longer_visit_ids_find_their_visit(validated: Validated, engine: Engine, tmp_path: Path) -> None:
    visits = ["12345678901234567891", "12345678901234567892"]
    source = write_omop(tmp_path / "cdm", ["1", "2"], visits)
    events, quality = validated(omop.read(source, engine, tmp_path))
    assert not quality["quarantined"]
    rows = [row for row in events.to_pylist() if row["code"] == "SOURCE//N18"]
    assert {row["subject_id"]: row["visit_id"] for row in rows} == {1: visits[0], 2: visits[1]}


MAPPING = """
patients: {table: people, patient: id, birth: born, sex: {column: sex, male: ["1"], female: ["2"]}}
codes: [{table: drugs, patient: id, date: day, system: ATC, code: code}]
"""


@pytest.fixture
def read_flat(validated: Validated, engine: Engine, tmp_path: Path):
    """Patients and drugs with the ids; returns the source's ids of the events, and the quality."""

    def read(ids: pa.Array, kind: str) -> tuple[set[str], dict[str, Any]]:
        folder = tmp_path / kind
        folder.mkdir()
        (folder / "mine.yaml").write_text(MAPPING, "utf-8")
        count = len(ids)
        contents = {
            "people": {"id": ids, "born": ["19500401"] * count, "sex": ["1"] * count},
            "drugs": {"id": ids, "day": ["20200105"] * count, "code": ["C08CA01"] * count},
        }
        for name, columns in contents.items():
            if kind == "csv":
                pa_csv.write_csv(pa.table(columns), folder / f"{name}.csv")
            else:
                pq.write_table(pa.table(columns), folder / f"{name}.parquet")
        source = TablesSource(kind="tables", path=str(folder), mapping=str(folder / "mine.yaml"))
        events, quality = validated(tables.read(source, engine, tmp_path / "raw"))
        return set(events["source_id"].to_pylist()), quality

    return read


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_text_ids_of_any_length_stay_apart(kind: str, read_flat) -> None:
    ids = ["12345678901234567891", "12345678901234567892", "9" * 40]
    found, quality = read_flat(pa.array(ids), kind)
    assert found == set(ids) and not quality["quarantined"]


def test_integer_ids_of_tables_stay_apart(read_flat) -> None:
    found, quality = read_flat(pa.array([LARGEST, SMALLEST, *ALIKE]), "parquet")
    assert found == {str(each) for each in (LARGEST, SMALLEST, *ALIKE)} and not quality["quarantined"]


def test_ids_that_lost_digits_as_floats_are_unreadable(read_flat) -> None:
    found, quality = read_flat(pa.array([7.0, 2.0**53, float(ALIKE[0])]), "parquet")
    assert found == {"7"}
    assert quality["quarantined"] == {"unreadable id": 2 * 3}


def test_meds_ids_beyond_int64_are_unreadable(validated: Validated, engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    subjects = pa.array([1, 1, 2**64 - 1], pa.uint64())
    times = pa.array([0, 10**15, 10**15], pa.timestamp("us"))
    table = pa.table({"subject_id": subjects, "time": times, "code": ["MEDS_BIRTH", "LAB//1", "LAB//1"]})
    pq.write_table(table, tmp_path / "data/0.parquet")
    events, quality = validated(meds.read(MedsSource(kind="meds", path=str(tmp_path)), engine, tmp_path))
    assert events["subject_id"].to_pylist() == [1, 1]
    assert quality["quarantined"] == {"unreadable id": 1}


@pytest.mark.parametrize(
    ("text", "id"),
    [
        ("0", 0), ("-0", 0), ("1", 1), ("-1", -1), ("+5", 5), ("007", 7), (" 12 ", 12), ("12\r", 12),
        ("1.0", 1), ("1.", 1), ("-3.000", -3), ("123456789012345.0", 123456789012345),
        ("3589912774911670296", 3589912774911670296), ("-3589912774911670296", -3589912774911670296),
        (str(LARGEST), LARGEST), (str(SMALLEST), SMALLEST), ("000" + str(LARGEST), LARGEST),
        ("9223372036854775808", None), ("-9223372036854775809", None), ("9" * 19, None), ("1" * 20, None),
        ("9" * 400, None), ("1234567890123456.0", None), ("1.5", None), ("1e5", None), ("1E+18", None), ("x7", None),
        ("0x10", None), ("1_000", None), ("1,000", None), ("1 000", None), ("--1", None), ("5-", None), ("NaN", None),
        ("inf", None), ("true", None), ("１２", None), ("1/2", None),
    ],
)  # fmt: skip
def test_a_text_is_an_integer_id_or_unreadable(text: str, id: int | None, engine: Engine) -> None:
    table = ibis.memtable(pa.table({"given": [text]}))
    found = casting.integer_of(table.given)
    columns = {"id": found, "unreadable": casting.is_unreadable(table.given, found)}
    assert engine.to_arrow(table.select(**columns)).to_pylist() == [{"id": id, "unreadable": id is None}]


@pytest.mark.parametrize("text", [None, "", " ", "\t"])
def test_an_empty_id_is_missing_and_not_unreadable(text: str | None, engine: Engine) -> None:
    table = ibis.memtable(pa.table({"given": pa.array([text], pa.string())}))
    found = casting.integer_of(table.given)
    columns = {"id": found, "unreadable": casting.is_unreadable(table.given, found)}
    assert engine.to_arrow(table.select(**columns)).to_pylist() == [{"id": None, "unreadable": False}]


@pytest.mark.parametrize(
    ("ids", "integers", "texts"),
    [
        (pa.array([-128, 127], pa.int8()), [-128, 127], ["-128", "127"]),
        (pa.array([0, 65535], pa.uint16()), [0, 65535], ["0", "65535"]),
        (pa.array([SMALLEST, LARGEST]), [SMALLEST, LARGEST], [str(SMALLEST), str(LARGEST)]),
        (pa.array([1, 2**64 - 1], pa.uint64()), [1, None], ["1", str(2**64 - 1)]),
        (pa.array([2.0**24, 7.5], pa.float32()), [2**24, None], [str(2**24), None]),
        (pa.array([2.0**53 - 1, 2.0**53]), [2**53 - 1, None], [str(2**53 - 1), None]),
        (pa.array([-(2.0**53) + 1, -(2.0**53)]), [1 - 2**53, None], [str(1 - 2**53), None]),
        (pa.array([*ALIKE]).cast(pa.decimal128(19, 0)), [*ALIKE], [*map(str, ALIKE)]),
        (pa.array([*ALIKE]).cast(pa.decimal128(30, 2)), [*ALIKE], [*map(str, ALIKE)]),
        (pa.array([*map(str, ALIKE)], pa.large_string()), [*ALIKE], [*map(str, ALIKE)]),
        (pa.array([*map(str, ALIKE)]).dictionary_encode(), [*ALIKE], [*map(str, ALIKE)]),
        (pa.array(["A-1", "a-1"]), [None, None], ["A-1", "a-1"]),
        (pa.array([None, "é"]), [None, None], [None, "é"]),
        (pa.nulls(2), [None, None], [None, None]),
    ],
)
def test_ids_of_every_type_stay_apart(
    ids: pa.Array, integers: list[int | None], texts: list[str | None], engine: Engine, tmp_path: Path
) -> None:
    pq.write_table(pa.table({"given": ids, "place": [0, 1]}), tmp_path / "ids.parquet")
    table = engine.read_parquet(tmp_path / "ids.parquet").order_by("place")
    columns = {"integer": casting.integer_of(table.given), "text": casting.text_id_of(table.given)}
    found = engine.to_arrow(table.select(**columns))
    assert (found["integer"].to_pylist(), found["text"].to_pylist()) == (integers, texts)
