"""Delphi-2M (Shmatko et al. 2025, doi 10.1038/s41586-025-09529-3): the next code, and when it comes.

A decoder reads codes with sines of the age instead of positions. At each code it predicts the next one and
the waiting time until then, as competing exponential times whose rates are the exponentials of the logits
(Methods). What comes on the day of a target is hidden from its prediction.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from claimscale.model.recipes.history import (
    FIRST,
    LAST,
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
    last_state,
    mean_of,
)

NO_EVENT = 0
"""The recipe's only token of its own: nothing happened on the index date."""
START_DAYS = 30.0
"""Mean waiting time before training."""
DROPOUT = 0.1
SHORTEST_DAYS = 0.1
"""Added to every waiting time, as in the paper's code."""


def read(histories: Histories, codes: CodeTypes, max_length: int) -> RecipeSequences:
    """Sex, codes, and no event on the index date."""
    patients = np.arange(len(histories))
    items = [
        Items(patients, FIRST, 0, {"token": histories.sex, "age": 0}),
        Items(
            histories.patient,
            histories.visit,
            histories.order,
            {"token": histories.token, "age": histories.age_days},
        ),
        Items(patients, LAST, 0, {"token": codes.size + NO_EVENT, "age": histories.index_age}),
    ]
    return sequences(items, len(histories), max_length)


def visible(age_BL: Tensor, target_age_BL: Tensor | None, present_BL: Tensor) -> Tensor:
    """Which position k each position q sees, bool [B, q, k]: earlier ones, of other days than its target.

    Where that leaves none, and at padding, a position sees itself alone.
    """
    length = age_BL.shape[1]
    itself = torch.eye(length, dtype=torch.bool, device=age_BL.device)
    seen = present_BL[:, None, :] & torch.ones_like(itself).tril()
    if target_age_BL is not None:
        seen = seen & (age_BL[:, None, :] != target_age_BL[:, :, None])
    return seen | (itself & ~seen.any(2, keepdim=True))


class Delphi(RecipeModel):
    """A GPT without biases, with ages and waiting times."""

    def __init__(self, dimensions: Dimensions, codes: CodeTypes) -> None:
        super().__init__()
        width = self.readout_width = dimensions.width
        self.heads = dimensions.heads
        self.token = nn.Embedding(codes.size + 1, width)
        self.age, self.dropout = nn.Linear(width, width, bias=False), nn.Dropout(DROPOUT)
        layer = nn.TransformerEncoderLayer(
            width,
            dimensions.heads,
            dimensions.feed_forward,
            DROPOUT,
            activation=partial(F.gelu, approximate="tanh"),
            batch_first=True,
            norm_first=True,
            bias=False,
        )
        norm = nn.LayerNorm(width, bias=False)
        self.layers = nn.TransformerEncoder(layer, dimensions.layers, norm, enable_nested_tensor=False)
        initialise(self)
        self.log_start = math.log(START_DAYS * (codes.size + 1))

    def states(self, batch: PaddedBatch, seen_BLL: Tensor) -> Tensor:
        """Final states, [B, L, W]."""
        embedded = self.token(batch.token)
        embedded = embedded + self.age(age_features(batch.channels["age"], embedded.shape[2]))
        return self.layers(self.dropout(embedded), mask=(~seen_BLL).repeat_interleave(self.heads, 0))

    def losses(self, batch: PaddedBatch) -> tuple[Tensor, Tensor]:
        """The mean cross-entropy of the next code, and negative log-likelihood of the waiting time."""
        age_BL = batch.channels["age"].float()
        known = PaddedBatch(batch.token[:, :-1], {"age": age_BL[:, :-1]}, batch.present[:, :-1])
        seen_BLL = visible(age_BL[:, :-1], age_BL[:, 1:], known.present)
        predicted_BL = batch.present[:, 1:]
        logits = F.linear(self.states(known, seen_BLL)[predicted_BL], self.token.weight)
        target = batch.token[:, 1:][predicted_BL]
        code = F.cross_entropy(logits, target, reduction="sum")
        # The time since the newest position that is seen; exponential, with a shortest wait.
        place = torch.arange(seen_BLL.shape[2], device=age_BL.device)
        newest_BL = (seen_BLL * place).amax(2)
        waits_BL = (age_BL[:, 1:] - age_BL[:, :-1]).clamp_min(1.0).gather(1, newest_BL)
        log_rate = -torch.log(torch.exp(self.log_start - logits.logsumexp(1)) + SHORTEST_DAYS)
        log_time = torch.log(waits_BL[predicted_BL] + SHORTEST_DAYS)
        time = (torch.exp(log_rate + log_time) - log_rate).sum()
        return mean_of(code, len(target)), mean_of(time, len(target))

    def pretraining_loss(self, batch: PaddedBatch) -> Tensor:
        code, time = self.losses(batch)
        return code + time

    def readout(self, batch: PaddedBatch) -> Tensor:
        seen_BLL = visible(batch.channels["age"], None, batch.present)
        return last_state(self.states(batch, seen_BLL), batch.present)


RECIPE = Recipe(
    name="causal",
    source="Shmatko et al. 2025, doi 10.1038/s41586-025-09529-3",
    read=read,
    build=Delphi,
    layers=12,
    aspect=4.0,
    differs=(
        "All codes with their repeats are read; the paper reads first diagnoses.",
        "Rates start at one code in 30 days; the paper's start at one per code and day, from which a short "
        "training does not recover.",
        "The event that says nothing happened stands on the index date only, not at random ages.",
        "A classifier is trained on the last state; the paper reads risks from the rates.",
        "Projections onto the residual start as wide as the others; the paper's code starts them lower.",
    ),
    weight_decay=0.2,
)
