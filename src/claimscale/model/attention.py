"""Rotary attention within each sequence of a batch laid flat, without padding.

On a CPU the batch is taken apart into runs of sequences of one length, so that nothing is ever padded or
masked; on a GPU one variable-length kernel takes all sequences at once. Shape suffix T: positions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from claimscale.model import kernels

LONGEST_STEP = 128
"""The longest length is rounded up to a multiple, so that compiled code is not made anew for every batch."""
_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward.default


@dataclass(frozen=True)
class Layout:
    """How T positions form sequences, in flat order.

    `runs` are (sequences, length) of consecutive sequences of one length: what a CPU needs. `bounds` int32
    [B + 1] are the sequences' first positions and T, `longest` at least the length of the longest: what a GPU
    needs. `bounds` lies on the device.
    """

    runs: tuple[tuple[int, int], ...]
    bounds: Tensor
    longest: int

    @classmethod
    def of(cls, lengths: np.ndarray, device: torch.device) -> Layout:
        """Layout of sequences of these lengths, int64 [B]."""
        starts = np.flatnonzero(np.r_[True, lengths[1:] != lengths[:-1]])
        counts = np.diff(np.r_[starts, len(lengths)])
        on_gpu = device.type == "cuda"
        # Compiled code is made anew for other constants, so that a GPU is not told what it does not need.
        runs = () if on_gpu else tuple(zip(counts.tolist(), lengths[starts].tolist(), strict=True))
        bounds = torch.from_numpy(np.r_[0, np.cumsum(lengths)].astype(np.int32)).to(device, non_blocking=True)
        return cls(runs, bounds, -(-int(lengths.max()) // LONGEST_STEP) * LONGEST_STEP)

    def parts(self) -> Iterator[tuple[slice, int, int]]:
        """Each run's positions, sequences and length."""
        start = 0
        for sequences, length in self.runs:
            yield slice(start, start + sequences * length), sequences, length
            start += sequences * length


def rotary_attention(projected: Tensor, cosine: Tensor, sine: Tensor, layout: Layout) -> Tensor:
    """What each position reads from its sequence, [T, d], from queries, keys and values [T, 3, heads, width].

    Queries and keys are normalised to root mean square 1 and rotated by `cosine` and `sine` [T, width / 2].
    """
    if kernels.is_fused(projected):
        return _RotaryAttention.apply(projected, cosine, sine, layout)
    query, key, value = kernels.rotate_queries_keys(projected, cosine, sine).unbind(1)
    if projected.device.type == "cuda":
        from torch.nn.attention.varlen import varlen_attn

        bounds, longest = layout.bounds, layout.longest
        attended = varlen_attn(query, key, value, bounds, bounds, longest, longest)
        assert isinstance(attended, Tensor)
        return attended.flatten(1)
    outputs = []
    for place, sequences, length in layout.parts():
        shape = (sequences, length, *query.shape[1:])
        q, k, v = (x[place].view(shape).transpose(1, 2) for x in (query, key, value))
        outputs.append(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(0, 1).flatten(1))
    return torch.cat(outputs)


class _RotaryAttention(torch.autograd.Function):
    """PyTorch's flash attention run by run, its results written where they belong without further copies."""

    @staticmethod
    def forward(ctx: Any, projected: Tensor, cosine: Tensor, sine: Tensor, layout: Layout) -> Tensor:
        projected = projected.contiguous()
        rotated = torch.empty_like(projected)
        kernels.rotate(projected.numpy(), cosine.numpy(), sine.numpy(), rotated.numpy())
        positions, _, heads, width = projected.shape
        out, masses = projected.new_empty(positions, heads, width), []
        for place, sequences, length in layout.parts():
            attended, mass = _forward(*_heads_first(rotated[place], sequences, length))
            out[place].view(sequences, length, heads, width).copy_(attended.transpose(1, 2))
            masses.append(mass)
        ctx.layout = layout
        ctx.save_for_backward(projected, cosine, sine, rotated, out, *masses)
        return out.view(positions, heads * width)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        projected, cosine, sine, rotated, out, *masses = ctx.saved_tensors
        above = gradients[0].contiguous().view(out.shape)
        below = torch.empty_like(projected)
        for (place, sequences, length), mass in zip(ctx.layout.parts(), masses, strict=True):
            shape = (sequences, length, *out.shape[1:])
            attended, gradient = (x[place].view(shape).transpose(1, 2) for x in (out, above))
            queries_keys_values = _heads_first(rotated[place], sequences, length)
            found = _backward(gradient, *queries_keys_values, attended, mass, 0.0, False)
            target = below[place].view(sequences, length, *projected.shape[1:])
            for part, values in enumerate(found):
                target[:, :, part].copy_(values.transpose(1, 2))
        kernels.rotate_backward(below.numpy(), projected.numpy(), cosine.numpy(), sine.numpy())
        return below, None, None, None


def _heads_first(rotated: Tensor, sequences: int, length: int) -> tuple[Tensor, ...]:
    """Queries, keys and values of one run, each a view [sequences, heads, length, width]."""
    return rotated.view(sequences, length, *rotated.shape[1:]).permute(2, 0, 3, 1, 4).unbind(0)
