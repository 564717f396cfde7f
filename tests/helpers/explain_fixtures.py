"""A small finished study with its packages, made once per session; its encoder learns within seconds."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch

from claimscale import pipeline
from claimscale.config import loading
from claimscale.experiments.cells import cells_of
from claimscale.experiments.execute import run_cell
from claimscale.experiments.workspace import Workspace
from claimscale.inference.package import ModelPackage
from claimscale.inference.packaging import Choice, Model, write_package
from claimscale.progress import Silent

STUDY = """
name: explained
source: {kind: simulated, patients: 1500, hospitals: 2, min_age: 70}
cohort: {landmark: 2020-10-01, splits: {fractions: [0.6, 0.2, 0.2]}}
tokens: {max_length: 64, min_patients: 20}
sizes: [80k]
tasks: [{name: analgesics, kind: medication, outcome: {ATC: [M01]}, washout_days: 365}]
pretrain: {seeds: [1], epochs: 2, batch_tokens: 2048, cooldown_fractions: [1]}
finetune: {seeds: [1], epochs: 2, learning_rates: [0.002], initialization: [pretrained]}
baselines: [lightgbm, logistic, outcome_history, ensemble]
search: {n_trials: 1}
compute: {device: cpu, workers: 1}
"""
MODELS: tuple[Model, ...] = ("encoder", "lightgbm", "logistic", "outcome_history", "ensemble")


class ExplainedStudy:
    """The workspace of the study, its study file, and a package of each model."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "study.yaml"
        self.file.write_text(STUDY, "utf-8")
        study = loading.load(self.file, [f"runs_dir={folder / 'runs'}"])
        self.workspace: Workspace = pipeline.prepare(study)
        for cell in cells_of(study):
            run_cell(self.workspace, cell, 1, lambda fraction: None)
        self.packages: dict[str, Path] = {}
        for model in MODELS:
            self.packages[model] = folder / model
            write_package(self.workspace.run, Choice("analgesics", model), folder / model, Silent())
        self.packages["pretrained"] = folder / "pretrained"
        write_package(self.workspace.run, Choice(None), folder / "pretrained", Silent())

    def open(self, model: str) -> ModelPackage:
        return ModelPackage.open(self.packages[model])


@pytest.fixture(scope="session")
def explained_study(tmp_path_factory: pytest.TempPathFactory) -> ExplainedStudy:
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        # venn_abers takes the minimum of empty slices.
        warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
        return ExplainedStudy(tmp_path_factory.mktemp("explained"))
