"""The demonstration study: time, memory, a second run, and the gain of pretraining.

Runs `examples/demo.yaml` twice, from nothing, in a temporary folder. Prints a table and writes
`benchmarks/results/study.json`. Run with `make bench NAME=study`; other study files by their path:
`.venv/bin/python benchmarks/study.py examples/synpuf.yaml --set source.path=FOLDER`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from claimscale.config.study import parameter_count
from record import write_record

DEMO = Path(__file__).parents[1] / "examples" / "demo.yaml"
SAMPLE_SECONDS = 1.0


def proportional_memory(parent: int) -> int:
    """Bytes held by a process and its descendants, memory they share counted once (Linux)."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "stat").read_text()
            except OSError:
                continue  # it has ended meanwhile
            children.setdefault(int(text.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    total, waiting = 0, [parent]
    while waiting:
        process = waiting.pop()
        waiting += children.get(process, [])
        try:
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total


def run(arguments: list[str]) -> tuple[float, int]:
    """Run a study to its end; returns its seconds and the most memory its processes held together."""
    started, highest = time.monotonic(), 0
    process = subprocess.Popen([sys.executable, "-m", "claimscale", "study", *arguments])
    while process.poll() is None:
        highest = max(highest, proportional_memory(process.pid))
        time.sleep(SAMPLE_SECONDS)
    if process.returncode:
        sys.exit(process.returncode)
    return time.monotonic() - started, highest


def figures_of(summary: dict[str, Any]) -> dict[str, float]:
    """Sizes, test patients and pretraining gains of the summary as flat figures."""
    off = [abs(size["parameters"] / parameter_count(size["name"]) - 1) for size in summary["sizes"]]
    found: dict[str, float] = {"largest_deviation_from_size": max(off)}
    for size in summary["sizes"]:
        found[f"validation_loss_{size['name']}"] = size["validation_loss"]
    for task in summary["tasks"]:
        name = task["name"]
        found[f"{name}_test_patients"], found[f"{name}_test_positives"] = task["n_test"], task["positives"]
        fewest = min(gain["n_labelled"] for gain in task["pretraining_gain"])
        for gain in task["pretraining_gain"]:
            if gain["n_labelled"] == fewest and gain["size"] is None:
                for key in ("difference", "low", "high"):
                    found[f"{name}_gain_at_{fewest}_{key}"] = gain[key]
    return found


def main() -> None:
    arguments = sys.argv[1:] or [str(DEMO)]
    with tempfile.TemporaryDirectory() as folder:
        full = [*arguments, "--set", f"runs_dir={folder}"]
        seconds, memory = run(full)
        again, _ = run(full)
        summary = json.loads(next(Path(folder).glob("*/summary.json")).read_text("utf-8"))
    figures = {
        "minutes": seconds / 60,
        "peak_memory_gib": memory / 2**30,
        "second_run_seconds": again,
        **figures_of(summary),
    }
    for key, value in figures.items():
        print(f"{key:<40} {value:>10.4g}")
    for answer in summary["answers"]:
        print(f"{answer['task']}: {answer['text']['text']}")
    write_record(Path(__file__).stem if not sys.argv[1:] else f"study-{summary['name']}", figures)


if __name__ == "__main__":
    main()
