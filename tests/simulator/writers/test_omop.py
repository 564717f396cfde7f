from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from claimscale.simulator.writers.omop_schema import SCHEMAS

DAY_OF = {
    "condition_occurrence": ("condition", "condition_start_date"),
    "drug_exposure": ("drug", "drug_exposure_start_date"),
    "procedure_occurrence": ("procedure", "procedure_date"),
}
REQUIRED = {
    "person": "person_id gender_concept_id year_of_birth race_concept_id ethnicity_concept_id",
    "observation_period": "observation_period_id person_id observation_period_start_date "
    "observation_period_end_date period_type_concept_id",
    "visit_occurrence": "visit_occurrence_id person_id visit_concept_id visit_start_date visit_end_date "
    "visit_type_concept_id",
    "condition_occurrence": "condition_occurrence_id person_id condition_concept_id condition_start_date "
    "condition_type_concept_id",
    "drug_exposure": "drug_exposure_id person_id drug_concept_id drug_exposure_start_date "
    "drug_exposure_end_date drug_type_concept_id",
    "procedure_occurrence": "procedure_occurrence_id person_id procedure_concept_id procedure_date "
    "procedure_type_concept_id",
    "death": "person_id death_date",
    "care_site": "care_site_id",
    "concept": "concept_id concept_name domain_id vocabulary_id concept_class_id concept_code "
    "valid_start_date valid_end_date",
    "concept_relationship": "concept_id_1 concept_id_2 relationship_id valid_start_date valid_end_date",
    "concept_ancestor": "ancestor_concept_id descendant_concept_id min_levels_of_separation "
    "max_levels_of_separation",
    "vocabulary": "vocabulary_id vocabulary_name vocabulary_concept_id",
}


def rows_of(folder: Path, name: str) -> list[dict]:
    return pq.read_table(folder / name).to_pylist()


def test_tables_hold_every_claimed_event(known, written):
    folder = written("omop", known.events)
    concepts = {row["concept_id"]: row for row in rows_of(folder, "concept")}
    found: Counter = Counter()
    for name, (stem, date) in DAY_OF.items():
        for row in rows_of(folder, name):
            concept = concepts[row[f"{stem}_source_concept_id"]]
            assert concept["concept_code"] == row[f"{stem}_source_value"]
            assert concept["concept_id"] >= 2_000_000_000
            suspected = row.get("condition_status_concept_id") == 32899
            code = f"{concept['vocabulary_id']}//{concept['concept_code']}"
            found[row["person_id"], row[date], code, suspected] += 1
    assert found == known.facts


def test_tables_hold_people_stays_and_deaths(known, written):
    folder = written("omop", known.events)
    people = {
        row["person_id"]: (
            (row["year_of_birth"], row["month_of_birth"], row["day_of_birth"]),
            {8507: "M", 8532: "F"}[row["gender_concept_id"]],
        )
        for row in rows_of(folder, "person")
    }
    assert people == {
        subject: ((birth.year, birth.month, birth.day), sex)
        for subject, (birth, sex) in known.patients.items()
    }
    stays = {
        (row["person_id"], row["visit_start_date"], row["visit_end_date"])
        for row in rows_of(folder, "visit_occurrence")
        if row["visit_concept_id"] == 9201
    }
    assert stays == known.stays
    assert {row["person_id"]: row["death_date"] for row in rows_of(folder, "death")} == known.deaths


@pytest.mark.parametrize("name", SCHEMAS)
def test_columns_that_the_specification_requires_are_filled(known, written, name):
    table = pq.read_table(written("omop", known.events) / name)
    assert table.schema.equals(SCHEMAS[name])
    assert len(table) > 0
    assert all(table[column].null_count == 0 for column in REQUIRED[name].split())


