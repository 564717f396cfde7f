"""What pretraining and fine-tuning share: schedule, one guarded update, batches on a device, metrics file."""

from __future__ import annotations

import json
import math
import resource
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from claimscale.corpus.batches import PART_POSITIONS, Batch
from claimscale.errors import BadInput
from claimscale.model.attention import Layout
from claimscale.model.encoder import Inputs
from claimscale.study import DECAY_SHARE
from claimscale.training.ranks import ALONE, Ranks

CLIP_NORM = 1.0
GPU_PART_POSITIONS = 1 << 17


class Diverged(BadInput):
    """The loss or its gradient is not finite; the weights are still those of the step before."""


def rate_multiplier(step: int, steps: int, warmup: int) -> float:
    """Warm-up, stable, decay: the share of the learning rate that step `step` of `steps` uses.

    Linear up over `warmup` steps, then 1, then 1 - sqrt over the last 20 % of the steps.
    """
    decay_steps = DECAY_SHARE * steps
    rising = min(1.0, (step + 1) / (warmup + 1))
    into_decay = max(0.0, step - (steps - decay_steps))
    return rising * (1 - math.sqrt(min(1.0, into_decay / decay_steps)))


def update(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    losses: Iterable[Tensor],
    rate: float,
    step: int,
    ranks: Ranks = ALONE,
) -> float:
    """One optimizer step on the sum of the losses, of all ranks; returns that sum.

    Losses are consumed one at a time, each freed before the next is computed. Raises Diverged before any
    weight changes.
    """
    total = 0.0
    for loss in losses:
        loss.backward()
        total += loss.item()
    ranks.add_up_gradients(model.parameters())
    (total,) = ranks.total(total)
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM).item()
    if not (math.isfinite(total) and math.isfinite(norm)):
        raise Diverged(
            f"training diverged at step {step}: loss {total}, gradient norm {norm}; lower learning_rate"
        )
    for group in optimizer.param_groups:
        group["lr"] = group["base_rate"] * rate
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return total


def on_device(batch: Batch, token: np.ndarray, device: torch.device) -> Inputs:
    """`token` stands in for the batch's own, which may have been masked."""
    token_T, age_T, days_T = (tensor(array, device) for array in (token, batch.age_days, batch.days))
    return Inputs(token_T, age_T, days_T, Layout.of(batch.lengths, device))


def tensor(array: np.ndarray, device: torch.device) -> Tensor:
    host = torch.from_numpy(array)
    # From memory that is not pinned a copy would first wait for all that the GPU still has to do.
    return host.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else host.to(device)


def part_positions(device: torch.device) -> int:
    return PART_POSITIONS if device.type == "cpu" else GPU_PART_POSITIONS


def mixed_precision(device: torch.device) -> torch.autocast:
    """bfloat16 matrix products on a GPU, nothing on a CPU."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda")


def peak_memory(device: torch.device) -> int:
    """Bytes at the highest: of the GPU's memory, or of this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class MetricsFile:
    """`metrics.jsonl`, one line per step. Opening it at a step drops the lines a killed run left after it."""

    def __init__(self, file: Path, step: int = 0) -> None:
        kept = [line for line in _whole_lines(file) if json.loads(line)["step"] < step]
        file.write_text("".join(line + "\n" for line in kept), "utf-8")
        self.last: dict[str, Any] = json.loads(kept[-1]) if kept else {}
        self._stream = file.open("a", encoding="utf-8")

    def write(self, **values: Any) -> None:
        self._stream.write(json.dumps(values) + "\n")
        self._stream.flush()

    def close(self) -> None:
        self._stream.close()


def _whole_lines(file: Path) -> list[str]:
    """Lines up to the last newline: a kill can leave half a line."""
    if not file.exists():
        return []
    return file.read_text("utf-8").rpartition("\n")[0].splitlines()
