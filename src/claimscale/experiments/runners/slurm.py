"""Cells as Slurm jobs, through submitit (`claimscale[slurm]`).

This process submits each cell when what it needs is done, and waits. A job that reaches its time limit is
put back into the queue and goes on from the cell's checkpoint. Stopping this process stops no job: the
next one finds them by `slurm/jobs.json` in the run directory.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from claimscale import artifacts
from claimscale.config.execution import Slurm
from claimscale.config.study import Study
from claimscale.errors import BadInput, Interrupted, fault
from claimscale.experiments.cells import Cell
from claimscale.experiments.cost_estimate import TimeLeft
from claimscale.experiments.runners.local import Sweep
from claimscale.experiments.workspace import Workspace
from claimscale.progress import Display

FOLDER = "slurm"
JOBS = "jobs.json"
POLL_SECONDS = 5.0
REQUEUES = 1000
"""A cell gains with every time limit it reaches, so there is no number of them that is too many."""
SHARED = ("pretrain", "sweep")

Cluster = Literal["slurm", "local", "debug"]
Outcome = tuple[Literal["done", "bad input", "stopped"], float | str]


@dataclass
class CellJob:
    """One cell as submitit runs it, in as many processes as the job has tasks."""

    study: Study
    run: Path
    cell: Cell
    threads: int

    def __call__(self) -> Outcome:
        """What became of the cell: the seconds it took, or one line. An exception's text stays here."""
        started = time.monotonic()
        try:
            self._run()
        except BadInput as error:
            return "bad input", str(error)
        except Interrupted as error:
            return "stopped", str(error)
        except OSError as error:
            return "stopped", f"{error.filename or 'the machine'}: {error.strerror or 'failed'}"
        except Exception as error:
            if os.environ.get("CLAIMSCALE_DEBUG"):
                raise
            return "stopped", str(fault(error))
        return "done", time.monotonic() - started

    def checkpoint(self) -> Any:
        """Called by submitit before the time limit: the same again, which goes on where the cell is."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def _run(self) -> None:
        import submitit
        from submitit.helpers import TorchDistributedEnvironment

        from claimscale.experiments.execute import run_cell
        from claimscale.training import distributed

        workspace = Workspace(self.study, self.run)
        if submitit.JobEnvironment().num_tasks == 1:
            run_cell(workspace, self.cell, self.threads, lambda share: None)
            return
        TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
        with distributed.joined(self.study.compute.device):
            run_cell(workspace, self.cell, self.threads, lambda share: None)


@dataclass
class Queue:
    """Jobs submitted, and the record of them that a later process reads."""

    workspace: Workspace
    settings: Slurm
    cluster: Cluster = "slurm"
    jobs: dict[str, dict[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            import submitit
        except ImportError:
            raise BadInput("compute.slurm: needs submitit: pip install 'claimscale[slurm]'") from None
        self.folder = self.workspace.run / FOLDER
        artifacts.make_folder(self.folder)
        try:
            self.executor = submitit.AutoExecutor(
                self.folder, cluster=self.cluster, slurm_max_num_timeout=REQUEUES
            )
        except RuntimeError:
            raise BadInput(
                "compute.slurm: there is no srun here; start it where jobs are submitted"
            ) from None
        self.job_class = {"slurm": submitit.SlurmJob, "local": submitit.LocalJob}.get(self.cluster)
        if (self.folder / JOBS).exists():
            self.jobs = artifacts.read_json(self.folder / JOBS)

    def start(self, cell: Cell) -> Any:
        """The cell's job: the one that an earlier process submitted, if it is still at work, or a new one."""
        inputs = self.workspace.inputs(cell)
        if (job := self._earlier(cell)) is not None:
            if self.jobs[cell.id]["inputs"] == inputs:
                return job
            job.cancel()  # it works on what has changed since
        self.executor.update_parameters(**parameters(self.settings, cell))
        work = CellJob(self.workspace.study, self.workspace.run, cell, self.settings.cores)
        job = self.executor.submit(work)
        self.jobs[cell.id] = {"job": job.job_id, "inputs": inputs}
        artifacts.write_json(self.folder / JOBS, self.jobs)
        return job

    def _earlier(self, cell: Cell) -> Any:
        if cell.id not in self.jobs or self.job_class is None:
            return None
        job = self.job_class(self.folder, self.jobs[cell.id]["job"], tuple(range(tasks(self.settings, cell))))
        return None if job.done(force_check=True) else job


def tasks(settings: Slurm, cell: Cell) -> int:
    """Processes that share a cell."""
    return settings.nodes * max(settings.gpus, 1) if cell.kind in SHARED else 1


def parameters(settings: Slurm, cell: Cell) -> dict[str, Any]:
    """What submitit asks Slurm for: all of `gpus` and `nodes` for a pretraining, one GPU for other cells."""
    shared = cell.kind in SHARED
    return {
        "name": cell.id,
        "timeout_min": settings.time_limit_minutes,
        "nodes": settings.nodes if shared else 1,
        "tasks_per_node": max(settings.gpus, 1) if shared else 1,
        "gpus_per_node": (settings.gpus if shared else min(settings.gpus, 1)) or None,
        "cpus_per_task": settings.cores,
        "mem_gb": settings.memory_gb,
        "slurm_partition": settings.partition,
        "slurm_additional_parameters": {"requeue": True, **settings.options},
    }


def run_cells(
    workspace: Workspace,
    cells: list[Cell],
    time_left: TimeLeft,
    display: Display,
    cluster: Cluster = "slurm",
    poll_seconds: float = POLL_SECONDS,
) -> int:
    """Run every cell that is not done; returns how many were run.

    Raises what went wrong in a cell, once other jobs are cancelled. `cluster` is for tests: `local` runs jobs
    as processes of this machine.
    """
    settings = workspace.study.compute.slurm or Slurm()
    done = {cell.id for cell in cells if workspace.is_done(cell)}
    waiting = [cell for cell in cells if cell.id not in done]
    if not waiting:
        return 0
    count = len(waiting)
    sweep = Sweep(cells, time_left, settings.max_jobs, waiting, done=done, fractions=dict.fromkeys(done, 1.0))
    queue, running = Queue(workspace, settings, cluster), {}
    try:
        while waiting or running:
            while len(running) < settings.max_jobs and (cell := sweep.next_ready()) is not None:
                waiting.remove(cell)
                running[cell] = queue.start(cell)
            for cell, job in list(running.items()):
                if job.done():
                    del running[cell]
                    _finish(sweep, cell, job, workspace)
            sweep.show(display)
            if running:
                time.sleep(poll_seconds)
    except (BadInput, Interrupted):
        for job in running.values():
            job.cancel(check=False)
        raise
    return count


def _finish(sweep: Sweep, cell: Cell, job: Any, workspace: Workspace) -> None:
    from submitit.core.utils import FailedJobError, UncompletedJobError

    try:
        kind, value = job.results()[0]
    except (FailedJobError, UncompletedJobError):
        raise Interrupted(
            f"{cell.id}: job {job.job_id} died ({job.paths.stderr} says more); run the same command to go on"
        ) from None
    if kind == "bad input":
        raise BadInput(f"{cell.id}: {value}")
    if kind == "stopped":
        raise Interrupted(f"{cell.id}: {value}")
    sweep.done.add(cell.id)
    sweep.fractions[cell.id] = 1.0
    sweep.time_left.finished(cell.id, float(value))
    artifacts.append_audit(workspace.run, "ran", cell=cell.id, seconds=round(float(value), 3), job=job.job_id)
