"""The phenome of one pretraining: metrics of every outcome on test patients, without fine-tuning.

The cell writes `outcomes.parquet`, one row per outcome, and `replicates.npy`: AUPRC (relative) and AUROC as
patients vary. Replicates are multiplier replicates: each patient's influence is multiplied by 1 or -1 at
random, by the same signs in every cell of a study, so that models and outcomes are paired.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file

from claimscale import artifacts
from claimscale.evaluation.influence import ranking_influences
from claimscale.evaluation.metrics import log_losses
from claimscale.experiments.cells import Cell, CellRecord
from claimscale.experiments.workspace import Workspace
from claimscale.model.encoder import Encoder
from claimscale.model.shapes import ForwardPass, Shape, forward_flops
from claimscale.tasks import phenome_dates
from claimscale.tokens.phenome import CASE, NOT_AT_RISK, Outcome, Window, outcome_states, outcomes_of
from claimscale.tokens.sequences import select_inputs
from claimscale.training.cost import CostMeter
from claimscale.training.incident_risks import incident_log_odds

REPLICATES = 1000
OUTCOMES_AT_ONCE = 128
SIGNS_AT_ONCE = 2**25
"""Most signs of patients in memory; more replicates are made in parts."""
METRICS = ("auprc", "auroc", "log_loss")


class TestedOutcomes(NamedTuple):
    """Outcomes with enough test patients of both kinds, and their states (tokens.phenome), int8 [n, K]."""

    outcomes: list[Outcome]
    states: np.ndarray


def evaluate_phenome(
    workspace: Workspace, cell: Cell, device: torch.device, progress: Callable[[float], None]
) -> CellRecord:
    """Predict all outcomes for the test patients at the landmark, and write what the summary needs."""
    meter = CostMeter(device)
    study, folder = workspace.study, workspace.folder(cell.id)
    assert cell.size is not None and cell.pretraining is not None
    subjects, days = phenome_dates.read(artifacts.verified(workspace.run / "labels"), "held_out")
    rows = workspace.store.rows_of(subjects)
    tested = tested_outcomes(workspace, rows, days)
    if not tested.outcomes:
        write_results(folder, tested, np.zeros((0, len(METRICS))), np.zeros((2, 0, REPLICATES), np.float32))
    else:
        settings = study.tokens
        sequences = select_inputs(
            workspace.store, rows, days, settings.max_length, settings.deduplicate, workspace.withheld_tokens
        )
        shape = workspace.shape(cell.size)
        encoder = Encoder(shape, workspace.token_metadata)
        encoder.load_state_dict(load_file(workspace.folder(cell.pretraining.id) / "model.safetensors"))
        encoder.to(device).eval()
        groups = [outcome.tokens for outcome in tested.outcomes]
        log_odds = incident_log_odds(encoder, sequences, groups, device, lambda part: progress(0.6 * part))
        metrics, replicates = score(
            tested.states, log_odds, study.seed, lambda part: progress(0.6 + 0.4 * part)
        )
        write_results(folder, tested, metrics, replicates)
        meter.count(0, _flops(sequences.lengths, tested.outcomes, shape))
    progress(1.0)
    record = {
        "seconds": meter.seconds,
        "cost": meter.entry(study.compute.peak_tflops),
        "patients": len(rows),
        "positives": int((tested.states == CASE).any(axis=1).sum()),
    }
    return cast(CellRecord, record)


def tested_outcomes(workspace: Workspace, rows: np.ndarray, days: np.ndarray) -> TestedOutcomes:
    """The outcomes of the vocabulary with at least `min_cases` cases, and as many without, at risk."""
    study, store = workspace.study, workspace.store
    assert study.phenome is not None
    withheld = set(workspace.withheld_tokens.tolist())
    outcomes = [
        outcome
        for outcome in outcomes_of(store.vocabulary, study.phenome.levels)
        if not withheld & set(outcome.tokens)
    ]
    window = Window.of(study.phenome, study.pretrain.horizon_days)
    states = outcome_states(store, rows, days, outcomes, window)
    least = study.phenome.min_cases
    enough = ((states == CASE).sum(0) >= least) & ((states == 0).sum(0) >= least)
    return TestedOutcomes([outcomes[place] for place in np.flatnonzero(enough)], states[:, enough])


def score(
    states: np.ndarray, log_odds: np.ndarray, seed: int, progress: Callable[[float], None] = lambda part: None
) -> tuple[np.ndarray, np.ndarray]:
    """METRICS of each outcome, float64 [K, 3]; and replicates of AUPRC (relative) and AUROC [2, K, B].

    Replicates are deviations from the metric, float32.
    """
    n, count = states.shape
    metrics = np.zeros((count, len(METRICS)))
    replicates = np.zeros((2, count, REPLICATES), np.float32)
    for start in range(0, count, OUTCOMES_AT_ONCE):
        block = range(start, min(start + OUTCOMES_AT_ONCE, count))
        influences = np.zeros((2, n, len(block)), np.float32)
        for place, outcome in enumerate(block):
            at_risk = np.flatnonzero(states[:, outcome] != NOT_AT_RISK)
            labels, scores = states[at_risk, outcome] == CASE, log_odds[at_risk, outcome]
            found = ranking_influences(labels, scores)
            risks = 1 / (1 + np.exp(-scores.astype(np.float64)))
            metrics[outcome] = found.auprc, found.auroc, log_losses(labels, risks).mean()
            influences[0, at_risk, place] = found.of_auprc / found.auprc
            influences[1, at_risk, place] = found.of_auroc
        for part, signs in random_signs(n, seed):
            for metric in range(2):
                replicates[metric, block.start : block.stop, part] = (signs @ influences[metric]).T
        progress(block.stop / count)
    return metrics, replicates


def random_signs(n: int, seed: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Signs of n patients, float32 [replicates of a part, n], with the replicates; part by part."""
    step = max(1, min(REPLICATES, SIGNS_AT_ONCE // max(n, 1)))
    for start in range(0, REPLICATES, step):
        rows = min(step, REPLICATES - start)
        bits = np.random.default_rng([seed, start]).bytes(rows * -(-n // 8))
        signs = np.unpackbits(np.frombuffer(bits, np.uint8).reshape(rows, -1), axis=1, count=n)
        yield slice(start, start + rows), signs.astype(np.float32) * 2 - 1


def write_results(
    folder: Path,
    tested: TestedOutcomes,
    metrics: np.ndarray,
    replicates: np.ndarray,
    training_cases: np.ndarray | None = None,
) -> None:
    """Write METRICS and replicates of each outcome; `training_cases` int64 [K] of trained models."""
    columns = {
        "code": [one.code for one in tested.outcomes],
        "kind": [one.kind for one in tested.outcomes],
        "chapter": [one.chapter for one in tested.outcomes],
        "cases": (tested.states == CASE).sum(0).astype(np.int64),
        "at_risk": (tested.states != NOT_AT_RISK).sum(0).astype(np.int64),
        **{name: metrics[:, place] for place, name in enumerate(METRICS)},
    }
    if training_cases is not None:
        columns["training_cases"] = training_cases
    pq.write_table(pa.table(columns), folder / "outcomes.parquet", write_page_checksum=True)
    np.save(folder / "replicates.npy", replicates)


def _flops(lengths: np.ndarray, outcomes: Sequence[Outcome], shape: Shape) -> float:
    """Floating-point operations of the prediction."""
    tokens, n = float(lengths.sum()), len(lengths)
    mean_length = float(np.square(lengths, dtype=np.float64).sum()) / max(tokens, 1.0)
    codes = sum(len(outcome.tokens) for outcome in outcomes)
    return forward_flops(shape, ForwardPass(tokens, mean_length, n, incident=n, codes=codes, pools=True))
