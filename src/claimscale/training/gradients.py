"""Gradients of a step from the losses of its parts: one part at a time, or on a CPU one per thread.

Small matrix products gain little from two threads each; two parts side by side gain nearly all of it. Every
part is computed by one thread and gradients are added up in the order of the parts, so that the sum has the
same bits however many threads there are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from itertools import islice

import torch
from torch import Tensor, nn

Losses = Iterable[Callable[[], Tensor]]
"""Each computes the loss of one part; together they make the loss of a step."""
Found = tuple[Tensor, tuple[Tensor | None, ...]]


def accumulate(model: nn.Module, losses: Losses) -> Tensor:
    """Add the gradients of all losses to those of the weights; returns the sum of the losses, float64.

    Parts are freed one by one; on a CPU as many are worked on at once as torch has threads.
    """
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    threads = torch.get_num_threads()
    total = torch.zeros((), dtype=torch.float64)
    if weights[0].device.type != "cpu" or threads == 1:
        for compute in losses:
            loss = compute()
            loss.backward()
            total = total.to(loss.device) + loss.detach()
        return total
    torch.set_num_threads(1)
    try:
        for loss, gradients in _side_by_side(losses, weights, threads):
            total = total + loss
            for weight, gradient in zip(weights, gradients, strict=True):
                if gradient is not None:
                    weight.grad = gradient if weight.grad is None else weight.grad.add_(gradient)
    finally:
        torch.set_num_threads(threads)
    return total


def _side_by_side(losses: Losses, weights: Sequence[Tensor], threads: int) -> Iterator[Found]:
    """Each part's loss and gradients, in order; never more parts at once than threads."""

    def work(compute: Callable[[], Tensor]) -> Found:
        loss = compute()
        return loss.detach(), torch.autograd.grad(loss, weights, allow_unused=True)

    waiting, pool = iter(losses), _pool(threads)
    running: deque[Future[Found]] = deque(pool.submit(work, one) for one in islice(waiting, threads))
    while running:
        found = running.popleft().result()
        running += (pool.submit(work, one) for one in islice(waiting, 1))
        yield found


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "part")
