"""OMOP CDM 5.4 as Parquet: the tables that claims can fill, with every column of the specification.

The country's codes are local source concepts. `*_concept_id` are standard concepts, which are made up for
diseases and drugs (`omop_vocabulary`). A suspected diagnosis has the condition status "Preliminary
diagnosis".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from claimscale.codes.systems import split
from claimscale.errors import BadInput
from claimscale.simulator.ages import SEXES
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
from claimscale.simulator.writers.omop_schema import (
    FEMALE,
    INPATIENT,
    MALE,
    OUTPATIENT,
    SCHEMAS,
)
from claimscale.simulator.writers.omop_vocabulary import STRENGTHS, Vocabulary
from claimscale.simulator.writers.tables import dates
from claimscale.simulator.writers.text import choose, hospital_numbers

CLAIM = 32810
CONFIRMED, PRELIMINARY = 32893, 32899
ROWS_PER_SHARD = 2**32
"""Row ids of a shard start at its number times this, so that they are unique across shards."""

Column = np.ndarray | pa.Array | Sequence[object]


class OmopWriter:
    """`<table>/<shard>.parquet`; `care_site/` and the vocabulary have one file each, written at the end."""

    def __init__(self, folder: Path, country_codes: Sequence[str], options: WriterOptions) -> None:
        self.folder = folder
        self.vocabulary = Vocabulary(list({code for code in country_codes if split(code)[0] in SYSTEMS}))

    def write(self, events: pa.Table, shard: int) -> None:
        claims = claims_of(events)
        diagnoses, drugs, procedures = claims.diagnoses, claims.drugs, claims.procedures
        given = dates(drugs.day)
        tables: dict[str, dict[str, Column]] = {
            "person": _persons(claims),
            "death": _deaths(claims),
            "observation_period": _observation_periods(claims),
            "visit_occurrence": _visits(claims),
            "condition_occurrence": {
                **self._services(claims, diagnoses, "ICD10", "condition"),
                "condition_start_date": dates(diagnoses.day),
                "condition_status_concept_id": np.where(diagnoses.suspected, PRELIMINARY, CONFIRMED),
                "condition_status_source_value": choose(["confirmed", "suspected"], diagnoses.suspected),
            },
            "drug_exposure": {
                **self._services(claims, drugs, "ATC", "drug"),
                "drug_exposure_start_date": given,
                "drug_exposure_end_date": given,
            },
            "procedure_occurrence": {
                **self._services(claims, procedures, "KUBUN", "procedure"),
                "procedure_date": dates(procedures.day),
            },
        }
        for name, rows in zip([*tables][4:], (diagnoses, drugs, procedures), strict=True):
            tables[name][f"{name}_id"] = shard * ROWS_PER_SHARD + np.arange(rows.code.size)
        for name, columns in tables.items():
            self._save(name, f"{shard:06d}", columns)

    def finish(self) -> None:
        """Write the concepts, and the care sites that the shards name."""
        for name, columns in self.vocabulary.tables().items():
            self._save(name, name, columns)
        sites: set[int | None] = set()
        for file in sorted((self.folder / "person").glob("*.parquet")):
            sites.update(pq.read_table(file, columns=["care_site_id"])["care_site_id"].unique().to_pylist())
        ids = sorted(site for site in sites if site is not None)
        hospitals = [f"H{str(site)[1:]}" for site in ids]
        named = {"care_site_name": hospitals, "care_site_source_value": hospitals}
        self._save("care_site", "care_site", {"care_site_id": ids, **named})

    def _save(self, table: str, file: str, columns: Mapping[str, Column]) -> None:
        """Write columns in the order and types of the specification; missing columns are null.

        Times are the midnight of their dates.
        """
        schema = SCHEMAS[table]
        assert columns.keys() <= set(schema.names), columns.keys()
        size = len(next(iter(columns.values())))
        arrays: list[pa.Array] = []
        for field in schema:
            day = f"{field.name.removesuffix('datetime')}date"
            if field.name in columns:
                arrays.append(pa.array(columns[field.name], field.type))
            elif day in columns:
                arrays.append(pa.array(columns[day], pa.date32()).cast(field.type))
            else:
                arrays.append(pa.nulls(size, field.type))
        write_parquet(self.folder / table / f"{file}.parquet", pa.table(arrays, schema=schema))

    def _services(self, claims: Claims, rows: Services, system: str, stem: str) -> dict[str, Column]:
        def concept(code: str) -> int:
            if f"{system}//{code}" not in self.vocabulary.local:
                raise BadInput(f"{system}//{code}: not among the country's codes")
            return self.vocabulary.local[f"{system}//{code}"]

        person = claims.patients.subject[claims.visits.patient[rows.visit]]
        local = rows.look_up(concept, np.int64)
        standard = [
            rows.look_up(lambda code, one=one: self.vocabulary.standard[f"{system}//{code}"][one], np.int64)
            for one in range(STRENGTHS)
        ]
        return {
            "person_id": person,
            # A patient keeps the strength of a drug.
            f"{stem}_concept_id": np.choose(person % STRENGTHS, standard),
            f"{stem}_type_concept_id": np.full(rows.code.size, CLAIM),
            "visit_occurrence_id": _visit_ids(claims)[rows.visit],
            f"{stem}_source_value": rows.codes.take(rows.code),
            f"{stem}_source_concept_id": local,
        }


def _visit_ids(claims: Claims) -> np.ndarray:
    """Ids from patient, month and setting, so that they do not depend on shards."""
    visits = claims.visits
    months_since_1900 = visits.month.astype(np.int64) + 70 * 12
    return claims.patients.subject[visits.patient] * 10_000 + months_since_1900 * 2 + visits.is_stay


def _care_sites(hospitals: pa.Array) -> pa.Array:
    """H017 is site 1017: a 1 and the digits, so that the id determines the name."""
    names, indices = hospital_numbers(hospitals, "care sites")
    return pa.array([int("1" + digits) for digits in names], pa.int64()).take(indices)


def _persons(claims: Claims) -> dict[str, Column]:
    patients = claims.patients
    birth = patients.birth.astype("datetime64[D]")
    month = birth.astype("datetime64[M]")
    unknown = np.zeros(patients.subject.size, np.int64)
    return {
        "person_id": patients.subject,
        "gender_concept_id": np.where(patients.is_female, FEMALE, MALE),
        "year_of_birth": month.astype("datetime64[Y]").astype(np.int64) + 1970,
        "month_of_birth": month.astype(np.int64) % 12 + 1,
        "birth_datetime": birth.astype("datetime64[us]"),
        "day_of_birth": (birth - month.astype("datetime64[D]")).astype(np.int64) + 1,
        "race_concept_id": unknown,
        "ethnicity_concept_id": unknown,
        "care_site_id": _care_sites(patients.hospital),
        "person_source_value": pa.array(patients.subject).cast(pa.string()),
        "gender_source_value": choose(SEXES, patients.is_female),
    }


def _deaths(claims: Claims) -> dict[str, Column]:
    died = np.flatnonzero(claims.patients.death != NONE)
    return {
        "person_id": claims.patients.subject[died],
        "death_date": dates(claims.patients.death[died]),
        "death_type_concept_id": np.full(died.size, CLAIM),
    }


def _observation_periods(claims: Claims) -> dict[str, Column]:
    """From the first month with a claim to the end of the last, or to death; none for those without."""
    visits, patients = claims.visits, claims.patients
    first = np.full(patients.subject.size, np.iinfo(np.int32).max, np.int32)
    last = np.full(patients.subject.size, NONE, np.int32)
    np.minimum.at(first, visits.patient, visits.month)
    np.maximum.at(last, visits.patient, visits.month)
    seen = np.flatnonzero(last != NONE)
    death = patients.death[seen]
    end = np.where(months_of(death) == last[seen], death, first_days(last[seen] + 1) - 1)
    return {
        "observation_period_id": patients.subject[seen],
        "person_id": patients.subject[seen],
        "observation_period_start_date": dates(first_days(first[seen])),
        "observation_period_end_date": dates(end.astype(np.int32)),
        "period_type_concept_id": np.full(seen.size, CLAIM),
    }


def _visits(claims: Claims) -> dict[str, Column]:
    visits = claims.visits
    # The specification requires a date: the first of the month if no day is known.
    start, end = (
        dates(np.where(day == NONE, first_days(visits.month), day)) for day in (visits.start, visits.end)
    )
    return {
        "visit_occurrence_id": _visit_ids(claims),
        "person_id": claims.patients.subject[visits.patient],
        "visit_concept_id": np.where(visits.is_stay, INPATIENT, OUTPATIENT),
        "visit_start_date": start,
        "visit_end_date": end,
        "visit_type_concept_id": np.full(visits.month.size, CLAIM),
        "care_site_id": _care_sites(visits.hospital),
        "visit_source_value": visits.id,
    }
