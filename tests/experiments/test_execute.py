"""How a cell ends: its result, its manifest, its mark; and what a kill between them leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from claimscale import artifacts
from claimscale.config import loading
from claimscale.experiments import execute
from claimscale.experiments.cells import Cell
from claimscale.experiments.workspace import Workspace
from claimscale.training import checkpoints

CELL = Cell("pretrain", 42, "80k")


class Killed(Exception):
    pass


@pytest.fixture
def workspace(write_study, tmp_path: Path, monkeypatch) -> Workspace:
    monkeypatch.setattr(Workspace, "fingerprint", lambda self, cell: "inputs")
    return Workspace(loading.load(write_study()), tmp_path)


@pytest.fixture
def worked(monkeypatch) -> list[int]:
    """How often the cell's work was done; it leaves a checkpoint each time."""
    times: list[int] = []

    def work_once(run: execute.CellRun) -> dict[str, int]:
        times.append(len(times))
        artifacts.make_folder(run.folder / checkpoints.FOLDER)
        (run.folder / "model.safetensors").write_text("weights")
        return {"tokens": len(times)}

    monkeypatch.setitem(execute.EXECUTE, "pretrain", work_once)
    return times


def run(workspace: Workspace) -> dict[str, Any]:
    return dict(execute.run_cell(workspace, CELL, 1, lambda fraction: None))


@pytest.mark.parametrize(("place", "times"), [("write_manifest", 2), ("mark_done", 1)])
def test_a_cell_that_is_killed_at_its_end_resumes(workspace, worked, monkeypatch, place: str, times: int):
    """Before its manifest from its checkpoints, which are still there; after it nothing is computed."""

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(artifacts, place, killed)
        with pytest.raises(Killed):
            run(workspace)
    folder = workspace.folder(CELL.id)
    assert not workspace.is_done(CELL) and (folder / checkpoints.FOLDER).exists()
    assert run(workspace) == {"tokens": times} and len(worked) == times
    assert workspace.is_done(CELL) and not (folder / checkpoints.FOLDER).exists()
    assert run(workspace) == {"tokens": times} and len(worked) == times


@pytest.mark.parametrize("cut", [0, 3])
def test_a_cell_without_its_mark_is_not_sealed_with_damaged_weights(workspace, worked, cut: int) -> None:
    run(workspace)
    (workspace.folder(CELL.id) / artifacts.DONE).unlink()
    (workspace.folder(CELL.id) / "model.safetensors").write_text("weights"[:cut])
    assert run(workspace) == {"tokens": 2} and len(worked) == 2


def test_a_sealed_cell_that_lost_a_file_is_computed_again(workspace, worked) -> None:
    run(workspace)
    (workspace.folder(CELL.id) / "model.safetensors").unlink()
    assert run(workspace) == {"tokens": 2} and workspace.is_done(CELL)


def test_a_result_of_other_inputs_is_computed_again(workspace, worked, monkeypatch) -> None:
    run(workspace)
    (workspace.folder(CELL.id) / artifacts.DONE).unlink()
    monkeypatch.setattr(Workspace, "fingerprint", lambda self, cell: "others")
    assert run(workspace) == {"tokens": 2}
