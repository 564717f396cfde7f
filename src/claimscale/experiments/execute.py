"""Executes one cell: selects its patients, trains its model, writes its predictions.

A finished cell whose fingerprint is unchanged is not run again; an interrupted one resumes from its
checkpoint. The processes of a distributed run share pretraining cells; the main process runs all others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import scipy.sparse as sparse
import torch

from claimscale import artifacts
from claimscale.baselines import features, gradient_boosting, logistic, outcome_history, search
from claimscale.codes.systems import TYPES
from claimscale.evaluation.metrics import mean_log_odds
from claimscale.experiments import phenome, phenome_lightgbm
from claimscale.experiments.cells import PRETRAINING_KINDS, Cell, CellRecord
from claimscale.experiments.datasets import LabelledSample, read_risks, write_predictions
from claimscale.experiments.recipes import RecipeCell
from claimscale.experiments.workspace import Workspace
from claimscale.tokens.code_groups import CodeGroups
from claimscale.tokens.pretraining_inputs import EpochSamples, PatientHistories, static
from claimscale.tokens.sequences import Sequences, select_inputs
from claimscale.training import distributed, validation
from claimscale.training.cost import CostMeter
from claimscale.training.embeddings import FrozenEncoder
from claimscale.training.finetune_trainer import LabelledSequences
from claimscale.training.finetuning import FinetuneJob, finetune
from claimscale.training.initialization import Initialization
from claimscale.training.pretraining import PretrainingJob, pretrain, sweep_learning_rates
from claimscale.training.pretraining_run import PretrainingSetup

Progress = Callable[[float], None]
"""Called with the finished fraction of a cell, 0 to 1."""

BASELINE_MODELS: dict[str, search.Baseline] = {
    "logistic": logistic.baseline,
    "outcome_history": outcome_history.baseline,
}
"""Every other baseline is LightGBM, each on its own features."""


@dataclass(frozen=True)
class CellRun:
    """One cell while it runs: the data it reads, the folder it writes to, its threads and its progress."""

    workspace: Workspace
    cell: Cell
    threads: int
    progress: Progress

    @property
    def folder(self) -> Path:
        return self.workspace.folder(self.cell.id)

    @property
    def device(self) -> torch.device:
        wanted = self.workspace.study.compute.device
        if wanted == "auto":
            wanted = "cuda" if torch.cuda.is_available() else "cpu"
        return torch.device(wanted)

    @property
    def weights(self) -> Path | None:
        """The pretrained weights that the cell uses. Raises Damaged if their bytes have changed."""
        pretraining = self.cell.pretraining
        if pretraining is None:
            return None
        return artifacts.verified(self.workspace.folder(pretraining.id)) / "model.safetensors"

    def hidden_tokens(self) -> np.ndarray:
        """Tokens that the task hides from every model."""
        assert self.cell.task is not None
        hidden = self.workspace.task(self.cell.task).hidden_codes
        return self.workspace.store.vocabulary.tokens_with_prefix(hidden)

    def sequences(self, sample: LabelledSample) -> Sequences:
        """What an encoder sees of the sample's patients at their index dates.

        Tokens that were withheld from pretraining are unknown to it.
        """
        tokens = self.workspace.study.tokens
        return select_inputs(
            self.workspace.store,
            sample.rows,
            sample.index_days,
            tokens.max_length,
            tokens.deduplicate,
            np.union1d(self.hidden_tokens(), self.workspace.withheld_tokens),
        )

    def outcome_tokens(self) -> np.ndarray | None:
        """The outcome's tokens, for the zero-shot initial logit; without suspected diagnoses.

        None where pretraining does not predict them, or the study does not use that.
        """
        study = self.workspace.study
        predicted = study.pretrain.incident_weight and study.labels != "scarce"
        if self.cell.pretraining is None or not (predicted and study.finetune.zero_shot_init):
            return None
        assert self.cell.task is not None
        vocabulary = self.workspace.store.vocabulary
        tokens = vocabulary.tokens_with_prefix(self.workspace.task(self.cell.task).outcome)
        return tokens[vocabulary.types[tokens] != TYPES.index("suspected")]


def _pretrain(run: CellRun) -> CellRecord:
    """Pretrain on training patients with what was known before the landmark, or sweep learning rates."""
    workspace, cell, study = run.workspace, run.cell, run.workspace.study
    assert cell.size is not None
    train, tuning = (workspace.histories(workspace.splits[split]) for split in ("train", "tuning"))
    # As many training patients as tuning patients, for the generalization gap.
    trained = replace(train, rows=train.rows[:: max(1, len(train.rows) // max(1, len(tuning.rows)))])
    settings = study.pretrain

    def samples(histories: PatientHistories, seed: int) -> EpochSamples:
        if settings.incident_weight:
            return histories.dated(settings, seed)
        return static(histories.on_last_day())

    setup = PretrainingSetup(
        samples(train, cell.seed),
        workspace.token_metadata,
        workspace.shape(cell.size),
        settings,
        cell.seed,
        run.device,
        distributed.current(),
        workspace.start,
    )
    # Losses are measured at dates like those of training: elsewhere the model extrapolates.
    validated = validation.Validation(
        samples(tuning, validation.SEED)(0), samples(trained, validation.SEED)(0).sequences
    )
    job = PretrainingJob(setup, validated, run.folder, study.compute.peak_tflops)
    work = sweep_learning_rates if cell.kind == "sweep" else pretrain
    return cast(CellRecord, work(job, run.progress))


def _finetune(run: CellRun) -> CellRecord:
    """Fine-tune an encoder, pretrained or from scratch, on the labelled patients of the cell."""
    workspace, cell = run.workspace, run.cell
    assert cell.size is not None
    train, tuning, predict = workspace.cell_samples(cell)
    initialization = Initialization(
        workspace.shape(cell.size),
        workspace.token_metadata,
        run.weights,
        cell.seed,
        run.device,
        run.outcome_tokens(),
    )
    job = FinetuneJob(
        LabelledSequences(run.sequences(train), train.outcome),
        LabelledSequences(run.sequences(tuning), tuning.outcome),
        initialization,
        workspace.study.finetune,
        run.folder,
        workspace.study.compute.peak_tflops,
    )
    sequences = {split: run.sequences(sample) for split, sample in predict.items()}
    result, probability = finetune(job, sequences, run.progress)
    write_predictions(run.folder, predict, probability)
    return cast(CellRecord, {**_counts(train), **result})


def _baseline(run: CellRun) -> CellRecord:
    """Make the features of the cell's patients, and fit the baseline's model on them."""
    workspace, cell = run.workspace, run.cell
    meter = CostMeter(torch.device("cpu") if cell.pretraining is None else run.device)
    train, tuning, predict = workspace.cell_samples(cell)
    features_of = _features_of(run, meter)
    job = search.BaselineJob(
        cell.kind,
        search.LabelledFeatures(features_of(train), train.outcome),
        search.LabelledFeatures(features_of(tuning), tuning.outcome),
        {split: features_of(sample) for split, sample in predict.items()},
        workspace.study.search.n_trials,
        cell.seed,
        run.threads,
        run.progress,
    )
    model = BASELINE_MODELS.get(cell.kind, gradient_boosting.baseline)
    fitted = search.fit_predict(model, job)
    fitted.model.save(run.folder)
    write_predictions(run.folder, predict, fitted.probabilities)
    peak_tflops = workspace.study.compute.peak_tflops if meter.flops else None
    return cast(CellRecord, {**_counts(train), **fitted.result, "cost": meter.entry(peak_tflops)})


def _features_of(run: CellRun, meter: CostMeter) -> Callable[[LabelledSample], sparse.csr_matrix]:
    """The function from a sample to a baseline's features, sparse float32 [n, columns].

    The encoder's operations are added to the meter.
    """
    workspace, cell, hidden_tokens = run.workspace, run.cell, run.hidden_tokens()
    assert cell.task is not None
    store = workspace.store
    groups = CodeGroups.of(store.vocabulary)
    columns = features.FeatureColumns(groups.count)

    def counts(sample: LabelledSample) -> sparse.csr_matrix:
        return features.count_features(store, groups, sample.rows, sample.index_days, hidden_tokens)

    if cell.kind == "logistic":
        return lambda sample: features.linear_features(counts(sample), columns)
    if cell.kind == "outcome_history":
        families = outcome_history.families(store.vocabulary, workspace.task(cell.task))
        return lambda sample: outcome_history.history_features(counts(sample), columns, families)
    if run.weights is None:
        return counts
    assert cell.size is not None
    encoder = FrozenEncoder(
        run.weights, workspace.shape(cell.size), workspace.token_metadata, run.device, run.outcome_tokens()
    )

    def embeddings(sample: LabelledSample) -> sparse.csr_matrix:
        sequences = run.sequences(sample)
        meter.count(0, encoder.flops(sequences))
        return sparse.csr_matrix(encoder.embed(sequences))

    if cell.kind == "lightgbm_embeddings":
        return embeddings
    return lambda sample: sparse.csr_matrix(
        sparse.hstack([counts(sample), embeddings(sample)], format="csr", dtype=np.float32)
    )


def _ensemble(run: CellRun) -> CellRecord:
    """Average the log odds of cells that were trained on the same patients; nothing is fitted."""
    meter = CostMeter(torch.device("cpu"))
    train, _, predict = run.workspace.cell_samples(run.cell)
    needed = [artifacts.verified(run.workspace.folder(need.id)) for need in run.cell.needs]
    risks = [read_risks(folder, predict) for folder in needed]
    probability = {split: mean_log_odds(np.stack([risk[split] for risk in risks])) for split in predict}
    write_predictions(run.folder, predict, probability)
    run.progress(1.0)
    return cast(CellRecord, {**_counts(train), "seconds": meter.seconds, "cost": meter.entry()})


def _counts(train: LabelledSample) -> dict[str, int]:
    return {"patients": len(np.unique(train.subjects)), "positives": int(train.outcome.sum())}


def _phenome_lightgbm(run: CellRun) -> CellRecord:
    """Train LightGBM for each of a sample of the phenome's outcomes."""
    return phenome_lightgbm.train_and_test(run.workspace, run.cell, run.threads, run.progress)


