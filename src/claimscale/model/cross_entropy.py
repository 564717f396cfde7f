"""Cross-entropy over the vocabulary, fused on a CPU so that never all logits are in memory. See `kernels`."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numba import njit
from torch import Tensor

from claimscale.model import kernels
from claimscale.model.kernels import exp

LOGITS_AT_ONCE = 1 << 20
LANES = 64
_f32 = np.float32


def summed_cross_entropy(hidden: Tensor, weight: Tensor, bias: Tensor, target: Tensor) -> Tensor:
    """Sum of the cross-entropies of `hidden @ weight.T + bias` [M, V] against `target` [M].

    On a CPU the logits of a block of rows are computed and replaced by their gradient, block by block.
    """
    if kernels.is_fused(hidden) and torch.is_grad_enabled():
        return _CrossEntropy.apply(hidden, weight, bias, target)
    return F.cross_entropy(F.linear(hidden, weight, bias).float(), target, reduction="sum")


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, target: Tensor) -> Tensor:
        hidden_gradient = torch.empty_like(hidden)
        weight_gradient, bias_gradient = torch.zeros_like(weight), torch.zeros_like(bias)
        loss = 0.0
        step = max(64, LOGITS_AT_ONCE // len(weight))
        for start in range(0, len(hidden), step):
            rows = slice(start, start + step)
            logits = torch.mm(hidden[rows], weight.T)
            loss += _softmax_minus_target(logits.numpy(), bias.detach().numpy(), target[rows].numpy())
            torch.mm(logits, weight, out=hidden_gradient[rows])
            weight_gradient.addmm_(logits.T, hidden[rows])
            bias_gradient += logits.sum(0)
        ctx.save_for_backward(hidden_gradient, weight_gradient, bias_gradient)
        return hidden.new_tensor(loss)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        hidden_gradient, weight_gradient, bias_gradient = (
            x.mul_(gradients[0]) for x in kernels.saved_tensors_once(ctx)
        )
        return hidden_gradient, weight_gradient, bias_gradient, None


@njit(inline="always")
def _add_and_find_highest(row, bias, lanes):
    """Add the bias and return the maximum. Separate lanes let the maxima become vector instructions."""
    width = row.size
    whole = width // LANES * LANES
    lanes[:] = row[0] + bias[0]
    for start in range(0, whole, LANES):
        part, added = row[start : start + LANES], bias[start : start + LANES]
        for i in range(LANES):
            part[i] += added[i]
            lanes[i] = max(lanes[i], part[i])
    for i in range(whole, width):
        row[i] += bias[i]
        lanes[0] = max(lanes[0], row[i])
    return lanes.max()


@njit(cache=True, fastmath=True, error_model="numpy", nogil=True)
def _softmax_minus_target(logits, bias, target):
    """Replace logits [M, V] without their bias [V] by the gradient of the summed cross-entropy; return it."""
    rows, width = logits.shape
    total = 0.0
    lanes = np.empty(LANES, np.float32)
    for t in range(rows):
        row = logits[t]
        highest = _add_and_find_highest(row, bias, lanes)
        wanted = row[target[t]]
        mass = _f32(0)
        for i in range(width):
            row[i] = exp(row[i] - highest)
            mass += row[i]
        total += np.log(mass) + highest - wanted
        for i in range(width):
            row[i] /= mass
        row[target[t]] -= _f32(1)
    return total
