"""A study's prepared data as cells need it, and the predictions that they leave.

Whatever stands here decides results: a change makes every cell stale.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from claimscale.config.study import Study, parameter_count
from claimscale.config.tasks import Task
from claimscale.experiments.cells import Cell, Patients
from claimscale.model import shapes
from claimscale.tasks import labelled_subsets as subsets, labels as tasks
from claimscale.tokens.store import TokenStore
from claimscale.tokens.token_metadata import TokenMetadata


@dataclass(frozen=True)
class Sample:
    """Labelled patients of one split: rows of the token store, index dates, outcomes."""

    subjects: np.ndarray
    rows: np.ndarray
    index_days: np.ndarray
    outcome: np.ndarray

    def take(self, chosen: np.ndarray) -> Sample:
        return Sample(self.subjects[chosen], self.rows[chosen], self.index_days[chosen], self.outcome[chosen])


class Prepared:
    """A study's prepared data, each part loaded once when first asked for."""

    def __init__(self, study: Study, run: Path):
        self.study = study
        self.run = run

    @cached_property
    def store(self) -> TokenStore:
        return TokenStore.load(self.run / "tokens")

    @property
    def last_pretraining_day(self) -> int:
        """The last day (since 1970-01-01) that pretraining may know of: the day before the landmark."""
        return int(np.datetime64(self.study.cohort.landmark, "D").astype(int)) - 1

    @cached_property
    def splits(self) -> dict[str, np.ndarray]:
        """Subject ids per split of the cohort."""
        table = pq.read_table(self.run / "cohort" / "patients.parquet", columns=["subject_id", "split"])
        subjects = table["subject_id"].to_numpy()
        split = np.asarray(table["split"].to_pylist())
        return {name: subjects[split == name] for name in np.unique(split)}

    @cached_property
    def token_metadata(self) -> TokenMetadata:
        vocabulary = self.store.vocabulary
        return (
            TokenMetadata.of(vocabulary)
            if self.study.tokens.hierarchical_embeddings
            else TokenMetadata.plain(vocabulary.types)
        )

    def shape(self, size: str) -> shapes.Shape:
        return shapes.solve(
            parameter_count(size), self.store.vocabulary.size, self.token_metadata.group_count
        )

    def task(self, name: str) -> Task:
        return next(task for task in self.study.tasks if task.name == name)

    def samples(self, task: str) -> dict[str, Sample]:
        table = tasks.read(self.run / "labels", task)
        subjects = table["subject_id"].to_numpy()
        index_days = table["prediction_time"].to_numpy().astype("datetime64[D]").astype(np.int32)
        outcome = table["boolean_value"].to_numpy(zero_copy_only=False)
        split = np.asarray(table["split"].to_pylist())
        everyone = Sample(subjects, self.store.rows_of(subjects), index_days, outcome)
        return {name: everyone.take(np.flatnonzero(split == name)) for name in np.unique(split).tolist()}

    def subset(self, sample: Sample, patients: Patients) -> Sample:
        """The first `patients` in an order fixed by the study's seed, so that subsets are nested.

        Of each patient come all index dates.
        """
        order, place = subsets.nested(sample.subjects, self.study.seed)
        return sample.take(order if patients == "all" else order[place <= patients])

    def training_samples(self, cell: Cell) -> tuple[Sample, Sample, dict[str, Sample]]:
        """Training and tuning patients of a cell, and all samples to predict.

        A subset of n training patients comes with at most n // 2 for tuning: see `subsets`.
        """
        assert cell.task is not None and cell.patients is not None
        samples = self.samples(cell.task)
        tuning_patients = "all" if cell.patients == "all" else subsets.tuning_patients(cell.patients)
        train = self.subset(samples["train"], cell.patients)
        tuning = self.subset(samples["tuning"], tuning_patients)
        return train, tuning, {name: sample for name, sample in samples.items() if name != "train"}


def write_predictions(folder: Path, samples: dict[str, Sample], probability: dict[str, np.ndarray]) -> None:
    """One row per patient and index date, in the declared schema of predictions."""
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


def read_risks(folder: Path, samples: dict[str, Sample]) -> dict[str, np.ndarray]:
    """The probabilities, float64 [n], that `write_predictions` wrote of the same samples, by name."""
    table = pq.read_table(
        folder / "predictions.parquet", columns=["subject_id", "predicted_boolean_probability"]
    )
    subjects, risks = (column.to_numpy() for column in table.columns)
    everyone = np.concatenate([sample.subjects for sample in samples.values()])
    assert np.array_equal(subjects, everyone), "cells of a study predict the same patients in the same order"
    ends = np.cumsum([len(sample.subjects) for sample in samples.values()])
    return dict(zip(samples, np.split(risks, ends[:-1]), strict=True))
