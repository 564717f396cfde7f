"""A benchmark's study: its data, its cells in parallel on one core each, and their scores.

Finished cells are not run again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import torch

from claimscale import artifacts, pipeline
from claimscale.config import loading
from claimscale.evaluation.scoring import score_ranking
from claimscale.experiments.cells import Cell
from claimscale.experiments.execute import run_cell
from claimscale.experiments.workspace import Workspace
from claimscale.progress import Silent

WORKERS = int(os.environ.get("CLAIMSCALE_BENCH_WORKERS", "2"))


def prepare(file: Path, overrides: Sequence[str]) -> None:
    """Events, cohort, tokens and labels of the study, without the true risks, which take long."""
    run = pipeline.StudyRun(loading.load(file, list(overrides)), Silent())
    artifacts.make_folder(run.folder)
    for stage in pipeline.data_stages(run.study):
        if stage.name != "oracle" and not stage.is_current(run):
            stage.make(run)


def run_cells(file: Path, overrides: list[str], cells: Sequence[Cell]) -> None:
    """Run the cells of a prepared study, those that others need first."""
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool:
        for depth in range(3):
            stage = [cell for cell in cells if _depth(cell) == depth]
            running = [pool.submit(_run, file, overrides, cell) for cell in stage]
            for place, future in enumerate(as_completed(running), 1):
                print(f"{place:>4} of {len(stage)}: {future.result()}", flush=True)


def held_out(workspace: Workspace, cell: Cell) -> pd.DataFrame:
    """Outcomes and risks that a finished cell predicted for the test patients, by patient."""
    table = pq.read_table(workspace.folder(cell.id) / "predictions.parquet").to_pandas()
    return table[table["split"] == "held_out"].sort_values("subject_id")


def auprc(workspace: Workspace, cell: Cell, replicates: int) -> tuple[float, np.ndarray, int]:
    """AUPRC of a finished cell on the test patients, on resampled ones [replicates], and their positives.

    Patients are resampled alike for every cell of a task.
    """
    table = held_out(workspace, cell)
    outcome, risk = (table[key].to_numpy() for key in ("boolean_value", "predicted_boolean_probability"))
    found = score_ranking(outcome, risk, replicates, 0)["auprc"]
    return float(found.values[0]), found.replicates[0], int(outcome.sum())


def _depth(cell: Cell) -> int:
    return max((1 + _depth(need) for need in cell.needs), default=0)


def _run(file: Path, overrides: list[str], cell: Cell) -> str:
    torch.set_num_threads(1)
    study = loading.load(file, overrides)
    run_cell(Workspace(study, study.run_directory), cell, 1, lambda share: None)
    return cell.id
