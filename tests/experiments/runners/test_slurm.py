"""Cells as jobs: what Slurm is requested, in which order, and what happens at a time limit."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from claimscale.config import loading
from claimscale.config.execution import Slurm
from claimscale.errors import BadInput, Interrupted
from claimscale.experiments import execute
from claimscale.experiments.cells import Cell, cells_of
from claimscale.experiments.cost_estimate import Corpus
from claimscale.experiments.runners import slurm
from claimscale.experiments.workspace import Workspace

submitit = pytest.importorskip("submitit")
SLURM = {"partition": "gpu", "time_limit_minutes": 90, "nodes": 2, "gpus": 4, "options": {"account": "x12"}}


class Display:
    def __init__(self) -> None:
        self.lines: list[tuple[float, str]] = []

    def update(self, fraction: float, seconds_left: float | None, text: str) -> None:
        self.lines.append((fraction, text))


@pytest.fixture
def workspace(write_study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace of which nothing is prepared: a cell is done once its folder is there."""
    study = loading.load(
        write_study(finetune={"seeds": [42]}, baselines=["outcome_history"], compute={"slurm": SLURM})
    )
    monkeypatch.setattr(Workspace, "fingerprint", lambda self, cell: f"inputs of {cell.id}")
    monkeypatch.setattr(Workspace, "is_done", lambda self, cell: self.folder(cell.id).exists())
    return Workspace(study, tmp_path / "run")


def _run(workspace: Workspace, display: Display | None = None) -> int:
    workspace.corpus = Corpus(500, 100, 300_000, 50.0, {"ckd": 4000}, {"ckd": 3000})
    runner = slurm.SlurmRunner("debug", poll_seconds=0)
    return runner.run(workspace, cells_of(workspace.study), display or Display())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # submitit's logs stay open
def test_every_cell_is_run_once_and_after_what_it_needs(workspace, monkeypatch) -> None:
    order: list[str] = []

    def run_cell(place: Workspace, cell: Cell, threads: int, report) -> None:
        assert all(place.folder(need.id).exists() for need in cell.needs)
        order.append(cell.id)
        place.folder(cell.id).mkdir(parents=True)

    monkeypatch.setattr(execute, "run_cell", run_cell)
    display = Display()
    assert _run(workspace, display) == 4
    assert sorted(order) == sorted(cell.id for cell in cells_of(workspace.study))
    assert display.lines[-1][0] == 1
    audit = [json.loads(line) for line in (workspace.run / "audit.jsonl").read_text().splitlines()]
    assert [line["cell"] for line in audit] == order and all(line["job"] for line in audit)
    assert _run(workspace) == 0, "what is done is not submitted"


@pytest.mark.parametrize(
    ("raised", "expected", "text"),
    [
        (BadInput("sizes: impossible"), BadInput, "sizes: impossible"),
        (OSError(28, "No space left on device", "/data"), Interrupted, "/data: No space left on device"),
        (ValueError("patient 7"), Interrupted, "fault: ValueError"),
    ],
)
def test_an_error_in_a_job_ends_the_run_in_one_line(
    workspace, monkeypatch, raised: Exception, expected: type[Exception], text: str
) -> None:
    def fail(*given) -> None:
        raise raised

    monkeypatch.setattr(execute, "run_cell", fail)
    with pytest.raises(expected) as caught:
        _run(workspace)
    assert text in str(caught.value) and "patient 7" not in str(caught.value)


def test_a_job_at_its_time_limit_is_queued_again_and_finishes(workspace, monkeypatch) -> None:
    here = str(Path(__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([here, os.environ.get("PYTHONPATH", "")]))
    monkeypatch.syspath_prepend(here)
    from slow_cell import SlowCell

    queue = slurm.JobSubmitter(workspace, Slurm(), "local")
    queue.executor.update_parameters(timeout_min=10)
    job = queue.executor.submit(SlowCell(workspace.study, workspace.run, cells_of(workspace.study)[0], 1))
    tries = workspace.run / "tries"
    for _ in range(1200):
        if tries.exists() and tries.read_text().endswith("\n"):
            break
        time.sleep(0.1)
    os.kill(int(tries.read_text()), signal.SIGUSR2)  # as Slurm does before the limit
    kind, _ = job.result()
    assert kind == "done" and len(tries.read_text().splitlines()) == 2


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Commands of a Slurm whose jobs never end: sbatch keeps what it is given."""
    folder = tmp_path / "bin"
    folder.mkdir()
    commands = {
        "srun": "exit 0",
        "sbatch": f'cp "$1" {folder}/script.$$; echo "Submitted batch job 7$(ls {folder}/script.* | wc -l)"',
        "sacct": 'printf "JobID|State|NodeList\\n71|RUNNING|a\\n72|RUNNING|a\\n"',
        "scancel": f'echo "$@" >> {folder}/cancelled',
    }
    for name, line in commands.items():
        (folder / name).write_text(f"#!/bin/sh\n{line}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    submitit.SlurmJob.watcher.clear()
    return folder


def test_a_pretraining_gets_all_gpus_and_other_cells_one(workspace, cluster: Path) -> None:
    scripts = []
    for cell in (Cell("pretrain", 42, "80k"), Cell("finetune", 42, "80k", "ckd", "scratch", "all")):
        slurm.JobSubmitter(workspace, Slurm(**SLURM)).start(cell)
        newest = max(cluster.glob("script.*"), key=lambda file: file.stat().st_mtime_ns)
        scripts.append(newest.read_text())
        assert f"--job-name={cell.id}" in scripts[-1]
        for option in ("--partition=gpu", "--time=90", "--account=x12", "--signal=USR2", "--requeue"):
            assert option in scripts[-1]
    for option in ("--nodes=2", "--gpus-per-node=4", "--ntasks-per-node=4"):
        assert option in scripts[0]
    for option in ("--nodes=1", "--gpus-per-node=1", "--ntasks-per-node=1"):
        assert option in scripts[1]


def test_a_later_process_waits_for_the_job_of_an_earlier_one(workspace, cluster: Path, monkeypatch) -> None:
    cell = Cell("pretrain", 42, "80k")
    job = slurm.JobSubmitter(workspace, Slurm(**SLURM)).start(cell)
    again = slurm.JobSubmitter(workspace, Slurm(**SLURM)).start(cell)
    assert again.job_id == job.job_id == "71" and len(list(cluster.glob("script.*"))) == 1
    assert again.num_tasks == 8, "it waits for all processes"
    monkeypatch.setattr(Workspace, "fingerprint", lambda self, cell: "others now")
    newer = slurm.JobSubmitter(workspace, Slurm(**SLURM)).start(cell)
    assert newer.job_id == "72" and "71" in (cluster / "cancelled").read_text()


def test_without_slurm_or_submitit_one_line_says_so(workspace, monkeypatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(BadInput, match="there is no srun here"):
        slurm.JobSubmitter(workspace, Slurm())
    monkeypatch.setitem(__import__("sys").modules, "submitit", None)
    with pytest.raises(BadInput, match=r"pip install 'claimscale\[slurm\]'"):
        slurm.JobSubmitter(workspace, Slurm())
