"""Trainable weights of a fine-tuning and their learning rates: all, low-rank adapters, or a linear probe."""

from __future__ import annotations

import re
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from claimscale.model import completep
from claimscale.model.classifier import EncoderClassifier

RANK = 8
SCALE = 2.0
"""Factor of the low-rank update: alpha = 16 at rank 8, as is usual."""

FinetuneMethod = Literal["full", "lora", "linear_probe"]

PASSES: dict[FinetuneMethod, float] = {"full": 3.0, "lora": 2.0, "linear_probe": 1.0}
"""Operations of a training step in forward passes: adapters need no weight gradients, a probe none."""


class LowRank(nn.Module):
    """The matrix W [out, in] becomes W + 2 · up · down (LoRA, Hu et al. 2021, arXiv 2106.09685).

    The fan-in of `down` [rank, in] grows with the size, which sets its variance and learning rate; `up`
    [out, rank] starts at zero.
    """

    def __init__(self, matrix: completep.HiddenLinear) -> None:
        super().__init__()
        rank = min(RANK, matrix.in_features, matrix.out_features)
        base_fan_in = round(matrix.in_features / matrix.growth)
        self.down = completep.HiddenLinear(matrix.in_features, rank, base_fan_in)
        self.up = nn.Parameter(torch.zeros(matrix.out_features, rank))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + SCALE * (self.up @ self.down.weight)


def set_trainable(model: EncoderClassifier, method: FinetuneMethod) -> None:
    """Freeze the weights that the method does not train; `lora` adds adapters to all layer matrices."""
    if method == "full":
        return
    model.encoder.requires_grad_(False)
    if method == "lora":
        for matrix in _matrices(model):
            parametrize.register_parametrization(matrix, "weight", LowRank(matrix))


def merge(model: EncoderClassifier) -> None:
    """Merge adapters into the weights; names and shapes are then those of an encoder without adapters."""
    for matrix in _matrices(model):
        if parametrize.is_parametrized(matrix):
            parametrize.remove_parametrizations(matrix, "weight", leave_parametrized=True)


def make_optimizer(
    model: EncoderClassifier, learning_rate: float, weight_decay: float, layer_decay: float
) -> torch.optim.AdamW:
    """AdamW on the trainable weights; the rate falls by `layer_decay` per layer, from the head down."""
    layers = model.encoder.shape.layers
    optimizer = completep.make_optimizer(model, layers, learning_rate, weight_decay)
    below = {id(weight): _layers_below_head(name, layers) for name, weight in model.named_parameters()}
    groups = []
    for group in optimizer.param_groups:
        weights = [weight for weight in group["params"] if weight.requires_grad]
        for depth in sorted({below[id(weight)] for weight in weights}):
            share = layer_decay**depth
            rates = {"lr": group["lr"] * share, "base_rate": group["base_rate"] * share}
            groups.append(
                {**group, **rates, "params": [weight for weight in weights if below[id(weight)] == depth]}
            )
    optimizer.param_groups = groups
    return optimizer


def _layers_below_head(name: str, layers: int) -> int:
    """0 for the head and the final norm, 1 for the last layer, `layers` + 1 for the embeddings."""
    if block := re.match(r"encoder\.blocks\.(\d+)\.", name):
        return layers - int(block[1])
    is_embedding = name.startswith(
        tuple(f"encoder.{one}" for one in ("token", "group", "time", "up_projection"))
    )
    return layers + 1 if is_embedding else 0


def _matrices(model: EncoderClassifier) -> list[completep.HiddenLinear]:
    # Adapters contain matrices of this class themselves.
    return [
        module
        for name, module in model.encoder.blocks.named_modules()
        if isinstance(module, completep.HiddenLinear) and "parametrizations" not in name
    ]
