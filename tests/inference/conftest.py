"""A tiny finished study, made once for all test processes, and the packages of its models."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from claimscale import pipeline
from claimscale.artifacts import atomic_folder
from claimscale.config import loading
from claimscale.inference.package import ModelPackage
from claimscale.inference.packaging import Choice, write_package
from claimscale.progress import Silent

STUDY = """
name: tiny
source: {kind: simulated, patients: 900, hospitals: 3, min_age: 75}
cohort: {landmark: 2020-10-01, splits: {fractions: [0.5, 0.2, 0.3]}}
tokens: {max_length: 64, min_patients: 20}
sizes: [80k]
tasks: [{name: analgesics, kind: medication, outcome: {ATC: [M01]}, washout_days: 365}]
pretrain: {seeds: [1], epochs: 1, batch_tokens: 2048, cooldown_fractions: [1]}
finetune: {seeds: [1], epochs: 1, learning_rates: [0.001], initialization: [pretrained]}
dates_per_patient: 1
baselines: [lightgbm, logistic, outcome_history, ensemble]
search: {n_trials: 2}
compare: {bootstrap_replicates: 100}
compute: {device: cpu, workers: 1}
"""
MODELS = ("encoder", "lightgbm", "logistic", "outcome_history", "ensemble")


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `runs/tiny` and a package per model (`pretrained` is the encoder without a question)."""
    base = tmp_path_factory.getbasetemp().parent / "inference"
    base.mkdir(exist_ok=True)
    with (base / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the other test process makes it, or waits
        if not (base / "packages").exists():
            file = base / "study.yaml"
            file.write_text(STUDY, "utf-8")
            pipeline.run_study(loading.load(file, [f"runs_dir={base / 'runs'}"]), Silent())
            with atomic_folder(base / "packages") as target:
                for model in MODELS:
                    write_package(
                        base / "runs" / "tiny", Choice("analgesics", model), target / model, Silent()
                    )
                write_package(base / "runs" / "tiny", Choice(None), target / "pretrained", Silent())
    return base


@pytest.fixture(scope="session")
def run(shared: Path) -> Path:
    return shared / "runs" / "tiny"


@pytest.fixture(scope="session")
def packages(shared: Path) -> Path:
    return shared / "packages"


@pytest.fixture(scope="session")
def encoder(packages: Path) -> ModelPackage:
    return ModelPackage.open(packages / "encoder")
