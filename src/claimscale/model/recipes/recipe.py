"""What a published recipe is, and the parts that several recipes share.

Shape suffixes: B sequences, L positions, M masked positions, W width, V codes.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from claimscale.errors import BadInput
from claimscale.model.recipes.history import CodeTypes, Histories, PaddedBatch, RecipeSequences, is_code
from claimscale.tokens.special_tokens import FIRST_CODE, MASK

WIDTH_STEP, FEWEST_HEADS, WIDEST_HEAD = 16, 4, 64
WIDTH_PER_LAYER = 40
"""Small encoders have fewer layers than the papers': a width below 40 has one, below 80 two."""
TOLERANCE = 0.02
MASKED_SHARE, REPLACED_SHARE, KEPT_SHARE = 0.15, 0.1, 0.1
"""BERT (Devlin et al. 2019, section 3.1): of the masked 10 % are replaced and 10 % left as they are."""


@dataclass(frozen=True)
class Dimensions:
    """Width, layers, heads and feed-forward of a transformer."""

    width: int
    layers: int
    heads: int
    feed_forward: int


class RecipeModel(nn.Module, ABC):
    """A model that is pretrained by its own objective, and then read out for one outcome."""

    readout_width: int

    @abstractmethod
    def pretraining_loss(self, batch: PaddedBatch) -> Tensor:
        """The mean loss of a batch; random choices come from torch's global generator."""

    @abstractmethod
    def readout(self, batch: PaddedBatch) -> Tensor:
        """What a linear classifier reads of each sequence, [B, readout_width]."""

    def ask(self, outcome: np.ndarray) -> None:
        """Prepare fine-tuning for an outcome with these tokens; most models need not know them."""


Read = Callable[[Histories, CodeTypes, int], RecipeSequences]
"""Sequences of at most so many positions."""


@dataclass(frozen=True)
class Recipe:
    """A published way from histories to predictions.

    Attributes:
        name: as in a study file.
        source: the publication.
        read: how a history becomes a sequence.
        build: the model of some dimensions.
        layers: the most layers.
        aspect: feed-forward over width.
        differs: where the source says nothing or says otherwise.
        weight_decay: of AdamW.
    """

    name: str
    source: str
    read: Read
    build: Callable[[Dimensions, CodeTypes], RecipeModel]
    layers: int
    aspect: float
    differs: tuple[str, ...] = ()
    weight_decay: float = 0.01


def dimensions_of(recipe: Recipe, target: int, codes: CodeTypes) -> Dimensions:
    """The widest model of at most about `target` parameters; its feed-forward meets the target within 2 %.

    Raises BadInput if the smallest model is larger.
    """
    widest, width = None, 2 * WIDTH_STEP
    while (found := _fill(recipe, width, target, codes)) is not None:
        widest, width = found, width + WIDTH_STEP
    if widest is None:
        smallest = parameters(recipe, _at(recipe, 2 * WIDTH_STEP, 8), codes)
        raise BadInput(
            f"sizes: {target:,} parameters are too few for the recipe {recipe.name}; its smallest model for "
            f"a vocabulary of {codes.size:,} codes has {smallest:,}"
        )
    return widest


def parameters(recipe: Recipe, dimensions: Dimensions, codes: CodeTypes) -> int:
    """Trainable parameters, counted on a model without memory."""
    with torch.device("meta"):
        return sum(weight.numel() for weight in recipe.build(dimensions, codes).parameters())


