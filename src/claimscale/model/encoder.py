"""The encoder: claims of one patient in, one vector per position out.

Positions of a batch lie flat, [T], one sequence after the other without padding. Only attention looks at
where sequences end, so everything else runs over all positions at once.
Shape suffixes: T positions, B sequences, M positions read, d width, E embedding width, V vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from claimscale.model import transfer
from claimscale.model.attention import Layout, rotary_attention
from claimscale.model.kernels import geglu, rms_norm, summed_cross_entropy
from claimscale.model.sizes import HEAD_WIDTH, TIME_FEATURES, TYPE_COUNT, Shape

DAYS_PER_YEAR = 365.25
ROTARY_DAYS = (14.0, 40 * DAYS_PER_YEAR)
"""Shortest and longest wavelength of the rotary angles."""
AGE_DAYS = (DAYS_PER_YEAR, 200 * DAYS_PER_YEAR)
RECENCY_DAYS = (60.0, 20 * DAYS_PER_YEAR)
"""Shortest and longest wavelengths of the features of age, and of days before the sequence's [CLS]."""


@dataclass(frozen=True)
class Inputs:
    """A batch's tensors on one device: `token` and `age_days` int32 [T], `days` int32 [T] and the layout.

    `days` are days after the sequence's first position, [CLS], which is the newest: never above zero.
    """

    token: Tensor
    age_days: Tensor
    days: Tensor
    layout: Layout


