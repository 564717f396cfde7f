"""Cells of a benchmark's study, run side by side on one core each; what is done already is not done again."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import torch

from claimscale import study_file
from claimscale.sweep import work
from claimscale.sweep.cells import Cell
from claimscale.sweep.workspace import Workspace

WORKERS = 2


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


def _depth(cell: Cell) -> int:
    return max((1 + _depth(need) for need in cell.needs), default=0)


def _run(file: Path, overrides: list[str], cell: Cell) -> str:
    torch.set_num_threads(1)
    study = study_file.load(file, overrides)
    work.run_cell(Workspace(study, study.run_directory), cell, 1, lambda share: None)
    return cell.id
