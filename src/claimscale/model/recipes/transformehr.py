"""TransformEHR (Yang et al. 2023, doi 10.1038/s41467-023-43715-z): the codes of the next visit.

An encoder sees the visits before a random one; a decoder predicts all codes of that visit, one after the
other ('Pretraining objective'). Codes, ages and the time to the predicted visit are embedded.
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
    attended,
    initialise,
    mean_of,
    transformer,
)

DROPOUT = 0.1
MOST_CODES_OF_VISIT = 32


def read(histories: Histories, codes: CodeTypes, max_length: int) -> RecipeSequences:
    """Sex, then codes; every position knows the age on the index date."""
    patients, index_age = np.arange(len(histories)), histories.index_age
    of_codes = {
        "token": histories.token,
        "age": histories.age_days,
        "visit": 1 + histories.visit,
        "now": index_age[histories.patient],
    }
    items = [
        Items(patients, FIRST, 0, {"token": histories.sex, "age": 0, "visit": 0, "now": index_age}),
        Items(histories.patient, histories.visit, histories.order, of_codes),
    ]
    return sequences(items, len(histories), max_length)


class TransformEhr(RecipeModel):
    """An encoder and a decoder with half of the layers each."""

    def __init__(self, dimensions: Dimensions, codes: CodeTypes) -> None:
        super().__init__()
        width = self.readout_width = dimensions.width
        self.start = codes.size
        self.token, self.age = nn.Embedding(codes.size + 1, width), nn.Linear(width, width)
        self.norm, self.dropout = nn.LayerNorm(width), nn.Dropout(DROPOUT)
        self.encoder = transformer(dimensions, DROPOUT)
        layer = nn.TransformerDecoderLayer(
            width, dimensions.heads, dimensions.feed_forward, DROPOUT, activation="gelu", batch_first=True
        )
        self.decoder = nn.TransformerDecoder(layer, dimensions.layers)
        initialise(self)

    def embed(self, token: Tensor, age: Tensor, now: Tensor) -> Tensor:
        """Codes, with the age then and the time until the predicted visit, [B, L, W]."""
        half = self.token.embedding_dim // 2
        times = torch.cat((age_features(age, half), age_features(now - age, half)), 2)
        return self.dropout(self.norm(self.token(token) + self.age(times)))

    def decode(self, written_BD: Tensor, batch: PaddedBatch, now_B1: Tensor, seen_BL: Tensor) -> Tensor:
        """States [B, D, W] of the decoder, which has written the codes [B, D] and sees some positions."""
        age = batch.channels["age"]
        memory = attended(self.encoder, self.embed(batch.token, age, now_B1.expand_as(age)), seen_BL)
        now_BD = now_B1.expand_as(written_BD)
        causal = nn.Transformer.generate_square_subsequent_mask(written_BD.shape[1], now_BD.device).isinf()
        written = self.embed(written_BD, now_BD, now_BD)
        return self.decoder(
            written, memory, tgt_mask=causal, memory_key_padding_mask=~seen_BL, tgt_is_causal=True
        )

    def pretraining_loss(self, batch: PaddedBatch) -> Tensor:
        visit_BL = batch.channels["visit"]
        chance_B1 = torch.rand(len(visit_BL), 1, device=visit_BL.device)
        predicted_B1 = (chance_B1 * visit_BL.amax(1, keepdim=True)).long() + 1  # the sex is visit 0
        predicted_BL = (visit_BL == predicted_B1) & batch.present
        target_BD, counts_BD = _gathered(batch.token, predicted_BL)
        now_B1 = (batch.channels["age"] * predicted_BL).amax(1, keepdim=True)
        seen_BL = batch.present & (visit_BL < predicted_B1)
        start_B1 = torch.full_like(now_B1, self.start)
        states_BDW = self.decode(torch.cat((start_B1, target_BD[:, :-1]), 1), batch, now_B1, seen_BL)
        logits = F.linear(states_BDW[counts_BD], self.token.weight)
        return mean_of(F.cross_entropy(logits, target_BD[counts_BD], reduction="sum"), len(logits))

    def readout(self, batch: PaddedBatch) -> Tensor:
        now_B1 = batch.channels["now"][:, :1]
        start_B1 = torch.full_like(now_B1, self.start)
        return self.decode(start_B1, batch, now_B1, batch.present).squeeze(1)


def _gathered(token_BL: Tensor, chosen_BL: Tensor) -> tuple[Tensor, Tensor]:
    """The chosen tokens of each row from the left, int64 [B, D], and which there are, bool [B, D]."""
    most = min(MOST_CODES_OF_VISIT, max(1, int(chosen_BL.sum(1).max())))
    order = torch.argsort(~chosen_BL, dim=1, stable=True)[:, :most]
    return token_BL.gather(1, order), chosen_BL.gather(1, order)


RECIPE = Recipe(
    name="transformehr",
    source="Yang et al. 2023, doi 10.1038/s41467-023-43715-z",
    read=read,
    build=TransformEhr,
    layers=6,
    aspect=4.0,
    differs=(
        "Codes of a visit are written in order of frequency; the paper's order is that of billing.",
        "Sines of ages instead of embedded dates; at most 32 codes of a visit are predicted.",
        "There are no positions; the paper's code has them in the encoder and the decoder.",
        "A classifier reads the decoder's first state.",
    ),
)
