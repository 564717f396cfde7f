"""OMOP CDM 5.4 as Parquet, every column of the tables that claims can fill.

The country's codes are local concepts, not standard ones: `*_concept_id` is 0 and `*_source_concept_id` and
`*_source_value` name the code. A suspected diagnosis has the condition status "Preliminary diagnosis".
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from claimscale.codes.systems import split
from claimscale.errors import BadInput
from claimscale.simulator.writers.base import WriterOptions, write_parquet
from claimscale.simulator.writers.claims import (
    NONE,
    SYSTEMS,
    Claims,
    Services,
    claims_of,
    first_days,
    months_of,
)
from claimscale.simulator.writers.omop_schema import SCHEMAS, STANDARD_CONCEPTS
from claimscale.simulator.writers.tables import dates

MALE, FEMALE = 8507, 8532
INPATIENT, OUTPATIENT = 9201, 9202
CLAIM = 32810
CONFIRMED, PRELIMINARY = 32893, 32899
FIRST_LOCAL_CONCEPT = 2_000_000_000
DOMAINS = {"ICD10": "Condition", "ATC": "Drug", "KUBUN": "Procedure"}
ROWS_PER_SHARD = 2**32
"""Row ids of a shard begin at its number times this, so that they are unique whatever wrote the shard."""


class OmopWriter:
    """`<table>/<shard>.parquet`; `care_site/` and `concept/` hold one file each, written in the end."""

    def __init__(self, folder: Path, country_codes: Sequence[str], options: WriterOptions) -> None:
        self.folder = folder
        claimed = sorted({code for code in country_codes if split(code)[0] in SYSTEMS})
        self.concepts = {code: FIRST_LOCAL_CONCEPT + number for number, code in enumerate(claimed, 1)}

    def write(self, events: pa.Table, shard: int) -> None:
        claims = claims_of(events)
        visit_ids = _visit_ids(claims)
        self._save("person", shard, _persons(claims))
        self._save("death", shard, _deaths(claims))
        self._save("observation_period", shard, _observation_periods(claims))
        self._save("visit_occurrence", shard, _visits(claims, visit_ids))
        status = np.where(claims.diagnoses.suspected, PRELIMINARY, CONFIRMED)
        said = pa.array(["confirmed", "suspected"]).take(pa.array(claims.diagnoses.suspected.astype(np.int8)))
        kinds = (
            ("condition_occurrence", "condition", "ICD10", claims.diagnoses),
            ("drug_exposure", "drug", "ATC", claims.drugs),
            ("procedure_occurrence", "procedure", "KUBUN", claims.procedures),
        )
        for table, stem, system, rows in kinds:
            columns = self._services(claims, visit_ids, rows, system, stem, shard)
            day = dates(rows.day)
            if table == "condition_occurrence":
                columns |= {"condition_start_date": day, "condition_status_concept_id": status}
                columns |= {"condition_status_source_value": said}
            elif table == "drug_exposure":
                columns |= {"drug_exposure_start_date": day, "drug_exposure_end_date": day}
            else:
                columns |= {"procedure_date": day}
            self._save(table, shard, {f"{table}_id": columns.pop("id"), **columns})

    def finish(self) -> None:
        """Write the concepts and, of the hospitals that the shards name, the care sites."""
        codes = [split(code) for code in self.concepts]
        local = [
            (number, f"simulated {code}", DOMAINS[system], system, system, None, code)
            for number, (system, code) in zip(self.concepts.values(), codes, strict=True)
        ]
        names = ("concept_id", "concept_name", "domain_id", "vocabulary_id", "concept_class_id")
        names += ("standard_concept", "concept_code")
        concepts = dict(zip(names, map(list, zip(*STANDARD_CONCEPTS, *local, strict=True)), strict=True))
        size = len(concepts["concept_id"])
        valid = {
            "valid_start_date": np.zeros(size, "M8[D]"),
            "valid_end_date": np.full(size, "2099-12-31", "M8[D]"),
        }
        write_parquet(self.folder / "concept" / "concept.parquet", _table("concept", {**concepts, **valid}))
        sites: set[int] = set()
        for file in sorted((self.folder / "person").glob("*.parquet")):
            sites.update(pq.read_table(file, columns=["care_site_id"])["care_site_id"].unique().to_pylist())
        ids = sorted(sites - {None})
        hospitals = [f"H{str(site)[1:]}" for site in ids]
        named = {"care_site_name": hospitals, "care_site_source_value": hospitals}
        table = _table("care_site", {"care_site_id": ids, **named})
        write_parquet(self.folder / "care_site" / "care_site.parquet", table)

    def _save(self, name: str, shard: int, columns: dict[str, Any]) -> None:
        write_parquet(self.folder / name / f"{shard:06d}.parquet", _table(name, columns))

    def _services(
        self, claims: Claims, visit_ids: np.ndarray, rows: Services, system: str, stem: str, shard: int
    ) -> dict[str, Any]:
        def concept(code: str) -> int:
            if f"{system}//{code}" not in self.concepts:
                raise BadInput(f"{system}//{code}: not among the country's codes")
            return self.concepts[f"{system}//{code}"]

        return {
            "id": shard * ROWS_PER_SHARD + np.arange(rows.code.size),
            "person_id": claims.patients.subject[claims.visits.patient[rows.visit]],
            f"{stem}_concept_id": np.zeros(rows.code.size, np.int64),
            f"{stem}_type_concept_id": np.full(rows.code.size, CLAIM),
            "visit_occurrence_id": visit_ids[rows.visit],
            f"{stem}_source_value": rows.codes.take(pa.array(rows.code)),
            f"{stem}_source_concept_id": rows.look_up(concept, np.int64),
        }


def _table(name: str, columns: dict[str, Any]) -> pa.Table:
    """Columns in the order and types of the specification; those not given are null."""
    schema = SCHEMAS[name]
    unknown = columns.keys() - set(schema.names)
    assert not unknown, unknown
    size = len(next(iter(columns.values())))
    arrays = [
        pa.array(columns[field.name], field.type) if field.name in columns else pa.nulls(size, field.type)
        for field in schema
    ]
    return pa.table(arrays, schema=schema)


def _visit_ids(claims: Claims) -> np.ndarray:
    """Unique by patient, month and setting, so that they do not depend on shards."""
    visits = claims.visits
    months_since_1900 = visits.month.astype(np.int64) + 70 * 12
    subject = claims.patients.subject[visits.patient]
    return subject * 10_000 + months_since_1900 * 2 + visits.is_stay


def _care_sites(hospitals: pa.Array) -> pa.Array:
    """H017 is site 1017: the digits after a 1, so that the name can be told from the id."""
    encoded = hospitals.dictionary_encode()
    names = encoded.dictionary.to_pylist()
    for name in names:
        if not (name[:1] == "H" and name[1:].isdecimal()):
            raise BadInput(f"hospital {name}: care sites need an H and a number")
    return pa.array([int("1" + name[1:]) for name in names], pa.int64()).take(encoded.indices)


def _persons(claims: Claims) -> dict[str, Any]:
    patients = claims.patients
    size = patients.subject.size
    birth = patients.birth.astype("datetime64[D]")
    month = birth.astype("datetime64[M]")
    sex = np.where(patients.is_female, "F", "M").astype(object)
    unknown = np.zeros(size, np.int64)
    return {
        "person_id": patients.subject,
        "gender_concept_id": np.where(patients.is_female, FEMALE, MALE),
        "year_of_birth": month.astype("datetime64[Y]").astype(np.int64) + 1970,
        "month_of_birth": month.astype(np.int64) % 12 + 1,
        "day_of_birth": (birth - month.astype("datetime64[D]")).astype(np.int64) + 1,
        "race_concept_id": unknown,
        "ethnicity_concept_id": unknown,
        "care_site_id": _care_sites(patients.hospital),
        "person_source_value": pa.array(patients.subject).cast(pa.string()),
        "gender_source_value": pa.array(sex, pa.string()),
    }


def _deaths(claims: Claims) -> dict[str, Any]:
    died = np.flatnonzero(claims.patients.death != NONE)
    return {
        "person_id": claims.patients.subject[died],
        "death_date": dates(claims.patients.death[died]),
        "death_type_concept_id": np.full(died.size, CLAIM),
    }


def _observation_periods(claims: Claims) -> dict[str, Any]:
    """From the first month with a claim to the end of the last, or to death; none for those without."""
    visits, patients = claims.visits, claims.patients
    first = np.full(patients.subject.size, np.iinfo(np.int32).max, np.int32)
    last = np.full(patients.subject.size, NONE, np.int32)
    np.minimum.at(first, visits.patient, visits.month)
    np.maximum.at(last, visits.patient, visits.month)
    seen = np.flatnonzero(last != NONE)
    end = first_days(last[seen] + 1) - 1
    death = patients.death[seen]
    end = np.where(months_of(death) == last[seen], death, end)
    return {
        "observation_period_id": patients.subject[seen],
        "person_id": patients.subject[seen],
        "observation_period_start_date": dates(first_days(first[seen])),
        "observation_period_end_date": dates(end.astype(np.int32)),
        "period_type_concept_id": np.full(seen.size, CLAIM),
    }


def _visits(claims: Claims, visit_ids: np.ndarray) -> dict[str, Any]:
    visits = claims.visits
    # The specification asks for a date: where nothing but the month is known, its first day.
    start, end = (
        dates(np.where(day == NONE, first_days(visits.month), day).astype(np.int32))
        for day in (visits.start, visits.end)
    )
    return {
        "visit_occurrence_id": visit_ids,
        "person_id": claims.patients.subject[visits.patient],
        "visit_concept_id": np.where(visits.is_stay, INPATIENT, OUTPATIENT),
        "visit_start_date": start,
        "visit_end_date": end,
        "visit_type_concept_id": np.full(visits.month.size, CLAIM),
        "care_site_id": _care_sites(visits.hospital),
        "visit_source_value": visits.id,
    }
