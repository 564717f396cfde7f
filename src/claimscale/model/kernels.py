"""Fused operations on a CPU, each with its gradient, and the same in plain PyTorch on a GPU.

At the widths that a CPU can train, PyTorch's elementwise operations take as much time as the matrix products:
every one reads and writes all activations. Here each is one pass over rows that stay in cache. Rows are
sliced before the inner loop because LLVM vectorises contiguous slices only.

The choice of arithmetic depends on the device and the number type, never on the number of threads: equal
inputs give equal bits for any number. Several threads compute one microbatch each (`training.device`).
"""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numba import njit
from torch import Tensor

NORM_EPSILON = 1e-6
_f32 = np.float32
_i32 = np.int32
_SLOPE = _f32(2 * np.sqrt(2 / np.pi))  # GELU's tanh form: tanh(u) = 2 sigmoid(2u) - 1
_CUBIC = _f32(0.044715)
_EPSILON = _f32(NORM_EPSILON)


def rms_norm(x: Tensor, gain: Tensor) -> Tensor:
    """`x` [T, d] scaled to root mean square 1 per row, times `gain` [d]."""
    if is_fused(x):
        return _RmsNorm.apply(x, gain)
    # The compiled gradient of a gain that is multiplied separately is one fused sum.
    return F.rms_norm(x.float(), gain.shape, None, NORM_EPSILON) * gain


def geglu(hidden: Tensor) -> Tensor:
    """GELU (tanh form) of the first half of the columns times the second: [T, 2f] -> [T, f]."""
    if is_fused(hidden):
        return _GeGlu.apply(hidden)
    gate, up = hidden.chunk(2, -1)
    return F.gelu(gate, approximate="tanh") * up


def rotate_queries_keys(projected: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Normalise each head's query and key to root mean square 1 and rotate them; values pass unchanged.

    `projected` [T, parts, heads, width] holds queries, keys and values, keys and values, or queries;
    `cosine` and `sine` [T, width / 2]. Column i is rotated together with column i + width / 2.
    """
    parts = max(1, projected.shape[1] - 1)
    turned, values = projected[:, :parts], projected[:, parts:]
    return torch.cat((rotate_heads(turned, cosine, sine), values), 1)


def rotate_heads(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Normalise each head's vector [T, parts, heads, width] to root mean square 1 and rotate it."""
    first, second = F.rms_norm(x, x.shape[-1:], None, NORM_EPSILON).chunk(2, -1)
    cosine, sine = cosine[:, None, None], sine[:, None, None]
    return torch.cat((first * cosine - second * sine, second * cosine + first * sine), -1).to(x.dtype)


def on_gpu(device: torch.device) -> bool:
    """Whether the operations of a GPU run on this device; tests run them on a CPU as well."""
    return device.type == "cuda"


def is_fused(x: Tensor) -> bool:
    """Whether the fused operations accept this tensor."""
    return not on_gpu(x.device) and x.dtype == torch.float32


def full_precision(device: torch.device) -> torch.autocast:
    """Matrix products in float32: of logits in bfloat16, many patients would have the same risk."""
    return torch.autocast(device.type, enabled=False)


def saved_tensors_once(ctx: Any) -> tuple[Tensor, ...]:
    """The tensors saved for the gradient, to be overwritten: new memory would cost as much as the arithmetic.

    Raises RuntimeError at a second call (`retain_graph`), when they have been overwritten.
    """
    if getattr(ctx, "is_consumed", False):
        raise RuntimeError("this gradient can be computed only once")
    ctx.is_consumed = True
    return ctx.saved_tensors


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor) -> Tensor:
        x = x.contiguous()
        out, scale = torch.empty_like(x), x.new_empty(len(x))
        _rms_norm(x.numpy(), gain.detach().numpy(), out.numpy(), scale.numpy())
        ctx.save_for_backward(x, gain, scale)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        x, gain, scale = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        x_gradient, gain_gradient = torch.empty_like(x), torch.zeros_like(gain)
        _rms_norm_backward(
            gradient.numpy(), x.numpy(), gain.detach().numpy(), scale.numpy(), x_gradient.numpy(),
            gain_gradient.numpy(),
        )  # fmt: skip
        return x_gradient, gain_gradient


