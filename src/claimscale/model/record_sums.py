"""Sums over the codes of a record: of states, and of hazards.

Attention takes averages: of a hundred codes, a decisive one has a weight of a hundredth until a head has
learnt to find it, and each of thousands of outcomes has other decisive codes. A sum keeps its full size.
Shape suffixes: T positions, B sequences, V vocabulary, d width, E embedding width, R causes.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from claimscale.model import completep
from claimscale.model.attention import BatchLayout
from claimscale.model.block import RmsNorm
from claimscale.model.shapes import Shape

LARGEST_LOG = 20.0
"""Log hazards are cut here, so that no sum overflows."""
USUAL_LENGTH = 64


class RecordSums(NamedTuple):
    """Sums of each sequence: of states [B, d], and log hazards of the causes [B, R]."""

    states: Tensor
    log_hazards: Tensor


class SumPooling(nn.Module):
    """A transform of each position, summed over the sequence."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.norm = RmsNorm(shape.width)
        self.up = completep.HiddenLinear(shape.width, shape.width)
        self.down = completep.HiddenLinear(shape.width, shape.embedding)
        nn.init.zeros_(self.down.weight)
        self.multiplier = completep.output_multiplier(shape.embedding)

    def forward(self, x_Td: Tensor, layout: BatchLayout) -> Tensor:
        """Sums [B, d] from embedded positions [T, d]."""
        states_Td = F.gelu(self.up(self.norm(x_Td)), approximate="tanh")
        return torch.segment_reduce(states_Td.float(), "sum", offsets=layout.bounds.long())

    def code_states(self, summed_Bd: Tensor) -> Tensor:
        """Sums as [B, E], for the product with code embeddings."""
        return self.down(summed_Bd) * self.multiplier


class AdditiveHazards(nn.Module):
    """Hazards of incident codes that add over the codes of a record.

    A drug is started for one of several reasons, and hazards of independent reasons add; log odds that add
    would multiply them. The hazard of code v is the sum over positions t and causes r of
    exp(a_r(t)) exp(b_r(v)): a position adds to the causes by itself and in its context, and a cause to codes
    by their embeddings. The causes are few, so that a code needs no sum of its own over positions.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.norm = RmsNorm(shape.width)
        self.causes = completep.HiddenLinear(shape.width, shape.causes)
        self.effects = completep.HiddenLinear(shape.embedding, shape.causes)
        self.bias = nn.Parameter(torch.zeros(shape.vocabulary))
        # The mean of exp(a + b) at the start, where a and b have variance 1, is e.
        self.offset = math.log(USUAL_LENGTH * shape.causes) + 1

    def forward(self, x_Td: Tensor, context_Td: Tensor, layout: BatchLayout) -> Tensor:
        """Log hazards of the causes [B, R], from embedded positions and states of a late layer, [T, d]."""
        log_TR = self.causes(self.norm(x_Td + context_Td))
        hazards_TR = log_TR.float().clamp(-LARGEST_LOG, LARGEST_LOG).exp()
        return torch.segment_reduce(hazards_TR, "sum", offsets=layout.bounds.long()).log()

    def code_logits(self, log_hazards_BR: Tensor, embeddings_KE: Tensor, codes: slice | Tensor) -> Tensor:
        """Log hazards [B, K] of codes with these embeddings."""
        effects_KR = self.effects(embeddings_KE * completep.input_multiplier()).float()
        effects_KR = effects_KR.clamp(-LARGEST_LOG, LARGEST_LOG).exp()
        hazards_BK = F.linear(log_hazards_BR.exp(), effects_KR)
        return hazards_BK.float().log() + (self.bias[codes] - self.offset)
