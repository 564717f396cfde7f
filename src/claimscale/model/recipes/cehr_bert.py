"""CEHR-BERT (Pang et al. 2021, arXiv 2111.08585): times between visits and in every embedding.

Each visit stands between a start and an end token; between visits stands a token of the time that passed:
W0 to W3 below 28 days, M1 to M12 below 360 days, LT beyond (section 3.2). The embeddings of code, time and
age are concatenated and transformed; time and age are sines of learnt frequencies (section 3.3). Masked codes
and the types of visits are predicted (section 3.4).
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
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
    transformer,
)
from claimscale.tokens.special_tokens import CLS

START, END, FIRST_GAP = 0, 1, 2
"""Tokens of the recipe, after those of the store."""
WEEKS, MONTHS = 4, 12
OWN_TOKENS = FIRST_GAP + WEEKS + MONTHS + 1
TIME_WIDTH = 16
SEGMENTS = 3
END_PLACE = 1 << 20
OUTPATIENT, INPATIENT, NO_VISIT = 0, 1, 2
DROPOUT = 0.1


def gap_token(days: np.ndarray) -> np.ndarray:
    """The recipe's token of so many days between visits, from FIRST_GAP on."""
    weeks, months = days // 7, days // 30
    by_month = WEEKS + months.clip(1, MONTHS) - 1
    beyond = np.full_like(days, WEEKS + MONTHS)
    return FIRST_GAP + np.where(weeks < WEEKS, weeks, np.where(days < 360, by_month, beyond))


def read(histories: Histories, codes: CodeTypes, max_length: int) -> RecipeSequences:
    """[CLS], start, codes, end, time, start, codes, end, time to the index date."""
    days, index_age = histories.days(), histories.index_age
    patients = np.arange(len(histories))
    inpatient = histories.days_with(codes.admission).astype(np.int64)

    def item(
        rows: Histories, place: np.ndarray | int, token: np.ndarray | int, kind: np.ndarray | int
    ) -> Items:
        ago = index_age[rows.patient] - rows.age_days
        segment = np.where(kind == NO_VISIT, 0, 1 + rows.visit % 2)
        channels = {"token": token, "age": rows.age_days, "ago": ago, "kind": kind, "segment": segment}
        return Items(rows.patient, rows.visit, place, channels)

    kind = inpatient[histories.order == 0]
    gap = codes.size + gap_token(days.until_next())
    at_index = {"token": CLS, "age": index_age, "ago": 0, "kind": NO_VISIT, "segment": 0}
    items = [
        Items(patients, FIRST, 0, at_index),
        item(histories, histories.order, histories.token, inpatient),
        item(days, -1, codes.size + START, kind),
        item(days, END_PLACE, codes.size + END, kind),
        item(days, END_PLACE + 1, gap, NO_VISIT),
    ]
    return sequences(items, len(histories), max_length)


class Sines(nn.Module):
    """Sines of a time in years with learnt frequencies and phases, [..., TIME_WIDTH]."""

    def __init__(self) -> None:
        super().__init__()
        self.frequency, self.phase = (nn.Parameter(torch.randn(1, TIME_WIDTH)) for _ in range(2))

    def forward(self, days: Tensor) -> Tensor:
        return torch.sin(days[..., None] / DAYS_PER_YEAR * self.frequency + self.phase)


class CehrBert(RecipeModel):
    """BERT with CEHR-BERT's embeddings and two objectives."""

    def __init__(self, dimensions: Dimensions, codes: CodeTypes) -> None:
        super().__init__()
        width = self.readout_width = dimensions.width
        self.codes = codes
        self.token, self.segment = nn.Embedding(codes.size + OWN_TOKENS, width), nn.Embedding(SEGMENTS, width)
        self.joined = nn.Linear(width + 2 * TIME_WIDTH, width)
        self.layers = transformer(dimensions, DROPOUT)
        self.head, self.kind = MaskedCodeHead(width, codes), nn.Linear(width, 2)
        initialise(self)
        self.age, self.time = Sines(), Sines()

    def states(self, batch: PaddedBatch, token_BL: Tensor) -> Tensor:
        """Final states, [B, L, W]."""
        channels = batch.channels
        times = (self.time(channels["ago"]), self.age(channels["age"]))
        embedded = torch.tanh(self.joined(torch.cat((self.token(token_BL), *times), 2)))
        return attended(self.layers, embedded + self.segment(channels["segment"]), batch.present)

    def pretraining_loss(self, batch: PaddedBatch) -> Tensor:
        masked = mask_codes(batch.token, self.codes)
        states_BLW = self.states(batch, masked.token)
        loss = self.head.loss(states_BLW, self.token.weight, masked)
        kind_BL = batch.channels["kind"]
        predicted_BL = masked.is_masked & (kind_BL != NO_VISIT)
        kinds = F.cross_entropy(self.kind(states_BLW[predicted_BL]), kind_BL[predicted_BL], reduction="sum")
        return loss + kinds / predicted_BL.sum().clamp_min(1)

    def readout(self, batch: PaddedBatch) -> Tensor:
        return mean_state(self.states(batch, batch.token), batch.present)


RECIPE = Recipe(
    name="cehr_bert",
    source="Pang et al. 2021, arXiv 2111.08585",
    read=read,
    build=CehrBert,
    layers=5,
    aspect=4.0,
    differs=(
        "A last token of time says how long before the index date the history ends.",
        "Times are years before the index date; the paper counts weeks from a fixed date.",
        "A token of time has the age and date of the visit before; the public code gives it none.",
        "Sinusoids of the visit's order, which the public code adds to the concatenation, are left out.",
        "The embeddings are transformed with tanh, as at first; the public PyTorch code has GELU.",
        "Codes alone are masked and predicted; the public PyTorch code masks every token.",
        "The type of a visit is predicted at masked codes; visits are inpatient or outpatient.",
        "The classifier reads the mean state; the paper reads an LSTM over all states.",
    ),
)
