"""OMOP tables become the simulator's own events again; codes are the source's or the standard ones."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from claimscale.codes.systems import full_prefixes
from claimscale.config.sources import OmopSource
from claimscale.config.tasks import Task, catalogue
from claimscale.errors import BadInput
from claimscale.simulator.parameters import build_country
from claimscale.sources import omop

HOSPITALS, SEED = 5, 11
"""Those of `simulated`."""


def source(folder: Path | str, **settings) -> OmopSource:
    return OmopSource(kind="omop", path=str(folder), **settings)


def compared(rows: list[dict]) -> Counter:
    """The columns that OMOP keeps of events with a visit, and of persons."""
    return Counter(
        (row["subject_id"], row["time"], row["code"], row["suspected"], row["visit_id"])
        for row in rows
        if row["visit_id"] is not None or row["code"].startswith(("MEDS_", "SEX//"))
    )


@pytest.mark.parametrize("as_database", [False, True])
def test_round_trip_of_simulated_patients(
    as_database, written, simulated, validated, engine, tmp_path
) -> None:
    place: Path | str = written("omop")
    if as_database:
        with duckdb.connect(str(tmp_path / "cdm.duckdb")) as database:
            for folder in Path(place).iterdir():
                database.sql(f"CREATE TABLE {folder.name} AS FROM '{folder}/*.parquet'")
        place = f"duckdb://{tmp_path / 'cdm.duckdb'}"
    (tmp_path / "raw").mkdir()
    events, quality = validated(omop.read(source(place), engine, tmp_path / "raw"))
    assert not quality["quarantined"] and not quality["dropped"]
    assert compared(events.to_pylist()) == compared(simulated.to_pylist())
    known = {row["visit_id"]: row["available_at"] for row in simulated.to_pylist() if row["visit_id"]}
    assert all(row["available_at"] == known[row["visit_id"]] for row in events.to_pylist() if row["visit_id"])


def test_row_counts_equal_those_of_the_files(written, validated, engine, tmp_path) -> None:
    folder = written("omop")
    _, quality = validated(omop.read(source(folder), engine, tmp_path))
    for name, counts in quality["source_rows"].items():
        rows = sum(pq.read_metadata(file).num_rows for file in (folder / name).glob("*.parquet"))
        assert counts["rows"] == rows
        if name.endswith(("_occurrence", "_exposure")) and name != "visit_occurrence":
            assert counts["events"] == rows


def in_standard_concepts(code: str, codes: set[str]) -> str:
    """What translation makes of a simulated code: other and unspecified forms of a disease share a concept."""
    system, _, value = code.partition("//")
    pair = {f"{code[:-1]}8", f"{code[:-1]}9"}
    return code[:-1] if system == "ICD10" and value[3:] in ("8", "9") and pair <= codes else code


def test_standard_concepts_give_the_labels_of_source_codes(
    written, simulated, validated, engine, tmp_path
) -> None:
    (tmp_path / "raw").mkdir()
    given = source(written("omop"), codes="standard", translate_to=["ICD10", "ATC"])
    events, quality = validated(omop.read(given, engine, tmp_path / "raw"))
    assert not quality["quarantined"]
    country = set(build_country(HOSPITALS, SEED).codes)
    rows = simulated.to_pylist()
    expected = [row | {"code": in_standard_concepts(row["code"], country)} for row in rows]
    assert set(compared(events.to_pylist())) == set(compared(expected))
    merged = sum(row["code"] != one["code"] for row, one in zip(rows, expected, strict=True))
    assert sum(quality["warnings"].values()) > 0 and merged > 0

    def cases(task: Task, listed: list[dict]) -> set[tuple]:
        prefixes = full_prefixes(task.outcome)
        wanted = (row for row in listed if row["code"].startswith(prefixes) and not row["suspected"])
        return {(row["subject_id"], row["time"]) for row in wanted}

    found = {
        name: cases(task, events.to_pylist()) == cases(task, rows)
        for name, task in catalogue().items()
        if cases(task, rows)
    }
    assert len(found) > 5 and sum(found.values()) >= 0.95 * len(found), found


PERSON = (
    "person_id,gender_concept_id,year_of_birth,month_of_birth,day_of_birth\n1,8507,1950,4,\n2,8532,1960,,\n"
)
CONDITIONS = """condition_occurrence_id,person_id,condition_concept_id,condition_start_date,\
visit_occurrence_id,condition_source_value,condition_source_concept_id,condition_status_concept_id
1,1,201826,2020-01-05,10,E11.9,45533017,
2,1,201826,2020-02-30,,E11.9,45533017,
3,2,0,2020-03-01,,local 7,0,32899
4,2,0,2020-03-02,,,0,
"""
CONCEPTS = """concept_id,vocabulary_id,concept_code
201826,SNOMED,44054006
45533017,ICD10CM,E11.9
45533017,ICD10CM,E11.9
"""
VISITS = """visit_occurrence_id,person_id,visit_concept_id,visit_start_date,visit_end_date,care_site_id,\
visit_type_concept_id
10,1,9201,2020-01-05,2020-01-09,3,32817
11,2,9201,2020-01-05,2020-01-01,3,32817
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    folder = tmp_path / "cdm"
    folder.mkdir()
    tables = {
        "PERSON": PERSON,
        "condition_occurrence": CONDITIONS,
        "concept": CONCEPTS,
        "visit_occurrence": VISITS,
    }
    for name, text in tables.items():
        (folder / f"{name}.csv").write_text(text, "utf-8")
    return folder


