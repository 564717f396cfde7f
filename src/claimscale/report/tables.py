"""Rows of the page's tables, selected from the summary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from claimscale.summary.baseline_text import main_results
from claimscale.summary.entries import EstimateEntry
from claimscale.summary.pretraining_schema import SizeEntry
from claimscale.summary.result_schema import ModelResultEntry, OracleEntry
from claimscale.summary.task_schema import TaskEntry


class ForestRow(NamedTuple):
    """A result with the places of its estimate and bounds on a scale of 0 to 100; the oracle has no arm."""

    result: ModelResultEntry | OracleEntry
    places: dict[str, float | None]


class SweepRow(NamedTuple):
    """The losses of one size at each learning rate; null where it was not tried or diverged."""

    size: str
    losses: list[float | None]
    lowest: float | None


class Sweeps(NamedTuple):
    rates: list[float]
    rows: list[SweepRow]


def forest(task: TaskEntry) -> list[ForestRow]:
    """The main results of a task, and the oracle."""
    metric = task.saturation.metric
    rows = [*main_results(task), *([task.oracle] if task.oracle else [])]
    found: list[EstimateEntry] = [row.auprc if metric == "auprc" else row.auroc for row in rows]
    known = [value for one in found for value in (one.low, one.high, one.estimate) if value is not None]
    least, most = (min(known), max(known)) if known else (0.0, 1.0)
    width = (most - least) or 1.0

    def place(value: float | None) -> float | None:
        return None if value is None else round(100 * (value - least) / width, 2)

    return [
        ForestRow(row, {name: place(getattr(one, name)) for name in ("estimate", "low", "high")})
        for row, one in zip(rows, found, strict=True)
    ]


def other_splits(task: TaskEntry) -> list[ModelResultEntry]:
    """The main models on the further test sets."""
    main = {(row.arm, row.size, row.n_labelled) for row in main_results(task)}
    return [
        row for row in task.results if row.split != "held_out" and (row.arm, row.size, row.n_labelled) in main
    ]


def cell_names(task: TaskEntry) -> dict[tuple[str, str | None], tuple[str, ...]]:
    """The cells behind each main result, by arm and size."""
    return {(one.arm, one.size): one.cells for one in task.per_model}


def sweeps(sizes: Sequence[SizeEntry]) -> Sweeps:
    """The learning-rate sweeps: rates, ascending, and the losses of each size."""
    tried = {size.name: size.lr_sweep for size in sizes if size.lr_sweep}
    rates = sorted({run.learning_rate or 0.0 for runs in tried.values() for run in runs})
    rows: list[SweepRow] = []
    for size, runs in tried.items():
        losses = {run.learning_rate: run.validation_loss for run in runs}
        lowest = min((loss for loss in losses.values() if loss is not None), default=None)
        rows.append(SweepRow(size, [losses.get(rate) for rate in rates], lowest))
    return Sweeps(rates, rows)
