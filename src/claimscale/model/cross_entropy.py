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
from claimscale.model.inputs import IncidentTargets
from claimscale.model.kernels import exp
from claimscale.tokens.special_tokens import FIRST_CODE

LOGITS_AT_ONCE = 1 << 20
LANES = 64
IGNORED = -100
"""The target of a row without a loss."""
_f32 = np.float32


def summed_cross_entropy(hidden: Tensor, weight: Tensor, bias: Tensor, target: Tensor) -> Tensor:
    """Sum of the cross-entropies of `hidden @ weight.T + bias` [M, V] against `target` [M].

    On a CPU the logits of a block of rows are computed and replaced by their gradient, block by block. On a
    GPU a row whose target is IGNORED has no loss.
    """
    if kernels.is_fused(hidden) and torch.is_grad_enabled():
        return _CrossEntropy.apply(hidden, weight, bias, target)
    logits = F.linear(hidden, weight, bias).float()
    return F.cross_entropy(logits, target, ignore_index=IGNORED, reduction="sum")


def incident_cross_entropy(logits_BV: Tensor, targets: IncidentTargets) -> Tensor:
    """Summed binary cross-entropy over the codes that each sequence with a full horizon is at risk of.

    A CPU has dense targets. A GPU sums softplus(logit) over all codes, less those that are known, less the
    logits of the new ones: writing targets into a matrix would wait for the GPU.
    """
    full_B = targets.has_full_horizon
    if kernels.is_fused(logits_BV):
        new_BV = torch.zeros_like(logits_BV)
        at_risk_BV = full_B[:, None].to(logits_BV).repeat(1, logits_BV.shape[1])
        new_BV[targets.new[0], targets.new[1]] = 1
        at_risk_BV[targets.known[0], targets.known[1]] = 0
        at_risk_BV[:, :FIRST_CODE] = 0
        return F.binary_cross_entropy_with_logits(logits_BV, new_BV, at_risk_BV, reduction="sum")
    weight_B = full_B.float()
    (new_row, new_code), (known_row, known_code) = targets.new.long().unbind(), targets.known.long().unbind()
    # Known codes of few patients would be subtracted from a large sum: each sequence is summed by itself.
    known_N = F.softplus(logits_BV[known_row, known_code])
    all_B = F.softplus(logits_BV[:, FIRST_CODE:]).sum(1).index_add(0, known_row, -known_N)
    new_N = logits_BV[new_row, new_code] * weight_B[new_row]
    return (all_B * weight_B).sum() - new_N.sum()


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
