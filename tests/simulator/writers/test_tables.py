from __future__ import annotations

import csv
import datetime as dt
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

SYSTEMS = {"diagnoses": "ICD10//", "drugs": "ATC//", "procedures": "KUBUN//"}


def rows_of(folder: Path, name: str, as_csv: bool) -> list[dict[str, Any]]:
    """Every value as text, null and empty alike as None, from either kind of file."""
    if as_csv:
        files = sorted((folder / name).glob("*.csv"))
        rows = [row for file in files for row in csv.DictReader(file.read_text("utf-8").splitlines())]
        return [{key: value or None for key, value in row.items()} for row in rows]
    table = pq.read_table(folder / name)
    return [
        {key: None if value is None else str(value) for key, value in row.items()}
        for row in table.to_pylist()
    ]


@pytest.mark.parametrize("as_csv", [False, True])
def test_tables_hold_every_claimed_event(known, written, as_csv):
    folder = written("tables", known.events, csv=as_csv)
    found: Counter = Counter()
    for name, system in SYSTEMS.items():
        for row in rows_of(folder, name, as_csv):
            day = dt.date.fromisoformat(row.get("date") or f"{row['month']}-01")
            suspected = row.get("suspected", "false").lower() == "true"
            found[int(row["patient_id"]), day, system + row["code"], suspected] += 1
    assert found == known.facts


@pytest.mark.parametrize("as_csv", [False, True])
def test_tables_hold_people_and_stays(known, written, as_csv):
    folder = written("tables", known.events, csv=as_csv)
    patients = rows_of(folder, "patients", as_csv)
    born = {
        int(row["patient_id"]): (dt.date.fromisoformat(row["birth_date"]), row["sex"]) for row in patients
    }
    died = {
        int(row["patient_id"]): dt.date.fromisoformat(row["death_date"])
        for row in patients
        if row["death_date"]
    }
    assert born == known.patients
    assert died == known.deaths
    stays = {
        (int(row["patient_id"]), *(dt.date.fromisoformat(row[end]) for end in ("start_date", "end_date")))
        for row in rows_of(folder, "visits", as_csv)
        if row["kind"] == "inpatient"
    }
    assert stays == known.stays


def test_every_row_belongs_to_a_visit_of_its_patient_and_month(known, written):
    folder = written("tables", known.events)
    visits = {row["visit_id"]: row for row in rows_of(folder, "visits", False)}
    events = [row for row in known.events.to_pylist() if row["visit_id"]]
    assert visits.keys() == {row["visit_id"] for row in events}
    for event in events:
        visit = visits[event["visit_id"]]
        assert visit["claim_month"] == f"{event['time']:%Y-%m}"
        assert (visit["patient_id"], visit["hospital_id"]) == (str(event["subject_id"]), event["hospital_id"])
    for name in SYSTEMS:
        for row in rows_of(folder, name, False):
            assert visits[row["visit_id"]]["patient_id"] == row["patient_id"]


def test_an_outpatient_visit_spans_its_day_or_none_is_known(by_hand, written):
    visits = {row["visit_id"]: row for row in rows_of(written("tables", by_hand.events), "visits", False)}
    assert visits["1-201904"]["start_date"] == visits["1-201904"]["end_date"] == "2019-04-30"
    assert visits["6-202002"]["start_date"] is None


def test_patients_who_never_came_have_no_hospital(by_hand, written):
    patients = {
        row["patient_id"]: row for row in rows_of(written("tables", by_hand.events), "patients", False)
    }
    assert patients["5"]["hospital_id"] is None
    assert patients["4"]["hospital_id"] == "H042"
