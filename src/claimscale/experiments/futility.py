"""Sizes in ascending order: after each, the next ones' gain is foretold, and futile ones are left out.

A forecast is written down before the sizes it is about are trained; the conclusion scores it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from claimscale import artifacts
from claimscale.config.study import Study
from claimscale.evaluation.forecast import MIN_SIZES, ForecastRecord, study_forecast
from claimscale.evaluation.intervals import Scores
from claimscale.evaluation.predictions import CellResult, load_predictions
from claimscale.evaluation.scoring import score_models
from claimscale.experiments.cells import Cell

FILE = "forecasts.json"


def run_ascending(
    study: Study,
    run_directory: Path,
    cells: list[Cell],
    run: Callable[[list[Cell]], int],
    result_of: Callable[[Cell], CellResult],
    is_done: Callable[[Cell], bool],
) -> tuple[list[Cell], int]:
    """Run the cells size by size; returns those that were not left out, and how many were run now.

    `run` runs cells as far as they are not done; `result_of` tells what a finished one left. A task of which
    a larger size is there already is not stopped: there is nothing left to save.
    """
    earlier = read_records(run_directory, study.sizes)
    tasks = [task.name for task in study.tasks if any(cell.task == task.name for cell in cells)]
    records: list[ForecastRecord] = []
    ran = 0
    for number, size in enumerate(study.sizes, start=1):
        chosen = left_in(study, cells, records)
        ran += run([cell for cell in chosen if cell.size is None or _rank(study, cell.size) < number])
        if number < MIN_SIZES or number == len(study.sizes):
            continue
        for task in tasks:
            if any(record.task == task and record.stop for record in records):
                continue
            seen = _scores(study, chosen, task, study.sizes[:number], result_of)
            made = study_forecast(study, seen, study.sizes[-1])
            if made is not None:
                larger = (cell for cell in cells if cell.task == task and cell.size in study.sizes[number:])
                record = _dated(ForecastRecord.of(task, made, not any(map(is_done, larger))), earlier)
                records.append(record)
                artifacts.append_audit(run_directory, "forecast", task=task, after=size, stop=record.stop)
        # What was written down before larger sizes were trained stays so, should this run be stopped here.
        _write(run_directory, records + [old for old in earlier if not _made_again(old, records)])
    _write(run_directory, records)
    return left_in(study, cells, records), ran


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
    artifacts.write_json(run_directory / FILE, [dataclasses.asdict(record) for record in records])


def left_in(study: Study, cells: Sequence[Cell], records: Sequence[ForecastRecord]) -> list[Cell]:
    """Cells that no forecast has made futile, with the pretraining that some of them need."""
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
    """
    file = run_directory / FILE
    records = [ForecastRecord(**one) for one in artifacts.read_json(file)] if file.exists() else []
    return [one for one in records if sizes is None or {one.last_trained_size, one.target} <= set(sizes)]


def _scores(
    study: Study,
    cells: Sequence[Cell],
    task: str,
    sizes: Sequence[str],
    result_of: Callable[[Cell], CellResult],
) -> dict[str, Scores]:
    """The task's metric by size, ascending, on held-out patients, with as many labelled patients as there
    are."""
    arm = "pretrained" if "pretrained" in study.finetune.initialization else "scratch"
    results = [
        result_of(cell)
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
