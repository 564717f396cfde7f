"""Vocabularies of OMOP as they really are: Athena's files, missing concepts, other places, translations.

The vocabulary is made up. Every outcome is declared beside the concept that it is for.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.csv as pa_csv
import pytest

from claimscale.config.sources import OmopSource
from claimscale.engine import Engine
from claimscale.errors import BadInput
from claimscale.sources import omop
from claimscale.sources.omop_translation import common_code

PERSON = "person_id,gender_concept_id,year_of_birth\n1,8507,1950\n"
UNCHANGED_NONE = "no {} code for the concept, code unchanged"
UNCHANGED_SEVERAL = "several {} codes for the concept, code unchanged"
CATEGORY = "several {} codes for the concept, their common category used"
UNLISTED = "concept not in the vocabulary"


class Row(NamedTuple):
    """A clinical row by its concepts, the code that it becomes, and what is said of it."""

    why: str
    standard: int
    own: int
    code: str
    remark: str | None = None


CONDITIONS = (
    Row("one code, in two vocabularies", 1001, 0, "ICD10//E119"),
    Row("its only code means two concepts", 1002, 0, "SNOMED//1002", UNCHANGED_SEVERAL),
    Row("one code of its own, one that means two concepts", 1003, 0, "ICD10//I150"),
    Row("two codes of a category", 1004, 0, "ICD10//N18", CATEGORY),
    Row("two codes of two chapters", 1005, 0, "SNOMED//1005", UNCHANGED_SEVERAL),
    Row("no relationship", 1006, 0, "SNOMED//1006", UNCHANGED_NONE),
    Row("a deprecated relationship", 1007, 0, "SNOMED//1007", UNCHANGED_NONE),
    Row("a deprecated code", 1008, 0, "SNOMED//1008", UNCHANGED_NONE),
    Row("a deprecated concept that maps to its successor", 1009, 0, "ICD10//E119"),
    Row("a source concept that is ICD-10 already", 1006, 2001, "ICD10//E119"),
    Row("a local source concept, without a standard concept", 0, 5001, "ICD10//E119"),
    Row("a source concept of ICD-9", 1003, 5002, "ICD10//I150"),
    Row("another relationship than 'Maps to'", 1010, 0, "SNOMED//1010", UNCHANGED_NONE),
    Row("a category and a code of it", 1011, 0, "ICD10//J44", CATEGORY),
)
DRUGS = (
    Row("one class, and those above it", 3001, 0, "ATC//A10BA02"),
    Row("two classes of two chapters", 3002, 0, "RxNorm//3002", UNCHANGED_SEVERAL),
    Row("two classes of a group", 3003, 0, "ATC//A10B", CATEGORY),
    Row("no ancestor", 3004, 0, "RxNormExtension//3004", UNCHANGED_NONE),
    Row("no ancestor, but a relationship", 3005, 0, "ATC//C07AB02"),
    Row("no ancestor, and a deprecated relationship", 3006, 0, "RxNorm//3006", UNCHANGED_NONE),
    Row("a deprecated class", 3007, 0, "RxNorm//3007", UNCHANGED_NONE),
    Row("a class as source concept", 3004, 6002, "ATC//N02BA01"),
    Row("an NDC without a standard concept", 0, 4001, "ATC//A10BA02"),
    Row("an NDC with a standard concept", 3005, 4002, "ATC//C07AB02"),
    Row("an NDC by a deprecated relationship", 0, 4002, "NDC//00093075602", UNCHANGED_NONE),
    Row("an ancestor that is no class", 3008, 0, "RxNorm//3008", UNCHANGED_NONE),
)
PROCEDURES = (Row("procedures are not translated", 1001, 0, "SNOMED//1001"),)

CONCEPTS = [
    *((id, "SNOMED", str(id), "") for id in (*range(1001, 1009), 1010, 1011)),
    (1009, "SNOMED", "1009", "U"),
    (2001, "ICD10CM", "E11.9", ""),
    (2002, "ICD10", "E11.9", ""),
    (2003, "ICD10CM", "I10", ""),
    (2004, "ICD10CM", "I15.0", ""),
    (2005, "ICD10CM", "N18.3", ""),
    (2006, "ICD10GM", "N18.4", ""),
    (2007, "ICD10CM", "J45.9", ""),
    (2008, "ICD10CM", "L20.9", ""),
    (2009, "ICD10CM", "K21.9", ""),
    (2010, "ICD10CM", "M79.1", "D"),
    (2011, "ICD10", "J44", ""),
    (2012, "ICD10", "J44.9", ""),
    (5001, "Local codes", "DM 2", ""),
    (5002, "ICD9CM", "405.9", ""),
    *((id, "RxNorm", str(id), "") for id in (3001, 3002, 3003, 3005, 3006, 3007, 3008)),
    (3004, "RxNorm Extension", "3004", ""),
    (4001, "NDC", "00093075601", ""),
    (4002, "NDC", "00093075602", ""),
    (6001, "ATC", "A10BA02", ""),
    (6002, "ATC", "N02BA01", ""),
    (6003, "ATC", "B01AC06", ""),
    (6004, "ATC", "A10BD07", ""),
    (6005, "ATC", "C07AB02", ""),
    (6006, "ATC", "C10AA01", "D"),
    *((6010 + length, "ATC", "A10BA02"[:length], "") for length in (1, 3, 4, 5)),
]
NAMES = {
    1001: 'Ulcer of 5" and more',
    1002: '"Quoted" at its start',
    1003: 'ends with "',
    2001: "it's, with; commas",
}
RELATIONSHIPS = [
    *((2001, 1001, "Maps to", ""), (2002, 1001, "Maps to", "")),
    *((2003, 1002, "Maps to", ""), (2003, 1003, "Maps to", "")),
    (2004, 1003, "Maps to", ""),
    *((2005, 1004, "Maps to", ""), (2006, 1004, "Maps to", "")),
    *((2007, 1005, "Maps to", ""), (2008, 1005, "Maps to", "")),
    (2009, 1007, "Maps to", "D"),
    (2009, 1010, "Is a", ""),
    *((2011, 1011, "Maps to", ""), (2012, 1011, "Maps to", "")),
    (2010, 1008, "Maps to", ""),
    *((1009, 1001, "Maps to", ""), (5001, 1001, "Maps to", ""), (5002, 1003, "Maps to", "")),
    *((id, id, "Maps to", "") for id in (*range(1001, 1009), 3001, 3005)),
    *((4001, 3001, "Maps to", ""), (4002, 3001, "Maps to", "D")),
    *((3005, 6005, "RxNorm - ATC pr lat", ""), (3006, 6005, "RxNorm - ATC", "D")),
    (6005, 3004, "ATC - RxNorm", ""),
]
ANCESTORS = [
    *((id, 3001) for id in (3001, 6001, 6011, 6013, 6014, 6015)),
    *((6002, 3002), (6003, 3002)),
    *((6004, 3003), (6001, 3003), (6014, 3003)),
    (6006, 3007),
    (3001, 3008),
]
COLUMNS = {
    "concept": "concept_id concept_name vocabulary_id concept_code invalid_reason",
    "concept_relationship": "concept_id_1 concept_id_2 relationship_id invalid_reason",
    "concept_ancestor": "ancestor_concept_id descendant_concept_id",
}
ROWS = {
    "concept": [(id, NAMES.get(id, f"name of {id}"), *rest) for id, *rest in CONCEPTS],
    "concept_relationship": RELATIONSHIPS,
    "concept_ancestor": ANCESTORS,
}


def athena(table: str, rows: Iterable[Sequence[object]] | None = None) -> str:
    """A vocabulary table as Athena writes it: tabs between columns, nothing quoted."""
    listed = [COLUMNS[table].split(), *(ROWS[table] if rows is None else rows)]
    return "".join("\t".join(map(str, row)) + "\n" for row in listed)


def comma_separated(table: str) -> str:
    stream = io.StringIO()
    csv.writer(stream).writerows([COLUMNS[table].split(), *ROWS[table]])
    return stream.getvalue()


def clinical(table: str, stem: str, date: str, rows: Iterable[Row], value: str = "") -> str:
    """A clinical table; the day of a row is its place."""
    lines = [f"person_id,{stem}_concept_id,{stem}_source_concept_id,{date},{stem}_source_value"]
    lines += [f"1,{row.standard},{row.own},2020-01-{day:02d},{value}" for day, row in enumerate(rows, 1)]
    return "\n".join(lines) + "\n"


CLINICAL = {
    "PERSON.csv": PERSON,
    "condition_occurrence.csv": clinical("", "condition", "condition_start_date", CONDITIONS),
    "drug_exposure.csv": clinical("", "drug", "drug_exposure_start_date", DRUGS),
    "procedure_occurrence.csv": clinical("", "procedure", "procedure_date", PROCEDURES),
}
BOTH = ["ICD10", "ATC"]


def expected_warnings() -> dict[str, int]:
    counts: dict[str, int] = {}
    for table, system, rows in (
        ("condition_occurrence", "ICD10", CONDITIONS),
        ("drug_exposure", "ATC", DRUGS),
    ):
        for row in rows:
            if row.remark:
                name = f"{table}: {row.remark.format(system)}"
                counts[name] = counts.get(name, 0) + 1
    return counts


def without_hospital(warnings: dict[str, int]) -> dict[str, int]:
    return {name: count for name, count in warnings.items() if ": " in name}


@pytest.mark.parametrize("form", ["athena", "commas", "parquet", "elsewhere", "schema"])
def test_codes_are_translated_as_declared(form, ingest, tmp_path: Path) -> None:
    files: dict[str, str | bytes | pa.Table] = dict(CLINICAL)
    settings = {}
    if form == "parquet":
        files |= {
            f"{name}.parquet": pa_csv.read_csv(io.BytesIO(comma_separated(name).encode())) for name in ROWS
        }
    elif form == "commas":
        files |= {f"{name}.csv": comma_separated(name) for name in ROWS}
    else:
        place = "../vocabulary/" if form in ("elsewhere", "schema") else ""
        files |= {f"{place}{name.upper()}.csv": athena(name) for name in ROWS}
    if form == "elsewhere":
        files["concept.csv"] = "concept_id,vocabulary_id,concept_code\n1001,Another,X\n"
        settings["vocabulary"] = str(tmp_path / "vocabulary")
    if form == "schema":
        with duckdb.connect(str(tmp_path / "cdm.duckdb")) as database:
            database.sql("CREATE SCHEMA vocab; CREATE SCHEMA cdm.cdm")
            for name, text in CLINICAL.items():
                (tmp_path / name).write_text(text, "utf-8")
                database.sql(
                    f"CREATE TABLE cdm.cdm.{name.partition('.')[0]} AS FROM read_csv('{tmp_path / name}')"
                )
            for name in ROWS:
                (tmp_path / f"{name}.csv").write_text(comma_separated(name), "utf-8")
                database.sql(f"CREATE TABLE vocab.{name} AS FROM read_csv('{tmp_path / name}.csv')")
        settings |= {"vocabulary": "vocab", "path": f"duckdb://{tmp_path / 'cdm.duckdb'}?schema=cdm"}
    events, quality = ingest(files, kind="omop", translate_to=BOTH, **settings)
    coded = [row for row in events if row["time"].year == 2020]
    for day in range(1, max(len(CONDITIONS), len(DRUGS)) + 1):
        wanted = {rows[day - 1].code for rows in (CONDITIONS, DRUGS, PROCEDURES) if day <= len(rows)}
        why = [rows[day - 1].why for rows in (CONDITIONS, DRUGS) if day <= len(rows)]
        assert {row["code"] for row in coded if row["time"].day == day} == wanted, why
    assert without_hospital(quality["warnings"]) == expected_warnings()
    assert not quality["quarantined"] and quality["used"] == quality["rows_in"]
    for table, rows in (("condition_occurrence", CONDITIONS), ("drug_exposure", DRUGS)):
        assert quality["source_rows"][table] == {"events": len(rows), "rows": len(rows), "without_event": {}}


def test_nothing_is_translated_unless_asked(ingest) -> None:
    files = CLINICAL | {f"{name.upper()}.csv": athena(name) for name in ROWS}
    events, quality = ingest(files, kind="omop")
    codes = {row["code"] for row in events if row["time"].year == 2020}
    assert {"SNOMED//1001", "RxNorm//3001", "NDC//00093075601", "ICD10//E119", "ICD9CM//4059"} <= codes
    assert {"ICD10//N18", "ATC//A10BA02"}.isdisjoint(codes)
    assert not without_hospital(quality["warnings"])
    assert "concept_ancestor" not in quality["source_rows"], "a table that is not needed is not read"


def test_standard_codes_ignore_the_source_concept(ingest) -> None:
    rows = [Row("the ICD-10 code is a source concept", 1006, 2001, ""), Row("translated", 1004, 2001, "")]
    files = {"PERSON.csv": PERSON} | {f"{name}.csv": athena(name) for name in ROWS}
    files["condition_occurrence.csv"] = clinical("", "condition", "condition_start_date", rows)
    events, quality = ingest(files, kind="omop", codes="standard", translate_to=["ICD10"])
    assert [row["code"] for row in events if row["time"].year == 2020] == ["SNOMED//1006", "ICD10//N18"]
    assert set(without_hospital(quality["warnings"]).values()) == {1}


@pytest.mark.parametrize(
    ("codes", "value", "standard", "own", "code", "quarantined", "warning"),
    [
        ("source", "", 9999, 0, None, {UNLISTED: 1}, None),
        ("source", "", 0, 9999, None, {UNLISTED: 1}, None),
        ("source", "", 0, 0, None, {"missing code": 1}, None),
        ("source", "E11", 0, 0, "SOURCE//E11", {}, None),
        ("source", "E11", 9999, 0, "SOURCE//E11", {}, f"{UNLISTED}, source value used"),
        ("source", "E11", 1001, 9999, "SNOMED//1001", {}, f"source {UNLISTED}, standard concept used"),
        ("source", "E11", 9999, 2001, "ICD10//E119", {}, None),
        ("standard", "E11", 9999, 2001, None, {UNLISTED: 1}, None),
        ("standard", "E11", 0, 2001, None, {"missing code": 1}, None),
        ("standard", "E11", -7, 0, None, {UNLISTED: 1}, None),
    ],
)
def test_concepts_that_the_vocabulary_lacks(
    codes, value, standard, own, code, quarantined, warning, ingest
) -> None:
    rows = [Row("", standard, own, "")]
    files = {"PERSON.csv": PERSON, "CONCEPT.csv": athena("concept")}
    files["condition_occurrence.csv"] = clinical("", "condition", "condition_start_date", rows, value)
    events, quality = ingest(files, kind="omop", codes=codes)
    assert [row["code"] for row in events if row["time"].year == 2020] == ([code] if code else [])
    assert quality["quarantined"] == quarantined
    expected = {f"condition_occurrence: {warning}": 1} if warning else {}
    assert without_hospital(quality["warnings"]) == expected


def quoted(text: str) -> str:
    """Every cell quoted, as R writes tables."""
    return "".join("\t".join(f'"{cell}"' for cell in line.split("\t")) + "\n" for line in text.splitlines())


@pytest.mark.parametrize(
    ("why", "text"),
    [
        (
            "a quote at the start",
            'concept_id\tconcept_name\tvocabulary_id\tconcept_code\n7\t"a" b\tICD10\tE11\n',
        ),
        ("one quote alone", 'concept_id\tconcept_name\tvocabulary_id\tconcept_code\n7\t"\tICD10\tE11\n'),
        (
            "a code with a quote",
            'concept_id\tconcept_name\tvocabulary_id\tconcept_code\n7\ta\tICD10\tE11\n8\tb\tX\t"\n',
        ),
        (
            "carriage returns",
            'concept_id\tconcept_name\tvocabulary_id\tconcept_code\r\n7\t5"\tICD10\tE11\r\n',
        ),
        (
            "a byte order mark",
            '\ufeffconcept_id\tconcept_name\tvocabulary_id\tconcept_code\n7\t5"\tICD10\tE11\n',
        ),
        ("no last line end", 'concept_id\tconcept_name\tvocabulary_id\tconcept_code\n7\t5"\tICD10\tE11'),
        (
            "commas in names",
            'concept_id\tconcept_name\tvocabulary_id\tconcept_code\n7\ta, "b", c\tICD10\tE11\n',
        ),
        (
            "quoted header",
            quoted("concept_id\tconcept_name\tvocabulary_id\tconcept_code\n7\ta\tICD10\tE11\n"),
        ),
        ("quoted commas", 'concept_id,concept_name,vocabulary_id,concept_code\n7,"5"" a, b",ICD10,E11\n'),
    ],
)
def test_ways_to_write_names(why: str, text: str, ingest) -> None:
    files = {"PERSON.csv": PERSON, "CONCEPT.csv": text}
    files["condition_occurrence.csv"] = clinical("", "condition", "condition_start_date", [Row("", 7, 0, "")])
    events, quality = ingest(files, kind="omop")
    assert [row["code"] for row in events if row["time"].year == 2020] == ["ICD10//E11"], why
    assert not quality["quarantined"]


def source(folder: Path, **settings) -> OmopSource:
    return OmopSource(kind="omop", path=str(folder), **settings)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in CLINICAL.items():
        (tmp_path / "cdm").mkdir(exist_ok=True)
        (tmp_path / "cdm" / name).write_text(text, "utf-8")
    return tmp_path / "cdm"


def test_a_broken_row_of_a_vocabulary_names_its_line(folder: Path, engine: Engine, tmp_path: Path) -> None:
    (folder / "CONCEPT.csv").write_text(athena("concept") + '9\ta "name\twith a tab\tX\tY\tD\n', "utf-8")
    with pytest.raises(BadInput, match=rf"CONCEPT\.csv, line {len(CONCEPTS) + 2}: more than 5 cells"):
        omop.read(source(folder), engine, tmp_path / "raw")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"vocabulary": "absent/folder"}, r"^source\.vocabulary: absent/folder is not a folder"),
        ({"vocabulary": "{cdm}"}, r"^source\.vocabulary: .* holds no table concept"),
        ({"translate_to": ["ICD10"]}, r"^source\.translate_to: ICD10 needs table concept of the vocabulary"),
        ({"with": "concept", "translate_to": ["ATC"]}, r"ATC needs table concept_ancestor or concept_relat"),
        ({"with": "concept", "translate_to": ["ICD10"]}, r"ICD10 needs table concept_relationship"),
    ],
)
def test_a_missing_vocabulary_is_refused(settings, message, folder, engine, tmp_path) -> None:
    if name := settings.pop("with", None):
        (folder / f"{name}.csv").write_text(athena(name), "utf-8")
    settings = {key: str(folder) if value == "{cdm}" else value for key, value in settings.items()}
    with pytest.raises(BadInput, match=message):
        omop.read(source(folder, **settings), engine, tmp_path / "raw")


def test_a_missing_schema_is_refused(engine: Engine, tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "cdm.duckdb")) as database:
        database.sql("CREATE TABLE person AS SELECT 1 person_id, 1950 year_of_birth, 8507 gender_concept_id")
    given = OmopSource(kind="omop", path=f"duckdb://{tmp_path / 'cdm.duckdb'}", vocabulary="vocab")
    (tmp_path / "raw").mkdir()
    with pytest.raises(BadInput, match=r"^source\.vocabulary: schema vocab has no table concept"):
        omop.read(given, engine, tmp_path / "raw")


def test_the_age_of_a_database_file_is_known_with_a_schema(tmp_path: Path) -> None:
    file = tmp_path / "cdm.duckdb"
    duckdb.connect(str(file)).close()
    given = OmopSource(kind="omop", path=f"duckdb://{file}?schema=cdm")
    assert omop.other_inputs(given) == [file.stat().st_size, file.stat().st_mtime_ns]


def test_vocabularies_have_no_url() -> None:
    with pytest.raises(ValueError, match="not a URL"):
        OmopSource(kind="omop", path="cdm", vocabulary="postgres://user:hidden@host/vocab")


def test_files_of_a_vocabulary_elsewhere_are_inputs(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "vocabulary").mkdir()
    file = tmp_path / "vocabulary" / "CONCEPT.csv"
    file.write_text(athena("concept"), "utf-8")
    listed = omop.files_of(source(folder, vocabulary=str(tmp_path / "vocabulary")))
    assert listed["concept"] == [file] and folder / "PERSON.csv" in listed["person"]


@pytest.mark.parametrize(
    ("codes", "common"),
    [
        ({"ICD10//E119"}, "ICD10//E119"),
        ({"ICD10//E1165", "ICD10//E1169"}, "ICD10//E116"),
        ({"ICD10//E11", "ICD10//E119"}, "ICD10//E11"),
        ({"ICD10//E11", "ICD10//E14"}, None),
        ({"ATC//C07AB02", "ATC//C07AB03"}, "ATC//C07AB"),
        ({"ATC//C07AB02", "ATC//C09AA01"}, None),
        ({"ATC//C07A", "ATC//C07B"}, None),
        (set(), None),
    ],
)
def test_the_common_code_is_the_longest_that_stands_for_all(codes: set[str], common: str | None) -> None:
    assert common_code(codes) == common
