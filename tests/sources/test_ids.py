"""Ids of any length: all of int64 is an id, and patients who differ only in the last digit stay apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from claimscale.config.sources import MedsSource, OmopSource, TablesSource
from claimscale.engine import Engine
from claimscale.sources import meds, omop, tables
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
