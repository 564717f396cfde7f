"""The GPUs and cores that this process may use, found without importing PyTorch, which takes seconds."""

from __future__ import annotations

import os
from pathlib import Path

from claimscale.config.study import Study

VISIBLE = "CUDA_VISIBLE_DEVICES"


def gpus(study: Study, devices: Path = Path("/dev")) -> list[str]:
    """Names of the GPUs as `CUDA_VISIBLE_DEVICES` takes them; none where the study runs on a CPU."""
    if study.compute.device == "cpu":
        return []
    if (visible := os.environ.get(VISIBLE)) is not None:
        return [name.strip() for name in visible.split(",") if name.strip()[:1] not in ("", "-")]
    numbers = [file.name.removeprefix("nvidia") for file in devices.glob("nvidia[0-9]*")]
    return sorted(numbers, key=int)


def cores() -> int:
    """The cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def workers_and_threads(study: Study) -> tuple[int, int]:
    """Worker processes, and threads of each: one worker per GPU, or else per core (fastest for small
    models).
    """
    workers = study.compute.workers or max(len(gpus(study)), 1 if study.compute.device == "cuda" else 0)
    workers = workers or cores()
    return workers, max(1, cores() // workers)