class _GeGlu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor) -> Tensor:
        hidden = hidden.contiguous()
        out = hidden.new_empty(len(hidden), hidden.shape[1] // 2)
        _geglu(hidden.numpy(), out.numpy())
        ctx.save_for_backward(hidden)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (hidden,) = saved_tensors_once(ctx)
        _geglu_backward(gradients[0].contiguous().numpy(), hidden.numpy())
        return hidden


@njit(cache=True, fastmath=True, error_model="numpy", nogil=True)
def _rms_norm(x, gain, out, scale):
    rows, width = x.shape
    for t in range(rows):
        row, target = x[t], out[t]
        square = _f32(0)
        for i in range(width):
            square += row[i] * row[i]
        inverse = _f32(1) / np.sqrt(square / _f32(width) + _EPSILON)
        scale[t] = inverse
        for i in range(width):
            target[i] = row[i] * inverse * gain[i]


@njit(cache=True, fastmath=True, error_model="numpy", nogil=True)
def _rms_norm_backward(gradient, x, gain, scale, x_gradient, gain_gradient):
    rows, width = x.shape
    for t in range(rows):
        row, above, target = x[t], gradient[t], x_gradient[t]
        inverse = scale[t]
        dot = _f32(0)
        for i in range(width):
            dot += above[i] * gain[i] * row[i]
        along = dot * inverse * inverse / _f32(width)
        for i in range(width):
            target[i] = inverse * (above[i] * gain[i] - row[i] * along)
        for i in range(width):
            gain_gradient[i] += above[i] * row[i] * inverse


@njit(inline="always")
def exp(x):
    """e^x in single precision (Cephes): 2^n by exponent bits, the rest by a polynomial; vectorises."""
    x = min(max(x, _f32(-60)), _f32(60))  # beyond, products could overflow
    n = np.floor(x * _f32(1.44269504) + _f32(0.5))
    r = x - n * _f32(0.693359375) + n * _f32(2.12194440e-4)
    p = _f32(1.9875691500e-4)
    p = p * r + _f32(1.3981999507e-3)
    p = p * r + _f32(8.3334519073e-3)
    p = p * r + _f32(4.1665795894e-2)
    p = p * r + _f32(1.6666665459e-1)
    p = p * r + _f32(5.0000001201e-1)
    return (p * r * r + r + _f32(1)) * _i32((_i32(n) + _i32(127)) << _i32(23)).view(_f32)


@njit(cache=True, fastmath=True, error_model="numpy", nogil=True)
def _geglu(hidden, out):
    rows, width = out.shape
    for t in range(rows):
        gate, up, target = hidden[t, :width], hidden[t, width:], out[t]
        for i in range(width):
            g = gate[i]
            u = _SLOPE * (g + _CUBIC * g * g * g)
            target[i] = g / (_f32(1) + exp(-u)) * up[i]


@njit(cache=True, fastmath=True, error_model="numpy", nogil=True)
def _geglu_backward(gradient, hidden):
    """Replace the input by its gradient. Each row is computed in a buffer, so that the loops vectorise."""
    rows, width = gradient.shape
    found = np.empty(2 * width, np.float32)
    gate_target, up_target = found[:width], found[width:]
    for t in range(rows):
        gate, up, above = hidden[t, :width], hidden[t, width:], gradient[t]
        for i in range(width):
            g = gate[i]
            u = _SLOPE * (g + _CUBIC * g * g * g)
            decay = exp(-u)
            sigmoid = _f32(1) / (_f32(1) + decay)
            active = g * sigmoid
            # decay * sigmoid is 1 - sigmoid without its rounding error, which the cube of g would amplify.
            slope = sigmoid + active * decay * sigmoid * _SLOPE * (_f32(1) + _f32(3) * _CUBIC * g * g)
            gate_target[i] = above[i] * up[i] * slope
            up_target[i] = above[i] * active
        hidden[t] = found


@njit(cache=True, fastmath=True, error_model="numpy", nogil=True)
def rotate(projected, cosine, sine, out):
    """Fill `out` [T, parts, heads, width] as `rotate_queries_keys`; the last of several parts are values."""
    rows, parts, heads, width = projected.shape
    turned, half = max(1, parts - 1), width // 2
    for t in range(rows):
        c, s = cosine[t], sine[t]
        for part in range(turned):
            for head in range(heads):
                row, target = projected[t, part, head], out[t, part, head]
                square = _f32(0)
                for i in range(width):
                    square += row[i] * row[i]
                inverse = _f32(1) / np.sqrt(square / _f32(width) + _EPSILON)
                first, second, low, high = row[:half], row[half:], target[:half], target[half:]
                for i in range(half):
                    low[i] = (first[i] * c[i] - second[i] * s[i]) * inverse
                    high[i] = (second[i] * c[i] + first[i] * s[i]) * inverse
        for part in range(turned, parts):
            out[t, part] = projected[t, part]


@njit(cache=True, fastmath=True, error_model="numpy", nogil=True)
def rotate_backward(gradient, projected, cosine, sine):
    """Replace the gradient of the output of `rotate` by that of its input, [T, parts, heads, width]."""
    rows, parts, heads, width = projected.shape
    turned, half = max(1, parts - 1), width // 2
    for t in range(rows):
        c, s = cosine[t], sine[t]
        for part in range(turned):
            for head in range(heads):
                row, target = projected[t, part, head], gradient[t, part, head]
                low, high = target[:half], target[half:]
                square, dot = _f32(0), _f32(0)
                for i in range(half):
                    first, second = low[i], high[i]
                    low[i] = first * c[i] + second * s[i]
                    high[i] = second * c[i] - first * s[i]
                for i in range(width):
                    square += row[i] * row[i]
                    dot += target[i] * row[i]
                inverse = _f32(1) / np.sqrt(square / _f32(width) + _EPSILON)
                along = dot * inverse * inverse / _f32(width)
                for i in range(width):
                    target[i] = inverse * (target[i] - row[i] * along)
