"""Fine-tuning on labelled patients, and prediction; the same code for pretrained and scratch encoders."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from claimscale import artifacts
from claimscale.config.training import Finetune
from claimscale.errors import BadInput
from claimscale.model import shapes
from claimscale.tokens.sequences import Sequences
from claimscale.tokens.token_metadata import TokenMetadata
from claimscale.training import checkpoints, loop
from claimscale.training.checkpoints import Checkpoints
from claimscale.training.cost import CostMeter, forward_flops
from claimscale.training.finetune_trainer import FinetuneTrainer, Initialization, Labelled, logits
from claimscale.versions import VERSIONS

TRAINING_SHARE = 0.9
"""Of the progress that is told; the rest is prediction."""


def finetune(
    *,
    train: Sequences,
    train_outcome: np.ndarray,
    tuning: Sequences,
    tuning_outcome: np.ndarray,
    predict: dict[str, Sequences],
    token_metadata: TokenMetadata,
    shape: shapes.Shape,
    settings: Finetune,
    seed: int,
    start: Path | None,
    folder: Path,
    device: torch.device,
    progress: Callable[[float], None],
    peak_tflops: float | None = None,
    outcome: np.ndarray | None = None,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Fine-tune, keep the epoch (and learning rate) with the lowest tuning loss, predict.

    Where pretraining foretells the outcome and training raised the tuning loss by more than its standard
    error, or diverged at every learning rate within the first epoch, what was foretold is kept: `epoch` 0.
    `zero_shot_tuning_loss` is its tuning loss, null where nothing is foretold; `learning_rate` is that of the best
    training, kept or not, and the first one where none has a loss.
    `start` is a pretrained `model.safetensors`; null trains from scratch. `outcome`: see `Start`. IncidentTargets
    are bool, one each.
    Returns what the cell records, and for each name in `predict` the probabilities, float64 [n]. Writes
    `model.safetensors` and `metrics.jsonl` to `folder`, checkpoints to `folder/checkpoints`. Called again
    after a kill it goes on from the newest checkpoint and ends with the same weights; the caller removes the
    checkpoints once the result is on disk. `peak_tflops`: see `CostMeter.entry`. Raises BadInput if all
    training outcomes are equal or nobody is there to tune on.
    """
    _refuse_unlearnable(train_outcome, tuning_outcome)
    labelled = Labelled(train, train_outcome), Labelled(tuning, tuning_outcome)
    begin = Initialization(shape, token_metadata, start, seed, device, outcome)
    saver = Checkpoints(
        folder / checkpoints.FOLDER, _identity(labelled, begin, settings), settings.checkpoint_minutes
    )
    found = saver.resume()
    fit = FinetuneTrainer(*labelled, begin, settings)
    with closing(loop.MetricsFile(folder / "metrics.jsonl", found.step)) as metrics:
        meter = CostMeter(device, found.state.get("cost"), metrics.spent)
        model = fit.run(saver, found, metrics, meter, lambda share: progress(TRAINING_SHARE * share))
    seconds = meter.seconds
    checkpoints.save_tensors(folder / "model.safetensors", model.state_dict())
    probability = {name: torch.sigmoid(logits(model, one, device)).numpy() for name, one in predict.items()}
    meter.count(0, sum(forward_flops(shape, sequences.lengths) for sequences in predict.values()))
    progress(1.0)
    result = {
        "parameters": shapes.parameters(shape),
        "learning_rate": fit.best.learning_rate,
        "best_epoch": 0 if fit.kept_zero_shot else fit.best.epoch,
        "tuning_loss": fit.zero_shot_tuning_loss if fit.kept_zero_shot else fit.best.tuning_loss,
        "zero_shot_tuning_loss": fit.zero_shot_tuning_loss,
        "trials": [asdict(trial) for trial in fit.trials],
        "seconds": seconds,
        "cost": meter.entry(peak_tflops),
        "notes": saver.notes,
    }
    return result, probability


def _refuse_unlearnable(train_outcome: np.ndarray, tuning_outcome: np.ndarray) -> None:
    if train_outcome.all() or not train_outcome.any():
        raise BadInput("finetune: all training patients have the same outcome")
    if not len(tuning_outcome):
        raise BadInput("finetune: there is no tuning patient to choose the best epoch by")


def _identity(labelled: tuple[Labelled, Labelled], start: Initialization, settings: Finetune) -> str:
    """What a checkpoint must have been made from to be resumed here."""
    return artifacts.fingerprint(
        shape=asdict(start.shape),
        settings=settings.model_dump(
            exclude={"seeds", "labelled_patients", "initialization", "checkpoint_minutes"}
        ),
        seed=start.seed,
        start=None if start.weights is None else artifacts.file_digest(start.weights),
        outcome=None if start.outcome is None else start.outcome.tolist(),
        patients=[
            [
                len(part.sequences),
                int(part.sequences.token.sum(dtype=np.int64)),
                int(part.sequences.age_days.sum(dtype=np.int64)),
                np.flatnonzero(part.outcome).tolist(),
            ]
            for part in labelled
        ],
        version=VERSIONS["finetune"],
    )
