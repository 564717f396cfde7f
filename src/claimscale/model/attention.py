"""Rotary attention within each sequence of a batch laid flat, without padding.

On a CPU the batch is split into runs of sequences of equal length, so that nothing is padded or masked. On a
GPU one variable-length kernel computes all sequences.
Shape suffixes: T positions, Q queries, M query positions, B sequences, d width, h heads.
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

LENGTH_MULTIPLE = 128
"""The longest length is rounded up to a multiple of it, so that code is not compiled for every batch."""
_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward.default


@dataclass(frozen=True)
class BatchLayout:
    """How T positions form sequences, in flat order.

    `runs` are (sequences, length) of consecutive sequences of equal length, for a CPU. `bounds` int32
    [B + 1], on the device, are the first positions of the sequences, and T. `longest` is at least the
    longest length. `row` int32 [T], on a GPU, is the number of each position's sequence.
    """

    runs: tuple[tuple[int, int], ...]
    bounds: Tensor
    longest: int
    row: Tensor | None = None

    @classmethod
    def of(cls, lengths: np.ndarray, device: torch.device) -> BatchLayout:
        """The layout of sequences of these lengths, int64 [B]."""
        bounds = bounds_of(lengths)
        if kernels.on_gpu(device):  # code is compiled again for other constants, so a GPU has no runs
            row = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
            return cls((), to_device(bounds, device), longest_step(lengths), to_device(row, device))
        starts, counts = _runs_of(lengths)
        runs = tuple(zip(counts.tolist(), lengths[starts].tolist(), strict=True))
        return cls(runs, to_device(bounds, device), longest_step(lengths))

    def rows(self, positions: int) -> Tensor:
        """The number of each position's sequence, int64 [T]."""
        if self.row is not None:
            return self.row.long()
        lengths_B = self.bounds.long().diff()
        row_T = torch.arange(len(lengths_B), device=self.bounds.device)
        return row_T.repeat_interleave(lengths_B, output_size=positions)


@dataclass(frozen=True)
class QueryPositions:
    """M positions at which the last layer runs: `position` int64 [M].

    Attention computes `query` int64 [Q], sequence by sequence. `place` int64 [M] are the indices of
    `position` in `query`. On a CPU there are `counts` queries of each sequence of a run; a sequence with
    fewer repeats its first position. On a GPU `query` has the same positions as `position`, and `bounds`
    int32 [B + 1] are the first queries of the sequences, and Q; `place` is None where both have the same
    order.
    """

    position: Tensor
    query: Tensor
    place: Tensor | None
    counts: tuple[int, ...]
    bounds: Tensor | None = None

    @classmethod
    def of(cls, position: np.ndarray, lengths: np.ndarray, device: torch.device) -> QueryPositions:
        """The query positions `position` int64 [M] of sequences of these lengths, int64 [B]."""
        ends = np.cumsum(lengths)
        if kernels.on_gpu(device):
            order = np.argsort(position, kind="stable")
            bounds = to_device(query_bounds(position[order], ends), device)
            position_M = to_device(position, device)
            if (np.diff(order) == 1).all():
                return cls(position_M, position_M, None, (), bounds)
            query_M, place_M = (to_device(x, device) for x in (position[order], np.argsort(order)))
            return cls(position_M, query_M, place_M, (), bounds)
        sequence = np.searchsorted(ends, position, side="right")
        wanted = np.bincount(sequence, minlength=len(lengths))
        starts, sequences = _runs_of(lengths)
        counts = np.maximum.reduceat(wanted, starts).clip(1)
        computed = np.repeat(counts, sequences)
        ahead = (np.cumsum(computed) - computed) - (np.cumsum(wanted) - wanted)
        order = np.argsort(sequence, kind="stable")
        place = np.empty_like(order)
        place[order] = np.arange(len(order)) + np.repeat(ahead, wanted)
        query = np.repeat(ends - lengths, computed)
        query[place] = position
        position_M, query_Q, place_M = (torch.from_numpy(x) for x in (position, query, place))
        return cls(position_M, query_Q, place_M, tuple(counts.tolist()))


def rotary_attention(projected: Tensor, rotation: tuple[Tensor, Tensor], layout: BatchLayout) -> Tensor:
    """Attention within each sequence, [T, d], from queries, keys and values [T, 3, heads, width].

    Queries and keys are normalised to root mean square 1 and rotated by cosines and sines [T, width / 2].
    """
    if kernels.is_fused(projected):
        return _RotaryAttention.apply(layout, None, *rotation, projected)
    if kernels.on_gpu(projected.device):  # values are not copied
        query, key = kernels.rotate_heads(projected[:, :2], *rotation).unbind(1)
        return variable_length((query, key, projected[:, 2]), layout.bounds, layout).flatten(1)
    query, key, value = kernels.rotate_queries_keys(projected, *rotation).unbind(1)
    outputs = []
    for run in _runs(layout, None):
        shape = (run.sequences, run.length, *query.shape[1:])
        q, k, v = (x[run.place].view(shape).transpose(1, 2) for x in (query, key, value))
        outputs.append(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(0, 1).flatten(1))
    return torch.cat(outputs)


def attention_at(
    positions: QueryPositions,
    projected: tuple[Tensor, Tensor],
    rotation: tuple[Tensor, Tensor],
    layout: BatchLayout,
) -> Tensor:
    """As `rotary_attention` at the query positions, [M, d]: on a GPU, or for tensors that `is_fused` accepts.

    `projected` are queries [Q, 1, heads, width], and keys and values [T, 2, heads, width].
    """
    if kernels.on_gpu(projected[0].device):
        assert positions.bounds is not None
        queries, keys_values = projected
        at_queries = rotation[0][positions.query], rotation[1][positions.query]
        query = kernels.rotate_heads(queries, *at_queries).squeeze(1)
        key, value = kernels.rotate_heads(keys_values[:, :1], *rotation).squeeze(1), keys_values[:, 1]
        attended = variable_length((query, key, value), positions.bounds, layout).flatten(1)
    else:
        attended = _RotaryAttention.apply(layout, positions, *rotation, *projected)
    return attended if positions.place is None else F.embedding(positions.place, attended)


