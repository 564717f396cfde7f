"""Runs cells in processes that `torchrun` started: they share every pretraining step."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from claimscale import artifacts, run_lock
from claimscale.errors import BadInput, naming
from claimscale.experiments.cells import Cell
from claimscale.experiments.devices import cores
from claimscale.experiments.workspace import Workspace
from claimscale.progress import Display

if TYPE_CHECKING:
    from claimscale.config.study import Study
    from claimscale.training.distributed import ProcessGroup

SET_BY_LAUNCHERS = {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"}


def launched() -> bool:
    """Whether `torchrun`, or a launcher like it, started this process as one of several."""
    return os.environ.keys() >= SET_BY_LAUNCHERS


def is_main() -> bool:
    """Whether this process prints and writes: always, unless it is one of several and not the first."""
    return not launched() or os.environ["RANK"] == "0"


@contextlib.contextmanager
def process_group(study: Study) -> Iterator[ProcessGroup]:
    """The group of all processes; on GPUs each uses its own."""
    from claimscale.training import distributed  # imports torch

    with distributed.joined(study.compute.device) as group:
        yield group


@contextlib.contextmanager
def shared_workspace(
    study: Study, group: ProcessGroup, prepare: Callable[[], Workspace]
) -> Iterator[Workspace]:
    """The workspace, prepared and locked by the main process while the block runs."""
    if not group.is_main:
        if not group.broadcast(0):
            raise BadInput("the first rank says why")
        yield Workspace(study, study.run_directory)
        return
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(run_lock.locked(study.run_directory))
            workspace = prepare()
        except BadInput:
            group.broadcast(False)
            raise
        group.broadcast(True)
        yield workspace


@dataclass
class TorchrunRunner:
    """Runs cells one after another; the processes of the group share each pretraining."""

    group: ProcessGroup

    def run(self, workspace: Workspace, cells: list[Cell], display: Display) -> int:
        from claimscale.experiments.execute import run_cell

        threads = max(1, cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
        ran = 0
        for number, cell in enumerate(cells):
            if self.group.broadcast(workspace.is_done(cell)):
                continue
            if self.group.is_main:
                workspace.set_apart(cell, display)
            ran += 1
            report = _CellProgress(display, cell, number, len(cells), self.group.count)
            with naming(cell.id):
                run_cell(workspace, cell, threads, report)
            if self.group.is_main:
                seconds = round(time.monotonic() - report.started, 3)
                artifacts.append_audit(
                    workspace.run, "ran", cell=cell.id, seconds=seconds, ranks=self.group.count
                )
        return ran


class _CellProgress:
    """Shows how far one cell is, and the time left at the pace since it was started or resumed."""

    def __init__(self, display: Display, cell: Cell, number: int, cells: int, ranks: int) -> None:
        self.display, self.cell, self.number, self.cells, self.ranks = display, cell, number, cells, ranks
        self.started = time.monotonic()
        self.first: tuple[float, float] | None = None

    def __call__(self, fraction: float) -> None:
        now = time.monotonic()
        self.first = self.first or (now, fraction)
        then, before = self.first
        left = (now - then) * (1 - fraction) / (fraction - before) if fraction > before else None
        text = f"{self.number} of {self.cells} cells · {self.cell.id} {fraction:.0%} on {self.ranks} ranks"
        self.display.update((self.number + fraction) / self.cells, left, text)
