"""The cost of a cell over all its interruptions: tokens, operations, hours, memory, energy."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NotRequired, TypedDict

import torch

from claimscale.training.energy import meter_for

JOULES_PER_KWH = 3.6e6
PEAK_SIDE = {"cpu": 1024, "cuda": 8192}
PEAK_REPEATS = 5


class Usage(TypedDict):
    """Work so far, in each line of `metrics.jsonl`."""

    tokens: int
    seconds: float
    joules: NotRequired[float]


class MeterState(TypedDict):
    """A meter in a checkpoint; `peak_memory` is in bytes, `joules` null where a part was not metered."""

    tokens: int
    flops: float
    seconds: float
    device_seconds: float
    peak_memory: int
    joules: float | None


class CostEntry(TypedDict):
    """A cell's cost in `cell.json`; `peak_memory` is in bytes, `peak_tflops` of one GPU or core."""

    tokens: int | None
    flops: float | None
    wall_hours: float
    device_hours: float
    peak_memory: int
    peak_tflops: float | None
    mfu: float | None
    energy_kwh: float | None


NOTHING: MeterState = {
    "tokens": 0, "flops": 0.0, "seconds": 0.0, "device_seconds": 0.0, "peak_memory": 0, "joules": None
}  # fmt: skip


class CostMeter:
    """Measures one cell.

    `earlier` is the `state` of the checkpoint that the cell resumes from, `usage` the last line of its
    metrics before the interruption. Time after the checkpoint counts, although its work is repeated; work
    counts once. `devices` are GPUs, or threads on a CPU.
    """

    def __init__(
        self,
        device: torch.device,
        earlier: MeterState | None = None,
        usage: Usage | None = None,
        devices: int | None = None,
    ) -> None:
        self.device = device
        self.devices = devices or (torch.get_num_threads() if device.type == "cpu" else 1)
        last_seconds = usage.get("seconds", 0.0) if usage else 0.0  # the file may have been cut
        last_joules = usage.get("joules") if usage else None
        before = earlier or {**NOTHING, "joules": last_joules}
        self.tokens, self.flops = before["tokens"], before["flops"]
        self._seconds = max(before["seconds"], last_seconds)
        lost = self._seconds - before["seconds"]
        self._device_seconds = before["device_seconds"] + self.devices * lost
        self._peak_memory = before["peak_memory"]
        self._meter = meter_for(device)
        self._joules: float | None = max(before["joules"] or 0.0, last_joules or 0.0)
        if self._seconds > 0 and before["joules"] is None:
            self._joules = None  # a part of the work was not metered
        reset_peak_memory(device)
        self._started = time.monotonic()

    def count(self, tokens: int, flops: float) -> None:
        """Add tokens trained on (0 for prediction) and floating-point operations."""
        self.tokens += tokens
        self.flops += flops

    @property
    def seconds(self) -> float:
        return self._seconds + time.monotonic() - self._started

    def usage(self) -> Usage:
        """What survives an interruption."""
        joules = self._total_joules()
        line: Usage = {"tokens": self.tokens, "seconds": round(self.seconds, 3)}
        return line if joules is None else {**line, "joules": round(joules, 1)}

    def state(self) -> MeterState:
        return {
            "tokens": self.tokens,
            "flops": self.flops,
            "seconds": self.seconds,
            "device_seconds": self._total_device_seconds(),
            "peak_memory": max(self._peak_memory, peak_memory(self.device)),
            "joules": self._total_joules(poll_seconds=0.0),
        }

    def entry(self, peak_tflops: float | None = None) -> CostEntry:
        """`peak_tflops` of one GPU or core is measured if it is not declared.

        `mfu`, the model FLOPs utilisation, is null for a cell without counted operations.
        """
        state, utilisation = self.state(), None
        if self.flops:
            peak_tflops = peak_tflops or measured_peak(self.device, torch.get_num_threads()) / 1e12
            utilisation = self.flops / (1e12 * peak_tflops * state["device_seconds"])
        return {
            "tokens": self.tokens or None,
            "flops": self.flops or None,
            "wall_hours": state["seconds"] / 3600,
            "device_hours": state["device_seconds"] / 3600,
            "peak_memory": state["peak_memory"],
            "peak_tflops": peak_tflops,
            "mfu": utilisation,
            "energy_kwh": None if state["joules"] is None else state["joules"] / JOULES_PER_KWH,
        }

    def _total_device_seconds(self) -> float:
        return self._device_seconds + self.devices * (time.monotonic() - self._started)

    def _total_joules(self, **poll: float) -> float | None:
        if self._meter is None or self._joules is None:
            return None
        return self._joules + self._meter.joules(**poll)


def sum_of_states(states: Sequence[MeterState]) -> MeterState:
    """The `state` of several meters together, one after the other; joules are None if any are."""
    joules = [state["joules"] for state in states]
    metered = [one for one in joules if one is not None]
    return {
        "tokens": sum(state["tokens"] for state in states),
        "flops": sum(state["flops"] for state in states),
        "seconds": sum(state["seconds"] for state in states),
        "device_seconds": sum(state["device_seconds"] for state in states),
        "peak_memory": max((state["peak_memory"] for state in states), default=0),
        "joules": sum(metered) if len(metered) == len(joules) else None,
    }


@lru_cache
def measured_peak(device: torch.device, threads: int) -> float:
    """Operations per second of one GPU (bfloat16) or core (float32) in the best of a few matrix products.

    Measured once per process and number of threads, which is the current number.
    """
    side = PEAK_SIDE.get(device.type, PEAK_SIDE["cpu"])
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    generator = torch.Generator(device).manual_seed(0)  # leaves the random numbers of training as they are
    matrix = torch.rand(side, side, device=device, dtype=dtype, generator=generator)
    best = float("inf")
    for _ in range(PEAK_REPEATS):
        started = time.perf_counter()
        product = matrix @ matrix
        product[0, 0].item()  # waits for the device
        best = min(best, time.perf_counter() - started)
    return 2.0 * side**3 / best / (threads if device.type == "cpu" else 1)


def peak_memory(device: torch.device) -> int:
    """Peak bytes since the last reset: of the GPU's memory, or of this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def reset_peak_memory(device: torch.device) -> None:
    """Reset the peak of earlier cells of this process, where the system allows it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return
