"""Sizes in ascending order: what is run, what is left out, and what is written down before."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from claimscale.config import loading
from claimscale.config.study import Study
from claimscale.evaluation.predictions import CellResult
from claimscale.experiments.cells import Cell, cells_of
from claimscale.experiments.futility import read_records, run_by_size, without_futile

SIZES = ["80k", "150k", "300k", "600k"]
PATIENTS = 3000


@pytest.fixture
def settings(write_study) -> Study:
    return loading.load(
        write_study(
            sizes=SIZES,
            finetune={"labelled_patients": ["all"], "initialization": ["pretrained"], "seeds": [42, 123]},
            pretrain={"seeds": [42, 123]},
            compare={"stopping": "futility", "relative_margin": 0.2, "bootstrap_replicates": 100},
            tasks=["ckd", "pregabalin"],
        )
    )


def leaver(folder: Path, noise: Callable[[str, str], float]) -> Callable[[Cell], CellResult]:
    """What cells leave: predictions as good as the noise of a task and size lets them be."""
    generator = np.random.default_rng(0)
    logits = 1.5 * generator.normal(size=PATIENTS) - 1
    outcome = generator.random(PATIENTS) < 1 / (1 + np.exp(-logits))

    def result_of(cell: Cell) -> CellResult:
        assert cell.task is not None and cell.size is not None
        file = folder / f"{cell.id}.parquet"
        if not file.exists():
            own = np.random.default_rng([cell.seed, SIZES.index(cell.size)])
            blurred = logits + noise(cell.task, cell.size) * own.normal(size=PATIENTS)
            columns = {
                "subject_id": np.arange(PATIENTS),
                "prediction_time": np.full(PATIENTS, np.datetime64("2020-01-01", "us")),
                "split": np.full(PATIENTS, "held_out"),
                "boolean_value": outcome,
                "predicted_boolean_probability": 1 / (1 + np.exp(-blurred)),
            }
            pq.write_table(pa.table(columns), file)
        return CellResult(cell.task, "pretrained", cell.size, 2000, "all", cell.seed, file, 1.0)

    return result_of


def carried_out(
    settings: Study, folder: Path, noise: Callable[[str, str], float], there: set[str] | None = None
) -> tuple[list[Cell], list[tuple[int, set[str]]]]:
    """The cells left in, and per call of `run` how many forecasts stood and which sizes were new.

    `there` are cells that are done already; those that are run now are added.
    """
    done: set[str] = set() if there is None else there
    before, calls = len(done), []

    def run(chosen: list[Cell]) -> int:
        new = [cell for cell in chosen if cell.id not in done]
        done.update(cell.id for cell in new)
        calls.append((len(read_records(folder)), {cell.size or "" for cell in new}))
        return len(new)

    workspace: Any = SimpleNamespace(
        study=settings, run=folder, result=leaver(folder, noise), is_done=lambda cell: cell.id in done
    )
    ran = run_by_size(workspace, cells_of(settings), run)
    cells = without_futile(settings, cells_of(settings), read_records(folder, settings.sizes))
    assert ran == len(done) - before and {cell.id for cell in cells} == done
    return cells, calls


def test_flat_tasks_end_before_the_largest_size(settings: Study, tmp_path: Path) -> None:
    cells, _ = carried_out(settings, tmp_path, lambda task, size: 0.3)
    assert "600k" not in {cell.size for cell in cells}, "nor is it pretrained"
    records = json.loads((tmp_path / "forecasts.json").read_text("utf-8"))["forecasts"]
    assert [(one["task"], one["last_trained_size"], one["target"], one["stop"]) for one in records] == [
        ("ckd", "300k", "600k", True),
        ("pregabalin", "300k", "600k", True),
    ]
    assert all(
        one["low"] < one["gain"] < one["high"] and one["upper_bound"] < one["margin"] for one in records
    )


def test_a_task_that_grows_continues_alone(settings: Study, tmp_path: Path) -> None:
    noise = {"80k": 6.0, "150k": 3.5, "300k": 2.0, "600k": 0.5}
    cells, _ = carried_out(settings, tmp_path, lambda task, size: noise[size] if task == "ckd" else 0.3)
    largest = [cell for cell in cells if cell.size == "600k"]
    assert {cell.task for cell in largest} == {"ckd", None}
    assert {cell.kind for cell in largest} == {"pretrain", "finetune"}


def test_forecasts_stand_before_the_larger_size_is_run(settings: Study, tmp_path: Path) -> None:
    noise = {"80k": 6.0, "150k": 3.5, "300k": 2.0, "600k": 0.5}
    _, calls = carried_out(settings, tmp_path, lambda task, size: noise[size])
    written, sizes = next(call for call in calls if "600k" in call[1])
    assert written == 2 and sizes == {"600k"}


def test_a_rerun_keeps_the_forecasts(settings: Study, tmp_path: Path) -> None:
    """One task grew and was trained to the end, one was stopped: neither changes."""
    noise, done = {"80k": 6.0, "150k": 3.5, "300k": 2.0, "600k": 0.5}, set[str]()
    for _ in range(2):
        cells, _ = carried_out(
            settings, tmp_path, lambda task, size: noise[size] if task == "ckd" else 0.3, done
        )
        assert {cell.task for cell in cells if cell.size == "600k"} == {"ckd", None}
        records = read_records(tmp_path)
        assert [(one.task, one.made_before_training, one.stop) for one in records] == [
            ("ckd", True, False),
            ("pregabalin", True, True),
        ]


def test_sizes_that_are_trained_already_are_not_left_out(settings: Study, tmp_path: Path) -> None:
    """`stop` was `never` before: a forecast now is none, and drops nothing."""
    there = {cell.id for cell in cells_of(settings)}
    cells, _ = carried_out(settings, tmp_path, lambda task, size: 0.3, there)
    assert "600k" in {cell.size for cell in cells}
    assert [(one.made_before_training, one.stop) for one in read_records(tmp_path)] == [(False, False)] * 2


def test_forecasts_about_other_sizes_are_not_taken_for_ours(settings: Study, tmp_path: Path) -> None:
    carried_out(settings, tmp_path, lambda task, size: 0.3)
    fewer = settings.model_copy(update={"sizes": SIZES[:2]})
    assert read_records(tmp_path) and read_records(tmp_path, fewer.sizes) == []
    cells, _ = carried_out(fewer, tmp_path, lambda task, size: 0.3)
    assert {cell.size for cell in cells if cell.size} == set(SIZES[:2]) and read_records(tmp_path) == []


def test_nothing_is_left_out_without_a_forecast(settings: Study) -> None:
    cells = cells_of(settings)
    assert without_futile(settings, cells, []) == cells