def test_ids_are_unique_across_shards_and_point_to_rows(make_events, written):
    shards = [make_events(seed, 30, first_subject=1 + 30 * seed) for seed in range(3)]
    folder = written("omop", *shards)
    for name in (*DAY_OF, "person", "visit_occurrence", "observation_period", "care_site", "concept"):
        ids = [row[f"{name}_id"] for row in rows_of(folder, name)]
        assert len(ids) == len(set(ids)) > 0
    visits = {row["visit_occurrence_id"]: row for row in rows_of(folder, "visit_occurrence")}
    for name in DAY_OF:
        assert all(
            visits[row["visit_occurrence_id"]]["person_id"] == row["person_id"]
            for row in rows_of(folder, name)
        )
    sites = {row["care_site_id"]: row["care_site_name"] for row in rows_of(folder, "care_site")}
    hospital_of = {
        row["visit_id"]: row["hospital_id"]
        for shard in shards
        for row in shard.to_pylist()
        if row["visit_id"]
    }
    assert {row["visit_source_value"]: sites[row["care_site_id"]] for row in visits.values()} == hospital_of


def test_events_are_in_the_observation_period(known, written):
    folder = written("omop", known.events)
    periods = {row["person_id"]: row for row in rows_of(folder, "observation_period")}
    for person, day, _, _ in known.facts:
        period = periods[person]
        assert period["observation_period_start_date"] <= day <= period["observation_period_end_date"]
    for person, day in known.deaths.items():
        assert periods[person]["observation_period_end_date"] <= day


STANDARD = {
    "condition_occurrence": ("condition", "SNOMED"),
    "drug_exposure": ("drug", "RxNorm"),
    "procedure_occurrence": ("procedure", "KUBUN"),
}


@pytest.mark.parametrize("name", STANDARD)
def test_rows_have_standard_concepts_of_the_vocabulary(known, written, name):
    folder = written("omop", known.events)
    concepts = {row["concept_id"]: row for row in rows_of(folder, "concept")}
    stem, vocabulary = STANDARD[name]
    used = [concepts[row[f"{stem}_concept_id"]] for row in rows_of(folder, name)]
    assert {(row["standard_concept"], row["vocabulary_id"]) for row in used} == {("S", vocabulary)}
    assert all(row["concept_code"].startswith("simulated ") for row in used if vocabulary != "KUBUN")


def test_every_relationship_leads_to_concepts(known, written):
    folder = written("omop", known.events)
    concepts = {row["concept_id"]: row for row in rows_of(folder, "concept")}
    assert {row["vocabulary_id"] for row in concepts.values()} == {
        row["vocabulary_id"] for row in rows_of(folder, "vocabulary")
    }
    maps = {"Maps to": set(), "Mapped from": set()}
    for row in rows_of(folder, "concept_relationship"):
        maps[row["relationship_id"]].add((row["concept_id_1"], row["concept_id_2"]))
    assert maps["Maps to"] == {(one, other) for other, one in maps["Mapped from"]}
    assert all(concepts[target]["standard_concept"] == "S" for _, target in maps["Maps to"])
    for row in rows_of(folder, "condition_occurrence"):
        assert (row["condition_source_concept_id"], row["condition_concept_id"]) in maps["Maps to"]


def test_drugs_descend_from_their_classes(known, written):
    folder = written("omop", known.events)
    concepts = {row["concept_id"]: row for row in rows_of(folder, "concept")}
    classes: dict[int, dict[int, str]] = {}
    for row in rows_of(folder, "concept_ancestor"):
        ancestor = concepts[row["ancestor_concept_id"]]
        assert row["min_levels_of_separation"] == row["max_levels_of_separation"]
        if ancestor["vocabulary_id"] == "ATC":
            above = classes.setdefault(row["descendant_concept_id"], {})
            above[row["min_levels_of_separation"]] = ancestor["concept_code"]
    for row in rows_of(folder, "drug_exposure"):
        code = row["drug_source_value"]
        expected = [code, code[:5], code[:4], code[:3], code[:1]]
        assert classes[row["drug_concept_id"]] == dict(enumerate(expected, 1))


@pytest.mark.parametrize("name", SCHEMAS)
def test_times_are_the_midnight_of_dates(known, written, name):
    for row in rows_of(written("omop", known.events), name):
        for column in row:
            if column.endswith("_datetime") and (date := column.removesuffix("time")) in row:
                assert (row[column] and row[column].isoformat()) == (
                    row[date] and f"{row[date].isoformat()}T00:00:00"
                )
        if name == "person":
            born = row["birth_datetime"]
            assert [born.year, born.month, born.day] == [
                row[f"{unit}_of_birth"] for unit in ("year", "month", "day")
            ]
