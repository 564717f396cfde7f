"""Validation losses of a pretrained encoder: masked codes, incident codes, overfitting."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from claimscale.model import shapes
from claimscale.model.attention import QueryPositions
from claimscale.model.encoder import Encoder
from claimscale.model.shapes import Shape
from claimscale.tokens.batches import Batch, mask_batch
from claimscale.tokens.pretraining_inputs import PretrainingSample
from claimscale.tokens.sequences import Sequences, seen_earlier
from claimscale.tokens.special_tokens import LEADING
from claimscale.training.device import cls_positions, encoder_inputs, evaluate, mixed_precision
from claimscale.training.distributed import SINGLE, ProcessGroup
from claimscale.training.pretraining_run import incident_targets, masked_inputs
from claimscale.training.results import Losses

SEED = 20220401
MASK_PROBABILITY = 0.3
"""Fixed, so that every size, seed and masking is validated on the same masked codes."""
ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class Validation:
    """Tuning patients at random dates (`tuning`), with their incident codes if they are predicted.

    `training_sample` are some training patients: a lower loss on them shows overfitting.
    """

    tuning: PretrainingSample
    training_sample: Sequences | None = None


def validate(
    model: Encoder, validation: Validation, device: torch.device, group: ProcessGroup = SINGLE
) -> Losses:
    """Losses of masked codes, overall and for new and recurrent codes, and of incident codes.

    A code is recurrent if the sequence has it earlier or if its position stands for several occurrences.
    `train_loss` is the loss of masked codes on the training sample.
    """
    model.eval()
    scores = masked_losses(model, validation.tuning.sequences, device, group)
    if validation.tuning.incident is not None:
        scores["validation_loss_incident"] = incident_loss(model, validation.tuning, device, group)
    if validation.training_sample is not None:
        trained = masked_losses(model, validation.training_sample, device, group)
        scores["train_loss"] = trained["validation_loss"]
    model.train()
    return scores


def validation_flops(shape: Shape, validation: Validation) -> float:
    """Floating-point operations of `validate`: one forward pass over each set of patients."""
    sets = [validation.tuning.sequences, validation.training_sample]
    tokens = sum(float(one.lengths.sum()) for one in sets if one is not None)
    total = shapes.pretraining_flops(shape, tokens, MASK_PROBABILITY * tokens)
    if validation.tuning.incident is not None:
        lengths = validation.tuning.sequences.lengths[validation.tuning.incident.has_full_horizon]
        total += shapes.pretraining_flops(shape, float(lengths.sum()), 0.0, len(lengths))
    return total / shapes.TRAINING_PASSES


def masked_losses(
    model: Encoder, sequences: Sequences, device: torch.device, group: ProcessGroup = SINGLE
) -> Losses:
    recurrent = seen_earlier(sequences) | (sequences.count[:, -1] > 1)

    def losses_of(batch: Batch) -> tuple[Tensor, np.ndarray]:
        masked = mask_batch(batch, MASK_PROBABILITY, SEED, 0)
        inputs, _, targets = masked_inputs(batch, masked, device)
        losses = [torch.zeros(0, device=device)]
        with mixed_precision(device):
            hidden = model(inputs, QueryPositions.of(masked.position, batch.lengths, device))
            for rows, target in zip(hidden.split(ROWS_AT_ONCE), targets.split(ROWS_AT_ONCE), strict=True):
                logits = model.masked_logits(rows).float()
                losses.append(F.cross_entropy(logits, target, reduction="none"))
        return torch.cat(losses), recurrent[batch.source[masked.position]]

    # Losses stay on a GPU until all batches are queued: reading them would wait for each.
    found = list(evaluate(losses_of, sequences, _shard(sequences, group), device))
    loss = np.concatenate([np.zeros(0), *(losses.cpu().numpy() for losses, _ in found)])
    again = np.concatenate([np.zeros(0, np.bool_), *(flags for _, flags in found)])
    new, repeated, new_codes, repeated_codes = group.sum(
        float(loss[~again].sum()), float(loss[again].sum()), int((~again).sum()), int(again.sum())
    )
    return {
        "validation_loss": _mean(new + repeated, new_codes + repeated_codes),
        "validation_loss_new": _mean(new, new_codes),
        "validation_loss_recurrent": _mean(repeated, repeated_codes),
    }


def incident_loss(
    model: Encoder, sample: PretrainingSample, device: torch.device, group: ProcessGroup = SINGLE
) -> float | None:
    """Binary cross-entropy over the codes that patients are at risk of, per incident code."""
    codes = sample.incident
    assert codes is not None
    shard = _shard(sample.sequences, group)
    shard = shard[codes.has_full_horizon[shard]]

    def loss_of(batch: Batch) -> Tensor:
        inputs = encoder_inputs(batch, batch.token, device)
        with mixed_precision(device):
            queries = QueryPositions.of(cls_positions(batch), batch.lengths, device)
            hidden, context = model.attend(model.embed(inputs), inputs, queries)
            targets = incident_targets(codes, batch.index, device)
            return model.incident_loss(hidden, context, inputs, targets)

    loss = 0.0
    for part in list(evaluate(loss_of, sample.sequences, shard, device)):
        loss += float(part)
    total, incident = group.sum(loss, int(codes.counts(shard).sum()))
    return _mean(total, incident)


def _shard(sequences: Sequences, group: ProcessGroup) -> np.ndarray:
    return np.flatnonzero(sequences.lengths > LEADING)[group.rank :: group.count]


def _mean(total: float, count: float) -> float | None:
    return total / count if count else None
