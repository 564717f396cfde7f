"""Layers and features that some recipes share. Shape suffixes: B sequences, L positions, W width."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from claimscale.constants import DAYS_PER_YEAR
from claimscale.model.recipes.recipe import Dimensions

LONGEST = 10000.0
"""Ratio of the longest wavelength to the shortest."""


def age_features(days: Tensor, width: int) -> Tensor:
    """Sines and cosines of times in years, in turn, [..., width]."""
    rate = torch.exp(-math.log(LONGEST) * torch.arange(0, width, 2, device=days.device) / width)
    angle = days[..., None] / DAYS_PER_YEAR * rate
    return torch.stack((angle.sin(), angle.cos()), -1).flatten(-2)[..., :width]


class RotaryLayer(nn.Module):
    """Attention to earlier positions, rotated by days, and a feed-forward, both from normalised states."""

    def __init__(self, dimensions: Dimensions) -> None:
        super().__init__()
        width = dimensions.width
        self.heads = dimensions.heads
        self.norm, self.projections = nn.LayerNorm(width), nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm_up, self.up = nn.LayerNorm(width), nn.Linear(width, dimensions.feed_forward)
        self.down = nn.Linear(dimensions.feed_forward, width)

    def forward(self, x_BLW: Tensor, days_BL: Tensor, seen: Tensor) -> Tensor:
        """States [B, L, W]; `seen` bool [B, 1, q, k] says which positions each sees."""
        projected = self.projections(self.norm(x_BLW)).unflatten(2, (3, self.heads, -1))
        query, key, value = projected.permute(2, 0, 3, 1, 4)
        angles = age_features(days_BL, query.shape[3])[:, None]
        query, key = _rotate(query, angles), _rotate(key, angles)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        x_BLW = x_BLW + self.out(mixed.transpose(1, 2).flatten(2))
        return x_BLW + self.down(F.gelu(self.up(self.norm_up(x_BLW))))


def _rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Pairs of features, rotated by sines and cosines (Su et al. 2021)."""
    sine, cosine = angles[..., 0::2], angles[..., 1::2]
    first, second = x.chunk(2, -1)
    return torch.cat((first * cosine - second * sine, second * cosine + first * sine), -1)
