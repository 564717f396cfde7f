"""A tiny simulated study and what it computes, as numbers to compare with `golden.json`.

Write the file anew after a version was raised:

    python tests/golden/tiny_study.py
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from claimscale import artifacts, pipeline
from claimscale.config import loading
from claimscale.config.study import Study
from claimscale.experiments.cells import cells_of
from claimscale.experiments.execute import run_cell
from claimscale.experiments.workspace import Workspace
from claimscale.validity import checks

GOLDEN = Path(__file__).with_name("golden.json")
STUDY = """
name: golden
source: {kind: simulated, patients: 500, hospitals: 2, min_age: 75}
cohort: {landmark: 2020-10-01, splits: {fractions: [0.6, 0.2, 0.2]}}
tokens: {max_length: 32, min_patients: 20, deduplicate: year}
sizes: [80k]
tasks: [{name: analgesics, kind: medication, outcome: {ATC: [M01]}, washout_days: 365}]
pretrain: {seeds: [1], epochs: 1, batch_tokens: 2048, lr_sweep: [0.001, 0.004, 0.016], lr_sweep_fraction: 0.5}
finetune: {labelled_patients: [all], seeds: [1], epochs: 1, learning_rates: [0.001]}
baselines: [lightgbm, logistic, outcome_history, lightgbm_embeddings, lightgbm_counts_and_embeddings,
            ensemble]
phenome: {min_cases: 5}
recipes: [behrt]
search: {n_trials: 1}
compute: {device: cpu, workers: 1, peak_tflops: 1}
"""
NOT_COMPARED = {"dataset.json", artifacts.MANIFEST, "phenome.parquet"}
"""Files that hold a time or a version, and the dates of the phenome, which its cell covers."""
SHOWN = 24
"""Predictions of a cell that are compared, evenly spread over its patients."""
LOSSES = ("validation_loss", "validation_loss_incident", "train_loss", "tuning_loss", "tuning_log_loss")
SIGNIFICANT_DIGITS = 9


def run(folder: Path) -> Study:
    """Prepare the claims and run one cell of every kind in this process."""
    file = folder / "study.yaml"
    file.write_text(STUDY, "utf-8")
    study = loading.load(file, [f"runs_dir={folder / 'runs'}"])
    workspace = pipeline.prepare(study)
    for cell in cells_of(study):
        run_cell(workspace, cell, 1, lambda fraction: None)
    return study


def stage_digests(study: Study) -> dict[str, str]:
    """A digest of the content of every data stage, and of the findings of the validity checks."""
    digests = {
        stage.name: _digest(_contents(study.run_directory / stage.name))
        for stage in pipeline.data_stages(study)
    }
    findings = checks.check(study, study.run_directory, lambda part: None)
    return digests | {"validity": _digest([one.plain() for one in findings])}


def cell_numbers(study: Study) -> dict[str, dict[str, list[float]]]:
    """Losses and predictions by kind of cell, and for fine-tuning also by arm."""
    workspace = Workspace(study, study.run_directory)
    found: dict[str, dict[str, list[float]]] = {}
    for cell in cells_of(study):
        record: dict[str, Any] = dict(workspace.record(cell))
        numbers = {name: [record[name]] for name in LOSSES if name in record}
        if cell.kind == "sweep":
            numbers["losses"] = [one["validation_loss"] for one in record["lr_sweep"]]
        if cell.task is not None:
            table = pq.read_table(workspace.folder(cell.id) / "predictions.parquet")
            risks = table["predicted_boolean_probability"].to_numpy()
            numbers["predictions"] = risks[np.linspace(0, len(risks) - 1, SHOWN).astype(int)].tolist()
        if cell.kind in ("phenome", "phenome_lightgbm"):
            table = pq.read_table(workspace.folder(cell.id) / "outcomes.parquet")
            numbers |= {name: table[name].to_pylist() for name in ("cases", "auprc", "auroc", "log_loss")}
            replicates = np.load(workspace.folder(cell.id) / "replicates.npy")
            numbers["spread"] = replicates.std(axis=2).ravel().astype(float).tolist()
        name = cell.kind if cell.arm is None else f"{cell.kind} {cell.arm}"
        found[name] = {key: [round(value, 7) for value in values] for key, values in numbers.items()}
    return found


def _contents(folder: Path) -> list[object]:
    return [
        (file.relative_to(folder).as_posix(), _content(file))
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name not in NOT_COMPARED
    ]


def _content(file: Path) -> object:
    """What a file holds, apart from how it is written."""
    if file.suffix == ".parquet":
        table = pq.read_table(file)
        return [
            (name, str(table.schema.field(name).type), _values(table[name])) for name in table.column_names
        ]
    if file.suffix == ".npy":
        values = np.load(file)
        return str(values.dtype), hashlib.sha256(values.tobytes()).hexdigest()
    return json.loads(file.read_text("utf-8")) if file.suffix == ".json" else file.read_text("utf-8")


def _values(column: pa.ChunkedArray) -> list[object]:
    return column.cast(pa.int64()).to_pylist() if pa.types.is_temporal(column.type) else column.to_pylist()


def _digest(content: object) -> str:
    """SHA-256 of canonical JSON; floats are rounded, as processors differ in their last digits."""
    text = json.dumps(_rounded(content), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _rounded(content: object) -> object:
    if isinstance(content, float):
        return float(f"{content:.{SIGNIFICANT_DIGITS}g}")
    if isinstance(content, dict):
        return {str(key): _rounded(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_rounded(value) for value in content]
    return content


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        made = run(Path(name))
        content = {"stages": stage_digests(made), "cells": cell_numbers(made)}
    GOLDEN.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    print(f"Written: {GOLDEN}")
