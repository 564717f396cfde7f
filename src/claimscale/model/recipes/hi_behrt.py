"""Hi-BEHRT (Li et al. 2023, doi 10.1109/JBHI.2022.3224727): windows of a long history, then their summary.

A history is cut into overlapping windows of 50 codes, 30 apart. One transformer reads each window, another
the states of the windows (section III). Pretraining hides some windows, and predicts from the others what
the second transformer makes of them where none is hidden (section III-C, after BYOL).
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
        self.pooler, self.hidden = nn.Linear(width, width), nn.Parameter(torch.zeros(width))
        self.projector, self.predictor = _two_layers(width), _two_layers(width)
        initialise(self)
        self.register_buffer("position", behrt.positions(behrt.POSITIONS, width), persistent=False)

    def windows(self, batch: PaddedBatch) -> tuple[Tensor, Tensor]:
        """The state of each window [B, windows, W], and which there are, bool [B, windows]."""
        length = batch.token.shape[1]
        # A window stands wherever its first position does, so that a batch's longest sequence adds none.
        padding = WINDOW + (-(-length // STRIDE) - 1) * STRIDE - length

        def cut(x_BL: Tensor) -> Tensor:
            return F.pad(x_BL, (0, padding)).unfold(1, WINDOW, STRIDE)

        present, token = cut(batch.present), cut(batch.token)
        age, position, segment = (cut(batch.channels[name]) for name in ("age", "position", "segment"))
        # Visits are counted within each window, as in the paper's code.
        position = (position - position[..., :1]).clamp_min(0)
        segment = (segment - segment[..., :1]).abs()
        x = self.token(token) + self.age(age) + self.segment(segment) + self.position[position]
        exists_BS = present[..., 0]
        first = attended(self.within, self.dropout(self.norm(x[exists_BS])), present[exists_BS])[:, 0]
        window_BSW = x.new_zeros(*exists_BS.shape, x.shape[3])
        window_BSW[exists_BS] = torch.tanh(self.pooler(first))
        return window_BSW, exists_BS

    def pretraining_loss(self, batch: PaddedBatch) -> Tensor:
        window_BSW, exists_BS = self.windows(batch)
        chance_BS = torch.rand(exists_BS.shape, device=exists_BS.device)
        masked_BS = exists_BS & (chance_BS < MASKED_SHARE) & (exists_BS.sum(1, keepdim=True) > 1)
        seen_BSW = torch.where(masked_BS[..., None], self.hidden, window_BSW)
        predicted = self.predictor(self.projector(attended(self.over, seen_BSW, exists_BS)[masked_BS]))
        with torch.no_grad():
            target = self.projector(attended(self.over, window_BSW, exists_BS)[masked_BS])
        return mean_of((2 - 2 * F.cosine_similarity(predicted, target)).sum(), len(target))

    def readout(self, batch: PaddedBatch) -> Tensor:
        window_BSW, exists_BS = self.windows(batch)
        return attended(self.over, window_BSW, exists_BS)[:, 0]


def _two_layers(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width, width), nn.LayerNorm(width, eps=1e-12), nn.ReLU(), nn.Linear(width, width)
    )


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
        "Half of the windows are hidden, by a learnt vector; the paper's code hides 15 %, by zeros or noise.",
        "Hidden windows are predicted from seen ones; the paper's code also predicts the reverse.",
        "A history begins with [CLS], in the first window alone; the paper's code has none.",
        "The classifier reads the first window's state; the paper's code reads a transform of it.",
        "Both transformers have the same number of layers.",
    ),
    weight_decay=0.0,
)
