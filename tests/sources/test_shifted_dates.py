"""Dates that de-identification shifted: every patient's anchor becomes one day, and distances are kept."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from claimscale.artifacts import read_json
from claimscale.config.study import Study
from claimscale.engine import Engine
from claimscale.errors import BadInput
from claimscale.events.build import build

MAPPING = """
patients: {table: people, patient: id, birth: born, sex: {column: sex, male: [M], female: [F]},
           death: {column: died}, observed: [first, last]}
codes: [{table: drugs, patient: id, date: day, system: ATC, code: code}]
"""
PEOPLE = """id,born,sex,died,first,last,anchor_year,enrolled
A,2082-04-01,M,,2150-01-10,2152-01-10,2151,2150-01-20
B,2100-06-15,F,2193-01-01,2190-03-01,2193-01-01,2191,2190-03-11
"""
DRUGS = """id,day,code
A,2150-01-10,C08CA01
A,2151-01-10,A10BA02
B,2190-03-01,C08CA01
B,2192-12-31,A10BA02
"""
ZERO = dt.date(2000, 1, 1)


def days(events: list[dict[str, Any]]) -> dict[tuple[str, str], dt.date]:
    return {(row["source_id"], row["code"]): row["time"].date() for row in events}


def moved(anchors: dict[str, dt.date]) -> dict[tuple[str, str], dt.date]:
    """The right days, by the distance of each from the patient's anchor."""
    given = {
        ("A", "MEDS_BIRTH"): dt.date(2082, 4, 1), ("A", "SEX//M"): dt.date(2082, 4, 1),
        ("A", "ATC//C08CA01"): dt.date(2150, 1, 10), ("A", "ATC//A10BA02"): dt.date(2151, 1, 10),
        ("B", "MEDS_BIRTH"): dt.date(2100, 6, 15), ("B", "SEX//F"): dt.date(2100, 6, 15),
        ("B", "ATC//C08CA01"): dt.date(2190, 3, 1), ("B", "ATC//A10BA02"): dt.date(2192, 12, 31),
        ("B", "MEDS_DEATH"): dt.date(2193, 1, 1),
    }  # fmt: skip
    return {key: ZERO + (day - anchors[key[0]]) for key, day in given.items()}


@pytest.mark.parametrize(
    ("anchor", "anchors"),
    [
        ({}, {"A": dt.date(2150, 1, 10), "B": dt.date(2190, 3, 1)}),
        ({"anchor": "first_contact"}, {"A": dt.date(2150, 1, 10), "B": dt.date(2190, 3, 1)}),
        ({"anchor": "first"}, {"A": dt.date(2150, 1, 10), "B": dt.date(2190, 3, 1)}),
        ({"anchor": "enrolled"}, {"A": dt.date(2150, 1, 20), "B": dt.date(2190, 3, 11)}),
        ({"anchor": "Enrolled"}, {"A": dt.date(2150, 1, 20), "B": dt.date(2190, 3, 11)}),
        ({"anchor": "anchor_year"}, {"A": dt.date(2151, 1, 1), "B": dt.date(2191, 1, 1)}),
    ],
)
def test_distances_from_the_anchor_are_kept(anchor: dict, anchors: dict, ingest, tmp_path) -> None:
    files = {"people.csv": PEOPLE, "drugs.csv": DRUGS}
    events, quality = ingest(files, MAPPING, dates="shifted", **anchor)
    assert days(events) == moved(anchors)
    assert not quality["quarantined"] and not quality["dropped"]
    periods = pq.read_table(tmp_path / "events/observation.parquet").to_pylist()
    given = [(dt.date(2150, 1, 10), dt.date(2152, 1, 10)), (dt.date(2190, 3, 1), dt.date(2193, 1, 1))]
    expected = [
        tuple(ZERO + (day - anchors[name]) for day in edges) for name, edges in zip("AB", given, strict=True)
    ]
    assert [(row["start"].date(), row["end"].date()) for row in periods] == expected
    assert all(row["available_at"] >= row["time"] for row in events)


