"""Rotary attention within each sequence of a batch laid flat, without padding.

On a CPU the batch is taken apart into runs of sequences of one length, so that nothing is ever padded or
masked; on a GPU one variable-length kernel takes all sequences at once.
Shape suffixes: T positions, Q queries, M positions read, B sequences, d width, h heads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
class BatchLayout:
    """How T positions form sequences, in flat order.

    `runs` are (sequences, length) of consecutive sequences of one length: what a CPU needs. `bounds` int32
    [B + 1] are the sequences' first positions and T, `longest` at least the length of the longest: what a GPU
    needs. `bounds` lies on the device.
    """

    runs: tuple[tuple[int, int], ...]
    bounds: Tensor
    longest: int

    @classmethod
    def of(cls, lengths: np.ndarray, device: torch.device) -> BatchLayout:
        """BatchLayout of sequences of these lengths, int64 [B]."""
        starts, counts = _runs_of(lengths)
        on_gpu = device.type == "cuda"
        # Compiled code is made anew for other constants, so that a GPU is not told what it does not need.
        runs = () if on_gpu else tuple(zip(counts.tolist(), lengths[starts].tolist(), strict=True))
        bounds = torch.from_numpy(np.r_[0, np.cumsum(lengths)].astype(np.int32)).to(device, non_blocking=True)
        return cls(runs, bounds, -(-int(lengths.max()) // LONGEST_STEP) * LONGEST_STEP)


@dataclass(frozen=True)
class QueryPositions:
    """M positions whose states are wanted: the last layer works for these only.

    `position` int64 [M]. `query` int64 [Q] are the positions that attention is asked for, the same number,
    `counts`, of each sequence of a run; one with fewer fills up with its first position. `place` int64 [M] is
    where the wanted ones stand among the queries. A GPU asks for all positions and is told `position` alone.
    """

    position: Tensor
    query: Tensor
    place: Tensor
    counts: tuple[int, ...]

    @classmethod
    def of(cls, position: np.ndarray, lengths: np.ndarray, device: torch.device) -> QueryPositions:
        """To read `position` int64 [M] of sequences of these lengths, int64 [B]."""
        if device.type == "cuda":
            position_M = torch.from_numpy(position).pin_memory().to(device, non_blocking=True)
            return cls(position_M, position_M, position_M, ())
        ends = np.cumsum(lengths)
        sequence = np.searchsorted(ends, position, side="right")
        wanted = np.bincount(sequence, minlength=len(lengths))
        starts, sequences = _runs_of(lengths)
        counts = np.maximum.reduceat(wanted, starts).clip(1)
        asked = np.repeat(counts, sequences)
        ahead = (np.cumsum(asked) - asked) - (np.cumsum(wanted) - wanted)
        order = np.argsort(sequence, kind="stable")
        place = np.empty_like(order)
        place[order] = np.arange(len(order)) + np.repeat(ahead, wanted)
        query = np.repeat(ends - lengths, asked)
        query[place] = position
        position_M, query_Q, place_M = (torch.from_numpy(x) for x in (position, query, place))
        return cls(position_M, query_Q, place_M, tuple(counts.tolist()))


def rotary_attention(projected: Tensor, rotation: tuple[Tensor, Tensor], layout: BatchLayout) -> Tensor:
    """What each position reads from its sequence, [T, d], from queries, keys and values [T, 3, heads, width].

    Queries and keys are normalised to root mean square 1 and rotated by cosines and sines [T, width / 2].
    """
    if kernels.is_fused(projected):
        return _RotaryAttention.apply(layout, None, *rotation, projected)
    query, key, value = kernels.rotate_queries_keys(projected, *rotation).unbind(1)
    if projected.device.type == "cuda":
        from torch.nn.attention.varlen import varlen_attn

        bounds, longest = layout.bounds, layout.longest
        attended = varlen_attn(query, key, value, bounds, bounds, longest, longest)
        assert isinstance(attended, Tensor)
        return attended.flatten(1)
    outputs = []
    for run in _runs(layout, None):
        shape = (run.sequences, run.length, *query.shape[1:])
        q, k, v = (x[run.place].view(shape).transpose(1, 2) for x in (query, key, value))
        outputs.append(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(0, 1).flatten(1))
    return torch.cat(outputs)


def fused_attention_of(
    read: QueryPositions,
    queries: Tensor,
    keys_values: Tensor,
    rotation: tuple[Tensor, Tensor],
    layout: BatchLayout,
) -> Tensor:
    """What the positions `read` read, [M, d], from tensors that `is_fused` takes.

    As `rotary_attention`, from queries [Q, 1, heads, width] and keys and values [T, 2, heads, width].
    """
    attended = _RotaryAttention.apply(layout, read, *rotation, queries, keys_values)
    return F.embedding(read.place, attended)


def _runs_of(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each run of equal lengths, its first sequence and how many there are."""
    starts = np.flatnonzero(np.r_[True, lengths[1:] != lengths[:-1]])
    return starts, np.diff(np.r_[starts, len(lengths)])


