"""Runs cells side by side in worker processes of this machine, each after the cells it needs."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import wait as wait_for
from multiprocessing.queues import SimpleQueue
from pathlib import Path

from claimscale import checksums
from claimscale.config.study import Study
from claimscale.errors import BadInput, Interrupted, fault, naming
from claimscale.experiments import malloc
from claimscale.experiments.cells import ENCODER_KINDS, Cell
from claimscale.experiments.devices import VISIBLE, cores, gpus, workers_and_threads
from claimscale.experiments.runners.cell_queue import CellQueue
from claimscale.experiments.workspace import Workspace
from claimscale.progress import Display

POLL_SECONDS = 0.5


@dataclass
class LocalRunner:
    """Runs cells in worker processes; where there are GPUs, each worker uses one.

    `after_each` is called after each cell but the last. A worker that dies (out of memory, killed) raises
    Interrupted. An error inside a cell is raised here after the other running cells are stopped.
    """

    after_each: Callable[[], None] | None = None

    def run(self, workspace: Workspace, cells: list[Cell], display: Display) -> int:
        study = workspace.study
        workers, threads = workers_and_threads(study)
        queue = CellQueue.of(workspace, cells, workers, display)
        count = len(queue.waiting)
        if count == 0:
            return 0
        malloc.prepare_workers()
        context = multiprocessing.get_context("spawn")
        fractions: SimpleQueue[tuple[str, float]] = context.SimpleQueue()
        devices: SimpleQueue[str] = context.SimpleQueue()
        for name in itertools.islice(itertools.cycle(gpus(study)), workers):
            devices.put(name)
        arguments = (study, workspace.run, fractions, devices, checksums.known())
        futures: dict[Future[float], Cell] = {}
        with _pool(ProcessPoolExecutor(workers, context, _start_worker, arguments)) as pool:
            while queue.waiting or futures:
                while len(futures) < workers and (cell := queue.next_ready()) is not None:
                    granted = threads_for(queue, cell, threads)
                    queue.start(cell)
                    futures[pool.submit(_work, cell, granted)] = cell
                finished, _ = wait(futures, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
                while not fractions.empty():
                    cell_id, fraction = fractions.get()
                    queue.fractions[cell_id] = fraction
                for future in finished:
                    cell = futures.pop(future)
                    queue.finish(cell, _seconds(future, cell), workspace)
                    if self.after_each is not None and queue.waiting:
                        self.after_each()
                queue.show(display)
        return count


def threads_for(queue: CellQueue, cell: Cell, threads: int) -> int:
    """The threads of a cell that starts now: every core if all other cells wait for it, else `threads`.

    Baselines always get `threads`: their results depend on the number of threads.
    """
    return cores() if cell.kind in ENCODER_KINDS and queue.is_alone(cell) else threads


def _seconds(future: Future[float], cell: Cell) -> float:
    try:
        return future.result()
    except BrokenProcessPool:
        raise Interrupted(
            f"a worker died in {cell.id} (out of memory or killed); run the same command to resume"
        ) from None


@contextlib.contextmanager
def _pool(pool: ProcessPoolExecutor) -> Iterator[ProcessPoolExecutor]:
    """A pool whose workers end with the block, also when it raises."""
    try:
        yield pool
        pool.shutdown()
    except BaseException:
        for process in multiprocessing.active_children():
            process.kill()  # nothing is lost: cells and checkpoints are complete or absent
        pool.shutdown(wait=False, cancel_futures=True)
        raise


_workspace: Workspace | None = None
_fractions: SimpleQueue[tuple[str, float]] | None = None


def _start_worker(
    study: Study,
    run: Path,
    fractions: SimpleQueue[tuple[str, float]],
    devices: SimpleQueue[str],
    digests: Mapping[checksums.Stamp, str],
) -> None:
    """Prepare a worker: it ignores Ctrl-C, which its parent handles, and ends with its parent.

    Where there are GPUs it sees the one that it takes from `devices`. What the parent has verified is not
    read again.
    """
    global _workspace, _fractions
    checksums.adopt(digests)
    if gpus(study):
        os.environ[VISIBLE] = devices.get()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    _workspace, _fractions = Workspace(study, run), fractions


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for([parent.sentinel])
        os._exit(1)


def _work(cell: Cell, threads: int) -> float:
    """Run a cell in this worker; returns the seconds it took."""
    from claimscale.experiments.execute import run_cell  # imports torch: only workers need it

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