def _at(recipe: Recipe, width: int, feed_forward: int) -> Dimensions:
    layers = min(recipe.layers, max(1, width // WIDTH_PER_LAYER))
    most_heads = max(FEWEST_HEADS, width // WIDEST_HEAD)
    heads = next(heads for heads in range(most_heads, width + 1) if width % (2 * heads) == 0)
    return Dimensions(width, layers, heads, feed_forward)


def _fill(recipe: Recipe, width: int, target: int, codes: CodeTypes) -> Dimensions | None:
    """The model of this width whose feed-forward meets the target; None if half of the aspect is too much."""
    bare, step = (_at(recipe, width, size) for size in (8, 16))
    fixed, larger = parameters(recipe, bare, codes), parameters(recipe, step, codes)
    feed_forward = 8 + 8 * round((target - fixed) / max(1, larger - fixed))
    smallest = max(8, round(recipe.aspect * width / 2))
    return replace(bare, feed_forward=feed_forward) if feed_forward >= smallest else None


def transformer(
    dimensions: Dimensions, dropout: float = 0.1, norm_first: bool = False
) -> nn.TransformerEncoder:
    """The layers of BERT (norms after each residual), or of later models (before)."""
    layer = nn.TransformerEncoderLayer(
        dimensions.width,
        dimensions.heads,
        dimensions.feed_forward,
        dropout,
        activation="gelu",
        layer_norm_eps=1e-12 if not norm_first else 1e-5,
        batch_first=True,
        norm_first=norm_first,
    )
    final = nn.LayerNorm(dimensions.width) if norm_first else None
    return nn.TransformerEncoder(layer, dimensions.layers, final, enable_nested_tensor=False)


def attended(layers: nn.TransformerEncoder, x_BLW: Tensor, present_BL: Tensor) -> Tensor:
    """States of all positions, each of which sees all positions of its sequence."""
    return layers(x_BLW, src_key_padding_mask=~present_BL)


def initialise(module: nn.Module) -> None:
    """Weights as BERT's: normal with a standard deviation of 0.02, biases zero."""
    for name, weight in module.named_parameters():
        if weight.dim() > 1:
            nn.init.normal_(weight, std=0.02)
        elif name.endswith("bias"):
            nn.init.zeros_(weight)


class MaskedCodes(NamedTuple):
    """Corrupted tokens [B, L], whether each position is predicted, bool [B, L], and their codes [M]."""

    token: Tensor
    is_masked: Tensor
    target: Tensor


def mask_codes(token_BL: Tensor, codes: CodeTypes, share: float = MASKED_SHARE) -> MaskedCodes:
    """BERT's masking of the codes of the store; other tokens stay."""
    chance_BL = torch.rand(token_BL.shape, device=token_BL.device)
    return corrupt(token_BL, is_code(token_BL, codes) & (chance_BL < share), codes)


def corrupt(token_BL: Tensor, chosen_BL: Tensor, codes: CodeTypes) -> MaskedCodes:
    """[MASK] at 80 % of the chosen positions, another code at 10 %, the same at 10 %."""
    how_BL = torch.rand(token_BL.shape, device=token_BL.device)
    other_BL = torch.randint_like(token_BL, FIRST_CODE, max(codes.size, FIRST_CODE + 1))
    corrupted_BL = torch.where(how_BL < REPLACED_SHARE, other_BL, torch.full_like(token_BL, MASK))
    changed_BL = chosen_BL & (how_BL < 1 - KEPT_SHARE)
    return MaskedCodes(torch.where(changed_BL, corrupted_BL, token_BL), chosen_BL, token_BL[chosen_BL])


class MaskedCodeHead(nn.Module):
    """BERT's head: a transform of the states, then the product with the embeddings of the codes."""

    def __init__(self, width: int, codes: CodeTypes) -> None:
        super().__init__()
        self.transform, self.norm = nn.Linear(width, width), nn.LayerNorm(width, eps=1e-12)
        self.bias = nn.Parameter(torch.zeros(codes.size))

    def loss(self, states_BLW: Tensor, embeddings_VW: Tensor, masked: MaskedCodes) -> Tensor:
        """Mean cross-entropy of the masked codes; zero where none is masked."""
        logits_MV = self(states_BLW[masked.is_masked], embeddings_VW)
        return mean_of(F.cross_entropy(logits_MV, masked.target, reduction="sum"), len(masked.target))

    def forward(self, states_MW: Tensor, embeddings_VW: Tensor) -> Tensor:
        hidden_MW = self.norm(F.gelu(self.transform(states_MW)))
        return F.linear(hidden_MW, embeddings_VW[: len(self.bias)], self.bias)


def mean_of(total: Tensor, count: int) -> Tensor:
    """The total over the count, and zero for nothing."""
    return total / max(1, count)


def mean_state(states_BLW: Tensor, present_BL: Tensor) -> Tensor:
    """The mean over the positions of each sequence, [B, W]."""
    weights_BL1 = present_BL[..., None].to(states_BLW)
    return (states_BLW * weights_BL1).sum(1) / weights_BL1.sum(1).clamp_min(1)


def last_state(states_BLW: Tensor, present_BL: Tensor) -> Tensor:
    """The state of the last position of each sequence, [B, W]."""
    last_B = present_BL.sum(1).clamp_min(1) - 1
    return states_BLW[torch.arange(len(last_B), device=last_B.device), last_B]


def sinusoids(positions: int, width: int) -> Tensor:
    """Sines and cosines of positions (Vaswani et al. 2017, section 3.5), [positions, width]."""
    rate = torch.exp(-math.log(10000) * torch.arange(0, width, 2) / width)
    angle = torch.arange(positions)[:, None] * rate
    return torch.stack((angle.sin(), angle.cos()), 2).flatten(1)[:, :width]
