"""Running cells side by side in worker processes, each as soon as what it needs is there."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing.connection import wait as wait_for
from multiprocessing.queues import SimpleQueue
from pathlib import Path

from claimscale import artifacts
from claimscale.config.study import Study
from claimscale.errors import BadInput, Interrupted, fault, naming
from claimscale.experiments.cells import Cell
from claimscale.experiments.cost_estimate import TimeLeft
from claimscale.experiments.devices import VISIBLE, cores, gpus
from claimscale.experiments.workspace import Workspace
from claimscale.progress import Display

POLL_SECONDS = 0.5
SAME_BITS = {"pretrain", "sweep", "finetune"}
"""Cells whose weights are the same to the bit with one thread or many."""


@dataclass
class Sweep:
    """Cells still to run, running and done, and how far each running one is."""

    cells: list[Cell]
    time_left: TimeLeft
    workers: int
    waiting: list[Cell] = field(default_factory=list)
    running: dict[Future[float], Cell] = field(default_factory=dict)
    fractions: dict[str, float] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    shown: float = 0.0

    def next_ready(self) -> Cell | None:
        """The longest waiting cell whose needs are done; pretraining before all else, as others need it."""
        return max(self._ready(), key=self._urgency, default=None)

    def alone(self, cell: Cell) -> bool:
        """Whether nothing else can run until this cell is done."""
        return not self.running and self._ready() == [cell]

    def _ready(self) -> list[Cell]:
        return [cell for cell in self.waiting if self.done.issuperset(need.id for need in cell.needs)]

    def _urgency(self, cell: Cell) -> tuple[bool, float]:
        return cell.kind == "pretrain", self.time_left.seconds(cell.id)

    def granted(self, cell: Cell, threads: int) -> int:
        """The threads that a cell gets which is begun now; `threads` is what others beside it would get.

        One that all others wait for, as the only pretraining of a study, has every core.
        """
        return cores() if cell.kind in SAME_BITS and self.alone(cell) else threads

    def show(self, display: Display) -> None:
        seconds = {cell.id: self.time_left.seconds(cell.id) for cell in self.cells}
        total = sum(seconds.values())
        left = sum(s * (1 - self.fractions.get(cell_id, 0.0)) for cell_id, s in seconds.items())
        longest = max((s for cell_id, s in seconds.items() if cell_id not in self.done), default=0.0)
        now = ", ".join(f"{c.id} {self.fractions.get(c.id, 0):.0%}" for c in self.running.values())
        text = f"{len(self.done)} of {len(self.cells)} cells" + (f" · {now}" if now else "")
        # Estimates move as cells finish; what was shown as done stays done.
        self.shown = max(self.shown, 1 - left / total if total else 1.0)
        display.update(self.shown, max(left / self.workers, min(left, longest)), text)


def run_cells(
    workspace: Workspace,
    cells: list[Cell],
    time_left: TimeLeft,
    workers: int,
    threads: int,
    display: Display,
    finished_one: Callable[[], None] | None = None,
) -> int:
    """Run every cell that is not done; returns how many were run. Workers take the GPUs in turn.

    `finished_one` is called after each.

    Raises Interrupted when a worker dies (out of memory, killed): a rerun goes on from there. An error
    inside a cell is raised here as it was there, once the other running cells have been stopped.
    """
    done = {cell.id for cell in cells if workspace.is_done(cell)}
    waiting = [cell for cell in cells if cell.id not in done]
    count = len(waiting)
    if count == 0:
        return 0
    sweep = Sweep(cells, time_left, workers, waiting, done=done, fractions=dict.fromkeys(done, 1.0))
    context = multiprocessing.get_context("spawn")
    fractions: SimpleQueue[tuple[str, float]] = context.SimpleQueue()
    devices: SimpleQueue[str] = context.SimpleQueue()
    for name in itertools.islice(itertools.cycle(gpus(workspace.study)), workers):
        devices.put(name)
    arguments = (workspace.study, workspace.run, fractions, devices)
    with _pool(ProcessPoolExecutor(workers, context, _start_worker, arguments)) as pool:
        while sweep.waiting or sweep.running:
            while len(sweep.running) < workers and (cell := sweep.next_ready()) is not None:
                granted = sweep.granted(cell, threads)
                sweep.waiting.remove(cell)
                sweep.running[pool.submit(_work, cell, granted)] = cell
            finished, _ = wait(sweep.running, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
            while not fractions.empty():
                cell_id, fraction = fractions.get()
                sweep.fractions[cell_id] = fraction
            for future in finished:
                _finish(sweep, future, workspace.run)
                if finished_one is not None and sweep.waiting:
                    finished_one()
            sweep.show(display)
    return count


def _finish(sweep: Sweep, future: Future[float], run: Path) -> None:
    cell = sweep.running.pop(future)
    try:
        seconds = future.result()
    except BrokenProcessPool:
        raise Interrupted(
            f"a worker died in {cell.id} (out of memory or killed); run the same command to go on"
        ) from None
    sweep.done.add(cell.id)
    sweep.fractions[cell.id] = 1.0
    sweep.time_left.finished(cell.id, seconds)
    artifacts.append_audit(run, "ran", cell=cell.id, seconds=round(seconds, 3))


@contextlib.contextmanager
def _pool(pool: ProcessPoolExecutor) -> Iterator[ProcessPoolExecutor]:
    """A pool whose workers do not outlive the block, whichever way it ends."""
    try:
        yield pool
        pool.shutdown()
    except BaseException:
        for process in multiprocessing.active_children():
            process.kill()  # nothing is lost: cells and checkpoints are whole or absent
        pool.shutdown(wait=False, cancel_futures=True)
        raise


_workspace: Workspace | None = None
_fractions: SimpleQueue[tuple[str, float]] | None = None


def _start_worker(
    study: Study, run: Path, fractions: SimpleQueue[tuple[str, float]], devices: SimpleQueue[str]
) -> None:
    """Prepare a worker: Ctrl-C is the parent's to handle, and the worker goes when the parent goes.

    It sees the one GPU that it takes from `devices`, if there is any.
    """
    global _workspace, _fractions
    if gpus(study):
        os.environ[VISIBLE] = devices.get()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    _workspace, _fractions = Workspace(study, run), fractions


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for([parent.sentinel])
        os._exit(1)


def _work(cell: Cell, threads: int) -> float:
    """Run a cell in this worker; returns the seconds it took."""
    from claimscale.experiments.execute import run_cell  # pulls in torch: only workers pay for it

    assert _workspace is not None and _fractions is not None
    started = last = time.monotonic()
    queue = _fractions

    def report(fraction: float) -> None:
        nonlocal last
        if time.monotonic() - last >= POLL_SECONDS:
            last = time.monotonic()
            queue.put((cell.id, fraction))

    try:
        with naming(cell.id):
            run_cell(_workspace, cell, threads, report)
    except (BadInput, OSError):
        raise
    except Exception as error:
        if os.environ.get("CLAIMSCALE_DEBUG"):
            raise
        raise fault(error) from None
    return time.monotonic() - started
