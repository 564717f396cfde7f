"""Subgroups divide the test patients."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from claimscale.evaluation import model_diagnostics

DAY = np.datetime64("2020-01-01", "D").astype(int)


def people(folder: Path, hospitals: list[str | None]) -> tuple[Any, Path]:
    """Patients, some without sex or birth date, and their rows in reverse order."""
    count = len(hospitals)
    born = [None if person % 5 == 4 else int(DAY - 366 * 20 * (person % 5)) for person in range(count)]
    table = {
        "subject_id": pa.array(range(count), pa.int64()),
        "sex": pa.array([["F", "M", None][person % 3] for person in range(count)]),
        "birth_day": pa.array(born, pa.int32()),
        "hospital_id": pa.array(hospitals, pa.string()),
    }
    pq.write_table(pa.table(table), folder / "patients.parquet")
    subject = np.arange(count)[::-1]
    day = np.full(count, np.datetime64("2020-01-01", "us"))
    return SimpleNamespace(subject=subject, day=day), folder / "patients.parquet"


def test_subgroups_of_a_variable_partition_patients(tmp_path: Path) -> None:
    hospitals = [*(f"hospital {person % 30}" for person in range(90)), *[None] * 10]
    rows, file = people(tmp_path, hospitals)
    members: dict[str, list[np.ndarray]] = {}
    for by, _, member in model_diagnostics._groups(rows, file):
        members.setdefault(by, []).append(member)
    assert members.keys() == {"sex", "age", "hospital"}
    for by, found in members.items():
        assert (np.sum(found, axis=0) == 1).all(), by
        assert all(member.any() for member in found), by


@pytest.mark.parametrize("hospitals", [[None] * 10, [""] * 10])
def test_without_hospital_names_there_is_no_other_hospital(
    tmp_path: Path, hospitals: list[str | None]
) -> None:
    rows, file = people(tmp_path, hospitals)
    assert {by for by, _, _ in model_diagnostics._groups(rows, file)} == {"sex", "age"}
