"""Processes that `torchrun` started carry out the same cells together and share each pretraining step."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from claimscale import artifacts
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
    """Whether `torchrun`, or a launcher that does as it does, started this process as one of several."""
    return os.environ.keys() >= SET_BY_LAUNCHERS


def leads() -> bool:
    """Whether this process is the one to print and to write; always, unless it is one of several."""
    return not launched() or os.environ["RANK"] == "0"


@contextlib.contextmanager
def joined(study: Study) -> Iterator[ProcessGroup]:
    """Join the other processes, each on a GPU of its own where the study runs on GPUs."""
    from claimscale.training import distributed  # pulls in torch

    with distributed.joined(study.compute.device) as group:
        yield group


@contextlib.contextmanager
def prepared(study: Study, group: ProcessGroup, prepare: Callable[[], Workspace]) -> Iterator[Workspace]:
    """The workspace that the first rank prepares, and keeps others out of, while this block runs."""
    if not group.is_main:
        if not group.broadcast(0):
            raise BadInput("the first rank says why")
        yield Workspace(study, study.run_directory)
        return
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(artifacts.locked(study.run_directory))
            workspace = prepare()
        except BadInput:
            group.broadcast(False)
            raise
        group.broadcast(True)
        yield workspace


def run_cells(workspace: Workspace, cells: list[Cell], group: ProcessGroup, display: Display) -> int:
    """Run every cell that is not done, one after another; returns how many were run."""
    from claimscale.experiments.execute import run_cell

    threads = max(1, cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    ran = 0
    for number, cell in enumerate(cells):
        if group.broadcast(workspace.is_done(cell)):
            continue
        ran += 1
        report = _Report(display, cell, number, len(cells), group.count)
        with naming(cell.id):
            run_cell(workspace, cell, threads, report)
        if group.is_main:
            seconds = round(time.monotonic() - report.started, 3)
            artifacts.append_audit(workspace.run, "ran", cell=cell.id, seconds=seconds, ranks=group.count)
    return ran


class _Report:
    """Shows how far one cell is, and the time left for it at the pace since it was started or resumed."""

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
