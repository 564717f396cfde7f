"""Entries of the summary over all tasks and sizes, from their evaluation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from claimscale.evaluation.contrasts import TaskSizeInteraction
from claimscale.evaluation.forecast import ForecastOutcome
from claimscale.evaluation.study_evaluation import CrossTaskEvaluation
from claimscale.summary.entries import DifferenceEntry, EstimateEntry
from claimscale.summary.pretraining_schema import ForecastEntry, ForecastsEntry, TrainingLossEntry
from claimscale.summary.statistics_schema import InteractionEntry

LOSS_POINTS = 40
"""Most points of a training loss."""


def interaction_entry(found: TaskSizeInteraction) -> InteractionEntry:
    if found.difference is None:
        return InteractionEntry(reason=found.reason)
    low, high = found.difference.two_sided()
    return InteractionEntry(
        smallest=found.smallest,
        largest=found.largest,
        estimate=found.difference.estimate,
        low=low,
        high=high,
        p=found.difference.p_differs(),
    )


def forecasts_entry(found: CrossTaskEvaluation) -> ForecastsEntry:
    return ForecastsEntry.model_validate(
        {
            "prospective": found.prospective,
            "tasks": [_forecast(outcome) for outcome in found.forecasts],
            "scaling_law": found.scaling_law,
            "curve_fits": dict(found.curve_fits),
            "pareto": dict(found.pareto),
        }
    )


def _forecast(outcome: ForecastOutcome) -> ForecastEntry:
    observed, residual = outcome.measured, outcome.residual
    gain = missed = None
    if observed is not None:
        low, high = observed.two_sided()
        gain = DifferenceEntry(difference=observed.estimate, low=low, high=high)
    if residual is not None:
        missed = EstimateEntry.model_validate(residual.bounded())
    return ForecastEntry(
        **vars(outcome.record),
        observed_gain=gain,
        residual=missed,
        within_interval=outcome.within_interval,
    )


def training_losses(pretraining: Sequence[Mapping[str, Any]]) -> tuple[TrainingLossEntry, ...]:
    """The loss during pretraining, by size, of the first seed, at no more than LOSS_POINTS points.

    Each of `pretraining` may name its `metrics`, a file with a line per step.
    """
    found: dict[str, TrainingLossEntry] = {}
    for run in sorted(pretraining, key=lambda run: run["seed"]):
        size, file = run["size"], run.get("metrics")
        if size in found or file is None or not Path(file).exists():
            continue
        lines = [json.loads(line) for line in Path(file).read_text("utf-8").splitlines() if line]
        steps = [line for line in lines if {"tokens", "loss"} <= line.keys()]
        parts = np.array_split(np.arange(len(steps)), min(LOSS_POINTS, len(steps))) if steps else []
        found[size] = TrainingLossEntry(
            size=size,
            seed=run["seed"],
            tokens=tuple(steps[part[-1]]["tokens"] for part in parts),
            loss=tuple(float(np.mean([steps[place]["loss"] for place in part])) for part in parts),
        )
    return tuple(found.values())
