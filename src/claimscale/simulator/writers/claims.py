"""Claims of a shard of events: patients, visits and the coded services.

Days are counted from 1970-01-01, months from 1970-01; both are NONE if unknown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from claimscale.codes import systems as codes
from claimscale.constants import MICROSECONDS_PER_DAY
from claimscale.errors import BadInput

NONE = np.iinfo(np.int32).min
SYSTEMS = ("ICD10", "ATC", "KUBUN")
"""Code systems of claims. The kind of a row is the position of its system here, or else of its code in
EVENTS."""
EVENTS = (
    codes.BIRTH, codes.DEATH, codes.SEX_PREFIX + "M", codes.SEX_PREFIX + "F", codes.ADMISSION, codes.DISCHARGE
)  # fmt: skip
BORN, DIED, MALE, FEMALE, ADMITTED, DISCHARGED = range(len(SYSTEMS), len(SYSTEMS) + len(EVENTS))


@dataclass(frozen=True)
class PatientColumns:
    """One entry per patient, by id. `hospital` is null for patients without a claim."""

    subject: np.ndarray
    birth: np.ndarray
    is_female: np.ndarray
    death: np.ndarray
    hospital: pa.Array


@dataclass(frozen=True)
class VisitColumns:
    """One entry per claim: patient (a position in PatientColumns), month, first and last day.

    `start` and `end` are NONE for an outpatient claim without a drug or procedure. `is_fatal` marks the
    patient's last claim in the month of death.
    """

    id: pa.Array
    patient: np.ndarray
    hospital: pa.Array
    is_stay: np.ndarray
    month: np.ndarray
    start: np.ndarray
    end: np.ndarray
    is_fatal: np.ndarray


@dataclass(frozen=True)
class Services:
    """Rows of one kind: visit (a position in VisitColumns), code (a position in `codes`), day, suspected."""

    codes: pa.Array
    visit: np.ndarray
    code: np.ndarray
    day: np.ndarray
    suspected: np.ndarray

    def where(self, rows: np.ndarray) -> Services:
        """The rows at positions or where a mask is true."""
        return Services(self.codes, self.visit[rows], self.code[rows], self.day[rows], self.suspected[rows])

    def look_up(self, values: Callable[[str], Any], dtype: type) -> np.ndarray:
        """A value for each row's code; `values` is called once per occurring code."""
        occurring = np.unique(self.code)
        names = self.codes.take(occurring).to_pylist()
        table = np.empty(len(self.codes), dtype)
        table[occurring] = [values(name) for name in names]
        return table[self.code]


@dataclass(frozen=True)
class Claims:
    patients: PatientColumns
    visits: VisitColumns
    diagnoses: Services
    drugs: Services
    procedures: Services


def claims_of(events: pa.Table) -> Claims:
    """The claims of whole patients; `events` are sorted by subject and time.

    Raises BadInput for a code that claims cannot hold.
    """
    subject = column(events, "subject_id").to_numpy()
    day = days(column(events, "time"))
    coded = column(events, "code").dictionary_encode()
    names = coded.dictionary.to_pylist()
    code = coded.indices.to_numpy()
    kind = np.array([_kind(name) for name in names], np.int8)[code]

    is_first = np.diff(subject, prepend=subject[:1] - 1) != 0
    patient = np.cumsum(is_first) - 1
    encoded = column(events, "visit_id").dictionary_encode()
    visit = encoded.indices.fill_null(-1).to_numpy()
    patients = _patients(subject[is_first], patient, day, kind, column(events, "hospital_id"))
    visits = _visits(events, encoded.dictionary, visit, patient, day, kind, patients.death)

    suspected = column(events, "suspected").to_numpy(zero_copy_only=False)
    plain = pa.array([codes.split(name)[1] for name in names], pa.string())
    services = [
        Services(plain, visit[rows], code[rows], day[rows], suspected[rows])
        for rows in (np.flatnonzero(kind == wanted) for wanted in range(len(SYSTEMS)))
    ]
    return Claims(patients, visits, *services)


def column(events: pa.Table, name: str) -> pa.Array:
    """A column as one array."""
    chunks = events[name].combine_chunks()
    return chunks if isinstance(chunks, pa.Array) else pa.concat_arrays(chunks.chunks)


def days(times: pa.Array) -> np.ndarray:
    return (times.cast(pa.int64()).to_numpy() // MICROSECONDS_PER_DAY).astype(np.int32)


def months_of(day: np.ndarray) -> np.ndarray:
    """The months of days; NONE stays NONE."""
    month = day.astype("datetime64[D]").astype("datetime64[M]").astype(np.int32)
    return np.where(day == NONE, NONE, month).astype(np.int32)


def first_days(month: np.ndarray) -> np.ndarray:
    """The first day of each month."""
    return month.astype("datetime64[M]").astype("datetime64[D]").astype(np.int32)


def _kind(code: str) -> int:
    system = codes.split(code)[0]
    if system in SYSTEMS:
        return SYSTEMS.index(system)
    if code in EVENTS:
        return len(SYSTEMS) + EVENTS.index(code)
    raise BadInput(f"{code}: this format cannot hold such a code; `events` and `meds` can")


def _patients(
    subject: np.ndarray, patient: np.ndarray, day: np.ndarray, kind: np.ndarray, hospitals: pa.Array
) -> PatientColumns:
    birth, death = np.full(subject.size, NONE, np.int32), np.full(subject.size, NONE, np.int32)
    is_female = np.zeros(subject.size, bool)
    for known, wanted in ((birth, BORN), (death, DIED)):
        rows = kind == wanted
        known[patient[rows]] = day[rows]
    is_female[patient[kind == FEMALE]] = True
    # Any row of a patient that names a hospital names the same one.
    rows = np.flatnonzero(hospitals.is_valid().to_numpy(zero_copy_only=False))
    row = np.full(subject.size, -1)
    row[patient[rows]] = rows
    hospital = hospitals.take(pa.array(row, mask=row < 0))
    return PatientColumns(subject, birth, is_female, death, hospital)


def _visits(
    events: pa.Table,
    ids: pa.Array,
    visit: np.ndarray,
    patient: np.ndarray,
    day: np.ndarray,
    kind: np.ndarray,
    death: np.ndarray,
) -> VisitColumns:
    some_row = np.zeros(len(ids), np.int64)
    claimed = np.flatnonzero(visit >= 0)
    some_row[visit[claimed]] = claimed
    start = np.full(len(ids), np.iinfo(np.int32).max, np.int32)
    is_dated = (kind == SYSTEMS.index("ATC")) | (kind == SYSTEMS.index("KUBUN"))
    np.minimum.at(start, visit[is_dated], day[is_dated])
    start[start == np.iinfo(np.int32).max] = NONE
    end = start.copy()
    is_stay = np.zeros(len(ids), bool)
    for known, wanted in ((start, ADMITTED), (end, DISCHARGED)):
        rows = kind == wanted
        known[visit[rows]] = day[rows]
        is_stay[visit[rows]] = True
    month = months_of(days(column(events, "available_at").take(some_row)))
    hospital = column(events, "hospital_id").take(some_row)
    owner = patient[some_row]

    # The death is recorded in the last claim of its month.
    dying = np.flatnonzero(month == months_of(death)[owner])
    dying = dying[np.lexsort((is_stay[dying], end[dying], owner[dying]))]
    is_fatal = np.zeros(len(ids), bool)
    is_fatal[dying[np.diff(owner[dying], append=-1) != 0]] = True
    return VisitColumns(ids, owner, hospital, is_stay, month, start, end, is_fatal)
