"""GPU memory: the size of a microbatch that fits."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Callable

import torch

USED_SHARE = 0.8
"""The part of the remaining memory for a microbatch, as measured: equal sizes differ in shape."""
PROBE_TOKENS = 1 << 14
LARGEST_MICROBATCH = 1 << 20
SMALLEST_MICROBATCH = 1 << 10

SETTINGS = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")
VIRTUAL_MEMORY = 102
"""The driver's number of the attribute that tells whether it can map memory into an address range."""


def use_expandable_segments(device: torch.device) -> None:
    """Let blocks of GPU memory grow, unless the user has chosen settings or the driver cannot do it.

    The numbers of positions differ from step to step. Blocks of fixed size then fit rarely, and the process
    holds up to three times the memory that it uses.
    """
    if device.type != "cuda" or any(name in os.environ for name in SETTINGS):
        return
    supported = ctypes.c_int(0)
    with contextlib.suppress(OSError, AttributeError):
        driver = ctypes.CDLL("libcuda.so.1")
        driver.cuDeviceGetAttribute(ctypes.byref(supported), VIRTUAL_MEMORY, device.index or 0)
    if supported.value:
        torch.cuda.memory._set_allocator_settings("expandable_segments:True")


def free_memory(device: torch.device) -> int:
    """Bytes of a GPU's memory that this process can still use."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def microbatch_for(free: float, peak: float, tokens: int) -> int:
    """The largest microbatch, a power of two tokens, that fits if one of `tokens` took `peak` bytes.

    >>> microbatch_for(free=64e9, peak=3.1e9, tokens=16_384)
    262144
    """
    fitting = USED_SHARE * free / max(peak, 1) * tokens
    size = SMALLEST_MICROBATCH
    while 2 * size <= min(fitting, LARGEST_MICROBATCH):
        size *= 2
    return size


def measured_microbatch(train: Callable[[int], int], held: int, device: torch.device) -> int:
    """The microbatch for this GPU: `train` runs one of about so many tokens and returns its actual size.

    `held` are the bytes that training takes besides microbatches.
    """
    torch.cuda.reset_peak_memory_stats(device)
    before, tokens, tried = torch.cuda.memory_allocated(device), 0, PROBE_TOKENS
    while not tokens:
        try:
            tokens = train(tried)
        except torch.OutOfMemoryError:
            if tried <= SMALLEST_MICROBATCH:
                raise
        torch.cuda.empty_cache()
        tried //= 2
    peak = torch.cuda.max_memory_allocated(device) - before
    return microbatch_for(free_memory(device) - held, peak, tokens)
