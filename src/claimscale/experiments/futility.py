"""Runs sizes in ascending order, and leaves out sizes that are forecast to add too little.

After each size from the third on, the gain of the largest size is forecast. A forecast is written before
larger sizes are trained; the summary compares it with the observed gain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from claimscale import artifacts
from claimscale.config.study import Study, parameter_count
from claimscale.evaluation.forecast import FEWEST_SIZES, Forecast, forecast
from claimscale.evaluation.intervals import Scores
from claimscale.evaluation.predictions import load_predictions
from claimscale.evaluation.scoring import score_models
from claimscale.experiments.cells import Cell
from claimscale.experiments.runners import Runner
from claimscale.experiments.workspace import Workspace
from claimscale.progress import Display

FILE = "forecasts.json"


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
    records: list[dict[str, Any]] = []
    ran = 0
    for number, size in enumerate(study.sizes, start=1):
        chosen = without_futile(study, cells, records)
        ran += run([cell for cell in chosen if cell.size is None or _rank(study, cell.size) < number])
        if number < FEWEST_SIZES or number == len(study.sizes):
            continue
        for task in tasks:
            if any(record["task"] == task and record["stop"] for record in records):
                continue
            made = forecast_gain(
                study, _scores(workspace, chosen, task, study.sizes[:number]), study.sizes[-1]
            )
            if made is not None:
                larger = (cell for cell in cells if cell.task == task and cell.size in study.sizes[number:])
                first = not any(map(workspace.is_done, larger))
                record = _dated({"task": task, **record_of(made)}, earlier, first)
                records.append(record)
                artifacts.append_audit(workspace.run, "forecast", task=task, after=size, stop=record["stop"])
        # If this run is stopped here, forecasts of an earlier run are kept.
        artifacts.write_json(
            workspace.run / FILE, records + [old for old in earlier if not _made_again(old, records)]
        )
    artifacts.write_json(workspace.run / FILE, records)
    return ran


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


def without_futile(study: Study, cells: Sequence[Cell], records: Sequence[Mapping[str, Any]]) -> list[Cell]:
    """The cells that no forecast makes futile, with the pretraining they need."""
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
    """The recorded forecasts, oldest first; none where sizes were not run in order.

    Given the sizes of a study, only forecasts about them: another study file may have left others.
    """
    file = run_directory / FILE
    found = artifacts.read_json(file) if file.exists() else []
    return [one for one in found if sizes is None or {one["last_trained_size"], one["target"]} <= set(sizes)]


def read_forecasts(study: Study) -> list[dict[str, Any]]:
    """The forecasts that count: those recorded by a study that stops for futility."""
    return [] if study.compare.stopping == "never" else read_records(study.run_directory, study.sizes)


def forecast_gain(study: Study, seen: Mapping[str, Scores], target: str) -> Forecast | None:
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
