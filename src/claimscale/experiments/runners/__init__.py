"""Where cells run: worker processes of this machine, Slurm jobs, or processes that torchrun started."""

from __future__ import annotations

from typing import Protocol

from claimscale.experiments.cells import Cell
from claimscale.experiments.workspace import Workspace
from claimscale.progress import Display


class Runner(Protocol):
    """Runs cells."""

    def run(self, workspace: Workspace, cells: list[Cell], display: Display) -> int:
        """Run every cell that is not done, each after the cells it needs; returns how many were run.

        Raises BadInput or Interrupted for the first cell that fails.
        """
        ...
