"""A study from its file to its answer: prepare the claims, run the cells, draw the conclusion."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from claimscale import runs, study as settings
from claimscale.corpus import stages
from claimscale.errors import BadInput
from claimscale.progress import Display
from claimscale.study import Study
from claimscale.sweep.cells import Cell, cells_of
from claimscale.sweep.estimate import TimeLeft
from claimscale.sweep.schedule import run_cells
from claimscale.sweep.workspace import Workspace

PREPARE_SHARE = 0.1
"""What the preparation usually takes of a whole study, for the progress display."""


@dataclass(frozen=True)
class Outcome:
    """What a study came to: its summary, where the report lies, how many cells were run for it now."""

    summary: dict[str, Any]
    report: Path
    cells_run: int


def open_run(study: Study) -> Path:
    """The run directory, with the resolved settings written into it."""
    run = study.run_directory
    runs.make_folder(run)
    text = settings.dump(study)
    try:
        runs.write_text(run / "study.yaml", text)
    except OSError as error:
        raise BadInput(f"{run}: cannot be written ({error.strerror})") from None
    return run


def prepare(study: Study, display: Display) -> Workspace:
    """All data stages; returns what cells work on."""
    run = open_run(study)
    started = time.monotonic()

    def report(stage: str, fraction: float) -> None:
        taken = time.monotonic() - started
        left = taken * (1 - fraction) / fraction if fraction > 0 else None
        display.update(0.0, left, f"preparing claims: {stage}")

    stages.prepare(study, run, report)
    return Workspace(study, run)


def workers_and_threads(study: Study) -> tuple[int, int]:
    """Worker processes, and threads of each: on a CPU one worker a core, for small models scale best so."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = study.compute.workers or (1 if _on_gpu(study) else cores)
    return workers, max(1, cores // workers)


def _on_gpu(study: Study) -> bool:
    if study.compute.device == "auto":
        return Path("/dev/nvidiactl").exists()  # asking torch would cost seconds at every start
    return study.compute.device == "cuda"


def run(workspace: Workspace, cells: list[Cell], display: Display) -> int:
    """Run cells, with what they need, as far as they are not done; returns how many were run."""
    workers, threads = workers_and_threads(workspace.study)
    time_left = TimeLeft.of(workspace.study, workspace.corpus, cells, threads)
    return run_cells(workspace, cells, time_left, workers, threads, display)


def carry_out(study: Study, display: Display) -> Outcome:
    """The whole study; whatever is already there and current is not made again."""
    with runs.locked(study.run_directory):
        workspace = prepare(study, display)
        cells = cells_of(study, workspace.corpus.labelled)
        cells_run = run(workspace, cells, display)
        display.update(0.99, None, "comparing sizes and writing the report")
        summary = conclude(workspace, cells)
        display.update(1.0, 0.0, "done")
    return Outcome(summary, study.run_directory / "report.html", cells_run)
