"""Runs cells as Slurm jobs, through submitit (`claimscale[slurm]`).

This process submits each cell when the cells it needs are done, and waits. A job that reaches its time limit
is requeued and resumes from the checkpoint. Jobs outlive this process: the next one finds them in
`slurm/jobs.json` of the run directory.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypedDict

from claimscale import artifacts
from claimscale.config.execution import Slurm
from claimscale.config.study import Study
from claimscale.errors import BadInput, Damaged, Interrupted, fault
from claimscale.experiments import malloc
from claimscale.experiments.cells import PRETRAINING_KINDS, Cell
from claimscale.experiments.runners.cell_queue import CellQueue
from claimscale.experiments.workspace import Workspace
from claimscale.progress import Display
from claimscale.run_lock import only_for_the_user

FOLDER = "slurm"
JOBS = "jobs.json"
POLL_SECONDS = 5.0
REQUEUES = 1000
"""Each requeued job continues from its checkpoint, so any number of time limits is acceptable."""

Cluster = Literal["slurm", "local", "debug"]
JobEnding = tuple[Literal["done", "bad input", "stopped"], float | str]
"""How a job ended, with its seconds or one line that says why it stopped."""


@dataclass
class CellJob:
    """One cell as submitit runs it, in as many processes as the job has tasks."""

    study: Study
    run: Path
    cell: Cell
    threads: int

    def __call__(self) -> JobEnding:
        """Run the cell. The text of an unforeseen exception is not passed on."""
        started = time.monotonic()
        try:
            with only_for_the_user():
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
        """Called by submitit before the time limit: the same job again, which resumes the cell."""
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


class SubmittedJob(TypedDict):
    """An entry of `jobs.json`: the job that works on a cell, and the fingerprint of the cell then."""

    job: str
    inputs: str


@dataclass
class JobSubmitter:
    """Submits cells as jobs, and records them for later processes in `jobs.json`."""

    workspace: Workspace
    settings: Slurm
    cluster: Cluster = "slurm"
    jobs: dict[str, SubmittedJob] = field(default_factory=dict)

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
        try:
            self.jobs = artifacts.read_sealed(self.folder / JOBS)
        except FileNotFoundError:
            pass
        except Damaged:  # a second job must not work on the cell of an unknown first one
            raise BadInput(
                f"{self.folder / JOBS}: is damaged; cancel the study's jobs and delete it"
            ) from None

    def start(self, cell: Cell) -> Any:
        """The cell's job: the one that an earlier process submitted if it still runs, else a new one."""
        inputs = self.workspace.fingerprint(cell)
        if (job := self._earlier(cell)) is not None:
            if self.jobs[cell.id]["inputs"] == inputs:
                return job
            job.cancel()  # its inputs have changed since
        self.executor.update_parameters(**parameters(self.settings, cell))
        work = CellJob(self.workspace.study, self.workspace.run, cell, self.settings.cores)
        job = self.executor.submit(work)
        self.jobs[cell.id] = {"job": job.job_id, "inputs": inputs}
        artifacts.write_sealed(self.folder / JOBS, dict(self.jobs))
        return job

    def _earlier(self, cell: Cell) -> Any:
        if cell.id not in self.jobs or self.job_class is None:
            return None
        job = self.job_class(self.folder, self.jobs[cell.id]["job"], tuple(range(tasks(self.settings, cell))))
        return None if job.done(force_check=True) else job


def tasks(settings: Slurm, cell: Cell) -> int:
    """Processes of a cell's job."""
    return settings.nodes * max(settings.gpus, 1) if cell.kind in PRETRAINING_KINDS else 1


def parameters(settings: Slurm, cell: Cell) -> dict[str, object]:
    """The request to Slurm: all of `gpus` and `nodes` for a pretraining, one GPU for other cells."""
    shared = cell.kind in PRETRAINING_KINDS
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


@dataclass
class SlurmRunner:
    """Runs cells as jobs; if one fails, the others are cancelled and its error is raised.

    `cluster` is for tests: `local` runs jobs as processes of this machine.
    """

    cluster: Cluster = "slurm"
    poll_seconds: float = POLL_SECONDS

    def run(self, workspace: Workspace, cells: list[Cell], display: Display) -> int:
        settings = workspace.study.compute.slurm or Slurm()
        queue = CellQueue.of(workspace, cells, settings.max_jobs, display)
        count = len(queue.waiting)
        if count == 0:
            return 0
        malloc.prepare_workers()  # jobs inherit the environment
        submitter, jobs = JobSubmitter(workspace, settings, self.cluster), {}
        try:
            while queue.waiting or jobs:
                while len(jobs) < settings.max_jobs and (cell := queue.next_ready()) is not None:
                    queue.start(cell)
                    jobs[cell] = submitter.start(cell)
                for cell, job in list(jobs.items()):
                    if job.done():
                        del jobs[cell]
                        queue.finish(cell, _seconds(cell, job), workspace, job=job.job_id)
                queue.show(display)
                if jobs:
                    time.sleep(self.poll_seconds)
        except (BadInput, Interrupted):
            for job in jobs.values():
                job.cancel(check=False)
            raise
        return count


def _seconds(cell: Cell, job: Any) -> float:
    """The seconds that a finished job took; raises what stopped it."""
    from submitit.core.utils import FailedJobError, UncompletedJobError

    try:
        ending, value = job.results()[0]
    except (FailedJobError, UncompletedJobError):
        raise Interrupted(
            f"{cell.id}: job {job.job_id} died ({job.paths.stderr} says more); run the same command to resume"
        ) from None
    if ending == "bad input":
        raise BadInput(f"{cell.id}: {value}")
    if ending == "stopped":
        raise Interrupted(f"{cell.id}: {value}")
    return float(value)
