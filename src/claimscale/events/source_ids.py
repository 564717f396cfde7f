"""The ids by which a source names its patients, where they are text: `subjects.parquet`."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

FILE = "subjects.parquet"


def read_source_ids(events: Path) -> pa.Table | None:
    """`source_id` of every `subject_id`, in its order; None if the source's ids are numbers."""
    file = events / FILE
    return pq.read_table(file).sort_by("subject_id") if file.exists() else None


def subject_of(events: Path, patient: str) -> int | None:
    """The subject id of a patient, given by the source's id; None if it cannot be that of any patient.

    Text ids are compared as they are: "0212" is not "212". Where the source's ids are numbers, a number is a
    subject id.
    """
    table = read_source_ids(events)
    if table is None:
        return int(patient) if patient.isascii() and patient.isdecimal() and len(patient) < 19 else None
    place = table["source_id"].to_pylist()
    return table["subject_id"][place.index(patient)].as_py() if patient in place else None
