"""Hi-BEHRT (Li et al. 2023, doi 10.1109/JBHI.2022.3224727): windows of a long history, then their summary.

A history is cut into overlapping windows of 50 codes, 30 apart. One transformer reads each window, another
the states of the windows (section III). Pretraining hides some windows and predicts their states from the
others, without labels (section III-C, after BYOL).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from claimscale.model.recipes import behrt
from claimscale.model.recipes.history import CodeTypes, PaddedBatch
from claimscale.model.recipes.recipe import (
    Dimensions,
    Recipe,
    RecipeModel,
    attended,
    initialise,
    mean_of,
    transformer,
)

WINDOW, STRIDE = 50, 30
MASKED_SHARE = 0.5
DROPOUT = 0.1


class HiBehrt(RecipeModel):
    """BEHRT's embeddings, a transformer within windows, and one over windows."""

    position: Tensor

    def __init__(self, dimensions: Dimensions, codes: CodeTypes) -> None:
        super().__init__()
        width = self.readout_width = dimensions.width
        self.token = nn.Embedding(codes.size + 1, width)
        self.age, self.segment = nn.Embedding(behrt.OLDEST + 1, width), nn.Embedding(behrt.SEGMENTS, width)
        self.norm, self.dropout = nn.LayerNorm(width, eps=1e-12), nn.Dropout(DROPOUT)
        self.within, self.over = transformer(dimensions, DROPOUT), transformer(dimensions, DROPOUT)
        self.hidden = nn.Parameter(torch.zeros(width))
        self.projector, self.predictor = nn.Linear(width, width), nn.Linear(width, width)
        initialise(self)
        self.register_buffer("position", behrt.positions(behrt.POSITIONS, width), persistent=False)

    def windows(self, batch: PaddedBatch) -> tuple[Tensor, Tensor]:
        """The state of each window [B, windows, W], and which there are, bool [B, windows]."""
        channels = batch.channels
        x_BLW = self.token(batch.token) + self.age(channels["age"]) + self.segment(channels["segment"])
        x_BLW = self.dropout(self.norm(x_BLW + self.position[channels["position"]]))
        beyond = max(0, x_BLW.shape[1] - WINDOW)
        padding = WINDOW + -(-beyond // STRIDE) * STRIDE - x_BLW.shape[1]
        present = F.pad(batch.present, (0, padding)).unfold(1, WINDOW, STRIDE)
        x = F.pad(x_BLW, (0, 0, 0, padding)).unfold(1, WINDOW, STRIDE).transpose(2, 3)
        # A window exists if the one before has not seen all, whatever the length of the batch.
        starts_S = torch.arange(present.shape[1], device=present.device) * STRIDE
        exists_BS = batch.present.sum(1, keepdim=True) > (starts_S + WINDOW - STRIDE) * (starts_S > 0)
        first_BSW = x.new_zeros(*exists_BS.shape, x.shape[3])
        first_BSW[exists_BS] = attended(self.within, x[exists_BS], present[exists_BS])[:, 0]
        return first_BSW, exists_BS

    def pretraining_loss(self, batch: PaddedBatch) -> Tensor:
        window_BSW, exists_BS = self.windows(batch)
        chance_BS = torch.rand(exists_BS.shape, device=exists_BS.device)
        masked_BS = exists_BS & (chance_BS < MASKED_SHARE) & (exists_BS.sum(1, keepdim=True) > 1)
        seen_BSW = torch.where(masked_BS[..., None], self.hidden, window_BSW)
        predicted = self.predictor(self.projector(attended(self.over, seen_BSW, exists_BS)[masked_BS]))
        target = self.projector(window_BSW[masked_BS]).detach()
        return mean_of((2 - 2 * F.cosine_similarity(predicted, target)).sum(), len(target))

    def readout(self, batch: PaddedBatch) -> Tensor:
        window_BSW, exists_BS = self.windows(batch)
        return attended(self.over, window_BSW, exists_BS)[:, 0]


RECIPE = Recipe(
    name="hi_behrt",
    source="Li et al. 2023, doi 10.1109/JBHI.2022.3224727",
    read=behrt.read,
    build=HiBehrt,
    layers=4,
    aspect=512 / 288,
    differs=(
        "The predicted states are those of the same weights without gradient; the paper's are of a slowly "
        "moving copy.",
        "A window's state is that of its first position.",
        "Both transformers have the same number of layers.",
    ),
)
