"""BEHRT (Li et al. 2020, doi 10.1038/s41598-020-62922-y): BERT over visits, ages and positions.

A sequence is [CLS], then the codes of each visit and a separator. Four embeddings are summed (figure 3 of the
paper): of the code, of the age in years, of the segment, which alternates between visits, and of the visit's
position. Masked codes are predicted (section 'Pre-training BEHRT using masked language modelling').
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
    transformer,
)
from claimscale.tokens.special_tokens import CLS

OLDEST, POSITIONS, SEGMENTS = 120, 256, 2
SEPARATOR_PLACE = 1 << 20
"""After all codes of a visit."""
DROPOUT = 0.1


def read(histories: Histories, codes: CodeTypes, max_length: int) -> RecipeSequences:
    """[CLS], codes, separator, codes, separator, and so on."""
    days = histories.days()
    patients = np.arange(len(histories))

    def channels(
        token: np.ndarray | int, age_days: np.ndarray, visit: np.ndarray
    ) -> dict[str, np.ndarray | int]:
        age = (age_days / DAYS_PER_YEAR).astype(np.int64).clip(0, OLDEST)
        return {"token": token, "age": age, "visit": visit}

    items = [
        Items(patients, FIRST, 0, channels(CLS, histories.index_age, 0 * patients)),
        Items(
            histories.patient,
            histories.visit,
            histories.order,
            channels(histories.token, histories.age_days, histories.visit),
        ),
        Items(
            days.patient,
            days.visit,
            SEPARATOR_PLACE,
            channels(codes.size, days.age_days, days.visit),
        ),
    ]
    return _counted(sequences(items, len(histories), max_length), codes.size)


def _counted(found: RecipeSequences, separator: int) -> RecipeSequences:
    """Positions and segments, counted from the first visit that was kept, as in the paper's code.

    Where the cut left the separator of an older visit, it is dropped.
    """
    second = np.minimum(found.offsets[:-1] + 1, found.offsets[1:] - 1)
    kept = np.ones(len(found.channels["token"]), np.bool_)
    kept[second[found.channels["token"][second] == separator]] = False
    offsets = np.concatenate([[0], np.cumsum(kept)])[found.offsets]
    token, age, visit = (found.channels[name][kept] for name in ("token", "age", "visit"))
    first = visit[np.minimum(offsets[:-1] + 1, offsets[1:] - 1)]
    position = (visit - np.repeat(first, np.diff(offsets))).clip(0, POSITIONS - 1)
    channels = {"token": token, "age": age, "position": position, "segment": position % SEGMENTS}
    return RecipeSequences(channels, offsets)


class Behrt(RecipeModel):
    """BERT with BEHRT's embeddings."""

    position: Tensor

    def __init__(self, dimensions: Dimensions, codes: CodeTypes) -> None:
        super().__init__()
        width = self.readout_width = dimensions.width
        self.codes = codes
        self.token = nn.Embedding(codes.size + 1, width)
        self.age, self.segment = nn.Embedding(OLDEST + 1, width), nn.Embedding(SEGMENTS, width)
        self.norm, self.dropout = nn.LayerNorm(width, eps=1e-12), nn.Dropout(DROPOUT)
        self.layers = transformer(dimensions, DROPOUT)
        self.pooler = nn.Linear(width, width)
        self.head = MaskedCodeHead(width, codes)
        initialise(self)
        self.register_buffer("position", positions(POSITIONS, width), persistent=False)

    def states(self, batch: PaddedBatch, token_BL: Tensor) -> Tensor:
        """Final states, [B, L, W]."""
        channels = batch.channels
        embedded = self.token(token_BL) + self.segment(channels["segment"]) + self.age(channels["age"])
        embedded = embedded + self.position[channels["position"]]
        return attended(self.layers, self.dropout(self.norm(embedded)), batch.present)

    def pretraining_loss(self, batch: PaddedBatch) -> Tensor:
        masked = mask_codes(batch.token, self.codes)
        return self.head.loss(self.states(batch, masked.token), self.token.weight, masked)

    def readout(self, batch: PaddedBatch) -> Tensor:
        return torch.tanh(self.pooler(self.states(batch, batch.token)[:, 0]))


def positions(count: int, width: int) -> Tensor:
    """Sines at even features and cosines at odd ones, as the paper's code has them, [count, width]."""
    feature = torch.arange(width)
    angle = torch.arange(count)[:, None] / 10000 ** (2 * feature / width)
    return torch.where(feature % 2 == 0, angle.sin(), angle.cos())


RECIPE = Recipe(
    name="behrt",
    source="Li et al. 2020, doi 10.1038/s41598-020-62922-y",
    read=read,
    build=Behrt,
    layers=6,
    aspect=512 / 288,
    differs=(
        "All codes are read; the paper reads diagnoses.",
        "[CLS] has the age on the index date; the paper's code gives it that of the first code.",
        "Ages are in years; the paper's code also has them in months.",
        "Day of contact instead of visit.",
        "Codes alone are masked and predicted; the paper's code also masks separators and [CLS].",
        "Positions are sines, as in the paper; its code replaces them by random constants at the start.",
    ),
)
