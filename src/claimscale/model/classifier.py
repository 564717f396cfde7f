"""From an encoder's states to the answer to one question, or to an embedding of the patient.

Shape suffixes: B sequences, T positions, K codes of the outcome, d width.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from claimscale.model import completep
from claimscale.model.encoder import Encoder, Inputs

LEAST_HAZARD = 1e-12
SUM_SCALE = 1 / 8
"""Sums over some 64 independent positions are about this much larger than one."""


class Pooled(NamedTuple):
    """Read of each sequence, [B, d] each: the state at [CLS], the mean over states, summed sum_pooling."""

    first: Tensor
    mean: Tensor
    summed: Tensor


class EncoderClassifier(nn.Module):
    """An encoder and the logit of one question.

    Read from each sequence's [CLS], the mean over its positions and the sum of what they contribute:
    pretraining asks positions what they know, and [CLS] alone would hide most of it from few labels. These
    weights are zero before training.

    `outcome` int64 [K] are the tokens that the question is about, if pretraining has learnt to foretell
    incident codes. The logit then begins as the log odds that one of them is incident next, so that few
    labels have little left to teach.
    """

    outcome: Tensor

    def __init__(self, encoder: Encoder, outcome: np.ndarray | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        tokens = torch.as_tensor(np.zeros(0) if outcome is None else outcome, dtype=torch.long)
        self.register_buffer("outcome", tokens, persistent=False)
        self.weight = nn.Parameter(torch.zeros(3 * encoder.shape.width))
        self.bias = nn.Parameter(torch.zeros(()))
        if self.has_zero_shot:
            self.zero_shot_scale = nn.Parameter(torch.ones(()))

    @property
    def has_zero_shot(self) -> bool:
        return len(self.outcome) > 0

    def forward(self, inputs: Inputs) -> Tensor:
        """Logits [B], one per sequence."""
        states = pooled(self.encoder, inputs)
        logit_B = self.read(states) + self.bias
        return (
            logit_B + self.zero_shot_scale * self.zero_shot_logit(states, inputs)
            if self.has_zero_shot
            else logit_B
        )

    def read(self, states: Pooled) -> Tensor:
        """What this question's own weights make of the states, [B]."""
        states_B3d = torch.cat((states.first, states.mean, states.summed * SUM_SCALE), 1)
        return states_B3d @ self.weight * completep.output_multiplier(self.encoder.shape.width)

    def zero_shot_logit(self, states: Pooled, inputs: Inputs) -> Tensor:
        """Log odds [B] that one of the outcome's codes is incident next."""
        logits_BV = self.encoder.incident_logits(states.first, states.summed, inputs)
        return any_incident(logits_BV[:, self.outcome])


def any_incident(logits_BK: Tensor) -> Tensor:
    """Log odds [B] that at least one of K codes is incident, taken as independent, from their logits."""
    hazard_B = F.softplus(logits_BK.float()).sum(1).clamp_min(LEAST_HAZARD)  # none is with exp(-hazard)
    return hazard_B + torch.log(-torch.expm1(-hazard_B))


def pooled(encoder: Encoder, inputs: Inputs) -> Pooled:
    """What is read of each sequence of a batch, float32."""
    x_Td, bounds = encoder.embed(inputs), inputs.layout.bounds
    hidden_Td = encoder.attend(x_Td, inputs).float()
    mean_Bd = torch.segment_reduce(hidden_Td, "mean", offsets=bounds.long())
    return Pooled(hidden_Td[bounds[:-1]], mean_Bd, encoder.sum_pooling(x_Td, inputs.layout))
