"""What pretraining and fine-tuning share: one guarded update, batches on a device, metrics file."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from claimscale import artifacts
from claimscale.errors import BadInput
from claimscale.model.attention import BatchLayout
from claimscale.model.encoder import Encoder, Inputs
from claimscale.tokens.batches import MICROBATCH_TOKENS, Batch
from claimscale.training import gradients
from claimscale.training.distributed import SINGLE, ProcessGroup
from claimscale.training.gradients import Losses

CLIP_NORM = 1.0
GPU_MICROBATCH_TOKENS = 1 << 17
SMALLEST_CPU_PART = 1 << 10


class Diverged(BadInput):
    """The loss or its gradient is not finite; the weights are still those of the step before."""


def update(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    losses: Losses,
    rate: float,
    step: int,
    parts: Sequence[Batch],
    ranks: ProcessGroup = SINGLE,
) -> float:
    """One optimizer step on the sum of the losses, one of each part of the batch, of all ranks; returns it.

    Raises Diverged, which names the batch by its hash, before any weight or moment changes.
    """
    total = gradients.accumulate(model, losses)
    ranks.all_reduce_gradients(model.parameters())
    ranks.all_reduce_sum(total)
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
    loss_value, norm_value = torch.stack((total, norm.to(total))).tolist()  # the only wait for the device
    if not (math.isfinite(loss_value) and math.isfinite(norm_value)):
        optimizer.zero_grad(set_to_none=True)
        raise diverged(step, batch_hash(parts), loss_value, norm_value)
    for group in optimizer.param_groups:
        group["lr"] = group["base_rate"] * rate
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss_value


def diverged(step: int, batch: str, loss: float, norm: float) -> Diverged:
    """What is said of a step that was not taken; `batch` is the hash of its sequences."""
    return Diverged(
        f"training diverged at step {step}, batch {batch}: loss {loss}, gradient norm {norm}; "
        "the weights are those of the step before; lower learning_rate"
    )


def batch_hash(parts: Sequence[Batch]) -> str:
    """A name for a batch that tells nothing about its patients: 12 digits of the SHA-256 of its sequences.

    The same however the batch is divided into parts. A patient's number is its place among the sequences.
    """
    digest = hashlib.sha256()
    for array in ([part.index for part in parts], [part.token for part in parts]):
        digest.update(np.concatenate(array).astype("<i8").tobytes())
    return digest.hexdigest()[:12]


def on_device(batch: Batch, token: np.ndarray, device: torch.device) -> Inputs:
    """`token` stands in for the batch's own, which may have been masked."""
    token_T, age_T, days_T, count_T = (
        tensor(array, device) for array in (token, batch.age_days, batch.days, batch.count)
    )
    return Inputs(token_T, age_T, days_T, count_T, BatchLayout.of(batch.lengths, device))


def firsts(batch: Batch) -> np.ndarray:
    """The position of each sequence's [CLS], int64 [B]."""
    return np.cumsum(batch.lengths) - batch.lengths


def tensor(array: np.ndarray, device: torch.device) -> Tensor:
    host = torch.from_numpy(array)
    # From memory that is not pinned a copy would first wait for all that the GPU still has to do.
    return host.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else host.to(device)


def compile_blocks(encoder: Encoder, device: torch.device) -> None:
    """On a GPU, fuse what each block does between its matrix products. Where that fails it runs as it is."""
    if device.type == "cuda":
        torch._dynamo.config.suppress_errors = True
        for block in encoder.blocks:
            block.compile(dynamic=True)


def microbatch_tokens(device: torch.device, batch_tokens: int | None = None) -> int:
    """The most positions of one part of a step.

    On a CPU a step of about `batch_tokens` is two parts at least, unless it is small, so that a second thread
    has work. Parts never follow the number of threads: results would.
    """
    if device.type != "cpu":
        return GPU_MICROBATCH_TOKENS
    halved = MICROBATCH_TOKENS if batch_tokens is None else batch_tokens * 5 // 8
    return min(MICROBATCH_TOKENS, max(SMALLEST_CPU_PART, halved))


def mixed_precision(device: torch.device) -> torch.autocast:
    """bfloat16 matrix products on a GPU, nothing on a CPU."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda")


class MetricsFile:
    """`metrics.jsonl`, one line per step. Opening it at a step drops the lines a killed run left after it.

    `last` is the last line that stays, `spent` the last that was written.
    """

    def __init__(self, file: Path, step: int = 0) -> None:
        content = file.read_bytes() if file.exists() else b""
        lines = list(_whole_lines(content))
        kept = [line for line in lines if line["step"] < step]
        self.last: dict[str, Any] = kept[-1] if kept else {}
        self.spent: dict[str, Any] = lines[-1] if lines else {}
        text = "".join(json.dumps(line) + "\n" for line in kept)
        if text.encode() != content:  # otherwise left as it is: it may be /dev/null
            artifacts.write_text(file, text)
        self._stream = file.open("a", encoding="utf-8")

    def write(self, **values: Any) -> None:
        self._stream.write(json.dumps(values) + "\n")
        self._stream.flush()

    def close(self) -> None:
        self._stream.close()


def _whole_lines(content: bytes) -> Iterator[dict[str, Any]]:
    """Lines up to the first that a kill has cut off."""
    for line in content.splitlines():
        try:
            values = json.loads(line)
        except ValueError:
            return
        if not isinstance(values, dict) or "step" not in values:
            return
        yield values
