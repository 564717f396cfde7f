"""A study's prepared data as cells need it, and what makes a cell's result stale."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from claimscale import runs
from claimscale.corpus import subsets, tasks
from claimscale.corpus.codebook import Codebook
from claimscale.corpus.tokens import TokenStore
from claimscale.corpus.views import Histories
from claimscale.model import sizes
from claimscale.study import NOT_OF_THE_WEIGHTS, Study, Task, parameter_count
from claimscale.sweep.cells import Cell, Patients, cells_of, subsets_of
from claimscale.sweep.estimate import Corpus

INPUT_CODE = tuple(f"corpus/{name}.py" for name in ("sequences", "batches", "views", "incident", "codebook"))
ENCODER_CODE = ("model", "training", *INPUT_CODE, "corpus/groups.py", "sweep/work.py")
BASELINE_CODE = ("baselines", "codes.py", "corpus/groups.py", "sweep/work.py")
COUNTED_PATIENTS = 2000


@dataclass(frozen=True)
class Sample:
    """Labelled patients of one split: rows of the token store, index dates, outcomes."""

    subjects: np.ndarray
    rows: np.ndarray
    index_days: np.ndarray
    outcome: np.ndarray

    def take(self, chosen: np.ndarray) -> Sample:
        return Sample(self.subjects[chosen], self.rows[chosen], self.index_days[chosen], self.outcome[chosen])


class Workspace:
    """A study's prepared data as cells need it, each part loaded once when first asked for."""

    def __init__(self, study: Study, run: Path):
        self.study = study
        self.run = run

    @cached_property
    def store(self) -> TokenStore:
        return TokenStore.load(self.run / "tokens")

    @cached_property
    def corpus(self) -> Corpus:
        """The numbers that cost depends on; tokens are counted on a sample of the training patients."""
        store, tokens = self.store, self.study.tokens
        train = store.rows_of(self.splits["train"])
        some = train[:: max(len(train) // COUNTED_PATIENTS, 1)]
        counted = Histories(store, some, self.last_pretraining_day, tokens)
        per_patient = float(counted.on_last_day().lengths.mean())
        shown, pretrain = per_patient, self.study.pretrain
        if pretrain.incident:
            shown = float(counted.dated(pretrain.horizon_days, 0)(0).sequences.lengths.mean())
        trained = [task.name for task in self.study.tasks if task.name not in self.shortages]
        counts = {task: self.labels[task]["splits"] for task in trained}
        labelled = {task: splits["train"]["patients"] for task, splits in counts.items()}
        predicted = {
            task: sum(split["n"] for name, split in splits.items() if name != "train")
            for task, splits in counts.items()
        }
        return Corpus(
            store.vocabulary.size,
            self.codebook.group_count,
            round(shown * len(train)),
            per_patient,
            labelled,
            predicted,
            {task: found["patients"] for task, found in self.left_out.items()},
        )

    @property
    def cells(self) -> list[Cell]:
        """All cells of the study that can be trained, dependencies first."""
        return cells_of(self.study, self.corpus.labelled, self.corpus.left_out)

    @cached_property
    def labels(self) -> dict[str, Any]:
        """The account of every task's labels."""
        return runs.read_json(self.run / "labels" / "labels.json")

    @cached_property
    def left_out(self) -> dict[str, dict[str, Any]]:
        """By task the subsets asked for, `patients`, that hold too few of a `label`, positive or negative.

        Tasks with a shortage have none, nor have those whose subsets are all large enough.
        """
        found = {}
        for task in self.study.tasks:
            account = self.labels[task.name]
            smallest = account.get("smallest_subset")  # labels that an earlier version made may be planned on
            if account["shortage"] is not None or smallest is None:
                continue
            scarcest = max(smallest, key=lambda label: smallest[label])
            asked = subsets_of(self.study, account["splits"]["train"]["patients"])
            small = [patients for patients in asked if patients != "all" and patients < smallest[scarcest]]
            if small:
                found[task.name] = {"label": scarcest, "patients": small}
        return found

    @cached_property
    def shortages(self) -> dict[str, dict[str, Any]]:
        """What tasks lack of which nothing can be trained: as the labels tell, or every subset asked for."""
        lacking = {task.name: self.labels[task.name]["shortage"] for task in self.study.tasks}
        for task, found in self.left_out.items():
            asked = subsets_of(self.study, self.labels[task]["splits"]["train"]["patients"])
            if len(found["patients"]) == len(asked):
                lacking[task] = {"label": found["label"], "have": {}, "fewest": subsets.FEWEST_TO_TRAIN}
        return {task: shortage for task, shortage in lacking.items() if shortage is not None}

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
    def codebook(self) -> Codebook:
        vocabulary = self.store.vocabulary
        return Codebook.of(vocabulary) if self.study.tokens.groups else Codebook.plain(vocabulary.types)

    def shape(self, size: str) -> sizes.Shape:
        return sizes.solve(parameter_count(size), self.store.vocabulary.size, self.codebook.group_count)

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

    def inputs(self, cell: Cell) -> str:
        """Fingerprint of everything the cell's result depends on."""
        if cell.kind == "encoder_and_lightgbm":
            return runs.fingerprint(cell=asdict(cell), averaged=[self.inputs(need) for need in cell.needs])
        study, everything = self.study, {"cell": asdict(cell), "study_seed": self.study.seed}
        everything["tokens"] = runs.manifest_digest(self.run / "tokens")
        if cell.task is not None:
            labels = runs.read_json(self.run / "labels" / runs.MANIFEST)["files"]
            names = (f"{cell.task}.parquet", f"asked/{cell.task}.parquet")
            everything["labels"] = [labels[name]["sha256"] for name in names]
            everything["strip"] = self.task(cell.task).strip
        if cell.size is not None:
            everything["sequence"] = (study.tokens.max_length, study.tokens.repeats, study.tokens.groups)
        code: tuple[str, ...] = ENCODER_CODE
        if cell.kind not in ("pretrain", "sweep", "finetune"):
            code = BASELINE_CODE if cell.pretraining is None else BASELINE_CODE + ENCODER_CODE
            everything["search"] = study.search.model_dump()
        if cell.pretraining is not None and study.finetune.foretell:
            everything["foretold"] = self.task(cell.task or "").outcome
        if cell.kind == "carry_forward":
            everything["outcome"] = (
                self.task(cell.task or "").outcome,
                self.task(cell.task or "").confirm_codes,
            )
        if cell.kind in ("pretrain", "sweep") or cell.pretraining is not None:
            everything["cohort"] = runs.manifest_digest(self.run / "cohort")
            everything["landmark"] = study.cohort.landmark
            # The weights that others need are the trunk's, which has branches or not.
            branches = set() if cell.kind == "pretrain" else {"branches"}
            everything["pretrain"] = study.pretrain.model_dump(exclude=NOT_OF_THE_WEIGHTS | branches)
        if cell.kind == "sweep":
            unused = {"seeds", "checkpoint_minutes", "learning_rate", "branches"}
            everything["pretrain"] = study.pretrain.model_dump(exclude=unused)
        if cell.kind == "finetune":
            everything["finetune"] = study.finetune.model_dump(
                exclude={"seeds", "patients", "arms", "checkpoint_minutes"}
            )
        return runs.fingerprint(code=runs.code_digest(*code), **everything)

    def is_done(self, cell: Cell) -> bool:
        return runs.is_current(self.folder(cell.id), self.inputs(cell))

    def folder(self, cell_id: str) -> Path:
        return self.run / "cells" / cell_id


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
