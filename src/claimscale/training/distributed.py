"""Data parallelism: ranks that share every step, as `torchrun` starts them on one or many nodes.

Each rank accumulates the gradients of its own sequences. An all-reduce in buckets then gives every rank the
sum over the whole step, so that all ranks take the same update. `DistributedDataParallel` is not used: ranks
may have unequal numbers of microbatches, even none, and the loss is divided by all masked codes of the step.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import importlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor

from claimscale.errors import BadInput

BUCKET_NUMBERS = 1 << 23
"""Gradients in one message, 32 MB: large enough for the network's speed, small compared to activations."""
PATIENCE = dt.timedelta(days=7)
"""Ranks wait while the main rank prepares the claims; torchrun itself notices a rank that died."""


@dataclass(frozen=True)
class ProcessGroup:
    """This process among the ranks that share the work. For a single rank every method returns at once."""

    rank: int = 0
    count: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this rank writes files and reports progress."""
        return self.rank == 0

    def barrier(self) -> None:
        """Wait for all ranks."""
        self.sum(0.0)

    def sum(self, *numbers: float) -> list[float]:
        """The sum of each number over the ranks, exact for integers up to 2^53, computed on the CPU."""
        if self.count == 1:
            return list(numbers)
        summed = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(summed)
        return summed.tolist()

    def broadcast(self, number: float) -> float:
        """The number of the main rank."""
        return self.sum(number if self.is_main else 0.0)[0]

    def all_reduce_sum(self, tensor: Tensor) -> None:
        """Replace a tensor on any device by its sum over the ranks."""
        if self.count > 1:
            dist.all_reduce(tensor)

    def all_reduce_gradients(self, weights: Iterable[Tensor]) -> None:
        """Replace every gradient by its sum over the ranks; a missing gradient counts as zero."""
        if self.count == 1:
            return
        sent = []
        for bucket in _buckets(weights):
            for weight in bucket:
                if weight.grad is None:
                    weight.grad = torch.zeros_like(weight)
            gradients = [weight.grad for weight in bucket if weight.grad is not None]
            flat = torch.cat([gradient.flatten() for gradient in gradients])
            sent.append((gradients, flat, dist.all_reduce(flat, async_op=True)))
        for gradients, flat, work in sent:
            if work is not None:
                work.wait()
            for gradient, summed in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
                gradient.copy_(summed.view_as(gradient))


SINGLE = ProcessGroup()


def current() -> ProcessGroup:
    """The process group that this process has joined."""
    if dist.is_available() and dist.is_initialized():
        return ProcessGroup(dist.get_rank(), dist.get_world_size())
    return SINGLE


@contextlib.contextmanager
def joined(device: Literal["auto", "cpu", "cuda"]) -> Iterator[ProcessGroup]:
    """Join the ranks that `torchrun` or Slurm started with this process; each takes a GPU of its own.

    Gradients are summed by NCCL on GPUs and by gloo on a CPU. Raises BadInput if there are more ranks on this
    machine than GPUs.
    """
    # Optimizers import this module. Imported later, its default arguments would keep the process group alive,
    # whose threads then abort the process at its end in one of ten runs.
    importlib.import_module("torch._dynamo")
    local = int(os.environ.get("LOCAL_RANK", "0"))
    on_gpu = device != "cpu" and torch.cuda.is_available()
    if on_gpu:
        if local >= torch.cuda.device_count():
            raise BadInput(
                f"torchrun: {local + 1} processes on this machine are more than its "
                f"{torch.cuda.device_count()} GPUs (--nproc-per-node)"
            )
        torch.cuda.set_device(local)
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=PATIENCE)
    try:
        yield current()
    finally:
        dist.destroy_process_group()


def _buckets(weights: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    bucket, numbers = [], 0
    for weight in weights:
        bucket.append(weight)
        numbers += weight.numel()
        if numbers >= BUCKET_NUMBERS:
            yield bucket
            bucket, numbers = [], 0
    if bucket:
        yield bucket