@pytest.mark.parametrize("shift", [-36_000, -1, 0, 1, 36_525, 54_321, 70_000])
def test_the_shift_does_not_matter(shift: int, ingest) -> None:
    born, first, second, died = (
        (dt.date(day.year, day.month, day.day) + dt.timedelta(shift)).isoformat()
        for day in (dt.date(1960, 2, 29), dt.date(2000, 2, 27), dt.date(2000, 3, 2), dt.date(2004, 1, 1))
    )
    people = f"id,born,sex,died,first,last\nA,{born},M,{died},,\n"
    drugs = f"id,day,code\nA,{first},C08CA01\nA,{second},A10BA02\n"
    events, quality = ingest({"people.csv": people, "drugs.csv": drugs}, MAPPING, dates="shifted")
    found = days(events)
    distance = {code: (day - ZERO).days for (_, code), day in found.items()}
    assert distance == {
        "MEDS_BIRTH": -14_608, "SEX//M": -14_608, "ATC//C08CA01": 0, "ATC//A10BA02": 4, "MEDS_DEATH": 1_404,
    }  # fmt: skip
    assert not quality["quarantined"]


@pytest.mark.parametrize(
    ("people", "drugs", "anchor", "quarantined", "used"),
    [
        # A patient without a contact has no first contact.
        ("A,1950,M,,,\nB,1960,F,,,\n", "A,2150-01-10,C08CA01\n", "first_contact", {"missing anchor": 2}, 3),
        ("A,1950,M,,2150-01-01,\nB,1960,F,,,\n", "A,2150-01-10,C08CA01\n", "first", {"missing anchor": 2}, 3),
        ("A,1950,M,,x,\nB,2090,F,,2150-01-10,\n", "A,2150-01-10,C08CA01\n", "first", {"missing anchor": 3}, 2),
        ("A,2090,M,,,\n", "A,1900-01-01,C08CA01\nA,2150-01-10,C08CA01\n", "first_contact", {"placeholder date": 1}, 3),
        ("A,2090,M,,,\n", "A,x,C08CA01\nA,2150-01-10,C08CA01\n", "first_contact", {"unreadable date": 1}, 3),
        ("A,2090,M,,,\n", "A,,C08CA01\nA,2150-01-10,C08CA01\n", "first_contact", {"missing time": 1}, 3),
        ("A,2090,M,,,\n", "A,2080-01-01,A10BA02\nA,2150-01-10,C08CA01\n", "first_contact", {"before birth": 1}, 3),
        ("A,1850,M,,,\n", "A,2150-01-10,C08CA01\n", "first_contact", {}, 3),
        ("A,2090,M,2151-01-01,,\n", "A,2150-01-10,C08CA01\nA,2152-01-10,A10BA02\n", "first_contact", {"after death": 1}, 4),
        ("A,2090,M,,,\n", "A,2150-01-10,C08CA01\nC,2150-01-10,C08CA01\n", "first_contact", {"unknown patient": 1}, 3),
        ("A,2090,M,,,\n", "A,2150-01-10,C08CA01\n,2150-01-10,C08CA01\n", "first_contact", {"missing patient": 1}, 3),
        ("A,2090,M,,,\n", "A,2150-01-10,C08CA01\nA,2299-01-10,A10BA02\n", "first_contact", {"placeholder date": 1}, 3),
    ],
)  # fmt: skip
def test_every_row_is_used_or_has_its_reason(people, drugs, anchor, quarantined, used, ingest) -> None:
    files = {"people.csv": "id,born,sex,died,first,last\n" + people, "drugs.csv": "id,day,code\n" + drugs}
    _, quality = ingest(files, MAPPING, dates="shifted", anchor=anchor)
    assert (quality["quarantined"], quality["used"]) == (quarantined, used)
    assert quality["rows_in"] == quality["used"] + sum(quality["quarantined"].values())


PERSON = "person_id,gender_concept_id,year_of_birth,Enrolled\n1,8507,2090,2150-02-01\n"
CONDITIONS = """person_id,condition_concept_id,condition_start_date,condition_source_value
1,0,2150-03-03,N18
"""


@pytest.mark.parametrize(("anchor", "day"), [("first_contact", ZERO), ("enrolled", ZERO + dt.timedelta(30))])
def test_omop_is_anchored(anchor: str, day: dt.date, ingest) -> None:
    files = {"person.csv": PERSON, "condition_occurrence.csv": CONDITIONS}
    events, quality = ingest(files, kind="omop", dates="shifted", anchor=anchor)
    (found,) = (row["time"].date() for row in events if row["code"] == "SOURCE//N18")
    assert found == day and not quality["quarantined"]


