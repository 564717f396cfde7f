"""One layer of the encoder. Shape suffixes: T positions, M query positions, d width."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from claimscale.model import completep, kernels
from claimscale.model.attention import BatchLayout, QueryPositions, attention_at, rotary_attention
from claimscale.model.shapes import Shape


class Block(nn.Module):
    """Pre-norm attention and GeGLU feed-forward, each added to the residual stream."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width, feed_forward = shape.width, shape.feed_forward
        self.heads = shape.heads, shape.head_width
        self.attention_norm = RmsNorm(width)
        self.queries_keys_values = completep.HiddenLinear(width, 3 * width)
        self.attention_out = completep.HiddenLinear(width, width)
        self.feed_forward_norm = RmsNorm(width)
        self.up = completep.HiddenLinear(width, 2 * feed_forward)
        self.down = completep.HiddenLinear(feed_forward, width, completep.BASE_FEED_FORWARD)
        self.residual = completep.residual_multiplier(shape.layers)

    def forward(
        self,
        x_Td: Tensor,
        rotation: tuple[Tensor, Tensor],
        layout: BatchLayout,
        positions: QueryPositions | None,
    ) -> Tensor:
        """States [T, d], or [M, d] at the query positions."""
        attended = self._attention(self.attention_norm(x_Td), rotation, layout, positions)
        if positions is not None:
            x_Td = F.embedding(positions.position, x_Td)
        x_Td = torch.add(x_Td, self.attention_out(attended), alpha=self.residual)
        activated = kernels.geglu(self.up(self.feed_forward_norm(x_Td)))
        return torch.add(x_Td, self.down(activated), alpha=self.residual)

    def _attention(
        self,
        x_Td: Tensor,
        rotation: tuple[Tensor, Tensor],
        layout: BatchLayout,
        positions: QueryPositions | None,
    ) -> Tensor:
        if positions is None or not (kernels.on_gpu(x_Td.device) or kernels.is_fused(x_Td)):
            projected = self.queries_keys_values(x_Td).unflatten(1, (3, *self.heads))
            attended_Td = rotary_attention(projected, rotation, layout)
            return attended_Td if positions is None else F.embedding(positions.position, attended_Td)
        width, weight = x_Td.shape[1], self.queries_keys_values.weight
        queries = F.linear(F.embedding(positions.query, x_Td), weight[:width])
        keys_values = F.linear(x_Td, weight[width:])
        projected = (
            queries.unflatten(1, (1, *self.heads)),
            keys_values.unflatten(1, (2, *self.heads)),
        )
        return attention_at(positions, projected, rotation, layout)


class RmsNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return kernels.rms_norm(x, self.gain)
