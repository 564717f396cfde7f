"""The cells of published recipes: their patients, dates and labels are those of the study's own models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
import torch

from claimscale import artifacts
from claimscale.codes.systems import ADMISSION, DISCHARGE
from claimscale.config.study import parameter_count
from claimscale.experiments.cells import Cell, CellRecord
from claimscale.experiments.datasets import LabelledSample, write_predictions
from claimscale.experiments.workspace import Workspace
from claimscale.model.recipes import RECIPES
from claimscale.model.recipes.history import CodeTypes, Histories, RecipeSequences
from claimscale.tokens.sequences import select_inputs
from claimscale.tokens.vocabulary import Vocabulary
from claimscale.training.recipe_finetuning import Labelled, RecipeFinetuning
from claimscale.training.recipe_pretraining import RecipeJob, pretrain_recipe


@dataclass(frozen=True)
class RecipeCell:
    """One cell of a recipe while it runs.

    It uses one core: dropout comes from one generator, so that a cell has the same weights wherever it runs.
    """

    workspace: Workspace
    cell: Cell
    device: torch.device
    progress: Callable[[float], None]

    @cached_property
    def job(self) -> RecipeJob:
        study, cell = self.workspace.study, self.cell
        assert cell.size is not None and cell.arm is not None
        return RecipeJob(
            RECIPES[cell.arm],
            code_types(self.workspace.store.vocabulary),
            parameter_count(cell.size),
            cell.seed,
            self.device,
            self.workspace.folder(cell.id),
            study.pretrain.checkpoint_minutes,
            study.compute.peak_tflops,
        )

    def sequences(self, rows: np.ndarray, days: np.ndarray, hidden: np.ndarray) -> RecipeSequences:
        """The recipe's sequences of what was known of each patient on a day."""
        length = self.workspace.study.tokens.max_length
        # A history has no fewer codes than a sequence has room for.
        known = select_inputs(self.workspace.store, rows, days, length, "none", hidden)
        job = self.job
        return job.recipe.read(Histories.of(known), job.codes, length)

    def pretrain(self) -> CellRecord:
        """Pretrain on what was known of training patients before the landmark."""
        workspace, settings = self.workspace, self.workspace.study.pretrain
        torch.set_num_threads(1)

        def split(name: str) -> RecipeSequences:
            rows = workspace.store.rows_of(workspace.splits[name])
            days = np.full(len(rows), workspace.last_pretraining_day, np.int64)
            return self.sequences(rows, days, workspace.withheld_tokens)

        tokens = workspace.corpus.pretraining_tokens * settings.epochs
        budget = tokens, settings.batch_tokens
        result = pretrain_recipe(self.job, split("train"), split("tuning"), budget, self.progress)
        return cast(CellRecord, result)

    def finetune(self, hidden_tokens: np.ndarray) -> CellRecord:
        """Fine-tune on the labelled patients of the cell, and predict the others."""
        workspace, cell = self.workspace, self.cell
        torch.set_num_threads(1)
        assert cell.task is not None and cell.pretraining is not None
        train, tuning, predict = workspace.cell_samples(cell)
        hidden = np.union1d(hidden_tokens, workspace.withheld_tokens)

        def sequences(sample: LabelledSample) -> RecipeSequences:
            return self.sequences(sample.rows, sample.index_days, hidden)

        weights = artifacts.verified(workspace.folder(cell.pretraining.id)) / "model.safetensors"
        outcome = workspace.store.vocabulary.tokens_with_prefix(workspace.task(cell.task).outcome)
        run = RecipeFinetuning(
            self.job,
            weights,
            np.setdiff1d(outcome, hidden),
            Labelled(sequences(train), train.outcome),
            Labelled(sequences(tuning), tuning.outcome),
            workspace.study.finetune,
        )
        result, probabilities = run.run(self.progress)
        risks = {split: probabilities(sequences(sample)) for split, sample in predict.items()}
        write_predictions(workspace.folder(cell.id), predict, risks)
        counts = {"patients": len(np.unique(train.subjects)), "positives": int(train.outcome.sum())}
        return cast(CellRecord, {**counts, **result})


def code_types(vocabulary: Vocabulary) -> CodeTypes:
    """What recipes know of the tokens."""
    token = {code: number for number, code in enumerate(vocabulary.codes)}
    return CodeTypes(vocabulary.types, token.get(ADMISSION, -1), token.get(DISCHARGE, -1))
