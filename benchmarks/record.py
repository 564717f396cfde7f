"""The record every benchmark leaves: what was measured, by which command, when and on what."""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "numpy", "numba", "duckdb", "lightgbm")


def write_record(name: str, figures: Mapping[str, float]) -> None:
    """Write `results/<name>.json`; `figures` are rounded to six significant digits."""
    place = Path(__file__).parents[1]
    arguments = [Path(sys.argv[0]).resolve().relative_to(place).as_posix(), *sys.argv[1:]]
    record = {
        "name": name,
        "command": " ".join(["python", *arguments]),
        "date": dt.date.today().isoformat(),
        "hardware": f"{_processor()}, {os.cpu_count()} cores",
        "versions": {"python": platform.python_version(), **{p: metadata.version(p) for p in PACKAGES}},
        "figures": {key: float(f"{value:.6g}") for key, value in figures.items()},
    }
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(record, indent=1, ensure_ascii=False)
    (RESULTS / f"{name}.json").write_text(text + "\n", "utf-8")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
