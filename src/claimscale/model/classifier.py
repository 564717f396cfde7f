"""The classifier of one task on an encoder, and the pooled states that it reads.

Shape suffixes: B sequences, T positions, K codes of the outcome, V vocabulary, d width.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from claimscale.model import completep
from claimscale.model.encoder import Encoder, EncoderInputs
from claimscale.model.kernels import full_precision
from claimscale.model.record_sums import RecordSums

LEAST_HAZARD = 1e-12
SUM_SCALE = 1 / 8
"""The inverse root mean square of a sum over about 64 independent positions."""


class PooledStates(NamedTuple):
    """States of each sequence, float32 [B, d]: at [CLS] and their mean; and the sums over the record."""

    cls: Tensor
    mean: Tensor
    sums: RecordSums


class EncoderClassifier(nn.Module):
    """An encoder with a linear head on its pooled states: the logit of one task.

    The head reads [CLS], the mean of the states and the sum pooling: pretraining teaches positions, and few
    labels are too few to collect that at [CLS]. Its weights are zero before training.

    `outcome_tokens` int64 [K] are the outcome's own codes, where pretraining predicts incident codes. The
    initial logit is then the zero-shot prediction, the log odds that one of them is incident.
    """

    outcome_tokens: Tensor

    def __init__(self, encoder: Encoder, outcome_tokens: np.ndarray | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        tokens = torch.as_tensor(np.zeros(0) if outcome_tokens is None else outcome_tokens, dtype=torch.long)
        self.register_buffer("outcome_tokens", tokens, persistent=False)
        self.weight = nn.Parameter(torch.zeros(3 * encoder.shape.width))
        self.bias = nn.Parameter(torch.zeros(()))
        if self.has_zero_shot:
            self.zero_shot_scale = nn.Parameter(torch.ones(()))

    @property
    def has_zero_shot(self) -> bool:
        return len(self.outcome_tokens) > 0

    def forward(self, inputs: EncoderInputs) -> Tensor:
        """Logits [B]."""
        states = pool(self.encoder, inputs)
        logit_B = self.head_logit(states) + self.bias
        if not self.has_zero_shot:
            return logit_B
        return logit_B + self.zero_shot_scale * self.zero_shot_logit(states, inputs)

    def head_logit(self, states: PooledStates) -> Tensor:
        """The linear head's logit [B], without bias."""
        states_B3d = torch.cat((states.cls, states.mean, states.sums.states * SUM_SCALE), 1)
        with full_precision(self.weight.device):
            return states_B3d @ self.weight * completep.output_multiplier(self.encoder.shape.width)

    def zero_shot_logit(self, states: PooledStates, inputs: EncoderInputs) -> Tensor:
        """Log odds [B] that one of the outcome's codes is incident within the horizon of pretraining."""
        return any_incident(
            self.encoder.incident_logits(states.cls, states.sums, inputs, self.outcome_tokens)
        )


def any_incident(logits_BK: Tensor) -> Tensor:
    """Log odds [B] that at least one of K independent codes is incident, from their logits."""
    # No code is incident with probability exp(-hazard).
    hazard_B = F.softplus(logits_BK.float()).sum(1).clamp_min(LEAST_HAZARD)
    return hazard_B + torch.log(-torch.expm1(-hazard_B))


def pool(encoder: Encoder, inputs: EncoderInputs) -> PooledStates:
    """The pooled states of each sequence of a batch."""
    x_Td, bounds = encoder.embed(inputs), inputs.layout.bounds
    states = encoder.attend(x_Td, inputs)
    hidden_Td = states.final.float()
    mean_Bd = torch.segment_reduce(hidden_Td, "mean", offsets=bounds.long())
    sums = encoder.record_sums(x_Td, states.context, inputs.layout)
    return PooledStates(hidden_Td[bounds[:-1]], mean_Bd, sums)
