"""Stays are visits of an inpatient kind, or that last a night."""

from __future__ import annotations

import pytest

PERSON = "person_id,gender_concept_id,year_of_birth\n1,8507,1950\n"
HEADER = "visit_occurrence_id,person_id,visit_concept_id,visit_start_date,visit_end_date\n"
SAME, NIGHT, OPEN = ("2020-01-05", "2020-01-05"), ("2020-01-05", "2020-01-06"), ("2020-01-05", "")
BOTH = {"VISIT//ADMISSION", "VISIT//DISCHARGE"}
ADMISSION = {"VISIT//ADMISSION"}


@pytest.mark.parametrize(
    ("concept", "days", "expected"),
    [
        (9201, NIGHT, BOTH), (9201, SAME, BOTH), (9201, OPEN, ADMISSION),
        (262, SAME, BOTH), (262, NIGHT, BOTH), (8717, SAME, BOTH), (8717, NIGHT, BOTH), (8717, OPEN, ADMISSION),
        (8870, NIGHT, BOTH), (8870, SAME, set()), (9203, NIGHT, BOTH), (9203, SAME, set()),
        (8971, SAME, BOTH), (32037, OPEN, ADMISSION), (42898160, NIGHT, BOTH), (42898160, SAME, set()),
        (0, NIGHT, BOTH), (0, SAME, set()), (0, OPEN, set()), ("", NIGHT, BOTH), ("", SAME, set()),
        (9202, NIGHT, set()), (9202, ("2020-01-01", "2020-01-31"), set()), (9202, SAME, set()),
        (581477, NIGHT, set()), (5083, SAME, set()), (581458, NIGHT, set()),
    ],
)  # fmt: skip
def test_stays_of_omop(concept: int | str, days: tuple[str, str], expected: set[str], ingest) -> None:
    visits = HEADER + f"10,1,{concept},{','.join(days)}\n"
    events, quality = ingest({"person.csv": PERSON, "visit_occurrence.csv": visits}, kind="omop")
    assert {row["code"] for row in events if row["code"].startswith("VISIT")} == expected
    assert not quality["quarantined"]
    assert quality["source_rows"]["visit_occurrence"]["without_event"]["not an inpatient stay"] == (
        not expected
    )


@pytest.mark.parametrize(
    ("concept", "days", "expected"),
    [(8870, SAME, BOTH), (9202, SAME, BOTH), (9201, NIGHT, set()), (0, NIGHT, set())],
)
def test_the_concepts_of_stays_may_be_set(
    concept: int, days: tuple[str, str], expected: set[str], ingest
) -> None:
    visits = HEADER + f"10,1,{concept},{','.join(days)}\n"
    files = {"person.csv": PERSON, "visit_occurrence.csv": visits}
    events, _ = ingest(files, kind="omop", stays=[8870, 9202])
    assert {row["code"] for row in events if row["code"].startswith("VISIT")} == expected


MAPPING = """
patients: {table: people, patient: id, birth: born, sex: {column: sex, male: ["1"], female: ["2"]}}
visits: {table: visits, patient: id, visit: visit, start: from, end: to}
codes: [{table: drugs, patient: id, date: day, system: ATC, code: code}]
"""


@pytest.mark.parametrize(
    ("start", "end", "expected", "quarantined"),
    [
        ("2020-01-05", "2020-01-06", BOTH, {}),
        ("2020-01-05", "2020-02-06", BOTH, {}),
        ("2020-01-05", "2020/1/6", BOTH, {}),
        ("2020-01-05", "2020-01-05", set(), {}),
        ("2020-01-05", "2020/1/5", set(), {}),
        ("2020-01-05", "", set(), {}),
        ("", "2020-01-05", set(), {}),
        ("", "", set(), {}),
        ("2020-01-06", "2020-01-05", set(), {"end before start": 2}),
        ("2020-01-05", "2020-02-30", set(), {"unreadable date": 2}),
        ("x", "2020-01-05", set(), {"unreadable date": 2}),
    ],
)
def test_stays_of_tables_without_a_filter_last_a_night(
    start: str, end: str, expected: set[str], quarantined: dict[str, int], ingest
) -> None:
    files = {
        "people.csv": "id,born,sex\n7,1950,1\n",
        "visits.csv": f"visit,id,from,to\nV,7,{start},{end}\n",
        "drugs.csv": "id,day,code\n7,2020-01-05,C08CA01\n",
    }
    events, quality = ingest(files, MAPPING)
    assert {row["code"] for row in events if row["code"].startswith("VISIT")} == expected
    assert quality["quarantined"] == quarantined
    none = not expected and not quarantined
    assert quality["source_rows"]["visits"]["without_event"]["not an inpatient stay"] == none
