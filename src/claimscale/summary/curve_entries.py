"""Entries of the summary about curves: forecasts and their score, shapes over size, costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from claimscale.config.study import Study
from claimscale.evaluation.curves import LossCurve, LossPoint, loss_curve, pareto_front, shapes, worth
from claimscale.evaluation.forecast import FEWEST_SIZES, error
from claimscale.evaluation.intervals import difference, interval
from claimscale.evaluation.size_decision import Curve
from claimscale.experiments.futility import forecast_gain, record_of
from claimscale.summary.task_entry import bounds

CURVE_POINTS = 25


def forecast_entry(
    study: Study,
    curves: Mapping[str, Curve],
    recorded: Sequence[Mapping[str, Any]],
    sizes: Sequence[Mapping[str, Any]],
    fitted: LossCurve | None,
) -> dict[str, Any]:
    """Forecasts per task with what then came, and the curves of loss and metric.

    Without recorded ones they are made now, each from the smaller sizes alone. `recorded`: whether they were
    written down before larger sizes were trained.
    """
    made = [dict(record) for record in recorded] or [
        {"task": task, **record_of(forecast)}
        for task, curve in curves.items()
        for seen in range(FEWEST_SIZES, len(curve.scores))
        if (forecast := forecast_gain(study, dict(list(curve.scores.items())[:seen]), list(curve.scores)[-1]))
    ]
    return {
        "prospective": bool(recorded) and all(record["made_before_training"] for record in recorded),
        "tasks": [{**record, **_came_true(record, curves.get(record["task"]))} for record in made],
        "scaling_law": fitted and _scaling_law(fitted),
        "curve_fits": {task: _shapes(curve, sizes) for task, curve in curves.items()},
        "pareto": {task: _pareto(curve, sizes) for task, curve in curves.items()},
    }


def _came_true(record: Mapping[str, Any], curve: Curve | None) -> dict[str, Any]:
    """The measured gain and by how much it lay above the forecast; null while the size is untrained."""
    scores = curve.scores if curve is not None else {}
    after, target = record["last_trained_size"], record["target"]
    if target not in scores or any(name not in scores for name in record["weights"]):
        return {"observed_gain": None, "residual": None, "within_interval": None}
    gain = difference(scores[target], scores[after])
    missed = error(record["weights"], after, scores, scores[target])
    if gain is None or missed is None:
        return {"observed_gain": None, "residual": None, "within_interval": None}
    low, high = missed.two_sided()
    found = interval(gain)
    return {
        "observed_gain": {"difference": found.estimate, **bounds(found)},
        "residual": {"estimate": missed.estimate, "low": low, "high": high},
        "within_interval": low <= 0 <= high,
    }


def loss_ends(study: Study, sizes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Every validation loss of pretraining, one entry per end: `size`, `parameters`, `tokens`, `epoch`,
    `loss`.

    Each seed ends once after all tokens, and once for each branch after fewer.
    """
    found = []
    for size in sizes:
        tokens, losses = size.get("tokens"), size.get("validation_loss_by_seed") or []
        if not tokens:
            continue
        ends = {(tokens, loss) for loss in losses if loss}
        for branches in size.get("cooldowns_by_seed") or ():
            ends |= {
                (end["tokens"], end["validation_loss"]) for end in branches or () if end["validation_loss"]
            }
        known = {"size": size["name"], "parameters": size["parameters"]}
        epoch = tokens / study.pretrain.epochs
        found += [
            {**known, "tokens": at, "tokens_per_epoch": epoch, "loss": loss} for at, loss in sorted(ends)
        ]
    return found


def fitted_loss(study: Study, ends: Sequence[Mapping[str, Any]]) -> LossCurve | None:
    """The law of size and tokens that the ends follow; null where they are too few."""
    points = [
        LossPoint(end["parameters"], end["tokens"], end["tokens_per_epoch"], end["loss"]) for end in ends
    ]
    return loss_curve(points, study.seed)


def loss_fit_entry(ends: Sequence[Mapping[str, Any]], fitted: LossCurve | None) -> dict[str, Any]:
    """What the figures of pretraining's loss draw: the ends measured, the fitted law as curves with bands.

    `over_size` at the most tokens of any size, null without a law; `over_tokens` one curve per size, none
    where the law has no term in tokens. Nothing is drawn beyond what was measured.
    """
    entry: dict[str, Any] = {"points": list(ends), "over_size": None, "over_tokens": []}
    if fitted is None:
        return entry
    most = max(ends, key=lambda end: end["tokens"])
    parameters = _spaced([end["parameters"] for end in ends])
    seen = worth(most["tokens"], most["tokens_per_epoch"])
    drawn = _drawn(fitted, [(count, seen) for count in parameters])
    entry["over_size"] = {"tokens": most["tokens"], "parameters": parameters, **drawn}
    for size in dict.fromkeys(end["size"] for end in ends) if "b" in fitted.values else ():
        own = [end for end in ends if end["size"] == size]
        tokens = _spaced([end["tokens"] for end in own])
        drawn = _drawn(
            fitted, [(own[0]["parameters"], worth(at, own[0]["tokens_per_epoch"])) for at in tokens]
        )
        entry["over_tokens"].append({"size": size, "tokens": tokens, **drawn})
    return entry


def _spaced(values: Sequence[float]) -> list[float]:
    """From the least to the most, evenly on a logarithmic scale."""
    return [float(one) for one in np.geomspace(min(values), max(values), CURVE_POINTS)]


def _drawn(fitted: LossCurve, places: Sequence[tuple[float, float]]) -> dict[str, list[float]]:
    bands = [fitted.band(*place) for place in places]
    return {
        "loss": [fitted.loss(*place) for place in places],
        "low": [low for low, _ in bands],
        "high": [high for _, high in bands],
    }


def _scaling_law(fitted: LossCurve) -> dict[str, Any]:
    return {
        "values": fitted.values,
        "low": fitted.low,
        "high": fitted.high,
        "units": list(fitted.units),
        "residual_sd": fitted.residual,
    }


def _shapes(curve: Curve, sizes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    known = {size["name"]: size for size in sizes}
    own = [known[name] for name in curve.scores]
    found = shapes(
        [size["parameters"] for size in own],
        [scores.values for scores in curve.scores.values()],
        [size["validation_loss"] for size in own],
    )
    return [{"name": shape.name, "aicc": shape.aicc, "weight": shape.weight} for shape in found]


def _pareto(curve: Curve, sizes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Sizes worth their pretraining: none is cheaper and as good."""
    hours = {size["name"]: size["hours"] for size in sizes}
    costs = {name: hours[name] for name in curve.scores if hours[name] is not None}
    return pareto_front(costs, {name: float(curve.scores[name].values.mean()) for name in costs})