def variable_length(
    queries_keys_values: tuple[Tensor, Tensor, Tensor], query_bounds: Tensor, layout: BatchLayout
) -> Tensor:
    """Attention of queries [Q, heads, width] within each sequence, by one kernel of a GPU.

    `query_bounds` int32 [B + 1] are the first queries of the sequences, and Q.
    """
    from torch.nn.attention.varlen import varlen_attn

    longest = layout.longest
    attended = varlen_attn(*queries_keys_values, query_bounds, layout.bounds, longest, longest)
    assert isinstance(attended, Tensor)
    return attended


def to_device(array: np.ndarray, device: torch.device) -> Tensor:
    """The array as a tensor on the device."""
    host = torch.from_numpy(array)
    # A copy from memory that is not pinned would wait for all work queued on the GPU.
    return host.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else host.to(device)


def bounds_of(lengths: np.ndarray) -> np.ndarray:
    """The first position of each sequence, and T: int32 [B + 1]."""
    return np.r_[0, np.cumsum(lengths)].astype(np.int32)


def longest_step(lengths: np.ndarray) -> int:
    """The longest length, rounded up."""
    return -(-int(lengths.max()) // LENGTH_MULTIPLE) * LENGTH_MULTIPLE


def query_bounds(position: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The number of ascending positions [M] before the first of each sequence, and M: int32 [B + 1].

    `ends` [B] are the ends of the sequences.
    """
    return np.searchsorted(position, np.r_[0, ends]).astype(np.int32)


def _runs_of(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first sequence of each run of equal lengths, and the number of its sequences."""
    starts = np.flatnonzero(np.r_[True, lengths[1:] != lengths[:-1]])
    return starts, np.diff(np.r_[starts, len(lengths)])


@dataclass(frozen=True)
class _EqualLengthRun:
    """Consecutive sequences of equal length: their positions, and their queries, `count` of each."""

    sequences: int
    place: slice
    length: int
    queries: slice
    count: int


def _runs(layout: BatchLayout, positions: QueryPositions | None) -> Iterator[_EqualLengthRun]:
    start = first = 0
    counts = [length for _, length in layout.runs] if positions is None else positions.counts
    for (sequences, length), count in zip(layout.runs, counts, strict=True):
        stop, last = start + sequences * length, first + sequences * count
        yield _EqualLengthRun(sequences, slice(start, stop), length, slice(first, last), count)
        start, first = stop, last


class _RotaryAttention(torch.autograd.Function):
    """PyTorch's flash attention run by run, its results written in place without further copies.

    `projected` is [T, 3, heads, width], or queries [Q, 1, ...] and keys and values [T, 2, ...].
    """

    @staticmethod
    def forward(
        ctx: Any,
        layout: BatchLayout,
        positions: QueryPositions | None,
        cosine: Tensor,
        sine: Tensor,
        *projected: Tensor,
    ) -> Tensor:
        projected = tuple(x.contiguous() for x in projected)
        rotations = _rotations(positions, cosine, sine)
        rotated = [torch.empty_like(x) for x in projected]
        for x, angles, target in zip(projected, rotations, rotated, strict=True):
            kernels.rotate(x.numpy(), *angles, target.numpy())
        queries, _, heads, width = projected[0].shape
        out, masses = cosine.new_empty(queries, heads, width), []
        for run in _runs(layout, positions):
            attended, mass = _forward(*_heads_first(rotated, run))
            out[run.queries].view(run.sequences, run.count, heads, width).copy_(attended.transpose(1, 2))
            masses.append(mass)
        ctx.layout, ctx.positions, ctx.inputs = layout, positions, len(projected)
        ctx.save_for_backward(cosine, sine, out, *projected, *rotated, *masses)
        return out.view(queries, heads * width)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        cosine, sine, out, *rest = kernels.saved_tensors_once(ctx)
        n = ctx.inputs
        projected, rotated, masses = rest[:n], rest[n : 2 * n], rest[2 * n :]
        above = gradients[0].contiguous().view(out.shape)
        for run, mass in zip(_runs(ctx.layout, ctx.positions), masses, strict=True):
            shape = (run.sequences, run.count, *out.shape[1:])
            attended, gradient = (x[run.queries].view(shape).transpose(1, 2) for x in (out, above))
            queries_keys_values = _heads_first(rotated, run)
            found = _backward(gradient, *queries_keys_values, attended, mass, 0.0, False)
            for values, below in zip(queries_keys_values, found, strict=True):
                values.copy_(below)
        for gradient, x, angles in zip(
            rotated, projected, _rotations(ctx.positions, cosine, sine), strict=True
        ):
            kernels.rotate_backward(gradient.numpy(), x.numpy(), *angles)
        return None, None, None, None, *rotated


def _rotations(
    positions: QueryPositions | None, cosine: Tensor, sine: Tensor
) -> list[tuple[np.ndarray, np.ndarray]]:
    whole = cosine.numpy(), sine.numpy()
    if positions is None:
        return [whole]
    return [(cosine[positions.query].numpy(), sine[positions.query].numpy()), whole]


def _heads_first(tensors: Sequence[Tensor], run: _EqualLengthRun) -> list[Tensor]:
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
