"""Flat tables in a neutral schema: patients, visits, diagnoses, drugs, procedures."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from claimscale.artifacts import make_folder
from claimscale.simulator.writers.base import WriterOptions, write_bytes, write_parquet
from claimscale.simulator.writers.claims import NONE, PatientColumns, Services, VisitColumns, claims_of


class TablesWriter:
    """`<table>/<shard>.parquet` or `.csv` (UTF-8, with a header, ISO dates, empty where null)."""

    def __init__(self, folder: Path, country_codes: Sequence[str], options: WriterOptions) -> None:
        self.folder = folder
        self.options = options

    def write(self, events: pa.Table, shard: int) -> None:
        claims = claims_of(events)
        ids = pa.array(claims.patients.subject).cast(pa.string())
        tables = {
            "patients": _patients(claims.patients, ids),
            "visits": _visits(claims.visits, ids),
            "diagnoses": _diagnoses(claims.diagnoses, claims.visits, ids),
            "drugs": _services(claims.drugs, claims.visits, ids),
            "procedures": _services(claims.procedures, claims.visits, ids),
        }
        for name, table in tables.items():
            place = self.folder / name / f"{shard:06d}"
            if self.options.csv:
                make_folder(place.parent)
                write_bytes(place.with_suffix(".csv"), _csv(table))
            else:
                write_parquet(place.with_suffix(".parquet"), table)

    def finish(self) -> None:
        """Nothing belongs to the whole: the codes are those of the national systems."""


def dates(day: np.ndarray) -> pa.Array:
    """Days as dates; null where there is none."""
    return pa.array(day, pa.int32(), mask=day == NONE).cast(pa.date32())


def year_months(month: np.ndarray) -> pa.Array:
    """Months as text, YYYY-MM."""
    occurring, position = np.unique(month, return_inverse=True)
    texts = np.datetime_as_string(occurring.astype("datetime64[M]"))
    return pa.array(texts.astype(object), pa.string()).take(pa.array(position))


def _patients(patients: PatientColumns, ids: pa.Array) -> pa.Table:
    return pa.table(
        {
            "patient_id": ids,
            "birth_date": dates(patients.birth),
            "sex": pa.array(["M", "F"]).take(pa.array(patients.is_female.astype(np.int8))),
            "death_date": dates(patients.death),
            "hospital_id": patients.hospital,
        }
    )


def _visits(visits: VisitColumns, ids: pa.Array) -> pa.Table:
    return pa.table(
        {
            "visit_id": visits.id,
            "patient_id": ids.take(pa.array(visits.patient)),
            "hospital_id": visits.hospital,
            "kind": pa.array(["outpatient", "inpatient"]).take(pa.array(visits.is_stay.astype(np.int8))),
            "claim_month": year_months(visits.month),
            "start_date": dates(visits.start),
            "end_date": dates(visits.end),
        }
    )


def _diagnoses(rows: Services, visits: VisitColumns, ids: pa.Array) -> pa.Table:
    keys = _keys(rows, visits, ids)
    month = year_months(visits.month).take(pa.array(rows.visit))
    return pa.table({**keys, "month": month, "suspected": pa.array(rows.suspected)})


def _services(rows: Services, visits: VisitColumns, ids: pa.Array) -> pa.Table:
    return pa.table({**_keys(rows, visits, ids), "date": dates(rows.day)})


def _keys(rows: Services, visits: VisitColumns, ids: pa.Array) -> dict[str, pa.Array]:
    return {
        "visit_id": visits.id.take(pa.array(rows.visit)),
        "patient_id": ids.take(pa.array(visits.patient[rows.visit])),
        "code": rows.codes.take(pa.array(rows.code)),
    }


def _csv(table: pa.Table) -> memoryview:
    """No value holds a comma or a quote, so nothing is quoted; a value that did would be an error."""
    stream = io.BytesIO((",".join(table.column_names) + "\n").encode())
    stream.seek(0, io.SEEK_END)
    pa_csv.write_csv(table, stream, pa_csv.WriteOptions(include_header=False, quoting_style="none"))
    return stream.getbuffer()
