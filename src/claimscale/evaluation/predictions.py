"""The predictions of all cells, combined per task and split on identical patients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from claimscale.errors import BadInput
from claimscale.evaluation.metrics import Floats

HELD_OUT = "held_out"
TEST_SPLITS = (HELD_OUT, "hospital", "temporal")
"""Splits with results; `tuning` was used for early stopping."""


@dataclass(frozen=True)
class CellResult:
    """One trained and applied model.

    `arm` is pretrained, scratch or the name of a baseline; `size` is None for baselines, also for those on
    the embeddings of the largest encoder. `labelled_patients` is the number in the settings, `n_labelled` the
    number that was available and used. `seconds` is the time of the cell.
    """

    task: str
    arm: str
    size: str | None
    n_labelled: int
    labelled_patients: int | Literal["all"]
    seed: int
    predictions: Path
    seconds: float


@dataclass(frozen=True)
class SplitPredictions:
    """The predictions of one task's cells for the patients of one split.

    Patients are sorted by `subject` (n, int64) and `day` (n, datetime64[us], the index date);
    `labels` (n, bool); `risks` (cells, n) in the order of `cells`.
    """

    cells: tuple[CellResult, ...]
    subject: NDArray[np.int64]
    day: NDArray[np.datetime64]
    labels: NDArray[np.bool_]
    risks: Floats


def load_predictions(cells: Sequence[CellResult]) -> dict[tuple[str, str], SplitPredictions]:
    """Read all predictions, by (task, split); splits in the order of `TEST_SPLITS`.

    Raises BadInput if a file is unreadable, a risk is not a probability, or two cells of a task differ in
    their patients or outcomes.
    """
    gathered: dict[tuple[str, str], list[SplitPredictions]] = {}
    for cell in cells:
        for split, rows in _read(cell):
            gathered.setdefault((cell.task, split), []).append(rows)
    return {
        (task, split): _align(split, gathered[task, split], [cell for cell in cells if cell.task == task])
        for task in dict.fromkeys(cell.task for cell in cells)
        for split in TEST_SPLITS
        if (task, split) in gathered
    }


def known_values(
    predictions: SplitPredictions, file: Path, split: str, column: str
) -> tuple[np.ndarray, Floats]:
    """A column of a Parquet table keyed by subject_id, prediction_time, split, for the patients it has.

    Returns the positions of these patients in the predictions, ascending, and their values, both [known].
    Raises BadInput if it has none of the patients.
    """
    table = _table(file, ["subject_id", "prediction_time", "split", column])
    members = np.asarray(table["split"].to_pylist()) == split
    subject, day = _keys(table)
    subject, day, values = subject[members], day[members], _floats(table, column)[members]
    order = np.lexsort((day, subject))
    keys = np.rec.fromarrays([subject[order], day[order].astype(np.int64)])
    wanted = np.rec.fromarrays([predictions.subject, predictions.day.astype(np.int64)])
    place = np.minimum(np.searchsorted(keys, wanted), max(len(keys) - 1, 0))
    known = np.flatnonzero(keys[place] == wanted) if len(keys) else np.empty(0, np.int64)
    if not len(known):
        raise BadInput(f"{file}: has no {column} for the patients of the {split} split")
    return known, values[order][place[known]]


def _read(cell: CellResult) -> Iterator[tuple[str, SplitPredictions]]:
    """The predictions of one cell, split by split."""
    file = cell.predictions
    columns = ["subject_id", "prediction_time", "split", "boolean_value", "predicted_boolean_probability"]
    table = _table(file, columns)
    subject, day = _keys(table)
    labels = np.asarray(table["boolean_value"].to_numpy(), dtype=bool)
    risks = _floats(table, "predicted_boolean_probability")
    if not ((risks >= 0) & (risks <= 1)).all():
        raise BadInput(f"{file}: predicted_boolean_probability is not between 0 and 1 everywhere")
    order = np.lexsort((day, subject))
    split = np.asarray(table["split"].to_pylist())[order]
    for name in TEST_SPLITS:
        chosen = order[split == name]
        if len(chosen):
            rows = SplitPredictions(
                (cell,), subject[chosen], day[chosen], labels[chosen], risks[None, chosen]
            )
            yield name, rows


def _align(split: str, gathered: list[SplitPredictions], expected: list[CellResult]) -> SplitPredictions:
    """The predictions of all cells of a task as one; their patients and outcomes must be the same."""
    first = gathered[0]
    for rows in gathered:
        if not all(
            np.array_equal(getattr(rows, name), getattr(first, name)) for name in ("subject", "day", "labels")
        ):
            cell = rows.cells[0]
            raise BadInput(
                f"{cell.predictions}: {cell.task}, {split} split: patients or outcomes differ from those in "
                f"{first.cells[0].predictions}"
            )
    cells = tuple(rows.cells[0] for rows in gathered)
    missing = next((cell for cell in expected if cell not in cells), None)
    if missing is not None:
        raise BadInput(f"{missing.predictions}: has no predictions for the {split} split")
    return SplitPredictions(
        cells, first.subject, first.day, first.labels, np.concatenate([rows.risks for rows in gathered])
    )


def _table(file: Path, columns: list[str]) -> pa.Table:
    try:
        present = pq.read_schema(file).names
        missing = [name for name in columns if name not in present]
        if missing:
            raise BadInput(f"{file}: column {missing[0]} is missing")
        table = pq.read_table(file, columns=columns)
    except (OSError, pa.ArrowInvalid) as error:
        raise BadInput(f"{file}: cannot be read ({str(error).splitlines()[0]})") from None
    if any(table[name].null_count for name in columns):
        raise BadInput(f"{file}: holds empty values")
    return table


def _keys(table: pa.Table) -> tuple[NDArray[np.int64], NDArray[np.datetime64]]:
    subject = np.asarray(table["subject_id"].to_numpy(), dtype=np.int64)
    return subject, np.asarray(table["prediction_time"].to_numpy()).astype("datetime64[us]")


def _floats(table: pa.Table, column: str) -> Floats:
    return np.asarray(table[column].to_numpy(), dtype=np.float64)
