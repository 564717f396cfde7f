"""From an encoder's states to the answer to one question, or to an embedding of the patient.

Shape suffixes: B sequences, T positions, K codes of the outcome, d width.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from claimscale.model import transfer
from claimscale.model.encoder import Encoder, Inputs

LEAST_HAZARD = 1e-12
SUM_SCALE = 1 / 8
"""Sums over some 64 independent positions are about this much larger than one."""


class Readout(nn.Module):
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
        if self.foretells:
            self.trust = nn.Parameter(torch.ones(()))

    @property
    def foretells(self) -> bool:
        return len(self.outcome) > 0

    def forward(self, inputs: Inputs) -> Tensor:
        """Logits [B], one per sequence."""
        first_Bd, mean_Bd = pooled(self.encoder, inputs)
        sum_Bd = self.encoder.contributions.summed(self.encoder.embed(inputs), inputs.layout) * SUM_SCALE
        states_B3d = torch.cat((first_Bd, mean_Bd, sum_Bd), 1)
        logit_B = states_B3d @ self.weight * transfer.output_multiplier(self.encoder.shape.width) + self.bias
        if not self.foretells:
            return logit_B
        return logit_B + self.trust * self.foretold(first_Bd, inputs)

    def foretold(self, first_Bd: Tensor, inputs: Inputs) -> Tensor:
        """Log odds [B] that one of the outcome's codes is incident next, from the states at [CLS]."""
        return any_incident(self.encoder.incident_logits(first_Bd, inputs)[:, self.outcome])


def any_incident(logits_BK: Tensor) -> Tensor:
    """Log odds [B] that at least one of K codes is incident, taken as independent, from their logits."""
    hazard_B = F.softplus(logits_BK.float()).sum(1).clamp_min(LEAST_HAZARD)  # none is with exp(-hazard)
    return hazard_B + torch.log(-torch.expm1(-hazard_B))


def pooled(encoder: Encoder, inputs: Inputs) -> tuple[Tensor, Tensor]:
    """Two vectors per sequence, [B, d] each: the state at [CLS], and the mean over positions."""
    hidden_Td, bounds = encoder(inputs).float(), inputs.layout.bounds
    means_Bd = torch.segment_reduce(hidden_Td, "mean", offsets=bounds.long())
    return hidden_Td[bounds[:-1]], means_Bd
