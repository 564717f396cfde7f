"""Cells that wait, run and are done: which one starts next, and how far the study is."""

from __future__ import annotations

from dataclasses import dataclass, field

from claimscale import artifacts
from claimscale.experiments.cells import Cell
from claimscale.experiments.cost_estimate import TimeLeft
from claimscale.experiments.devices import workers_and_threads
from claimscale.experiments.workspace import Workspace
from claimscale.progress import Display


@dataclass
class CellQueue:
    """The cells of one run.

    Attributes:
        cells: all of them.
        time_left: expected seconds of each.
        parallel: how many run at once.
        waiting: not started.
        running: started, with the finished fraction of each in `fractions`.
        done: ids of finished cells.
    """

    cells: list[Cell]
    time_left: TimeLeft
    parallel: int
    waiting: list[Cell] = field(default_factory=list)
    running: list[Cell] = field(default_factory=list)
    done: set[str] = field(default_factory=set)
    fractions: dict[str, float] = field(default_factory=dict)
    shown: float = 0.0

    @classmethod
    def of(cls, workspace: Workspace, cells: list[Cell], parallel: int, display: Display) -> CellQueue:
        """The queue of the cells that are not done. Damaged ones are set apart, to run again."""
        done: set[str] = set()
        for cell in cells:
            if workspace.is_done(cell):
                done.add(cell.id)
            else:
                workspace.set_apart(cell, display)
        waiting = [cell for cell in cells if cell.id not in done]
        _, threads = workers_and_threads(workspace.study)
        time_left = TimeLeft.of(workspace.study, workspace.corpus, cells, threads)
        return cls(cells, time_left, parallel, waiting, done=done)

    def next_ready(self) -> Cell | None:
        """The waiting cell to start now: a pretraining if any, else the longest whose needs are done."""
        return max(self._ready(), key=self._priority, default=None)

    def is_alone(self, cell: Cell) -> bool:
        """Whether nothing else can run until this cell is done."""
        return not self.running and self._ready() == [cell]

    def _ready(self) -> list[Cell]:
        return [cell for cell in self.waiting if self.done.issuperset(need.id for need in cell.needs)]

    def _priority(self, cell: Cell) -> tuple[bool, float]:
        return cell.kind == "pretrain", self.time_left.seconds(cell.id)

    def start(self, cell: Cell) -> None:
        self.waiting.remove(cell)
        self.running.append(cell)

    def finish(self, cell: Cell, seconds: float, workspace: Workspace, **details: str) -> None:
        """Note that the cell is done, here and in the audit log."""
        self.running.remove(cell)
        self.done.add(cell.id)
        self.time_left.finished(cell.id, seconds)
        artifacts.append_audit(workspace.run, "ran", cell=cell.id, seconds=round(seconds, 3), **details)

    def show(self, display: Display) -> None:
        fractions = self.fractions | dict.fromkeys(self.done, 1.0)
        seconds = {cell.id: self.time_left.seconds(cell.id) for cell in self.cells}
        total = sum(seconds.values())
        left = sum(expected * (1 - fractions.get(cell_id, 0.0)) for cell_id, expected in seconds.items())
        longest = max((s for cell_id, s in seconds.items() if cell_id not in self.done), default=0.0)
        now = ", ".join(f"{cell.id} {fractions.get(cell.id, 0):.0%}" for cell in self.running)
        text = f"{len(self.done)} of {len(self.cells)} cells" + (f" · {now}" if now else "")
        # Estimates change as cells finish; the fraction shown never falls.
        self.shown = max(self.shown, 1 - left / total if total else 1.0)
        display.update(self.shown, max(left / self.parallel, min(left, longest)), text)
