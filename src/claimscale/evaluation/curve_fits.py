"""Which curve a task's metric follows over size, and which sizes are efficient.

Three curves are fitted, and Akaike's criterion for small samples compares them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from claimscale.evaluation.metrics import Floats


@dataclass(frozen=True)
class CurveFit:
    """A curve of a metric over size: its criterion (lower is better) and its Akaike weight."""

    name: str
    aicc: float
    weight: float


def fit_curves(
    parameters: Sequence[float], values: Sequence[Floats], losses: Sequence[float | None]
) -> list[CurveFit]:
    """Compare curves of a metric over sizes, each measured by some runs: best first; none below four sizes.

    `constant`; `power_law`, c - a N^-b; `sigmoid` through the pretraining loss, if every size has one.
    """
    if len(parameters) < 4:
        return []
    size = np.concatenate(
        [np.full(len(runs), math.log(count)) for count, runs in zip(parameters, values, strict=True)]
    )
    metric = np.concatenate(list(values))
    centred, spread = size - size.mean(), max(float(np.ptp(metric)), 1e-9)
    criteria = {
        "constant": _aicc(lambda p: np.full(len(metric), p[0]), [[metric.mean()]], metric),
        "power_law": _aicc(
            lambda p: p[0] - p[1] * np.exp(-np.exp(p[2]) * centred),
            [[metric.max(), spread / 2, start] for start in (-2.0, -0.5, 0.5)],
            metric,
        ),
    }
    if all(loss is not None for loss in losses):
        each = np.concatenate([np.full(len(runs), loss) for loss, runs in zip(losses, values, strict=True)])
        width = max(float(np.ptp(each)), 1e-9)
        criteria["sigmoid"] = _aicc(
            lambda p: p[0] + p[1] / (1 + np.exp(np.clip((each - p[2]) / width * np.exp(p[3]), -50, 50))),
            [[metric.min(), spread, middle, 1.0] for middle in np.quantile(each, [0.25, 0.5, 0.75])],
            metric,
        )
    lowest = min(criteria.values())
    weights = {name: math.exp((lowest - found) / 2) for name, found in criteria.items()}
    total = sum(weights.values())
    ordered = sorted(criteria, key=lambda name: criteria[name])
    return [CurveFit(name, criteria[name], weights[name] / total) for name in ordered]


def _aicc(curve: Callable[[Floats], Floats], starts: Sequence[Sequence[float]], metric: Floats) -> float:
    """Akaike's criterion, corrected for small samples, of the best fit from several starts."""
    squares = min(
        2 * float(optimize.least_squares(lambda p: curve(p) - metric, start).cost) for start in starts
    )
    count, unknowns = len(metric), len(starts[0]) + 1  # and the variance
    if count - unknowns - 1 <= 0:
        return math.inf
    fit = count * math.log(max(squares / count, 1e-15)) + 2 * unknowns
    return fit + 2 * unknowns * (unknowns + 1) / (count - unknowns - 1)


def pareto_front(costs: Mapping[str, float], values: Mapping[str, float]) -> list[str]:
    """The models for which no other is both no more expensive and no worse; cheapest first.

    >>> pareto_front({"a": 1, "b": 2, "c": 3}, {"a": 0.2, "b": 0.4, "c": 0.3})
    ['a', 'b']
    """
    front: list[str] = []
    for name in sorted(costs, key=lambda name: (costs[name], -values[name])):
        if not front or values[name] > values[front[-1]]:
            front.append(name)
    return front
