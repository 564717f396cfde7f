"""The scores of a pretraining on patients it was not trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from claimscale.model.attention import QueryPositions
from claimscale.model.encoder import Encoder
from claimscale.tokens.batches import mask_batch, microbatches
from claimscale.tokens.pretraining_inputs import PretrainingSample
from claimscale.tokens.sequences import Sequences, seen_earlier
from claimscale.tokens.special_tokens import LEADING
from claimscale.training import loop
from claimscale.training.distributed import SINGLE, ProcessGroup
from claimscale.training.pretraining_run import masked_inputs, outcomes_of

SEED = 20220401
MASK = 0.3
"""Fixed, so that every size, seed and way of masking is asked about the same masked codes."""

Scores = dict[str, float | None]
"""Mean losses in nats per code; null where there was none to name."""


@dataclass(frozen=True)
class Validation:
    """Patients to score on: all that was known of them, and what they were known for on earlier days."""

    latest: Sequences
    dated: PretrainingSample | None = None
    trained: Sequences | None = None
    """Some of the training patients: a lower loss on them tells of overfitting."""


def validate(
    model: Encoder, validation: Validation, device: torch.device, ranks: ProcessGroup = SINGLE
) -> Scores:
    """Loss on masked codes, overall and apart for first-ever and repeated ones, and on incident codes.

    `train_loss` is that on masked codes of training patients.

    A code is repeated if the sequence holds it earlier or its position stands for several. What is asked does
    not depend on how the model was trained.
    """
    model.eval()
    scores = masked_scores(model, validation.latest, device, ranks)
    if validation.dated is not None:
        scores["validation_loss_incident"] = incident_score(model, validation.dated, device, ranks)
    if validation.trained is not None:
        scores["train_loss"] = masked_scores(model, validation.trained, device, ranks)["validation_loss"]
    model.train()
    return scores


@torch.no_grad()
def masked_scores(
    model: Encoder, sequences: Sequences, device: torch.device, ranks: ProcessGroup = SINGLE
) -> Scores:
    repeated = seen_earlier(sequences) | (sequences.count > 1)
    losses, is_repeat = [np.zeros(0, np.float32)], [np.zeros(0, np.bool_)]
    for batch in microbatches(sequences, _share(sequences, ranks), loop.microbatch_tokens(device)):
        masked = mask_batch(batch, MASK, SEED, 0)
        inputs, _, targets = masked_inputs(batch, masked, device)
        with loop.mixed_precision(device):
            hidden = model(inputs, QueryPositions.of(masked.position, batch.lengths, device))
            for rows, target in zip(hidden.split(1024), targets.split(1024), strict=True):
                logits = model.masked_logits(rows).float()
                losses.append(F.cross_entropy(logits, target, reduction="none").cpu().numpy())
        is_repeat.append(repeated[batch.source[masked.position]])
    loss, repeat = np.concatenate(losses).astype(np.float64), np.concatenate(is_repeat)
    first, again, firsts, repeats = ranks.sum(
        float(loss[~repeat].sum()), float(loss[repeat].sum()), int((~repeat).sum()), int(repeat.sum())
    )
    return {
        "validation_loss": _mean(first + again, firsts + repeats),
        "validation_loss_new": _mean(first, firsts),
        "validation_loss_recurrent": _mean(again, repeats),
    }


@torch.no_grad()
def incident_score(
    model: Encoder, view: PretrainingSample, device: torch.device, ranks: ProcessGroup = SINGLE
) -> float | None:
    """Binary cross-entropy over the codes that patients are at risk of, per code that was incident."""
    codes = view.incident
    assert codes is not None
    share = _share(view.sequences, ranks)
    share = share[codes.has_full_horizon[share]]
    loss = 0.0
    for batch in microbatches(view.sequences, share, loop.microbatch_tokens(device)):
        inputs = loop.on_device(batch, batch.token, device)
        with loop.mixed_precision(device):
            hidden = model(inputs, QueryPositions.of(loop.firsts(batch), batch.lengths, device))
            loss += float(model.incident_loss(hidden, inputs, outcomes_of(codes, batch.index, device)))
    total, incident = ranks.sum(loss, int(codes.counts(share).sum()))
    return _mean(total, incident)


def _share(sequences: Sequences, ranks: ProcessGroup) -> np.ndarray:
    return np.flatnonzero(sequences.lengths > LEADING)[ranks.rank :: ranks.count]


def _mean(total: float, count: float) -> float | None:
    return total / count if count else None
