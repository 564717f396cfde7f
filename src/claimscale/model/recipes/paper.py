"""The target paper (arXiv 2604.22348), as far as it is known: an encoder, masked codes, the same settings at
every size.

The abstract names an encoder-only transformer, pretraining on structured claims, five sizes and fine-tuning.
It does not say how a history becomes a sequence. Here: [CLS], sex, and all codes in order of day, with
embeddings of the age in years, and sinusoids of the position.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from claimscale.constants import DAYS_PER_YEAR
from claimscale.model.recipes.history import (
    FIRST,
    CodeTypes,
    Histories,
    Items,
    PaddedBatch,
    RecipeSequences,
    sequences,
)
from claimscale.model.recipes.recipe import (
    Dimensions,
    MaskedCodeHead,
    Recipe,
    RecipeModel,
    attended,
    initialise,
    mask_codes,
    mean_state,
    sinusoids,
    transformer,
)
from claimscale.tokens.special_tokens import CLS

OLDEST = 120
DROPOUT = 0.1
POSITION_SCALE = 0.02
"""The standard deviation of an embedding at the start."""


def read(histories: Histories, codes: CodeTypes, max_length: int) -> RecipeSequences:
    """[CLS], sex, codes."""
    patients = np.arange(len(histories))

    def channels(token: np.ndarray | int, age_days: np.ndarray) -> dict[str, np.ndarray | int]:
        return {"token": token, "age": (age_days / DAYS_PER_YEAR).astype(np.int64).clip(0, OLDEST)}

    items = [
        Items(patients, FIRST, 0, channels(CLS, histories.index_age)),
        Items(patients, FIRST, 1, channels(histories.sex, histories.index_age)),
        Items(
            histories.patient,
            histories.visit,
            histories.order,
            channels(histories.token, histories.age_days),
        ),
    ]
    return sequences(items, len(histories), max_length)


class PaperEncoder(RecipeModel):
    """BERT with ages and positions."""

    def __init__(self, dimensions: Dimensions, codes: CodeTypes) -> None:
        super().__init__()
        self.width = dimensions.width
        self.readout_width = 2 * self.width
        self.codes = codes
        self.token, self.age = nn.Embedding(codes.size, self.width), nn.Embedding(OLDEST + 1, self.width)
        self.norm, self.dropout = nn.LayerNorm(self.width, eps=1e-12), nn.Dropout(DROPOUT)
        self.layers = transformer(dimensions, DROPOUT)
        self.head = MaskedCodeHead(self.width, codes)
        initialise(self)

    def states(self, batch: PaddedBatch, token_BL: Tensor) -> Tensor:
        """Final states, [B, L, W]."""
        positions_LW = sinusoids(token_BL.shape[1], self.width).to(self.token.weight)
        embedded = self.token(token_BL) + self.age(batch.channels["age"])
        embedded = self.norm(embedded + POSITION_SCALE * positions_LW)
        return attended(self.layers, self.dropout(embedded), batch.present)

    def pretraining_loss(self, batch: PaddedBatch) -> Tensor:
        masked = mask_codes(batch.token, self.codes)
        return self.head.loss(self.states(batch, masked.token), self.token.weight, masked)

    def readout(self, batch: PaddedBatch) -> Tensor:
        states_BLW = self.states(batch, batch.token)
        return torch.cat((states_BLW[:, 0], mean_state(states_BLW, batch.present)), 1)


RECIPE = Recipe(
    name="paper",
    source="arXiv 2604.22348",
    read=read,
    build=PaperEncoder,
    layers=12,
    aspect=4.0,
    differs=(
        "Sequence, embeddings, mask, dropout and readout: the abstract does not say.",
        "The learning rate is chosen once for each size; the paper keeps its settings over sizes.",
    ),
)
