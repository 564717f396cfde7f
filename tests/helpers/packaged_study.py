"""A small finished study with its packages, made once for all test processes; its encoder learns quickly."""

from __future__ import annotations

import fcntl
from pathlib import Path

from claimscale import pipeline
from claimscale.artifacts import atomic_folder
from claimscale.config import loading
from claimscale.experiments.workspace import Workspace
from claimscale.inference.package import ModelPackage
from claimscale.inference.packaging import Choice, Model, write_package
from claimscale.progress import Silent

STUDY = """
name: packaged
source: {kind: simulated, patients: 1500, hospitals: 2, min_age: 70}
cohort: {landmark: 2020-10-01, splits: {fractions: [0.6, 0.2, 0.2]}}
tokens: {max_length: 64, min_patients: 20}
sizes: [80k]
tasks: [{name: analgesics, kind: medication, outcome: {ATC: [M01]}, washout_days: 365}]
pretrain: {seeds: [1], epochs: 2, batch_tokens: 2048, cooldown_fractions: [1]}
finetune: {seeds: [1], epochs: 2, learning_rates: [0.002], initialization: [pretrained]}
baselines: [lightgbm, logistic, outcome_history, ensemble]
search: {n_trials: 1}
compare: {bootstrap_replicates: 100}
compute: {device: cpu, workers: 1}
"""
MODELS: tuple[Model, ...] = ("encoder", "lightgbm", "logistic", "outcome_history", "ensemble")


class PackagedStudy:
    """The workspace of the study, its file, and a package of each model and of the pretrained encoder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "study.yaml"
        self.run = folder / "runs" / "packaged"
        folder.mkdir(exist_ok=True)
        with (folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # another test process makes it, or waits
            self.file.write_text(STUDY, "utf-8")
            self.study = loading.load(self.file, [f"runs_dir={folder / 'runs'}"])
            if not (folder / "packages").exists():
                self._make()
        self.workspace = Workspace(self.study, self.run)
        self.packages = {name: folder / "packages" / name for name in (*MODELS, "pretrained")}

    def _make(self) -> None:
        pipeline.run_study(self.study, Silent())
        with atomic_folder(self.folder / "packages") as target:
            for model in MODELS:
                write_package(self.run, Choice("analgesics", model), target / model, Silent())
            write_package(self.run, Choice(None), target / "pretrained", Silent())

    def open(self, model: str) -> ModelPackage:
        return ModelPackage.open(self.packages[model])
