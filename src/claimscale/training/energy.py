"""Energy by the machine's own counters: NVML for a GPU, RAPL for processors."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

POWERCAP = Path("/sys/class/powercap")
POLL_SECONDS = 1.0
"""Counters of processors wrap around within minutes, so they are read throughout."""


class EnergyMeter:
    """Joules since its creation. `read` returns all counters, `ranges` where each wraps (inf: never)."""

    def __init__(self, read: Callable[[], Sequence[float]], ranges: Sequence[float]) -> None:
        self._read, self._ranges = read, ranges
        self._last, self._total = read(), 0.0
        self._polled = time.monotonic()

    def joules(self, poll_seconds: float = POLL_SECONDS) -> float:
        """The total; counters are read again if the last reading is `poll_seconds` old."""
        if time.monotonic() - self._polled >= poll_seconds:
            now = self._read()
            for before, after, size in zip(self._last, now, self._ranges, strict=True):
                self._total += after - before + (size if after < before else 0.0)
            self._last, self._polled = now, time.monotonic()
        return self._total


def meter_for(device: torch.device) -> EnergyMeter | None:
    """A meter of this GPU, or of all processors of the machine; None without readable counters."""
    return _gpu_meter(device) if device.type == "cuda" else processor_meter(POWERCAP)


def processor_meter(powercap: Path) -> EnergyMeter | None:
    """A meter by RAPL, which Linux has for Intel and AMD; on most systems only root may read it."""
    zones = [zone for zone in sorted(powercap.glob("intel-rapl:*")) if zone.name.count(":") == 1]
    packages = []
    try:
        for zone in zones:
            if (zone / "name").read_text().startswith("package"):
                packages.append(zone)
        ranges = [_microjoules(zone / "max_energy_range_uj") for zone in packages]
        meter = EnergyMeter(lambda: [_microjoules(zone / "energy_uj") for zone in packages], ranges)
    except (OSError, ValueError):
        return None
    return meter if packages else None


def _microjoules(file: Path) -> float:
    return int(file.read_text()) / 1e6


def _gpu_meter(device: torch.device) -> EnergyMeter | None:
    try:
        nvml: Any = importlib.import_module("pynvml")
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
        handle = nvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        return EnergyMeter(lambda: [nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3], [float("inf")])
    except nvml.NVMLError:
        return None
