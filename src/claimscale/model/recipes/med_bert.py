"""Med-BERT (Rasmy et al. 2021, doi 10.1038/s41746-021-00455-y): order within visits, prolonged stays.

A sequence is the codes, without [CLS] and separators. Three embeddings are summed (figure 2 of the paper): of
the code, of its order within the visit, and of the visit. At most two codes of each sequence are masked and
predicted, and from the mean state whether any stay was longer than seven days ('Pretraining Med-BERT').
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
from claimscale.model.recipes.recipe import (
    Dimensions,
    MaskedCodeHead,
    Recipe,
    RecipeModel,
    attended,
    corrupt,
    initialise,
    is_code,
    mean_state,
    transformer,
)

ORDERS, VISITS = 64, 256
PROLONGED_DAYS = 7
MASKED_SHARE, MASKED_CODES = 0.35, 2
"""So many codes of a sequence are masked, but at least one and at most two, as in the paper's code."""
DROPOUT = 0.1


def read(histories: Histories, codes: CodeTypes, max_length: int) -> RecipeSequences:
    """The sex, then the codes."""
    stayed = prolonged_stay(histories, codes)
    patients = np.arange(len(histories))

    def channels(
        token: np.ndarray, order: np.ndarray, visit: np.ndarray, patient: np.ndarray
    ) -> dict[str, np.ndarray]:
        return {
            "token": token,
            "order": order.clip(0, ORDERS - 1),
            "visit": visit.clip(0, VISITS - 1),
            "prolonged": stayed[patient].astype(np.int64),
        }

    nothing = 0 * patients
    items = [
        Items(patients, FIRST, 0, channels(histories.sex, nothing, nothing, patients)),
        Items(
            histories.patient,
            histories.visit,
            histories.order,
            channels(histories.token, histories.order, histories.visit, histories.patient),
        ),
    ]
    return sequences(items, len(histories), max_length)


def prolonged_stay(histories: Histories, codes: CodeTypes) -> np.ndarray:
    """Whether any stay of each patient was longer than seven days, bool [n]."""
    is_edge = np.isin(histories.token, [codes.admission, codes.discharge])
    patient, token = histories.patient[is_edge], histories.token[is_edge]
    age = histories.age_days[is_edge]
    ends = (token[1:] == codes.discharge) & (token[:-1] == codes.admission)
    long = ends & (patient[1:] == patient[:-1]) & (np.diff(age) > PROLONGED_DAYS)
    found = np.zeros(len(histories), np.bool_)
    found[patient[1:][long]] = True
    return found


class MedBert(RecipeModel):
    """BERT with Med-BERT's embeddings and two objectives."""

    def __init__(self, dimensions: Dimensions, codes: CodeTypes) -> None:
        super().__init__()
        width = self.readout_width = dimensions.width
        self.codes = codes
        self.token = nn.Embedding(codes.size, width)
        self.order, self.visit = nn.Embedding(ORDERS, width), nn.Embedding(VISITS, width)
        self.norm, self.dropout = nn.LayerNorm(width, eps=1e-12), nn.Dropout(DROPOUT)
        self.layers = transformer(dimensions, DROPOUT)
        self.head, self.stay = MaskedCodeHead(width, codes), nn.Linear(width, 1)
        initialise(self)

    def states(self, batch: PaddedBatch, token_BL: Tensor) -> Tensor:
        """Final states, [B, L, W]."""
        channels = batch.channels
        embedded = self.token(token_BL) + self.order(channels["order"]) + self.visit(channels["visit"])
        return attended(self.layers, self.dropout(self.norm(embedded)), batch.present)

    def pretraining_loss(self, batch: PaddedBatch) -> Tensor:
        masked = corrupt(batch.token, few_of_each(is_code(batch.token, self.codes)), self.codes)
        states_BLW = self.states(batch, masked.token)
        loss = self.head.loss(states_BLW, self.token.weight, masked)
        if self.codes.admission < 0:
            return loss
        logit_B = self.stay(mean_state(states_BLW, batch.present)).squeeze(1)
        return loss + F.binary_cross_entropy_with_logits(logit_B, batch.channels["prolonged"][:, 0].float())

    def readout(self, batch: PaddedBatch) -> Tensor:
        return mean_state(self.states(batch, batch.token), batch.present)


def few_of_each(allowed_BL: Tensor) -> Tensor:
    """Random allowed positions of each row, one or two, bool [B, L]."""
    chance_BL = torch.rand(allowed_BL.shape, device=allowed_BL.device) * allowed_BL
    rank_BL = chance_BL.argsort(1, descending=True).argsort(1)
    few_B1 = (MASKED_SHARE * allowed_BL.sum(1, keepdim=True)).round().clamp(1, MASKED_CODES)
    return (rank_BL < few_B1) & allowed_BL


RECIPE = Recipe(
    name="med_bert",
    source="Rasmy et al. 2021, doi 10.1038/s41746-021-00455-y",
    read=read,
    build=MedBert,
    layers=6,
    aspect=1.0,
    differs=(
        "All codes are read; the paper reads diagnoses, in order of priority, which claims lack.",
        "The sex comes first, so that no sequence is empty.",
        "Stays come from days of admission and discharge; without them the second objective is left out.",
        "Feed-forward as wide as the states; the paper's code has a third.",
        "Order within the visit, as in the paper; the paper's code has the position in the sequence.",
        "The mean state predicts prolonged stays; the paper's code reads a transform of the first state.",
        "GELU is exact; the paper's code approximates it.",
    ),
)
