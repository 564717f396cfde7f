"""What each kind of cell does: choose its patients, hand them to training, write its predictions.

A cell whose inputs are unchanged is never run twice; a training that was stopped goes on where it was.
Ranks that were joined share the pretraining cells; of any other cell the first does all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sparse
import torch
from scipy.special import expit, logit

from claimscale import artifacts
from claimscale.baselines import features, gradient_boosting, logistic, outcome_history, search
from claimscale.codes.systems import TYPES
from claimscale.experiments.cells import Cell
from claimscale.experiments.datasets import Sample, read_risks, write_predictions
from claimscale.experiments.workspace import Workspace
from claimscale.tokens.code_groups import CodeGroups
from claimscale.tokens.pretraining_inputs import PatientHistories, static
from claimscale.tokens.sequences import Sequences, select_inputs
from claimscale.training import checkpoints, distributed, finetune, lr_sweep, pretrain, validation
from claimscale.training.cost import CostMeter, forward_flops
from claimscale.training.embeddings import FrozenEncoder
from claimscale.training.pretraining_job import Job

Progress = Callable[[float], None]
LEAST_RISK = 1e-12

MODELS: dict[str, search.Baseline] = {
    "logistic": logistic.baseline,
    "outcome_history": outcome_history.baseline,
}
"""Every other baseline is LightGBM on features of its own."""


def device_of(workspace: Workspace) -> torch.device:
    wanted = workspace.study.compute.device
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(wanted)


def sequences_of(
    workspace: Workspace, rows: np.ndarray, cutoff_days: np.ndarray, hidden_tokens: np.ndarray
) -> Sequences:
    tokens = workspace.study.tokens
    return select_inputs(
        workspace.store, rows, cutoff_days, tokens.max_length, tokens.deduplicate, hidden_tokens
    )


def _pretrain(
    workspace: Workspace, cell: Cell, folder: Path, threads: int, progress: Progress
) -> dict[str, Any]:
    """Pretraining on training patients, on nothing that was known only after the landmark.

    A sweep is the same at several learning rates, for a short while.
    """
    assert cell.size is not None
    torch.set_num_threads(threads)
    study, store, last_day = workspace.study, workspace.store, workspace.last_pretraining_day
    train, tuning = (
        PatientHistories(store, store.rows_of(workspace.splits[split]), last_day, study.tokens)
        for split in ("train", "tuning")
    )
    known = replace(train, rows=train.rows[:: max(1, len(train.rows) // max(1, len(tuning.rows)))])
    settings, dated = study.pretrain, None
    if settings.incident_weight:
        views = train.dated(settings.horizon_days, cell.seed)
        dated = tuning.dated(settings.horizon_days, validation.SEED)(0)
    else:
        views = static(train.on_last_day())
    job = Job(
        views,
        validation.Validation(tuning.on_last_day(), dated, known.on_last_day()),
        workspace.token_metadata,
        workspace.shape(cell.size),
        cell.seed,
        folder,
        device_of(workspace),
        study.compute.peak_tflops,
    )
    work = lr_sweep.sweep_learning_rates if cell.kind == "sweep" else pretrain.pretrain
    return work(job, settings, progress)


def _finetune(
    workspace: Workspace, cell: Cell, folder: Path, threads: int, progress: Progress
) -> dict[str, Any]:
    assert cell.size is not None and cell.task is not None
    torch.set_num_threads(threads)
    hidden_tokens = workspace.store.vocabulary.tokens_with_prefix(workspace.task(cell.task).hidden_codes)
    train, tuning, others = workspace.training_samples(cell)

    def inputs(sample: Sample) -> Sequences:
        return sequences_of(workspace, sample.rows, sample.index_days, hidden_tokens)

    result, probability = finetune.finetune(
        train=inputs(train),
        train_outcome=train.outcome,
        tuning=inputs(tuning),
        tuning_outcome=tuning.outcome,
        predict={name: inputs(sample) for name, sample in others.items()},
        token_metadata=workspace.token_metadata,
        shape=workspace.shape(cell.size),
        settings=workspace.study.finetune,
        seed=cell.seed,
        start=_weights(workspace, cell),
        folder=folder,
        device=device_of(workspace),
        progress=progress,
        peak_tflops=workspace.study.compute.peak_tflops,
        outcome=foretold(workspace, cell),
    )
    write_predictions(folder, others, probability)
    return {"patients": len(np.unique(train.subjects)), "positives": int(train.outcome.sum()), **result}


def foretold(workspace: Workspace, cell: Cell) -> np.ndarray | None:
    """Tokens of a task's outcome that the pretrained encoder has learnt to foretell; a suspicion is none."""
    study = workspace.study
    if cell.pretraining is None or not (study.pretrain.incident_weight and study.finetune.zero_shot_init):
        return None
    assert cell.task is not None
    vocabulary = workspace.store.vocabulary
    tokens = vocabulary.tokens_with_prefix(workspace.task(cell.task).outcome)
    return tokens[vocabulary.types[tokens] != TYPES.index("suspected")]


def _baseline(
    workspace: Workspace, cell: Cell, folder: Path, threads: int, progress: Progress
) -> dict[str, Any]:
    """Features of the cell's patients, whatever its kind asks for, and the model on them."""
    torch.set_num_threads(threads)
    meter = CostMeter(torch.device("cpu") if cell.pretraining is None else device_of(workspace))
    train, tuning, others = workspace.training_samples(cell)
    features_of = _features_of(workspace, cell, meter)

    def labelled(sample: Sample) -> search.LabelledFeatures:
        return search.LabelledFeatures(features_of(sample), sample.outcome)

    predict = {name: features_of(sample) for name, sample in others.items()}
    trials = workspace.study.search.n_trials
    job = search.BaselineJob(
        cell.kind, labelled(train), labelled(tuning), predict, trials, cell.seed, threads, progress
    )
    probability, result = search.fit_predict(MODELS.get(cell.kind, gradient_boosting.baseline), job)
    write_predictions(folder, others, probability)
    counts = {"patients": len(np.unique(train.subjects)), "positives": int(train.outcome.sum())}
    peak_tflops = workspace.study.compute.peak_tflops if meter.flops else None
    return {**counts, **result, "cost": meter.entry(peak_tflops)}


