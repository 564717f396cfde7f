"""MOTOR (Steinberg et al. 2024, arXiv 2301.03150): the time until each of many codes, in pieces.

A decoder with rotary positions on days reads the history; after each day it predicts the time to the next
occurrence of every code, as a piecewise exponential distribution (section 3.2): of each piece of time the
hazard of a code is the exponential of the product of a state of that piece and the code's vector.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from claimscale.constants import DAYS_PER_YEAR
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
from claimscale.model.recipes.layers import RotaryLayer, age_features
from claimscale.model.recipes.recipe import Dimensions, Recipe, RecipeModel, initialise, last_state, mean_of
from claimscale.tokens.special_tokens import FIRST_CODE

PIECES_DAYS = (0.0, 7.0, 30.0, 60.0, 120.0, 240.0, 365.0, 730.0)
"""Starts of the pieces of time; the last has no end."""
MOST_CODES = 512
PIECE_WIDTH = 16
LOWEST_LOG_HAZARD = -12.0
"""Per day; the start of every hazard."""


def read(histories: Histories, codes: CodeTypes, max_length: int) -> RecipeSequences:
    """Sex, codes, and the index date."""
    patients, index_age = np.arange(len(histories)), histories.index_age
    end = index_age[histories.patient]
    items = [
        Items(patients, FIRST, 0, {"token": histories.sex, "age": 0, "end": index_age}),
        Items(
            histories.patient,
            histories.visit,
            histories.order,
            {"token": histories.token, "age": histories.age_days, "end": end},
        ),
        Items(patients, LAST, 0, {"token": codes.size, "age": index_age, "end": index_age}),
    ]
    return sequences(items, len(histories), max_length)


class Motor(RecipeModel):
    """A decoder with a piecewise exponential time to each of the most common codes."""

    def __init__(self, dimensions: Dimensions, codes: CodeTypes) -> None:
        super().__init__()
        width = self.readout_width = dimensions.width
        self.predicted = min(MOST_CODES, codes.size - FIRST_CODE)
        self.token, self.age = nn.Embedding(codes.size + 1, width), nn.Linear(width, width)
        self.layers = nn.ModuleList(RotaryLayer(dimensions) for _ in range(dimensions.layers))
        self.norm = nn.LayerNorm(width)
        self.pieces = nn.Linear(width, len(PIECES_DAYS) * PIECE_WIDTH)
        self.code = nn.Linear(PIECE_WIDTH, self.predicted)
        initialise(self)
        nn.init.constant_(self.code.bias, LOWEST_LOG_HAZARD)

    def states(self, batch: PaddedBatch) -> Tensor:
        """Final states, [B, L, W]."""
        age_BL = batch.channels["age"]
        x_BLW = self.token(batch.token)
        x_BLW = x_BLW + self.age(age_features(age_BL, x_BLW.shape[2]))
        length = age_BL.shape[1]
        seen = torch.ones(length, length, dtype=torch.bool, device=age_BL.device).tril()
        seen = seen & (
            batch.present[:, None, None, :] | torch.eye(length, dtype=torch.bool, device=seen.device)
        )
        for layer in self.layers:
            x_BLW = layer(x_BLW, age_BL * DAYS_PER_YEAR, seen)
        return self.norm(x_BLW)

    def pretraining_loss(self, batch: PaddedBatch) -> Tensor:
        """The mean negative log-likelihood per day of contact and code."""
        age_BL = batch.channels["age"].float()
        end_of_day = torch.cat((age_BL.diff(dim=1) > 0, torch.zeros_like(age_BL[:, :1]) > 0), 1)
        is_query = end_of_day & batch.present & (batch.channels["end"] > age_BL)
        log_hazard_QPK = self.log_hazards(self.states(batch)[is_query])
        next_BLK = times_of_next(batch.token, age_BL, self.predicted)
        wait_QK = next_BLK[is_query] - age_BL[is_query][:, None]
        censored_Q = (batch.channels["end"] - age_BL)[is_query]
        return mean_of(piecewise_loss(log_hazard_QPK, wait_QK, censored_Q), wait_QK.numel())

    def log_hazards(self, states_QW: Tensor) -> Tensor:
        """Log hazards per day, [Q, pieces, K]."""
        return self.code(self.pieces(states_QW).unflatten(1, (len(PIECES_DAYS), PIECE_WIDTH)))

    def readout(self, batch: PaddedBatch) -> Tensor:
        return last_state(self.states(batch), batch.present)


def times_of_next(token_BL: Tensor, age_BL: Tensor, predicted: int) -> Tensor:
    """Age at the next occurrence of each predicted code after each position, [B, L, K]; else infinite."""
    place = (token_BL - FIRST_CODE).clamp(0, predicted - 1)
    counts = (token_BL >= FIRST_CODE) & (token_BL < FIRST_CODE + predicted)
    found = age_BL.new_full((*token_BL.shape, predicted), torch.inf)
    found.scatter_(2, place[..., None], torch.where(counts, age_BL, torch.inf)[..., None])
    following = found.flip(1).cummin(1).values.flip(1)[:, 1:]
    return torch.cat((following, torch.full_like(found[:, :1], torch.inf)), 1)


def piecewise_loss(log_hazard_QPK: Tensor, wait_QK: Tensor, censored_Q: Tensor) -> Tensor:
    """The summed negative log-likelihood of waiting times [Q, K] that are seen up to `censored_Q` days."""
    starts_P = log_hazard_QPK.new_tensor(PIECES_DAYS)
    ends_P = torch.cat((starts_P[1:], starts_P.new_tensor([torch.inf])))
    seen_QK = torch.minimum(wait_QK, censored_Q[:, None])
    lengths_P1 = (ends_P - starts_P)[:, None]
    exposed_QPK = (seen_QK[:, None, :] - starts_P[:, None]).clamp_min(0).minimum(lengths_P1)
    came_QK = wait_QK <= censored_Q[:, None]
    piece_QK = (torch.bucketize(seen_QK, starts_P, right=True) - 1).clamp_min(0)
    at_event_QK = log_hazard_QPK.gather(1, piece_QK[:, None, :]).squeeze(1)
    return (log_hazard_QPK.exp() * exposed_QPK).sum() - (at_event_QK * came_QK).sum()


RECIPE = Recipe(
    name="motor",
    source="Steinberg et al. 2024, arXiv 2301.03150",
    read=read,
    build=Motor,
    layers=12,
    aspect=4.0,
    differs=(
        "The most common 512 codes are predicted; the paper chooses 8,192 by entropy.",
        "Attention reaches the whole history; the paper's reaches 512 positions.",
        "A last position stands on the index date; all weights are fine-tuned.",
        "Pieces of time are fixed; the paper takes quantiles.",
        "Attention and feed-forward follow each other, with layer norms; the paper's code has them side by "
        "side, with norms of root mean squares, also before the hazards.",
        "The slowest rotation is 1/10,000 per day; in the paper's code the square of it.",
        "Ages are added to the embeddings; the paper's code gives them to every layer.",
        "Every day predicts, and hazards start equal; in the paper's code a tenth, from code rates.",
        "The loss is summed over pieces of time; the paper's code takes their mean.",
    ),
)