class Encoder(nn.Module):
    """Pre-norm transformer with rotary attention on days and a tied masked-code head.

    `types` [V] is the type id of every token.
    """

    types: Tensor
    age_rates: Tensor
    recency_rates: Tensor
    rotary_rates: Tensor

    def __init__(self, shape: Shape, types: np.ndarray) -> None:
        super().__init__()
        self.shape = shape
        self.token = nn.Embedding(shape.vocabulary, shape.embedding)
        self.token_type = nn.Embedding(TYPE_COUNT, shape.width)
        self.time = nn.Linear(TIME_FEATURES, shape.width, bias=False)
        for table in (self.token, self.token_type, self.time):
            transfer.initialise_input(table.weight)
        if shape.factorised:
            self.widen = transfer.Hidden(shape.embedding, shape.width)
            self.narrow = transfer.Hidden(shape.width, shape.embedding)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.final_norm = RmsNorm(shape.width)
        self.head = transfer.Hidden(shape.width, shape.width)
        self.head_norm = RmsNorm(shape.width)
        self.output_bias = nn.Parameter(torch.zeros(shape.vocabulary))
        self.register_buffer("types", torch.as_tensor(types, dtype=torch.long), persistent=False)
        # A sine and a cosine of each rate; age and recency have half of the features each.
        self.register_buffer("age_rates", _rates(AGE_DAYS, TIME_FEATURES // 4), persistent=False)
        self.register_buffer("recency_rates", _rates(RECENCY_DAYS, TIME_FEATURES // 4), persistent=False)
        self.register_buffer("rotary_rates", _rates(ROTARY_DAYS, HEAD_WIDTH // 2), persistent=False)

    def forward(self, inputs: Inputs, read_M: Tensor | None = None) -> Tensor:
        """Final hidden states [M, d] at the positions `read_M` (default: all).

        What the last layer does after attention is computed for the positions read only.
        """
        x_Td = self._embed(inputs)
        # Attention sees differences only; counting from the sequence keeps the angles small and exact.
        angle = inputs.days[:, None] * self.rotary_rates
        rotation = angle.cos(), angle.sin()
        last = len(self.blocks) - 1
        for index, block in enumerate(self.blocks):
            x_Td = block(x_Td, rotation, inputs.layout, read_M if index == last else None)
        return self.final_norm(x_Td)

    def masked_logits(self, hidden_Md: Tensor) -> Tensor:
        """Logits [M, V] over the vocabulary from hidden states [M, d]."""
        return F.linear(self._head(hidden_Md), self.token.weight, self.output_bias)

    def masked_loss(self, hidden_Md: Tensor, target_M: Tensor) -> Tensor:
        """Summed cross-entropy of the true tokens `target_M` at hidden states [M, d]."""
        return summed_cross_entropy(self._head(hidden_Md), self.token.weight, self.output_bias, target_M)

    def _head(self, hidden_Md: Tensor) -> Tensor:
        hidden_ME = self.head_norm(F.gelu(self.head(hidden_Md), approximate="tanh"))
        if self.shape.factorised:
            hidden_ME = self.narrow(hidden_ME)
        return hidden_ME * transfer.output_multiplier(self.shape.embedding)

    def _embed(self, inputs: Inputs) -> Tensor:
        age = inputs.age_days[:, None] * self.age_rates
        recency = inputs.days[:, None] * self.recency_rates
        features = torch.cat((age.sin(), age.cos(), recency.sin(), recency.cos()), 1)
        time_Td = self.time(features / math.sqrt(TIME_FEATURES / 2))
        return (self._looked_up(inputs.token) + time_Td) * transfer.input_multiplier()

    def _looked_up(self, token_T: Tensor) -> Tensor:
        """Vectors of codes and of their types, [T, d]: by position or from a table, whichever is smaller."""
        if len(token_T) < self.shape.vocabulary:
            x_TE = F.embedding(token_T, self.token.weight)
            x_Td = self.widen(x_TE) if self.shape.factorised else x_TE
            return x_Td + F.embedding(self.types[token_T], self.token_type.weight)
        token_Vd = self.widen(self.token.weight) if self.shape.factorised else self.token.weight
        return F.embedding(token_T, token_Vd + F.embedding(self.types, self.token_type.weight))


class Block(nn.Module):
    """Attention, then GeGLU feed-forward, each after a norm and added to the residual stream."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width, feed_forward = shape.width, shape.feed_forward
        self.heads = shape.heads
        self.attention_norm = RmsNorm(width)
        self.queries_keys_values = transfer.Hidden(width, 3 * width)
        self.attention_out = transfer.Hidden(width, width)
        self.feed_forward_norm = RmsNorm(width)
        self.up = transfer.Hidden(width, 2 * feed_forward)
        self.down = transfer.Hidden(feed_forward, width, transfer.BASE_FEED_FORWARD)
        self.residual = transfer.residual_multiplier(shape.layers)

    def forward(
        self,
        x_Td: Tensor,
        rotation: tuple[Tensor, Tensor],
        layout: Layout,
        read_M: Tensor | None,
    ) -> Tensor:
        projected_Td = self.queries_keys_values(self.attention_norm(x_Td))
        projected = projected_Td.unflatten(1, (3, self.heads, HEAD_WIDTH))
        attended_Td = rotary_attention(projected, *rotation, layout)
        if read_M is not None:
            x_Td, attended_Td = x_Td[read_M], attended_Td[read_M]
        x_Td = torch.add(x_Td, self.attention_out(attended_Td), alpha=self.residual)
        activated = geglu(self.up(self.feed_forward_norm(x_Td)))
        return torch.add(x_Td, self.down(activated), alpha=self.residual)


class RmsNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.gain)


class Readout(nn.Module):
    """An encoder and the logit of one question; zero before training.

    Read from each sequence's [CLS] beside the mean over its positions: pretraining asks positions what
    they know, and [CLS] alone would hide most of it from few labels.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.weight = nn.Parameter(torch.zeros(2 * encoder.shape.width))
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, inputs: Inputs) -> Tensor:
        """Logits [B], one per sequence."""
        pooled_B2d = pooled(self.encoder, inputs)
        return pooled_B2d @ self.weight * transfer.output_multiplier(self.encoder.shape.width) + self.bias


def pooled(encoder: Encoder, inputs: Inputs) -> Tensor:
    """One vector per sequence, [B, 2d]: the state at [CLS], then the mean over positions."""
    hidden_Td, bounds = encoder(inputs).float(), inputs.layout.bounds
    means_Bd = torch.segment_reduce(hidden_Td, "mean", offsets=bounds.long())
    return torch.cat((hidden_Td[bounds[:-1]], means_Bd), 1)


def _rates(wavelengths: tuple[float, float], count: int) -> Tensor:
    """Radians per day of `count` wavelengths spread evenly on a log scale."""
    shortest, longest = wavelengths
    return 2 * math.pi / torch.logspace(math.log10(shortest), math.log10(longest), count)