def _features_of(workspace: Workspace, cell: Cell, meter: CostMeter) -> Callable[[Sample], sparse.csr_matrix]:
    """What a baseline sees of a sample's patients: sparse features, float32 [n, columns].

    The encoder's operations are entered in the meter.
    """
    assert cell.task is not None
    store, task = workspace.store, workspace.task(cell.task)
    hidden_tokens = store.vocabulary.tokens_with_prefix(task.hidden_codes)
    groups = CodeGroups.of(store.vocabulary)
    columns = features.FeatureColumns(groups.count)

    def counted(sample: Sample) -> sparse.csr_matrix:
        return features.count_features(store, groups, sample.rows, sample.index_days, hidden_tokens)

    if cell.kind == "logistic":
        return lambda sample: features.linear_features(counted(sample), columns)
    if cell.kind == "outcome_history":
        families = outcome_history.families(store.vocabulary, task)
        return lambda sample: outcome_history.history_features(counted(sample), columns, families)
    weights = _weights(workspace, cell)
    if weights is None:
        return counted
    assert cell.size is not None
    device = device_of(workspace)
    encoder = FrozenEncoder(
        weights, workspace.shape(cell.size), workspace.token_metadata, device, foretold(workspace, cell)
    )

    def embedded(sample: Sample) -> sparse.csr_matrix:
        sequences = sequences_of(workspace, sample.rows, sample.index_days, hidden_tokens)
        meter.count(0, forward_flops(encoder.shape, sequences.lengths))
        return sparse.csr_matrix(encoder.embed(sequences))

    if cell.kind == "lightgbm_embeddings":
        return embedded
    return lambda sample: sparse.csr_matrix(
        sparse.hstack([counted(sample), embedded(sample)], format="csr", dtype=np.float32)
    )


def _weights(workspace: Workspace, cell: Cell) -> Path | None:
    """The pretrained weights that a cell begins with."""
    pretraining = cell.pretraining
    return None if pretraining is None else workspace.folder(pretraining.id) / "model.safetensors"


def _averaged(
    workspace: Workspace, cell: Cell, folder: Path, threads: int, progress: Progress
) -> dict[str, Any]:
    """The mean log odds of cells that were trained on the same patients: nothing is fitted, nothing tuned."""
    meter = CostMeter(torch.device("cpu"))
    train, _, others = workspace.training_samples(cell)
    risks = [read_risks(workspace.folder(need.id), others) for need in cell.needs]
    probability = {
        name: expit(np.mean([logit(risk[name].clip(LEAST_RISK, 1 - LEAST_RISK)) for risk in risks], axis=0))
        for name in others
    }
    write_predictions(folder, others, probability)
    progress(1.0)
    counts = {"patients": len(np.unique(train.subjects)), "positives": int(train.outcome.sum())}
    return {**counts, "seconds": meter.seconds, "cost": meter.entry()}


Work = Callable[[Workspace, Cell, Path, int, Progress], dict[str, Any]]
WORK: dict[str, Work] = {
    "pretrain": _pretrain,
    "sweep": _pretrain,
    "finetune": _finetune,
    "ensemble": _averaged,
}
"""Every other kind is a baseline."""
SHARED = {"pretrain", "sweep"}
"""What ranks share."""


def run_cell(workspace: Workspace, cell: Cell, threads: int, progress: Progress) -> dict[str, Any]:
    """Run one cell to its end, or go on with it; returns what `cell.json` then holds under `result`."""
    group = distributed.current()
    folder = workspace.folder(cell.id)
    inputs = workspace.inputs(cell)
    if group.broadcast(artifacts.is_current(folder, inputs)):
        return artifacts.read_json(folder / artifacts.CELL)["result"]
    result = _unsealed_result(folder, inputs)
    if group.broadcast(result is None):
        description = {"id": cell.id, "cell": asdict(cell)}
        if group.is_main:
            artifacts.open_cell(folder, inputs, description)
        group.barrier()
        result = _work(workspace, cell, folder, threads, progress)
        if group.is_main:
            artifacts.write_json(folder / artifacts.CELL, {"inputs": inputs, **description, "result": result})
    if group.is_main:
        checkpoints.remove(folder / checkpoints.FOLDER)
        artifacts.seal(folder, inputs)
    group.barrier()
    return result or {}


def _work(workspace: Workspace, cell: Cell, folder: Path, threads: int, progress: Progress) -> dict[str, Any]:
    """Do what this rank has to do of a cell; empty where that is nothing."""
    group = distributed.current()
    result: dict[str, Any] = {}
    if group.is_main or cell.kind in SHARED:
        result = WORK.get(cell.kind, _baseline)(workspace, cell, folder, threads, progress)
    group.barrier()  # nobody reads checkpoints any more
    return result


def _unsealed_result(folder: Path, inputs: str) -> dict[str, Any] | None:
    """The result of a run that was killed when all that was left to do was to seal the folder."""
    try:
        cell = artifacts.read_json(folder / artifacts.CELL)
    except (OSError, ValueError):
        return None
    unsealed = cell.get("inputs") == inputs and not (folder / artifacts.DONE).exists()
    return cell.get("result") if unsealed else None
