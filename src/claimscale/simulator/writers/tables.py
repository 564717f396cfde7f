"""Flat tables in a neutral schema: patients, visits, diagnoses, drugs, procedures."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from claimscale.simulator.ages import SEXES
from claimscale.simulator.writers.base import WriterOptions, write_bytes, write_parquet
from claimscale.simulator.writers.claims import NONE, Services, claims_of
from claimscale.simulator.writers.text import choose


class TablesWriter:
    """`<table>/<shard>.parquet` or `.csv` (UTF-8, with a header, ISO dates, empty where null)."""

    def __init__(self, folder: Path, country_codes: Sequence[str], options: WriterOptions) -> None:
        self.folder = folder
        self.csv = options.csv

    def write(self, events: pa.Table, shard: int) -> None:
        claims = claims_of(events)
        patients, visits = claims.patients, claims.visits
        ids = pa.array(patients.subject).cast(pa.string())
        months = _year_months(visits.month)

        def keys(rows: Services) -> dict[str, pa.Array]:
            return {
                "visit_id": visits.id.take(rows.visit),
                "patient_id": ids.take(visits.patient[rows.visit]),
                "code": rows.codes.take(rows.code),
            }

        tables = {
            "patients": {
                "patient_id": ids,
                "birth_date": dates(patients.birth),
                "sex": choose(SEXES, patients.is_female),
                "death_date": dates(patients.death),
                "hospital_id": patients.hospital,
            },
            "visits": {
                "visit_id": visits.id,
                "patient_id": ids.take(visits.patient),
                "hospital_id": visits.hospital,
                "kind": choose(["outpatient", "inpatient"], visits.is_stay),
                "claim_month": months,
                "start_date": dates(visits.start),
                "end_date": dates(visits.end),
            },
            "diagnoses": {
                **keys(claims.diagnoses),
                "month": months.take(claims.diagnoses.visit),
                "suspected": pa.array(claims.diagnoses.suspected),
            },
            "drugs": {**keys(claims.drugs), "date": dates(claims.drugs.day)},
            "procedures": {**keys(claims.procedures), "date": dates(claims.procedures.day)},
        }
        for name, columns in tables.items():
            file = self.folder / name / f"{shard:06d}"
            if self.csv:
                write_bytes(file.with_suffix(".csv"), _csv(pa.table(columns)))
            else:
                write_parquet(file.with_suffix(".parquet"), pa.table(columns))

    def finish(self) -> None:
        """Nothing to write: the codes are national ones."""


def dates(day: np.ndarray) -> pa.Array:
    """Days as dates; null for NONE."""
    return pa.array(day, pa.int32(), mask=day == NONE).cast(pa.date32())


def _year_months(month: np.ndarray) -> pa.Array:
    """Months as text, YYYY-MM."""
    occurring, position = np.unique(month, return_inverse=True)
    return choose(np.datetime_as_string(occurring.astype("datetime64[M]")), position)


def _csv(table: pa.Table) -> memoryview:
    """CSV without quotes: no value has a comma or a quote, and one that had would raise."""
    stream = io.BytesIO((",".join(table.column_names) + "\n").encode())
    stream.seek(0, io.SEEK_END)
    pa_csv.write_csv(table, stream, pa_csv.WriteOptions(include_header=False, quoting_style="none"))
    return stream.getbuffer()
