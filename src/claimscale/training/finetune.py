"""Fine-tuning on labelled patients, and prediction; the same code for pretrained and scratch encoders."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from claimscale.corpus.batches import Batches, in_parts
from claimscale.corpus.sequences import Sequences
from claimscale.errors import BadInput
from claimscale.model import sizes
from claimscale.model.encoder import Encoder, Readout
from claimscale.model.transfer import make_optimizer
from claimscale.study import Finetune
from claimscale.training import checkpoints, loop

WEIGHT_DECAY = 0.1
WARMUP_SHARE = 0.1
STEPS_PER_EPOCH = 12
"""Few patients get smaller batches, so that every epoch has at least this many steps."""
PATIENCE = 2
"""Epochs without a lower tuning loss before training stops."""


@dataclass(frozen=True)
class Labelled:
    sequences: Sequences
    outcome: np.ndarray


def finetune(
    *,
    train: Sequences,
    train_outcome: np.ndarray,
    tuning: Sequences,
    tuning_outcome: np.ndarray,
    predict: dict[str, Sequences],
    types: np.ndarray,
    shape: sizes.Shape,
    settings: Finetune,
    seed: int,
    start: Path | None,
    folder: Path,
    device: torch.device,
    progress: Callable[[float], None],
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Fine-tune, keep the epoch with the lowest tuning loss, predict.

    `start` is a pretrained `model.safetensors`; null trains from scratch. Outcomes are bool, one each.
    Returns what the cell records, and for each name in `predict` the probabilities, float64 [n]. Writes
    `model.safetensors` and `metrics.jsonl` to `folder`. Raises BadInput if all training outcomes are equal
    or nobody is there to tune on.
    """
    if train_outcome.all() or not train_outcome.any():
        raise BadInput("finetune: all training patients have the same outcome")
    if not len(tuning_outcome):
        raise BadInput("finetune: there is no tuning patient to choose the best epoch by")
    metrics = loop.MetricsFile(folder / "metrics.jsonl")
    started = time.monotonic()
    labelled = Labelled(train, train_outcome), Labelled(tuning, tuning_outcome)
    fit = _Fit(shape, types, start, settings.learning_rate, seed, device)
    fit.run(*labelled, settings, metrics, lambda share: progress(0.9 * share))
    metrics.close()
    seconds = time.monotonic() - started
    checkpoints.save_tensors(folder / "model.safetensors", fit.model.state_dict())
    probability = {
        name: torch.sigmoid(logits(fit.model, sequences, device)).numpy()
        for name, sequences in predict.items()
    }
    progress(1.0)
    result = {
        "parameters": sizes.parameters(shape),
        "epoch": fit.best_epoch,
        "tuning_loss": fit.best_loss,
        "seconds": seconds,
        "peak_memory": loop.peak_memory(device),
    }
    return result, probability


@torch.no_grad()
def logits(model: Readout, sequences: Sequences, device: torch.device) -> Tensor:
    """Logits of all sequences in their order, float64 [n] on the CPU."""
    model.eval()
    out = torch.empty(len(sequences), dtype=torch.float64)
    for batch in in_parts(sequences, np.arange(len(sequences)), loop.part_positions(device)):
        inputs = loop.on_device(batch, batch.token, device)
        with loop.mixed_precision(device):
            logit = model(inputs)
        out[torch.from_numpy(batch.index)] = logit.double().cpu()
    return out


class _Fit:
    """One training, which ends with the weights of its best epoch."""

    def __init__(
        self,
        shape: sizes.Shape,
        types: np.ndarray,
        start: Path | None,
        learning_rate: float,
        seed: int,
        device: torch.device,
    ) -> None:
        torch.manual_seed(seed)
        encoder = Encoder(shape, types)
        if start is not None:
            encoder.load_state_dict(load_file(start))
        self.model = Readout(encoder).to(device)
        self.learning_rate, self.seed, self.device = learning_rate, seed, device
        self.optimizer = make_optimizer(self.model, shape.layers, learning_rate, WEIGHT_DECAY)
        self.best_loss, self.best_epoch = math.inf, 0
        self._best: dict[str, Tensor] = {}

    def run(
        self,
        train: Labelled,
        tuning: Labelled,
        settings: Finetune,
        metrics: loop.MetricsFile,
        report: Callable[[float], None],
    ) -> None:
        prevalence = float(train.outcome.mean())
        torch.nn.init.constant_(self.model.bias, math.log(prevalence / (1 - prevalence)))
        batch_tokens = min(settings.batch_tokens, max(1, len(train.sequences.token) // STEPS_PER_EPOCH))
        batches = Batches(
            train.sequences, batch_tokens, self.seed, part_positions=loop.part_positions(self.device)
        )
        steps = settings.epochs * batches.steps_per_epoch
        outcome = loop.tensor(train.outcome.astype(np.float32), self.device)
        for epoch in range(settings.epochs):
            for step in range(epoch * batches.steps_per_epoch, (epoch + 1) * batches.steps_per_epoch):
                rate = loop.rate_multiplier(step, steps, math.ceil(WARMUP_SHARE * steps))
                losses = self._losses(batches, step, outcome)
                loss = loop.update(self.model, self.optimizer, losses, rate, step)
                metrics.write(step=step, loss=loss, lr=rate * self.learning_rate)
            self._evaluate(tuning, epoch)
            report((epoch + 1) / settings.epochs)
            if epoch - self.best_epoch >= PATIENCE:
                break
        self.model.load_state_dict(self._best)

    def _losses(self, batches: Batches, step: int, outcome: Tensor) -> Iterator[Tensor]:
        parts = batches.parts(step)
        patients = sum(len(batch.index) for batch in parts)
        for batch in parts:
            inputs = loop.on_device(batch, batch.token, self.device)
            index = loop.tensor(batch.index, self.device)
            with loop.mixed_precision(self.device):
                logit = self.model(inputs)
            yield (
                F.binary_cross_entropy_with_logits(logit.float(), outcome[index], reduction="sum") / patients
            )

    def _evaluate(self, tuning: Labelled, epoch: int) -> None:
        outcome = torch.from_numpy(tuning.outcome.astype(np.float64))
        logit = logits(self.model, tuning.sequences, self.device)
        loss = F.binary_cross_entropy_with_logits(logit, outcome).item()
        if loss < self.best_loss:
            self.best_loss, self.best_epoch = loss, epoch
            self._best = {name: weight.detach().clone() for name, weight in self.model.state_dict().items()}
        self.model.train()