def _recipe(run: CellRun) -> RecipeCell:
    return RecipeCell(run.workspace, run.cell, run.device, run.progress)


EXECUTE: dict[str, Callable[[CellRun], CellRecord]] = {
    "pretrain": _pretrain,
    "sweep": _pretrain,
    "phenome": lambda run: phenome.evaluate_phenome(run.workspace, run.cell, run.device, run.progress),
    "phenome_lightgbm": _phenome_lightgbm,
    "finetune": _finetune,
    "ensemble": _ensemble,
    "recipe_pretrain": lambda run: _recipe(run).pretrain(),
    "recipe": lambda run: _recipe(run).finetune(run.hidden_tokens()),
}
"""By kind of cell; every other kind is a baseline."""


def run_cell(workspace: Workspace, cell: Cell, threads: int, progress: Progress) -> CellRecord:
    """Run one cell to its end, or resume it; returns what `cell.json` then holds under `result`.

    A cell that was killed between its manifest and its DONE mark is marked, if every file has its checksum.
    """
    group = distributed.current()
    folder, inputs = workspace.folder(cell.id), workspace.fingerprint(cell)
    if not group.broadcast(artifacts.is_whole(folder, inputs)):
        description = {"id": cell.id, "cell": asdict(cell)}
        if group.is_main:
            artifacts.open_cell(folder, inputs, description)
        group.barrier()
        torch.set_num_threads(threads)
        result = None
        if group.is_main or cell.kind in PRETRAINING_KINDS:
            result = EXECUTE.get(cell.kind, _baseline)(CellRun(workspace, cell, threads, progress))
        group.barrier()  # nobody reads checkpoints any more
        if group.is_main:
            artifacts.write_json(folder / artifacts.CELL, {"inputs": inputs, **description, "result": result})
            artifacts.write_manifest(folder, inputs, folder.name)
    if group.is_main and not (folder / artifacts.DONE).exists():
        artifacts.mark_done(folder)
    group.barrier()
    return workspace.record(cell) if group.is_main else cast(CellRecord, {})
