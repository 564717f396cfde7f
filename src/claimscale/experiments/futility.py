"""Runs sizes in ascending order, and leaves out sizes that are forecast to add too little.

After each size from the third on, the gain of the largest size is forecast. A forecast is written before
larger sizes are trained; the summary compares it with the observed gain.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from claimscale import artifacts
from claimscale.config.study import Study
from claimscale.evaluation.forecast import MIN_SIZES, ForecastRecord, study_forecast
from claimscale.evaluation.intervals import Scores
from claimscale.evaluation.predictions import load_predictions
from claimscale.evaluation.scoring import score_models
from claimscale.experiments.cells import Cell
from claimscale.experiments.runners import Runner
from claimscale.experiments.workspace import FORECASTS, Workspace
from claimscale.progress import Display


@dataclass(frozen=True)
class BySizeRunner:
    """Runs cells with another runner, size by size, until larger sizes are futile."""

    runner: Runner

    def run(self, workspace: Workspace, cells: list[Cell], display: Display) -> int:
        return run_by_size(workspace, cells, lambda chosen: self.runner.run(workspace, chosen, display))


def run_by_size(workspace: Workspace, cells: list[Cell], run: Callable[[list[Cell]], int]) -> int:
    """Run the cells size by size; returns how many were run now. `run` runs those that are not done.

    A task is not stopped if one of its larger sizes is done already: nothing would be saved.
    """
    study = workspace.study
    earlier = read_records(workspace.run, study.sizes)
    tasks = [task.name for task in study.tasks if any(cell.task == task.name for cell in cells)]
    records: list[ForecastRecord] = []
    ran = 0
    for number, size in enumerate(study.sizes, start=1):
        chosen = without_futile(study, cells, records)
        ran += run([cell for cell in chosen if cell.size is None or _rank(study, cell.size) < number])
        if number < MIN_SIZES or number == len(study.sizes):
            continue
        for task in tasks:
            if any(record.task == task and record.stop for record in records):
                continue
            seen = _scores(workspace, chosen, task, study.sizes[:number])
            made = study_forecast(study, seen, study.sizes[-1])
            if made is not None:
                larger = (cell for cell in cells if cell.task == task and cell.size in study.sizes[number:])
                first = not any(map(workspace.is_done, larger))
                record = _dated(ForecastRecord.of(task, made, first), earlier)
                records.append(record)
                artifacts.append_audit(workspace.run, "forecast", task=task, after=size, stop=record.stop)
        # If this run is stopped here, forecasts of an earlier run are kept.
        _write(workspace.run, records + [old for old in earlier if not _made_again(old, records)])
    _write(workspace.run, records)
    return ran


def _dated(record: ForecastRecord, earlier: Sequence[ForecastRecord]) -> ForecastRecord:
    """The record, made before training if an earlier run made the same forecast then; else it stops
    nothing."""
    before = record.made_before_training or any(
        old.made_before_training for old in earlier if record.same_forecast(old)
    )
    return dataclasses.replace(record, stop=record.stop and before, made_before_training=before)


def _made_again(old: ForecastRecord, records: Sequence[ForecastRecord]) -> bool:
    return any(
        (old.task, old.last_trained_size) == (record.task, record.last_trained_size) for record in records
    )


def _write(run_directory: Path, records: Sequence[ForecastRecord]) -> None:
    artifacts.write_sealed(
        run_directory / FORECASTS, {"forecasts": [dataclasses.asdict(record) for record in records]}
    )


def without_futile(study: Study, cells: Sequence[Cell], records: Sequence[ForecastRecord]) -> list[Cell]:
    """The cells that no forecast makes futile, with the pretraining they need."""
    last = {record.task: _rank(study, record.last_trained_size) for record in records if record.stop}
    kept = [
        cell
        for cell in cells
        if cell.task is None
        or cell.size is None
        or _rank(study, cell.size) <= last.get(cell.task, len(study.sizes))
    ]
    needed = {need.id for cell in kept for need in cell.needs}
    wanted = {cell.size for cell in kept if cell.task is not None}
    return [cell for cell in kept if cell.task is not None or cell.id in needed or cell.size in wanted]


def read_records(run_directory: Path, sizes: Sequence[str] | None = None) -> list[ForecastRecord]:
    """The recorded forecasts, oldest first; none where sizes were not run in order.

    Given the sizes of a study, only forecasts about them: another study file may have left others.
    Raises Damaged for a file that was changed.
    """
    try:
        listed = artifacts.read_sealed(run_directory / FORECASTS)["forecasts"]
    except FileNotFoundError:
        return []
    records = [ForecastRecord(**one) for one in listed]
    return [one for one in records if sizes is None or {one.last_trained_size, one.target} <= set(sizes)]


def read_forecasts(study: Study) -> list[ForecastRecord]:
    """The forecasts that count: those recorded by a study that stops for futility."""
    return [] if study.compare.stopping == "never" else read_records(study.run_directory, study.sizes)


def _scores(
    workspace: Workspace, cells: Sequence[Cell], task: str, sizes: Sequence[str]
) -> dict[str, Scores]:
    """The task's metric on held-out patients by size, ascending, with the most labelled patients."""
    study = workspace.study
    arm = "pretrained" if "pretrained" in study.finetune.initialization else "scratch"
    results = [
        workspace.result(cell)
        for cell in cells
        if cell.task == task and cell.kind == "finetune" and cell.arm == arm and cell.size in sizes
    ]
    most = max((result.n_labelled for result in results), default=0)
    results = [result for result in results if result.n_labelled == most]
    scored = score_models(
        load_predictions(results), "held_out", study.compare.bootstrap_replicates, study.seed
    )
    by_size = {
        model.size: found.by_metric[study.compare.metric] for model, found in scored.get(task, {}).items()
    }
    return {size: by_size[size] for size in sizes if size in by_size}


def _rank(study: Study, size: str) -> int:
    return study.sizes.index(size)
