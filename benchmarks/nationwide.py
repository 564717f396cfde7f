"""The data path of `examples/nationwide.yaml` stage by stage: seconds, memory and disk.

The example's 32 hospitals with about 2.3 million patients and 575 million events are simulated as the whole
source, as a sample of a country would leave them. Each stage runs in a process of its own, and every stage is
asked again, which must recompute nothing. Then the labels of one disease and one medication train LightGBM on
all dates (one trial).

Prints a table and writes `benchmarks/results/nationwide.json`. Run with `make bench NAME=nationwide` (two
hours and 40 GB of disk), or `nationwide.py [--patients N] [--runs FOLDER] [--memory 6GB]`; a stopped run
resumes: the figures of each step are kept in the run's folder.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import torch

from claimscale import artifacts, pipeline
from claimscale.config import loading
from claimscale.experiments.cells import Cell
from claimscale.experiments.execute import run_cell
from claimscale.progress import Silent
from record import write_record
from study import SAMPLE_SECONDS, proportional_memory

STUDY = Path(__file__).parents[1] / "examples" / "nationwide.yaml"
PATIENTS = 2_300_000
TASKS = ("ckd", "pregabalin")
AGAIN = "again"


def run_step(name: str, overrides: list[str]) -> None:
    """One stage, one LightGBM, or all stages again; nothing that is current is made."""
    run = pipeline.StudyRun(loading.load(STUDY, overrides), Silent())
    stages = {stage.name: stage for stage in pipeline.data_stages(run.study)}
    if name == AGAIN:
        stale = [stage.name for stage in stages.values() if not stage.is_current(run)]
        assert not stale, f"made again: {stale}"
    elif name in stages:
        artifacts.make_folder(run.folder)
        if not stages[name].is_current(run):
            stages[name].make(run)
    else:
        torch.set_num_threads(2)
        run_cell(run.workspace, Cell("lightgbm", 42, None, name, None, "all"), 2, lambda share: None)


def measured(name: str, overrides: list[str]) -> tuple[float, float]:
    """Seconds and the most memory (GiB) of a step in a process of its own."""
    command = [sys.executable, __file__, "--step", name, *overrides]
    started, highest = time.monotonic(), 0
    process = subprocess.Popen(command)
    while process.poll() is None:
        highest = max(highest, proportional_memory(process.pid))
        time.sleep(SAMPLE_SECONDS)
    if process.returncode:
        sys.exit(f"{name}: failed")
    return time.monotonic() - started, highest / 2**30


def folder_gib(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 2**30


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--patients", type=int, default=PATIENTS)
    parser.add_argument("--runs", default="runs")
    parser.add_argument("--memory", default="6GB")
    parser.add_argument("--step", nargs="+")
    options = parser.parse_args()
    if options.step:
        run_step(options.step[0], options.step[1:])
        return
    overrides = [
        f"runs_dir={options.runs}",
        f"source.patients={options.patients}",
        "source.hospitals=32",
        "cohort.sample.hospitals=null",
        f"engine.memory={options.memory}",
        "search.n_trials=1",
    ]
    study = loading.load(STUDY, overrides)
    kept = study.run_directory / "measured.json"
    figures = artifacts.read_json(kept) if kept.exists() else {"patients": options.patients}
    for name in [*(stage.name for stage in pipeline.data_stages(study)), AGAIN, *TASKS]:
        if f"{name}: seconds" not in figures:
            seconds, memory = measured(name, overrides)
            disk = folder_gib(study.run_directory / name)
            figures |= {f"{name}: seconds": seconds, f"{name}: peak GiB": memory, f"{name}: disk GiB": disk}
            artifacts.write_json(kept, figures)
        seconds, memory, disk = (figures[f"{name}: {key}"] for key in ("seconds", "peak GiB", "disk GiB"))
        print(f"{name:<12}{seconds:>9.1f} s{memory:>8.2f} GiB{disk:>8.2f} GiB on disk", flush=True)
    write_record("nationwide" if options.patients == PATIENTS else f"nationwide_{options.patients}", figures)


if __name__ == "__main__":
    main()
