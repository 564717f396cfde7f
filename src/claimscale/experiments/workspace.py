"""A study's run directory: its prepared data, its cells, and which of them are done."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from claimscale import artifacts, damage
from claimscale.errors import BadInput
from claimscale.experiments.cells import Cell, CellRecord, cells_of, subsets_of
from claimscale.experiments.cost_estimate import Corpus
from claimscale.experiments.datasets import StudyData
from claimscale.experiments.fingerprints import cell_fingerprint
from claimscale.progress import Display
from claimscale.tasks.label_counts import InsufficientData, LabelCounts
from claimscale.tasks.labelled_subsets import MIN_TO_TRAIN

if TYPE_CHECKING:
    from claimscale.evaluation.predictions import CellResult

COUNTED_PATIENTS = 2000
"""Training patients whose tokens are counted to estimate those of an epoch."""

FORECASTS = "forecasts.json"
"""In the run directory: the forecasts of `futility.py`."""

LACKING = {"positive": "have the outcome", "negative": "are without the outcome"}


class SkippedSubsets(NamedTuple):
    """The subsets of a task, in labelled patients, with too few of one outcome to train on."""

    label: Literal["positive", "negative"]
    patients: list[int]


class Workspace(StudyData):
    """A study's run directory: its prepared data, its cells, and which of them are done."""

    @cached_property
    def corpus(self) -> Corpus:
        """The numbers that cost depends on; tokens are counted on a sample of the training patients."""
        store, pretrain, train = self.store, self.study.pretrain, self.splits["train"]
        histories = self.histories(train[:: max(len(train) // COUNTED_PATIENTS, 1)])
        tokens_per_patient = float(histories.on_last_day().lengths.mean())
        pretraining_tokens = tokens_per_patient
        if pretrain.incident_weight:
            pretraining_tokens = float(histories.dated(pretrain, 0)(0).sequences.lengths.mean())
        splits = {
            task.name: self.labels[task.name]["splits"]
            for task in self.study.tasks
            if task.name not in self.insufficient_data
        }
        return Corpus(
            vocabulary=store.vocabulary.size,
            groups=self.token_metadata.group_count,
            pretraining_tokens=round(pretraining_tokens * len(train)),
            tokens_per_patient=tokens_per_patient,
            tested=len(self.splits["held_out"]),
            labelled={task: counts["train"]["patients"] for task, counts in splits.items()},
            dates_per_patient={
                task: counts["train"]["n"] / max(counts["train"]["patients"], 1)
                for task, counts in splits.items()
            },
            predicted={
                task: sum(split["n"] for name, split in counts.items() if name != "train")
                for task, counts in splits.items()
            },
            skipped={task: skipped.patients for task, skipped in self.skipped_subsets.items()},
        )

    @property
    def cells(self) -> list[Cell]:
        """All cells of the study that can be trained, dependencies first.

        Raises BadInput for a size that no encoder can have, also where nothing can be trained.
        """
        for size in self.study.sizes:
            self.shape(size)
        return cells_of(self.study, self.corpus.labelled, self.corpus.skipped)

    @cached_property
    def labels(self) -> dict[str, LabelCounts]:
        """`labels.json`: counts by task and split."""
        return artifacts.read_json(artifacts.verified(self.run / "labels") / "labels.json")

    @cached_property
    def skipped_subsets(self) -> dict[str, SkippedSubsets]:
        """The subsets with too few patients of one outcome, by task; none for tasks that are not trained."""
        found = {}
        for task in self.study.tasks:
            counts = self.labels[task.name]
            smallest = counts.get("min_labelled_patients")  # missing in labels of earlier versions
            if counts["insufficient_data"] is not None or smallest is None:
                continue
            scarcest = "positive" if smallest["positive"] >= smallest["negative"] else "negative"
            subsets = subsets_of(self.study, counts["splits"]["train"]["patients"])
            small = [patients for patients in subsets if patients != "all" and patients < smallest[scarcest]]
            if small:
                found[task.name] = SkippedSubsets(scarcest, small)
        return found

    @cached_property
    def insufficient_data(self) -> dict[str, InsufficientData]:
        """The tasks that cannot be trained: the labels are too few, or every subset is skipped."""
        found = {task.name: self.labels[task.name]["insufficient_data"] for task in self.study.tasks}
        for task, skipped in self.skipped_subsets.items():
            subsets = subsets_of(self.study, self.labels[task]["splits"]["train"]["patients"])
            if len(skipped.patients) == len(subsets):
                found[task] = {"label": skipped.label, "observed": {}, "required": MIN_TO_TRAIN}
        return {task: reason for task, reason in found.items() if reason is not None}

    def select(self, wanted: str) -> list[Cell]:
        """The cells of a kind, or the one of that name, and those they need; dependencies first.

        Raises BadInput if the study has no such cell.
        """
        cells = {cell.id: cell for cell in self.cells}
        chosen = {cell.id for cell in cells.values() if wanted in (cell.kind, cell.id)}
        if not chosen:
            raise BadInput(f"{wanted}: {self._why_missing(wanted, list(cells))}")
        for cell in reversed(cells.values()):
            if cell.id in chosen:
                chosen |= {need.id for need in cell.needs}
        return [cell for cell in cells.values() if cell.id in chosen]

    def _why_missing(self, wanted: str, known: list[str]) -> str:
        """Why there is no such cell: it is skipped, or the study file has none of that name."""
        cell = next((cell for cell in cells_of(self.study) if cell.id == wanted), None)
        if cell is not None and cell.task in self.insufficient_data:
            label = self.insufficient_data[cell.task]["label"]
            return f"is left out: too few patients of {cell.task} {LACKING[label]} for anything to be trained"
        skipped = self.skipped_subsets.get(cell.task or "") if cell is not None else None
        if cell is not None and skipped is not None and cell.patients in skipped.patients:
            return (
                f"is left out: too few of the {cell.patients} patients, or of those they are tuned on, "
                f"{LACKING[skipped.label]} in {cell.task}"
            )
        example = f"one is {known[0]}" if known else "its tasks have too few positives"
        return f"{self.study.name} has no such cell ({example})"

    def folder(self, cell_id: str) -> Path:
        return self.run / "cells" / cell_id

    def fingerprint(self, cell: Cell) -> str:
        return cell_fingerprint(self.study, self.run, cell)

    def is_done(self, cell: Cell) -> bool:
        return artifacts.is_current(self.folder(cell.id), self.fingerprint(cell))

    def digest(self, cell: Cell) -> str:
        """Digest of all files of a finished cell."""
        return artifacts.manifest_digest(self.folder(cell.id))

    def set_apart(self, cell: Cell, display: Display) -> None:
        """Set the cell's folder apart if it was finished and is damaged, and show that."""
        if line := damage.set_apart(self.run, self.folder(cell.id), self.fingerprint(cell)):
            display.note(line)

    def record(self, cell: Cell) -> CellRecord:
        """What a finished cell recorded. Raises Damaged if a file of the cell has changed since."""
        return artifacts.read_json(artifacts.verified(self.folder(cell.id)) / artifacts.CELL)["result"]

    def result(self, cell: Cell) -> CellResult:
        """A finished fine-tuning or baseline, as the evaluation reads it."""
        from claimscale.evaluation.predictions import CellResult

        assert cell.task is not None and cell.patients is not None
        record = self.record(cell)
        return CellResult(
            task=cell.task,
            arm=cell.arm or cell.kind,
            size=cell.size if cell.arm else None,
            n_labelled=record["patients"],
            labelled_patients=cell.patients,
            seed=cell.seed,
            predictions=self.folder(cell.id) / "predictions.parquet",
            seconds=record["seconds"],
        )
