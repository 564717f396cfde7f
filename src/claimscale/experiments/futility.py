"""Sizes in ascending order: after each, the next ones' gain is foretold, and futile ones are left out.

A forecast is written down before the sizes it is about are trained; the conclusion scores it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from claimscale import artifacts
from claimscale.config.study import Study, parameter_count
from claimscale.evaluation.forecast import FEWEST_SIZES, Forecast, forecast
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
    records: list[dict[str, Any]] = []
    ran = 0
    for number, size in enumerate(study.sizes, start=1):
        chosen = left_in(study, cells, records)
        ran += run([cell for cell in chosen if cell.size is None or _rank(study, cell.size) < number])
        if number < FEWEST_SIZES or number == len(study.sizes):
            continue
        for task in tasks:
            if any(record["task"] == task and record["stop"] for record in records):
                continue
            seen = _scores(study, chosen, task, study.sizes[:number], result_of)
            made = foretell(study, seen, study.sizes[-1])
            if made is not None:
                larger = (cell for cell in cells if cell.task == task and cell.size in study.sizes[number:])
                record = _dated({"task": task, **record_of(made)}, earlier, not any(map(is_done, larger)))
                records.append(record)
                artifacts.append_audit(run_directory, "forecast", task=task, after=size, stop=record["stop"])
        # What was written down before larger sizes were trained stays so, should this run be stopped here.
        artifacts.write_json(
            run_directory / FILE, records + [old for old in earlier if not _made_again(old, records)]
        )
    artifacts.write_json(run_directory / FILE, records)
    return left_in(study, cells, records), ran


def _dated(record: dict[str, Any], earlier: Sequence[Mapping[str, Any]], now: bool) -> dict[str, Any]:
    """The record with `made_before_training`: whether it precedes the training of any larger size."""
    same = (old for old in earlier if all(old.get(key) == record[key] for key in record if key != "stop"))
    before = now or any(old["made_before_training"] for old in same)
    return {**record, "stop": record["stop"] and before, "made_before_training": before}


def _made_again(old: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> bool:
    return any(
        old["task"] == record["task"] and old["last_trained_size"] == record["last_trained_size"]
        for record in records
    )


def left_in(study: Study, cells: Sequence[Cell], records: Sequence[Mapping[str, Any]]) -> list[Cell]:
    """Cells that no forecast has made futile, with the pretraining that some of them need."""
    last = {record["task"]: _rank(study, record["last_trained_size"]) for record in records if record["stop"]}
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


def read_records(run_directory: Path, sizes: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """The forecasts that were made, oldest first; none where sizes were not run in order.

    Given the sizes of a study, those alone that are about them: another study file may have left others.
    """
    file = run_directory / FILE
    found = artifacts.read_json(file) if file.exists() else []
    return [one for one in found if sizes is None or {one["last_trained_size"], one["target"]} <= set(sizes)]


def foretell(study: Study, seen: Mapping[str, Scores], target: str) -> Forecast | None:
    parameters = {size: float(parameter_count(size)) for size in study.sizes}
    return forecast(seen, parameters, target, study.compare.margin) if seen else None


def record_of(made: Forecast) -> dict[str, Any]:
    low, high = made.gain.two_sided()
    return {
        "last_trained_size": made.after,
        "target": made.target,
        "gain": made.gain.estimate,
        "low": low,
        "high": high,
        "upper_bound": made.steepest.upper(),
        "margin": made.margin,
        "stop": made.futile(),
        "weights": dict(made.seen),
    }


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
    most = max((result.patients for result in results), default=0)
    results = [result for result in results if result.patients == most]
    scored = score_models(
        load_predictions(results), "held_out", study.compare.bootstrap_replicates, study.seed
    )
    by_size = {
        model.size: found.by_metric[study.compare.metric] for model, found in scored.get(task, {}).items()
    }
    return {size: by_size[size] for size in sizes if size in by_size}


def _rank(study: Study, size: str) -> int:
    return study.sizes.index(size)
