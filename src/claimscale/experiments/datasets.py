"""A study's prepared data as cells read it, and the predictions that they write."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from claimscale import artifacts
from claimscale.codes.systems import TYPES
from claimscale.config.secrets import redacted
from claimscale.config.study import Study, parameter_count
from claimscale.config.tasks import Task
from claimscale.experiments.cells import Cell, Patients
from claimscale.model import shapes
from claimscale.packages import start
from claimscale.tasks import labelled_subsets, labels
from claimscale.tokens.pretraining_inputs import PatientHistories
from claimscale.tokens.store import TokenStore
from claimscale.tokens.token_metadata import TokenMetadata
from claimscale.training.transfer import EncoderStart


@dataclass(frozen=True)
class LabelledSample:
    """Index dates of labelled patients of one split, n of them.

    Attributes:
        subjects: patient of each, int64 [n].
        rows: row of the patient in the token store, int64 [n].
        index_days: days since 1970-01-01, int32 [n].
        outcome: bool [n].
    """

    subjects: np.ndarray
    rows: np.ndarray
    index_days: np.ndarray
    outcome: np.ndarray

    def take(self, chosen: np.ndarray) -> LabelledSample:
        return LabelledSample(
            self.subjects[chosen], self.rows[chosen], self.index_days[chosen], self.outcome[chosen]
        )


class CellSamples(NamedTuple):
    """The labelled patients of one cell: to train on, to tune on, and by split to predict."""

    train: LabelledSample
    tuning: LabelledSample
    predict: dict[str, LabelledSample]


class StudyData:
    """A study's prepared data; each part is verified and loaded on its first use.

    Reading raises Damaged for a file whose bytes have changed since it was written.
    """

    def __init__(self, study: Study, run: Path):
        self.study = redacted(study)  # cells need no password, and jobs of a cluster are written to disk
        self.run = run

    @cached_property
    def store(self) -> TokenStore:
        return TokenStore.load(artifacts.verified(self.run / "tokens"))

    @property
    def last_pretraining_day(self) -> int:
        """The last day (since 1970-01-01) that pretraining sees: the day before the landmark."""
        return int(np.datetime64(self.study.cohort.landmark, "D").astype(int)) - 1

    @cached_property
    def splits(self) -> dict[str, np.ndarray]:
        """Subject ids per split of the cohort."""
        table = pq.read_table(
            artifacts.verified(self.run / "cohort") / "patients.parquet", columns=["subject_id", "split"]
        )
        subjects = table["subject_id"].to_numpy()
        split = np.asarray(table["split"].to_pylist())
        return {name: subjects[split == name] for name in np.unique(split)}

    @cached_property
    def token_metadata(self) -> TokenMetadata:
        return start.metadata_of(self.store.vocabulary, self.study.tokens)

    def shape(self, size: str) -> shapes.Shape:
        """The shape of an encoder of this size; that of the package where pretraining starts from one."""
        vocabulary, groups = self.store.vocabulary, self.token_metadata.group_count
        if self.study.pretrain.start is not None:
            return start.start_shape(self.study, vocabulary, groups)
        return shapes.solve(parameter_count(size), vocabulary.size, groups)

    @cached_property
    def start(self) -> EncoderStart | None:
        """What pretraining starts from; None for random weights."""
        if self.study.pretrain.start is None:
            return None
        return start.read_start(Path(self.study.pretrain.start), self.store.vocabulary, self.token_metadata)

    @cached_property
    def withheld_tokens(self) -> np.ndarray:
        """Tokens that pretraining neither shows nor predicts: with scarce labels the outcomes of all tasks.

        So are the codes that only follow an outcome. Claims would otherwise label every patient.
        """
        codes = [c for task in self.study.tasks for c in (task.outcome, task.hidden_codes)]
        if self.study.labels != "scarce":
            return np.zeros(0, np.int32)
        return np.unique(np.concatenate([self.store.vocabulary.tokens_with_prefix(one) for one in codes]))

    def histories(self, subjects: np.ndarray) -> PatientHistories:
        """What pretraining may see of these patients."""
        rows, tokens = self.store.rows_of(subjects), self.study.tokens
        return PatientHistories(self.store, rows, self.last_pretraining_day, tokens, self.withheld_tokens)

    def pretraining_positives(self, task: Task) -> int:
        """Training patients with an outcome code that pretraining sees, suspected ones left out."""
        store = self.store
        tokens = store.vocabulary.tokens_with_prefix(task.outcome)
        tokens = tokens[store.vocabulary.types[tokens] != TYPES.index("suspected")]
        seen = np.isin(store.token, np.setdiff1d(tokens, self.withheld_tokens))
        seen &= np.asarray(store.available) <= self.last_pretraining_day
        row = np.searchsorted(store.offsets, np.flatnonzero(seen), side="right") - 1
        return len(np.intersect1d(row, store.rows_of(self.splits["train"])))

    def task(self, name: str) -> Task:
        return next(task for task in self.study.tasks if task.name == name)

    def samples(self, task: str) -> dict[str, LabelledSample]:
        """The labelled patients of a task by split."""
        table = labels.read_labels(artifacts.verified(self.run / "labels"), task)
        subjects = table["subject_id"].to_numpy()
        index_days = table["prediction_time"].to_numpy().astype("datetime64[D]").astype(np.int32)
        outcome = table["boolean_value"].to_numpy(zero_copy_only=False)
        split = np.asarray(table["split"].to_pylist())
        sample = LabelledSample(subjects, self.store.rows_of(subjects), index_days, outcome)
        return {name: sample.take(np.flatnonzero(split == name)) for name in np.unique(split).tolist()}

    def subset(self, sample: LabelledSample, patients: Patients, seed: int) -> LabelledSample:
        """The first `patients` patients with all their index dates.

        Each seed of the cells has its own order of patients, the same for all arms and sizes: which patients
        are labelled is part of the variation between runs. Smaller subsets are part of larger ones.
        """
        order, place = labelled_subsets.nested(
            sample.subjects, labelled_subsets.order_seed(self.study.seed, seed)
        )
        return sample.take(order if patients == "all" else order[place <= patients])

    def cell_samples(self, cell: Cell) -> CellSamples:
        """The patients of a cell; those to tune on are limited by `labelled_subsets.tuning_patients`."""
        assert cell.task is not None and cell.patients is not None
        samples = self.samples(cell.task)
        limit = "all" if cell.patients == "all" else labelled_subsets.tuning_patients(cell.patients)
        return CellSamples(
            self.subset(samples["train"], cell.patients, cell.seed),
            self.subset(samples["tuning"], limit, cell.seed),
            {name: sample for name, sample in samples.items() if name != "train"},
        )


def write_predictions(
    folder: Path, samples: dict[str, LabelledSample], probability: dict[str, np.ndarray]
) -> None:
    """Write `predictions.parquet`: one row per patient and index date, in the MEDS prediction schema."""
    tables = [
        pa.table(
            {
                "subject_id": pa.array(sample.subjects, pa.int64()),
                "prediction_time": pa.array(
                    sample.index_days.astype("datetime64[D]").astype("datetime64[us]"), pa.timestamp("us")
                ),
                "split": pa.array([name] * len(sample.subjects), pa.string()),
                "boolean_value": pa.array(sample.outcome, pa.bool_()),
                "predicted_boolean_probability": pa.array(probability[name].astype(np.float64), pa.float64()),
            }
        )
        for name, sample in samples.items()
    ]
    pq.write_table(pa.concat_tables(tables), folder / "predictions.parquet")


def read_risks(folder: Path, samples: dict[str, LabelledSample]) -> dict[str, np.ndarray]:
    """The probabilities, float64 [n], that `write_predictions` wrote for the same samples, by split."""
    table = pq.read_table(
        folder / "predictions.parquet", columns=["subject_id", "predicted_boolean_probability"]
    )
    subjects, risks = (column.to_numpy() for column in table.columns)
    expected = np.concatenate([sample.subjects for sample in samples.values()])
    assert np.array_equal(subjects, expected), "cells of a study predict the same patients in the same order"
    ends = np.cumsum([len(sample.subjects) for sample in samples.values()])
    return dict(zip(samples, np.split(risks, ends[:-1]), strict=True))
