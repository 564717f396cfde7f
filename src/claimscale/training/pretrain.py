"""Masked-code pretraining of one encoder, resumable at any moment."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from claimscale import runs
from claimscale.corpus.batches import Batch, Batches, Masked, in_parts, mask_batch
from claimscale.corpus.sequences import LEADING, Sequences, seen_earlier
from claimscale.errors import BadInput
from claimscale.model import sizes
from claimscale.model.encoder import Encoder
from claimscale.model.transfer import make_optimizer
from claimscale.study import Pretrain
from claimscale.training import checkpoints, loop
from claimscale.training.checkpoints import Checkpoints
from claimscale.training.ledger import Ledger

WEIGHT_DECAY = 0.1
WARMUP_SHARE, LONGEST_WARMUP = 0.15, 500
"""Short runs need a long warm-up: at 2 % of 220 steps the best learning rate fell as the encoder grew."""
VALIDATION_SEED = 20220401
"""Fixed, so that every size and seed is asked about the same masked codes."""


def pretrain(
    *,
    train: Sequences,
    validation: Sequences,
    types: np.ndarray,
    shape: sizes.Shape,
    settings: Pretrain,
    seed: int,
    folder: Path,
    device: torch.device,
    progress: Callable[[float], None],
    peak_tflops: float | None = None,
) -> dict[str, Any]:
    """Pretrain on `train`, score on `validation`; returns what the cell records.

    Writes `model.safetensors` and `metrics.jsonl` to `folder`, checkpoints to `folder/checkpoints`. Called
    again after a kill it goes on from the newest checkpoint and ends with the same weights; the caller
    removes the checkpoints once the result is on disk. `types` [V] holds each token's type; `progress` is
    told the share done. Losses are in nats per code. `peak_tflops`: see `Ledger.entry`.
    """
    run = PretrainingRun(train, types, shape, settings, seed, device)
    saver = Checkpoints(
        folder / checkpoints.FOLDER, _identity(train, shape, settings, seed), settings.checkpoint_minutes
    )
    found = saver.resume()
    if found.step:
        checkpoints.restore(found.tensors, found.step, run.model, run.optimizer)
    with closing(loop.MetricsFile(folder / "metrics.jsonl", found.step)) as metrics:
        ledger, masked = Ledger(device, found.state.get("cost"), metrics.spent), found.state.get("masked", 0)
        for step in range(found.step, run.steps):
            loss, step_tokens, step_masked = run.step(step)
            ledger.count(step_tokens, sizes.train_flops(shape, step_tokens, step_masked, run.mean_length))
            masked += step_masked
            rate = run.rate(step) * settings.learning_rate
            metrics.write(step=step, loss=loss, lr=rate, masked=masked, **ledger.spent())
            if saver.due():
                tensors = checkpoints.training_tensors(run.model, run.optimizer)
                saver.save(step + 1, tensors, {"cost": ledger.state(), "masked": masked})
            progress((step + 1) / run.steps)
    seconds, tokens, train_flops = ledger.seconds, ledger.tokens, ledger.flops
    checkpoints.save_tensors(folder / "model.safetensors", run.model.state_dict())
    scores = validate(run.model, validation, settings.mask, device)
    validated = int(validation.lengths.sum())
    # forward only: a third of what training takes
    ledger.count(0, sizes.train_flops(shape, validated, round(settings.mask * validated)) / 3)
    return {
        **scores,
        "parameters": sizes.parameters(shape),
        "body_parameters": sizes.body_parameters(shape),
        "tokens": tokens,
        "seconds": seconds,
        "tokens_per_second": tokens / max(seconds, 1e-9),
        "train_flops": train_flops,
        "cost": ledger.entry(peak_tflops),
        "notes": saver.notes,
    }


@torch.no_grad()
def validate(
    model: Encoder, sequences: Sequences, mask: float, device: torch.device
) -> dict[str, float | None]:
    """Mean loss in nats per masked code, overall and apart for first-ever and repeated codes.

    A code is repeated if its sequence holds it earlier. Null where no code was masked.
    """
    repeated = seen_earlier(sequences)
    with_codes = np.flatnonzero(sequences.lengths > LEADING)
    losses, is_repeat = [np.zeros(0, np.float32)], [np.zeros(0, np.bool_)]
    model.eval()
    for batch in in_parts(sequences, with_codes, loop.part_positions(device)):
        masked = mask_batch(batch, mask, VALIDATION_SEED, 0)
        with loop.mixed_precision(device):
            hidden = _hidden(model, batch, masked, device)
            targets = loop.tensor(masked.target, device)
            for rows, target in zip(hidden.split(1024), targets.split(1024), strict=True):
                logits = model.masked_logits(rows).float()
                losses.append(F.cross_entropy(logits, target, reduction="none").cpu().numpy())
        is_repeat.append(repeated[batch.source[masked.position]])
    loss, repeat = np.concatenate(losses), np.concatenate(is_repeat)
    return {
        "validation_loss": _mean(loss),
        "validation_loss_first": _mean(loss[~repeat]),
        "validation_loss_repeated": _mean(loss[repeat]),
    }


class PretrainingRun:
    """Model, optimizer and batches of one pretraining; a step depends on its number and the weights only."""

    def __init__(
        self,
        train: Sequences,
        types: np.ndarray,
        shape: sizes.Shape,
        settings: Pretrain,
        seed: int,
        device: torch.device,
    ) -> None:
        with_codes = np.flatnonzero(train.lengths > LEADING)
        if not len(with_codes):
            raise BadInput("pretrain: no training patient has a code before the landmark")
        self.settings, self.seed, self.device = settings, seed, device
        self.batches = Batches(train, settings.batch_tokens, seed, with_codes, loop.part_positions(device))
        self.mean_length = self.batches.tokens_per_epoch / len(with_codes)
        self.steps = settings.epochs * self.batches.steps_per_epoch
        self.warmup = min(math.ceil(WARMUP_SHARE * self.steps), LONGEST_WARMUP)
        torch.manual_seed(seed)
        self.model = Encoder(shape, types).to(device)
        self.optimizer = make_optimizer(self.model, shape.layers, settings.learning_rate, WEIGHT_DECAY)

    def rate(self, step: int) -> float:
        return loop.rate_multiplier(step, self.steps, self.warmup)

    def step(self, step: int) -> tuple[float, int, int]:
        """Train one step; returns the mean loss, tokens and masked codes."""
        parts = [
            (batch, mask_batch(batch, self.settings.mask, self.seed, step))
            for batch in self.batches.parts(step)
        ]
        masked = sum(len(mask.position) for _, mask in parts)
        batch = [part for part, _ in parts]
        losses = self._losses(parts, masked)
        loss = loop.update(self.model, self.optimizer, losses, self.rate(step), step, batch)
        return loss, sum(int(batch.keep.sum()) for batch, _ in parts), masked

    def _losses(self, parts: list[tuple[Batch, Masked]], masked: int) -> Iterator[Tensor]:
        for batch, mask in parts:
            with loop.mixed_precision(self.device):
                hidden = _hidden(self.model, batch, mask, self.device)
                loss = self.model.masked_loss(hidden, loop.tensor(mask.target, self.device))
            yield loss / masked


def _hidden(model: Encoder, batch: Batch, masked: Masked, device: torch.device) -> Tensor:
    inputs = loop.on_device(batch, masked.token, device)
    return model(
        inputs.token, inputs.age_days, inputs.keep, inputs.groups, loop.tensor(masked.position, device)
    )


def _mean(losses: np.ndarray) -> float | None:
    return float(losses.mean(dtype=np.float64)) if len(losses) else None


def _identity(train: Sequences, shape: sizes.Shape, settings: Pretrain, seed: int) -> str:
    """What a checkpoint must have been made from to be resumed here."""
    return runs.fingerprint(
        shape=asdict(shape),
        settings=settings.model_dump(exclude={"seeds", "checkpoint_minutes"}),
        seed=seed,
        sequences=[len(train), int(train.token.sum(dtype=np.int64)), int(train.age_days.sum(dtype=np.int64))],
        code=runs.code_digest("model", "training", "corpus/batches.py"),
    )