@dataclass(frozen=True)
class _Run:
    """Sequences of one length side by side: their positions, and those of their queries, `count` of each."""

    sequences: int
    place: slice
    length: int
    queries: slice
    count: int


def _runs(layout: BatchLayout, read: QueryPositions | None) -> Iterator[_Run]:
    start = first = 0
    counts = [length for _, length in layout.runs] if read is None else read.counts
    for (sequences, length), count in zip(layout.runs, counts, strict=True):
        stop, last = start + sequences * length, first + sequences * count
        yield _Run(sequences, slice(start, stop), length, slice(first, last), count)
        start, first = stop, last


class _RotaryAttention(torch.autograd.Function):
    """PyTorch's flash attention run by run, its results written where they belong without further copies.

    `projected` is [T, 3, heads, width], or queries [Q, 1, ...] and keys and values [T, 2, ...].
    """

    @staticmethod
    def forward(
        ctx: Any,
        layout: BatchLayout,
        read: QueryPositions | None,
        cosine: Tensor,
        sine: Tensor,
        *projected: Tensor,
    ) -> Tensor:
        projected = tuple(x.contiguous() for x in projected)
        rotations = _rotations(read, cosine, sine)
        rotated = [torch.empty_like(x) for x in projected]
        for x, angles, target in zip(projected, rotations, rotated, strict=True):
            kernels.rotate(x.numpy(), *angles, target.numpy())
        asked, _, heads, width = projected[0].shape
        out, masses = cosine.new_empty(asked, heads, width), []
        for run in _runs(layout, read):
            attended, mass = _forward(*_heads_first(rotated, run))
            out[run.queries].view(run.sequences, run.count, heads, width).copy_(attended.transpose(1, 2))
            masses.append(mass)
        ctx.layout, ctx.read, ctx.inputs = layout, read, len(projected)
        ctx.save_for_backward(cosine, sine, out, *projected, *rotated, *masses)
        return out.view(asked, heads * width)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        cosine, sine, out, *rest = kernels.saved_tensors_once(ctx)
        n = ctx.inputs
        projected, rotated, masses = rest[:n], rest[n : 2 * n], rest[2 * n :]
        above = gradients[0].contiguous().view(out.shape)
        for run, mass in zip(_runs(ctx.layout, ctx.read), masses, strict=True):
            shape = (run.sequences, run.count, *out.shape[1:])
            attended, gradient = (x[run.queries].view(shape).transpose(1, 2) for x in (out, above))
            queries_keys_values = _heads_first(rotated, run)
            found = _backward(gradient, *queries_keys_values, attended, mass, 0.0, False)
            for values, below in zip(queries_keys_values, found, strict=True):
                values.copy_(below)
        for gradient, x, angles in zip(rotated, projected, _rotations(ctx.read, cosine, sine), strict=True):
            kernels.rotate_backward(gradient.numpy(), x.numpy(), *angles)
        return None, None, None, None, *rotated


def _rotations(
    read: QueryPositions | None, cosine: Tensor, sine: Tensor
) -> list[tuple[np.ndarray, np.ndarray]]:
    whole = cosine.numpy(), sine.numpy()
    if read is None:
        return [whole]
    return [(cosine[read.query].numpy(), sine[read.query].numpy()), whole]


def _heads_first(tensors: Sequence[Tensor], run: _Run) -> list[Tensor]:
    """Queries, keys and values of one run, each a view [sequences, heads, positions, width]."""
    if len(tensors) == 1:
        places = [(run.place, run.length)]
    else:
        places = [(run.queries, run.count), (run.place, run.length)]
    return [
        part
        for x, (place, length) in zip(tensors, places, strict=True)
        for part in x[place].view(run.sequences, length, *x.shape[1:]).permute(2, 0, 3, 1, 4).unbind(0)
    ]