def test_meds_is_anchored_and_keeps_times_of_day(ingest) -> None:
    times = [None, dt.datetime(2090, 1, 1), dt.datetime(2150, 3, 3, 13, 30), dt.datetime(2150, 3, 4, 1)]
    table = pa.table(
        {
            "subject_id": [1] * 4,
            "time": pa.array(times, pa.timestamp("us")),
            "code": ["GENDER//F", "MEDS_BIRTH", "LAB//1", "LAB//2"],
        }
    )
    events, quality = ingest({"data/0.parquet": table}, kind="meds", dates="shifted")
    found = {row["code"]: row["time"] for row in events}
    assert found["LAB//1"] == dt.datetime(2000, 1, 1, 13, 30)
    assert found["LAB//2"] == dt.datetime(2000, 1, 2, 1)
    assert (
        found["SEX//F"]
        == found["MEDS_BIRTH"]
        == dt.datetime(2000, 1, 1) - (dt.datetime(2150, 3, 3) - dt.datetime(2090, 1, 1))
    )
    assert not quality["quarantined"]


STUDY = {"name": "x", "sizes": ["80k"], "tasks": ["ckd"], "cohort": {"landmark": "2001-01-01"}}
LATER = {"landmark": "2001-01-01", "splits": {"temporal_date": "2002-01-01"}}


@pytest.mark.parametrize(
    ("source", "cohort", "message"),
    [
        ({"kind": "tables", "dates": "shifted"}, LATER, "temporal_date: with source.dates: shifted"),
        ({"kind": "omop", "dates": "shifted"}, LATER, "temporal_date: with source.dates: shifted"),
        ({"kind": "tables", "anchor": "enrolled"}, {}, "anchor: needs dates: shifted"),
        ({"kind": "meds", "dates": "shifted", "anchor": "x"}, {}, "a column needs kind: tables or omop"),
        ({"kind": "synpuf", "dates": "shifted", "anchor": "x"}, {}, "a column needs kind: tables or omop"),
        (
            {"kind": "tables", "dates": "shifted"},
            {"landmark": "2150-01-01"},
            "landmark: with source.dates: shifted",
        ),
        ({"kind": "tables", "dates": "moved"}, {}, "'calendar' or 'shifted'"),
    ],
)
def test_settings_that_need_a_calendar_are_refused(source: dict, cohort: dict, message: str) -> None:
    study = STUDY | {"source": {"path": "claims"} | source} | ({"cohort": cohort} if cohort else {})
    with pytest.raises(ValidationError, match=message):
        Study.model_validate(study, strict=False)


def test_a_calendar_split_is_no_obstacle_without_shifts() -> None:
    study = STUDY | {"source": {"path": "claims", "kind": "tables"}, "cohort": LATER}
    assert not Study.model_validate(study, strict=False).has_shifted_dates


def test_an_anchor_column_that_is_not_there_is_named(ingest) -> None:
    files = {"people.csv": PEOPLE, "drugs.csv": DRUGS}
    with pytest.raises(BadInput, match=r"people\.csv: has no column entered"):
        ingest(files, MAPPING, dates="shifted", anchor="entered")


@pytest.mark.parametrize("shift", [100, 200])
def test_shifted_dates_that_are_read_as_calendar_dates_name_the_setting(
    shift: int, engine: Engine, tmp_path: Path
) -> None:
    folder = tmp_path / "claims"
    folder.mkdir()
    (folder / "people.csv").write_text(f"id,born,sex,died,first,last\nA,{1960 + shift},M,,,\nB,1950,F,,,\n")
    lines = [f"A,{2000 + shift}-01-{day:02d},C08CA01\n" for day in range(1, 10)]
    (folder / "drugs.csv").write_text("id,day,code\n" + "".join(lines))
    (tmp_path / "m.yaml").write_text(MAPPING)
    source = {"kind": "tables", "path": str(folder), "mapping": str(tmp_path / "m.yaml")}
    study = Study.model_validate(STUDY | {"source": source}, strict=False)
    with pytest.raises(BadInput, match=r"\d+ of its 13 events are dated .*set source\.dates: shifted$"):
        build(study, engine, tmp_path / "events")
    shifted = Study.model_validate(STUDY | {"source": source | {"dates": "shifted"}}, strict=False)
    build(shifted, engine, tmp_path / "again")
    assert read_json(tmp_path / "again/quality.json")["span"] == ["2000-01-01", "2000-01-09"]
