"""Microbatches on a device: tensors, size, precision, and their order on several threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from itertools import islice
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from claimscale.model import kernels
from claimscale.model.attention import BatchLayout, to_device
from claimscale.model.encoder import EncoderInputs
from claimscale.tokens.batches import FILLER, MICROBATCH_TOKENS, Batch, microbatches, with_fillers
from claimscale.tokens.sequences import Sequences

GPU_MICROBATCH_TOKENS = 1 << 17
SMALLEST_CPU_MICROBATCH = 1 << 10

Result = TypeVar("Result")


def encoder_inputs(batch: Batch, token: np.ndarray, device: torch.device) -> EncoderInputs:
    """The batch on the device, with `token` [T], which may be masked, instead of its own tokens."""
    token_T, age_T, days_T, count_T = (
        to_device(array, device) for array in (token, batch.age_days, batch.days, batch.count)
    )
    return EncoderInputs(token_T, age_T, days_T, count_T, BatchLayout.of(batch.lengths, device))


def cls_positions(batch: Batch) -> np.ndarray:
    """The position of each sequence's [CLS], int64 [B]."""
    return np.cumsum(batch.lengths) - batch.lengths


def microbatch_tokens(device: torch.device, batch_tokens: int | None = None) -> int:
    """The maximum number of tokens of a microbatch.

    On a CPU a step of about `batch_tokens` has at least two microbatches, unless it is small, so that a
    second thread has work. The number of threads has no influence: results would depend on it.
    """
    if device.type != "cpu":
        return GPU_MICROBATCH_TOKENS
    half = MICROBATCH_TOKENS if batch_tokens is None else batch_tokens * 5 // 8
    return min(MICROBATCH_TOKENS, max(SMALLEST_CPU_MICROBATCH, half))


def mixed_precision(device: torch.device) -> torch.autocast:
    """bfloat16 matrix products on a GPU, float32 on a CPU."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=kernels.on_gpu(device))


def evaluate(
    function: Callable[[Batch], Result], sequences: Sequences, index: np.ndarray, device: torch.device
) -> Iterator[Result]:
    """The function of each microbatch of the sequences `index`, in order, without gradients."""
    without_gradients = torch.no_grad()(function)
    batches = microbatches(sequences, index, microbatch_tokens(device))
    return in_order((lambda batch=batch: without_gradients(batch) for batch in batches), device)


def rows_of(
    function: Callable[[Batch], Tensor], sequences: Sequences, device: torch.device
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The row that the function gives of each sequence: numbers of sequences [B], and their rows [B, ...].

    On a CPU the bits of a row do not depend on which other sequences are scored with it.
    """

    def rows(batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        filled = with_fillers(batch)
        real = filled.index != FILLER
        return filled.index[real], function(filled).cpu().numpy()[real]

    return evaluate(rows, sequences, np.arange(len(sequences)), device)


def in_order(work: Iterable[Callable[[], Result]], device: torch.device) -> Iterator[Result]:
    """The result of each piece of work, in order: one thread per piece on a CPU, one after another on a GPU.

    Each piece is computed by one thread, so that its bits do not depend on how many threads torch has; no
    more pieces run at once than there are threads. Small matrix products gain little from two threads each.
    """
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1:
        for compute in work:
            yield compute()
        return
    torch.set_num_threads(1)
    try:
        waiting, pool = iter(work), _pool(threads)
        running: deque[Future[Result]] = deque(pool.submit(one) for one in islice(waiting, threads))
        while running:
            result = running.popleft().result()
            running += (pool.submit(one) for one in islice(waiting, 1))
            yield result
    finally:
        torch.set_num_threads(threads)


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "microbatch")
