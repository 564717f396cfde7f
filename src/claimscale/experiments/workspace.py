"""A study's run directory, and what makes a cell's result stale."""

from __future__ import annotations

from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

from claimscale import artifacts
from claimscale.config.training import NON_TRAINING_FIELDS
from claimscale.experiments.cells import Cell, cells_of, subsets_of
from claimscale.experiments.cost_estimate import Corpus
from claimscale.experiments.datasets import Prepared
from claimscale.tasks import labelled_subsets as subsets
from claimscale.tokens.pretraining_inputs import PatientHistories
from claimscale.versions import VERSIONS

ENCODERS = ("pretrain", "sweep", "finetune")
"""Kinds of cells that train an encoder."""
COUNTED_PATIENTS = 2000


class Workspace(Prepared):
    """A study's run directory: its prepared data, what they cost, and where its cells are."""

    @cached_property
    def corpus(self) -> Corpus:
        """The numbers that cost depends on; tokens are counted on a sample of the training patients."""
        store, tokens = self.store, self.study.tokens
        train = store.rows_of(self.splits["train"])
        some = train[:: max(len(train) // COUNTED_PATIENTS, 1)]
        counted = PatientHistories(store, some, self.last_pretraining_day, tokens)
        per_patient = float(counted.on_last_day().lengths.mean())
        shown, pretrain = per_patient, self.study.pretrain
        if pretrain.incident_weight:
            shown = float(counted.dated(pretrain.horizon_days, 0)(0).sequences.lengths.mean())
        trained = [task.name for task in self.study.tasks if task.name not in self.insufficient_data]
        counts = {task: self.labels[task]["splits"] for task in trained}
        labelled = {task: splits["train"]["patients"] for task, splits in counts.items()}
        predicted = {
            task: sum(split["n"] for name, split in splits.items() if name != "train")
            for task, splits in counts.items()
        }
        return Corpus(
            store.vocabulary.size,
            self.token_metadata.group_count,
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
        return artifacts.read_json(self.run / "labels" / "labels.json")

    @cached_property
    def left_out(self) -> dict[str, dict[str, Any]]:
        """By task the subsets asked for, `patients`, that hold too few of a `label`, positive or negative.

        Tasks with a shortage have none, nor have those whose subsets are all large enough.
        """
        found = {}
        for task in self.study.tasks:
            account = self.labels[task.name]
            smallest = account.get(
                "min_labelled_patients"
            )  # labels that an earlier version made may be planned on
            if account["insufficient_data"] is not None or smallest is None:
                continue
            scarcest = max(smallest, key=lambda label: smallest[label])
            asked = subsets_of(self.study, account["splits"]["train"]["patients"])
            small = [patients for patients in asked if patients != "all" and patients < smallest[scarcest]]
            if small:
                found[task.name] = {"label": scarcest, "patients": small}
        return found

    @cached_property
    def insufficient_data(self) -> dict[str, dict[str, Any]]:
        """What tasks lack of which nothing can be trained: as the labels tell, or every subset asked for."""
        lacking = {task.name: self.labels[task.name]["insufficient_data"] for task in self.study.tasks}
        for task, found in self.left_out.items():
            asked = subsets_of(self.study, self.labels[task]["splits"]["train"]["patients"])
            if len(found["patients"]) == len(asked):
                lacking[task] = {"label": found["label"], "observed": {}, "required": subsets.MIN_TO_TRAIN}
        return {task: shortage for task, shortage in lacking.items() if shortage is not None}

    def inputs(self, cell: Cell) -> str:
        """Fingerprint of everything the cell's result depends on."""
        if cell.kind == "ensemble":
            return artifacts.fingerprint(
                cell=asdict(cell), averaged=[self.inputs(need) for need in cell.needs]
            )
        study, everything = self.study, {"cell": asdict(cell), "study_seed": self.study.seed}
        everything["tokens"] = artifacts.manifest_digest(self.run / "tokens")
        if cell.task is not None:
            labels = artifacts.read_json(self.run / "labels" / artifacts.MANIFEST)["files"]
            names = (f"{cell.task}.parquet", f"index/{cell.task}.parquet")
            everything["labels"] = [labels[name]["sha256"] for name in names]
            everything["hidden_codes"] = self.task(cell.task).hidden_codes
        if cell.size is not None:
            everything["sequence"] = (
                study.tokens.max_length,
                study.tokens.deduplicate,
                study.tokens.hierarchical_embeddings,
            )
        if cell.kind not in ENCODERS:
            everything["search"] = study.search.model_dump()
        if cell.pretraining is not None and study.finetune.zero_shot_init:
            everything["foretold"] = self.task(cell.task or "").outcome
        if cell.kind == "outcome_history":
            everything["outcome"] = (
                self.task(cell.task or "").outcome,
                self.task(cell.task or "").confirmation_codes,
            )
        if cell.kind in ("pretrain", "sweep") or cell.pretraining is not None:
            everything["cohort"] = artifacts.manifest_digest(self.run / "cohort")
            everything["landmark"] = study.cohort.landmark
            # The weights that others need are the trunk's, which has branches or not.
            branches = set() if cell.kind == "pretrain" else {"cooldown_fractions"}
            everything["pretrain"] = study.pretrain.model_dump(exclude=NON_TRAINING_FIELDS | branches)
        if cell.kind == "sweep":
            unused = {"seeds", "checkpoint_minutes", "learning_rate", "cooldown_fractions"}
            everything["pretrain"] = study.pretrain.model_dump(exclude=unused)
        if cell.kind == "finetune":
            everything["finetune"] = study.finetune.model_dump(
                exclude={"seeds", "labelled_patients", "initialization", "checkpoint_minutes"}
            )
        versions = [VERSIONS[kind] for kind in (cell.kind, *(need.kind for need in cell.needs))]
        return artifacts.fingerprint(versions=versions, **everything)

    def is_done(self, cell: Cell) -> bool:
        return artifacts.is_current(self.folder(cell.id), self.inputs(cell))

    def folder(self, cell_id: str) -> Path:
        return self.run / "cells" / cell_id
