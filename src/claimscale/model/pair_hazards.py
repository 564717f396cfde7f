"""Hazards of pairs of codes: a wide part beside the deep one (Cheng et al. 2016, arXiv:1606.07792).

States of a width of 64 or 512 cannot keep apart which of thousands of codes are recorded: after pretraining
no linear function of them tells who has haemorrhoids from who will be treated for them. A pair says it with
one number. Its rate starts from counts (`tokens.code_pairs`), so that a rare code need not be learnt from a
few dozen steps in which it occurs.
Shape suffixes: T positions, B sequences, V vocabulary, K codes, P pairs of a code, F features.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from claimscale.model.attention import BatchLayout
from claimscale.model.shapes import COUNT_FEATURES, PAIRS_PER_CODE, TIME_FEATURES, TYPE_COUNT, Shape
from claimscale.tokens.code_pairs import CodePairs

LARGEST_LOG = 20.0
LEAST_HAZARD = 1e-9
"""Of a sequence without any pair: its logarithm must be finite."""


class PairHazards(nn.Module):
    """The hazard of a code is the sum over its pairs of their rates, where the earlier code is recorded.

    A recorded code weighs 1 at the start; training learns how its weight depends on time and count, shared
    by all codes of a type, and by how much the logarithm of each rate differs from that of the counts.
    """

    earlier: Tensor
    log_rates: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        none = CodePairs.none(shape.vocabulary, PAIRS_PER_CODE)
        self.register_buffer("earlier", torch.from_numpy(none.earlier))
        self.register_buffer("log_rates", torch.from_numpy(none.log_rates))
        # A matrix, so that weight decay draws it to the rates of the counts.
        self.change = nn.Parameter(torch.zeros_like(self.log_rates))
        self.time = nn.Parameter(torch.zeros(TYPE_COUNT, TIME_FEATURES + COUNT_FEATURES))

    @torch.no_grad()
    def start_at(self, pairs: CodePairs) -> None:
        self.earlier.copy_(torch.from_numpy(pairs.earlier))
        self.log_rates.copy_(torch.from_numpy(pairs.log_rates))

    def rates(self, codes: slice | Tensor) -> Tensor:
        """What each pair of the codes adds to their hazards, [K, P]; 0 without a pair."""
        return (self.log_rates[codes] + self.change[codes]).exp()

    def weights(self, type_T: Tensor, features_TF: Tensor) -> Tensor:
        """What the code of each position weighs where it is recorded, float32 [T]."""
        log_T = (F.embedding(type_T, self.time) * features_TF).sum(-1).float()
        return log_T.clamp(-LARGEST_LOG, LARGEST_LOG).exp()

    def recorded(self, token_T: Tensor, weight_T: Tensor, layout: BatchLayout) -> Tensor:
        """The weights of the recorded codes by sequence, float32 [B, V + 1]; a last column of zeros."""
        empty_BV = weight_T.new_zeros(len(layout.bounds) - 1, len(self.earlier) + 1)
        return empty_BV.index_put((layout.rows(len(token_T)), token_T), weight_T, accumulate=True)

    def log_hazards(self, recorded_BV: Tensor, codes: slice | Tensor) -> Tensor:
        """Log hazards [B, K] of the codes."""
        earlier_KP = self.earlier[codes]
        rates_KP = self.rates(codes)
        weights_BKP = recorded_BV[:, earlier_KP.flatten()].unflatten(1, earlier_KP.shape)
        return ((weights_BKP * rates_KP).sum(2) + LEAST_HAZARD).log()