def test_source_codes_become_events(small: Path, validated, engine, tmp_path) -> None:
    events, quality = validated(omop.read(source(small), engine, tmp_path / "a"))
    rows = events.to_pylist()
    found = {(row["subject_id"], row["code"], f"{row['time']:%Y-%m-%d}") for row in rows}
    assert found == {
        (1, "MEDS_BIRTH", "1950-04-01"),
        (1, "SEX//M", "1950-04-01"),
        (2, "MEDS_BIRTH", "1960-01-01"),
        (2, "SEX//F", "1960-01-01"),
        (1, "ICD10//E119", "2020-01-05"),
        (1, "VISIT//ADMISSION", "2020-01-05"),
        (1, "VISIT//DISCHARGE", "2020-01-09"),
        (2, "SOURCE//local 7", "2020-03-01"),
    }
    (coded,) = (row for row in rows if row["code"] == "ICD10//E119")
    assert (f"{coded['available_at']:%Y-%m-%d}", coded["hospital_id"]) == ("2020-01-09", "3")
    assert [row["suspected"] for row in rows if row["code"].startswith("SOURCE")] == [True]
    assert quality["quarantined"] == {"unreadable date": 1, "missing code": 1, "end before start": 2}


@pytest.mark.parametrize(
    ("kind", "end", "known"),
    [
        ("32817", "2020-01-09", "2020-01-09"),  # a health record
        ("32810", "2020-01-09", "2020-01-31"),  # a claim
        ("44818517", "2020-01-09", "2020-01-31"),  # a claim by an older name
        ("", "2020-01-09", "2020-01-31"),  # unknown: a late availability is safe
        ("32810", "", "2020-01-31"),  # a claim without an end
        ("32810", "2020-02-03", "2020-02-29"),
    ],
)
def test_claims_are_available_when_their_month_ends(kind, end, known, small, engine, tmp_path) -> None:
    changed = VISITS.replace("2020-01-09,3,32817", f"{end},3,{kind}")
    (small / "visit_occurrence.csv").write_text(changed, "utf-8")
    table = omop.read(source(small), engine, tmp_path / "raw").table
    rows = engine.to_arrow(table).to_pylist()
    (row,) = (row for row in rows if row["code"] == "ICD10//E11.9" and row["visit_id"])
    assert f"{row['available_at']:%Y-%m-%d}" == known


def test_ids_with_a_decimal_point_equal_integers(small: Path, validated, engine, tmp_path) -> None:
    file = small / "condition_occurrence.csv"
    text = file.read_text("utf-8")
    file.write_text(
        text.replace("\n1,1,201826", "\n1,1.0,201826.0").replace(",10,E11.9", ",10.0,E11.9"), "utf-8"
    )
    events, _ = validated(omop.read(source(small), engine, tmp_path / "a"))
    (row,) = (row for row in events.to_pylist() if row["code"] == "ICD10//E119")
    assert (row["subject_id"], row["visit_id"]) == (1, "10")


def test_a_concept_table_without_columns_is_refused(small: Path, engine, tmp_path) -> None:
    (small / "concept.csv").write_text("concept_id\tvocabulary_id\n1\tx\n", "utf-8")
    with pytest.raises(BadInput, match="table concept has no column"):
        omop.read(source(small), engine, tmp_path / "raw")


def test_standard_codes_become_events(small: Path, engine, tmp_path) -> None:
    table = omop.read(source(small, codes="standard"), engine, tmp_path).table
    codes = {
        row["code"] for row in engine.to_arrow(table).to_pylist() if row["source_table"].startswith("cond")
    }
    assert codes == {"SNOMED//44054006", None}


@pytest.mark.parametrize(
    ("table", "old", "new", "message"),
    [
        ("PERSON", None, None, r"holds no table person"),
        (
            "condition_occurrence",
            "condition_start_date",
            "day",
            r"condition_occurrence has no column condition_start",
        ),
    ],
)
def test_missing_tables_and_columns_are_named(table, old, new, message, small, engine, tmp_path) -> None:
    file = small / f"{table}.csv"
    if old is None:
        file.unlink()
    else:
        file.write_text(file.read_text("utf-8").replace(old, new), "utf-8")
    with pytest.raises(BadInput, match=message):
        omop.read(source(small), engine, tmp_path / "raw")


def test_invalid_parquet_is_refused(small: Path, engine, tmp_path) -> None:
    (small / "death.parquet").write_bytes(b"PAR1 not so")
    with pytest.raises(BadInput, match=r"death\.parquet: cannot be read"):
        omop.read(source(small), engine, tmp_path / "raw")


def test_an_unreachable_database_is_bad_input(engine, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"source\.path: the database"):
        omop.read(source("nosuch://host/cdm"), engine, tmp_path)


def real_folder() -> Path:
    beside = Path(__file__).parents[2].parent / "shared" / "data" / "omop-gibleed"
    return Path(os.environ.get("CLAIMSCALE_OMOP", beside))


@pytest.mark.skipif(not real_folder().is_dir(), reason="no OMOP folder: set CLAIMSCALE_OMOP to one")
def test_a_public_database_is_read_whole(validated, engine, tmp_path: Path) -> None:
    _, quality = validated(omop.read(source(real_folder()), engine, tmp_path))
    for name, counts in quality["source_rows"].items():
        assert counts["rows"] == pq.read_metadata(real_folder() / f"{name}.parquet").num_rows
        if any(domain.table == name for domain in omop.DOMAINS):
            assert counts["events"] == counts["rows"]
    assert quality["used"] > 0.99 * quality["rows_in"]
