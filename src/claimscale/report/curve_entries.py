"""Entries of the summary about curves: forecasts and their score, shapes over size, costs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from claimscale.evaluation.curves import LossPoint, loss_curve, pareto_front, shapes
from claimscale.evaluation.forecast import FEWEST_SIZES, error
from claimscale.evaluation.intervals import difference, interval
from claimscale.evaluation.saturation import Curve
from claimscale.report.task_entry import bounds
from claimscale.study import Study
from claimscale.sweep.ascending import foretell, record_of


def forecast_entry(
    study: Study,
    curves: Mapping[str, Curve],
    recorded: Sequence[Mapping[str, Any]],
    sizes: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Forecasts per task with what then came, and the curves of loss and metric.

    Without recorded ones they are made now, each from the smaller sizes alone: `recorded` says which.
    """
    made = [dict(record) for record in recorded] or [
        {"task": task, **record_of(forecast)}
        for task, curve in curves.items()
        for seen in range(FEWEST_SIZES, len(curve.scores))
        if (forecast := foretell(study, dict(list(curve.scores.items())[:seen]), list(curve.scores)[-1]))
    ]
    return {
        "recorded": bool(recorded),
        "tasks": [{**record, **_came_true(record, curves.get(record["task"]))} for record in made],
        "loss": _loss_entry(study, sizes),
        "shapes": {task: _shapes(curve, sizes) for task, curve in curves.items()},
        "pareto": {task: _pareto(curve, sizes) for task, curve in curves.items()},
    }


def _came_true(record: Mapping[str, Any], curve: Curve | None) -> dict[str, Any]:
    """The measured gain and by how much it lay above the forecast; null while the size is untrained."""
    scores = curve.scores if curve is not None else {}
    after, target = record["after"], record["target"]
    if target not in scores or any(name not in scores for name in record["weights"]):
        return {"measured": None, "error": None, "held": None}
    gain = difference(scores[target], scores[after])
    missed = error(record["weights"], after, scores, scores[target])
    if gain is None or missed is None:
        return {"measured": None, "error": None, "held": None}
    low, high = missed.two_sided()
    found = interval(gain)
    return {
        "measured": {"difference": found.estimate, **bounds(found)},
        "error": {"estimate": missed.estimate, "low": low, "high": high},
        "held": low <= 0 <= high,
    }


def _loss_entry(study: Study, sizes: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    points = []
    for size in sizes:
        tokens, losses = size.get("tokens"), size.get("validation_loss_by_seed") or []
        if not tokens:
            continue
        epoch = tokens / study.pretrain.epochs
        ends = {(tokens, loss) for loss in losses if loss}
        for branches in size.get("branches_by_seed") or ():
            ends |= {
                (end["tokens"], end["validation_loss"]) for end in branches or () if end["validation_loss"]
            }
        points += [LossPoint(size["parameters"], count, epoch, loss) for count, loss in sorted(ends)]
    found = loss_curve(points, study.seed)
    return None if found is None else dataclasses.asdict(found)


def _shapes(curve: Curve, sizes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    known = {size["name"]: size for size in sizes}
    own = [known[name] for name in curve.scores]
    found = shapes(
        [size["parameters"] for size in own],
        [scores.values for scores in curve.scores.values()],
        [size["validation_loss"] for size in own],
    )
    return [dataclasses.asdict(shape) for shape in found]


def _pareto(curve: Curve, sizes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Sizes worth their pretraining: none is cheaper and as good."""
    hours = {size["name"]: size["hours"] for size in sizes}
    costs = {name: hours[name] for name in curve.scores if hours[name] is not None}
    return pareto_front(costs, {name: float(curve.scores[name].values.mean()) for name in costs})
