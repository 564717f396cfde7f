"""Where cells run: worker processes of this machine, Slurm jobs, or processes that torchrun started."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from claimscale.config.study import Study
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


def runner_for(study: Study, after_each: Callable[[], None] | None = None, by_size: bool = True) -> Runner:
    """The runner that the study file asks for.

    `after_each` is called after each cell that this machine ran. `by_size` lets `compare.stopping: futility`
    run sizes in ascending order and stop.
    """
    from claimscale.experiments.runners.local import LocalRunner
    from claimscale.experiments.runners.slurm import SlurmRunner

    runner = LocalRunner(after_each) if study.compute.slurm is None else SlurmRunner()
    if study.compare.stopping == "never" or not by_size:
        return runner
    from claimscale.experiments.futility import BySizeRunner  # statistics are slow to import

    return BySizeRunner(runner)
