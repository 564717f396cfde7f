"""CompleteP: one learning rate for every width and depth (Dey et al. 2025, arXiv 2505.01618, alpha = 1).

For weights whose fan-in grows with the size, initial variance, learning rate and epsilon are divided by that
growth. Residual branches are divided by the growth in depth, logits by the growth in width. Settings are
given for the base: width 64, two layers, feed-forward 8/3 of the width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

BASE_WIDTH = 64
BASE_LAYERS = 2
BASE_FEED_FORWARD = 171
EMBEDDING_STD = 0.1
EPSILON = 1e-8


class HiddenLinear(nn.Linear):
    """A matrix without bias whose fan-in grows with the size."""

    def __init__(self, fan_in: int, fan_out: int, base_fan_in: int = BASE_WIDTH) -> None:
        self.growth = fan_in / base_fan_in
        super().__init__(fan_in, fan_out, bias=False)

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight, std=self.in_features**-0.5)


def initialise_input(weight: Tensor) -> None:
    """Initialise embeddings and other matrices whose fan-in is the same at every size."""
    nn.init.normal_(weight, std=EMBEDDING_STD)


def input_multiplier() -> float:
    """The factor that brings embeddings to unit scale; small ones suit the learning rate of all weights."""
    return 1 / EMBEDDING_STD


def residual_multiplier(layers: int) -> float:
    return BASE_LAYERS / layers


def output_multiplier(width: int) -> float:
    """The factor of the logits of an output layer with this fan-in."""
    return BASE_WIDTH / width


def parameter_groups(
    model: nn.Module, layers: int, learning_rate: float, weight_decay: float
) -> list[dict[str, Any]]:
    """AdamW's parameter groups. `weight_decay` is per unit of learning rate, for matrices only.

    A schedule multiplies the `base_rate` of a group.
    """
    depth = layers / BASE_LAYERS
    growth = {id(m.weight): m.growth for m in model.modules() if isinstance(m, HiddenLinear)}
    groups: dict[tuple[float, float, float], list[Tensor]] = {}
    for name, weight in model.named_parameters():
        wide = growth.get(id(weight), 1.0)
        deep = depth if name.startswith(("blocks.", "encoder.blocks.")) else 1.0
        # Decoupled decay is multiplied by the rate; the factor `wide` makes it equal at every width.
        decay = weight_decay * wide if weight.ndim > 1 else 0.0
        groups.setdefault((learning_rate / wide, decay, EPSILON / (wide * deep)), []).append(weight)
    return [
        {"params": weights, "lr": rate, "base_rate": rate, "weight_decay": decay, "eps": epsilon}
        for (rate, decay, epsilon), weights in groups.items()
    ]


def make_optimizer(
    model: nn.Module, layers: int, learning_rate: float, weight_decay: float
) -> torch.optim.AdamW:
    groups = parameter_groups(model, layers, learning_rate, weight_decay)
    return torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)
