"""EveryQuery (Chandak et al. 2026, arXiv 2603.07900): one pass answers whether a code comes within a horizon.

The history up to a random day is followed by queries. A query is a code and a horizon; its state says whether
the code occurs in that time. Queries see the history and themselves, so that many are answered in one pass.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from claimscale.model.recipes.history import (
    FIRST,
    CodeTypes,
    Histories,
    Items,
    PaddedBatch,
    RecipeSequences,
    sequences,
)
from claimscale.model.recipes.layers import age_features
from claimscale.model.recipes.recipe import (
    Dimensions,
    Recipe,
    RecipeModel,
    initialise,
    mean_of,
    transformer,
)
from claimscale.tokens.special_tokens import FIRST_CODE

QUERIES = 16
"""Of a patient in a step; half of them are codes that came, whenever that was."""
HORIZON_DAYS = (30.0, 365.0)
DROPOUT = 0.1


def read(histories: Histories, codes: CodeTypes, max_length: int) -> RecipeSequences:
    """Sex, then codes; every position knows the age on the index date."""
    patients, index_age = np.arange(len(histories)), histories.index_age
    of_codes = {
        "token": histories.token,
        "age": histories.age_days,
        "now": index_age[histories.patient],
    }
    items = [
        Items(patients, FIRST, 0, {"token": histories.sex, "age": 0, "now": index_age}),
        Items(histories.patient, histories.visit, histories.order, of_codes),
    ]
    return sequences(items, len(histories), max_length)


class EveryQuery(RecipeModel):
    """An encoder whose last positions are queries."""

    def __init__(self, dimensions: Dimensions, codes: CodeTypes) -> None:
        super().__init__()
        width = self.readout_width = dimensions.width
        self.codes, self.heads = codes, dimensions.heads
        self.token, self.query = nn.Embedding(codes.size, width), nn.Linear(width, width)
        self.time = nn.Linear(width, width)
        self.norm, self.dropout = nn.LayerNorm(width), nn.Dropout(DROPOUT)
        self.layers = transformer(dimensions, DROPOUT, norm_first=True)
        self.answer = nn.Linear(width, 1)
        self.task = nn.Parameter(torch.zeros(width))
        initialise(self)

    @torch.no_grad()
    def ask(self, outcome: np.ndarray) -> None:
        """Begin fine-tuning with the query that a task is nearest to: the mean of its codes."""
        if len(outcome):
            self.task.copy_(self.token.weight[torch.from_numpy(outcome).long()].mean(0))

    def states(self, batch: PaddedBatch, query_BQW: Tensor, now_B1: Tensor, seen_BL: Tensor) -> Tensor:
        """States of the queries [B, Q, W], which see some positions."""
        age_BL = batch.channels["age"]
        half = self.token.embedding_dim // 2
        ago = (now_B1 - age_BL).clamp_min(0)
        times = torch.cat((age_features(age_BL, half), age_features(ago, half)), 2)
        known_BLW = self.norm(self.token(batch.token) + self.time(times))
        x = self.dropout(torch.cat((known_BLW, query_BQW), 1))
        length, queries = age_BL.shape[1], query_BQW.shape[1]
        itself = torch.eye(length + queries, dtype=torch.bool, device=age_BL.device)
        sees = F.pad(seen_BL, (0, queries))[:, None, :] | itself
        return self.layers(x, mask=(~sees).repeat_interleave(self.heads, 0))[:, length:]

    def queries(self, vectors: Tensor, horizon: Tensor) -> Tensor:
        """Queries from vectors of codes [B, Q, W] and horizons in days [B, Q]."""
        return self.norm(self.query(vectors) + self.time(age_features(horizon, vectors.shape[2])))

    def pretraining_loss(self, batch: PaddedBatch) -> Tensor:
        age_BL, present_BL = batch.channels["age"].float(), batch.present
        now_B1 = batch.channels["now"][:, :1].float()
        cut_B1 = age_BL.gather(
            1, (torch.rand(len(age_BL), 1, device=age_BL.device) * present_BL.sum(1, True)).long()
        )
        shortest, longest = HORIZON_DAYS
        random_BQ = torch.rand(len(age_BL), QUERIES, device=age_BL.device)
        horizon_BQ = shortest + random_BQ * ((now_B1 - cut_B1).clamp_max(longest) - shortest).clamp_min(0)
        observed_BQ = (cut_B1 + horizon_BQ <= now_B1).float()
        later_BL = present_BL & (age_BL > cut_B1)
        code_BQ = self._queried(batch.token, later_BL)
        within_BQL = (age_BL - cut_B1)[:, None, :] <= horizon_BQ[..., None]
        same_BQL = batch.token[:, None, :] == code_BQ[..., None]
        came_BQ = (same_BQL & within_BQL & later_BL[:, None, :]).any(2).float()
        query_BQW = self.queries(self.token(code_BQ), horizon_BQ)
        seen_BL = present_BL & ~later_BL
        logit_BQ = self.answer(self.states(batch, query_BQW, cut_B1, seen_BL)).squeeze(2)
        losses = F.binary_cross_entropy_with_logits(logit_BQ, came_BQ, reduction="none")
        return mean_of((losses * observed_BQ).sum(), int(observed_BQ.sum()))

    def _queried(self, token_BL: Tensor, later_BL: Tensor) -> Tensor:
        """Codes of the queries, [B, Q]: half from the later codes where there are any, the rest at random."""
        random_BQ = torch.randint(
            FIRST_CODE, max(self.codes.size, FIRST_CODE + 1), (len(token_BL), QUERIES), device=token_BL.device
        )
        chances_BL = later_BL.float() + 1e-9
        later_BQ = token_BL.gather(1, torch.multinomial(chances_BL, QUERIES // 2, replacement=True))
        later_BQ = torch.where(later_BL.any(1, keepdim=True), later_BQ, random_BQ[:, : QUERIES // 2])
        return torch.cat((later_BQ, random_BQ[:, QUERIES // 2 :]), 1)

    def readout(self, batch: PaddedBatch) -> Tensor:
        now_B1 = batch.channels["now"][:, :1]
        vectors = self.task.expand(len(now_B1), 1, -1)
        horizon = torch.full_like(now_B1, int(HORIZON_DAYS[1]))
        return self.states(batch, self.queries(vectors, horizon), now_B1, batch.present).squeeze(1)


RECIPE = Recipe(
    name="everyquery",
    source="Chandak et al. 2026, arXiv 2603.07900",
    read=read,
    build=EveryQuery,
    layers=12,
    aspect=4.0,
    differs=(
        "Sixteen queries of each patient are answered in one pass; the paper answers one.",
        "The encoder is BERT's with norms before; the paper's code has ModernBERT, with rotary positions.",
        "Times are sines, added to codes; the paper's code adds none.",
        "The horizon is part of the query; the paper's code gives it a position of its own.",
        "One linear layer answers; the paper's code has two, and also predicts whether the time is observed.",
        "The classifier starts from a query of the outcome's codes, and is fine-tuned.",
    ),
    weight_decay=0.05,
)
