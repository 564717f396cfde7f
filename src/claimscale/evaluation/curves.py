"""Curves over size and tokens: what shape the results have, and what they cost.

The loss of pretraining is fitted as E + A / N^a + B / D^b over parameters N and tokens D (Hoffmann 2022,
arXiv 2203.15556); tokens seen again count for less each time (Muennighoff 2023, arXiv 2305.16264). Metrics
are fitted over size by three shapes, and Akaike's criterion for small samples says which one the data prefer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import optimize

from claimscale.evaluation.metrics import Floats

REPEATS_WORTH = 15.4
"""Repeated tokens lose 1 - 1/e of their worth after this many epochs (R*_D of Muennighoff 2023)."""
REFITS = 200
CONFIDENCE = 0.95
TAILS = (1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2


@dataclass(frozen=True)
class LossPoint:
    """One end of a pretraining: parameters, tokens trained on, tokens of one epoch, validation loss."""

    parameters: float
    tokens: float
    epoch: float
    loss: float


@dataclass(frozen=True)
class LossCurve:
    """The fitted law; each of `values` (floor, A, a and, where tokens vary, B, b) with a 95 % interval.

    `values` are of parameters and tokens in units of their geometric means, `units`. Intervals come from
    refits to resampled residuals: they know noise, not whether the law is true.
    """

    values: dict[str, float]
    low: dict[str, float]
    high: dict[str, float]
    units: tuple[float, float]
    residual: float
    refits: Floats = field(repr=False, compare=False)

    def loss(self, parameters: float, tokens: float) -> float:
        return float(
            _law(np.array(list(self.values.values())), parameters / self.units[0], tokens / self.units[1])
        )

    def band(self, parameters: float, tokens: float) -> tuple[float, float]:
        """The 95 % interval of the loss there: that of the refits (`refits`: one law in each row)."""
        x, d = parameters / self.units[0], tokens / self.units[1]
        low, high = np.quantile([_law(values, x, d) for values in self.refits], TAILS)
        return float(low), float(high)


def worth(tokens: float, epoch: float) -> float:
    """Tokens that, seen once, would teach as much as these, of which an epoch holds `epoch`.

    >>> worth(80, 100), round(worth(800, 100))
    (80, 663)
    """
    if tokens <= epoch:
        return tokens
    return epoch * (1 + REPEATS_WORTH * (1 - math.exp(-(tokens / epoch - 1) / REPEATS_WORTH)))


def loss_curve(points: Sequence[LossPoint], seed: int = 0) -> LossCurve | None:
    """Fit the law; None with fewer points, or fewer different sizes, than it has unknowns.

    The term in tokens is fitted only if some size was scored at three numbers of tokens or more.
    """
    sizes = {point.parameters for point in points}
    by_size = [{point.tokens for point in points if point.parameters == size} for size in sizes]
    with_tokens = max((len(tokens) for tokens in by_size), default=0) >= 3
    if len(sizes) < 4 or len(points) < (6 if with_tokens else 4):
        return None
    parameters = np.array([point.parameters for point in points])
    tokens = np.array([worth(point.tokens, point.epoch) for point in points])
    loss = np.array([point.loss for point in points])
    units = float(np.exp(np.log(parameters).mean())), float(np.exp(np.log(tokens).mean()))
    x, d = parameters / units[0], tokens / units[1]
    names = ["floor", "A", "a", "B", "b"][: 5 if with_tokens else 3]
    spread = float(np.ptp(loss))
    starts = [
        np.array([loss.min() - share * spread, share * spread, power, share * spread, power])[: len(names)]
        for share in (0.3, 1.0)
        for power in (0.2, 0.6)
    ]
    best = min((_fit(start, x, d, loss) for start in starts), key=lambda found: found.cost)
    fitted = _law(best.x, x, d)
    generator = np.random.default_rng(seed)
    # Residuals of a fit are smaller than the noise, by the unknowns it has used up.
    inflated = (loss - fitted) * math.sqrt(len(loss) / max(len(loss) - len(names), 1))
    refits = np.array(
        [_fit(best.x, x, d, fitted + generator.choice(inflated, len(loss))).x for _ in range(REFITS)]
    )
    low, high = np.quantile(refits, TAILS, axis=0)
    values, lowest, highest = (
        dict(zip(names, map(float, numbers), strict=True)) for numbers in (best.x, low, high)
    )
    residual = float(np.sqrt(np.mean((loss - fitted) ** 2)))
    return LossCurve(values, lowest, highest, units, residual, refits)


def _law(values: Floats, x: Floats | float, d: Floats | float) -> Floats:
    law = values[0] + values[1] * np.asarray(x) ** -values[2]
    return law + values[3] * np.asarray(d) ** -values[4] if len(values) == 5 else law


def _fit(start: Floats, x: Floats, d: Floats, loss: Floats) -> optimize.OptimizeResult:
    floor = np.array([0, 0, 1e-3, 0, 1e-3])[: len(start)]
    ceiling = np.array([np.inf, np.inf, 3, np.inf, 3])[: len(start)]
    inside = np.clip(start, floor + 1e-6, np.minimum(ceiling, 1e6) - 1e-6)
    return optimize.least_squares(
        lambda values: _law(values, x, d) - loss, inside, bounds=(floor, ceiling), x_scale="jac"
    )


@dataclass(frozen=True)
class Shape:
    """A shape of a metric over size: its criterion, less is better, and its weight among those compared."""

    name: str
    aicc: float
    weight: float


def shapes(
    parameters: Sequence[float], values: Sequence[Floats], losses: Sequence[float | None]
) -> list[Shape]:
    """Compare shapes of a metric over sizes, each measured by some runs: best first; none with under four
    sizes.

    `constant`; `power_law`, c - a N^-b; `sigmoid` through the pretraining loss, where every size has one.
    """
    if len(parameters) < 4:
        return []
    size = np.concatenate(
        [np.full(len(runs), math.log(count)) for count, runs in zip(parameters, values, strict=True)]
    )
    metric = np.concatenate(list(values))
    scaled, spread = size - size.mean(), max(float(np.ptp(metric)), 1e-9)
    fits = {
        "constant": _criterion(lambda p: np.full(len(metric), p[0]), [[metric.mean()]], metric),
        "power_law": _criterion(
            lambda p: p[0] - p[1] * np.exp(-np.exp(p[2]) * scaled),
            [[metric.max(), spread / 2, start] for start in (-2.0, -0.5, 0.5)],
            metric,
        ),
    }
    if all(loss is not None for loss in losses):
        each = np.concatenate([np.full(len(runs), loss) for loss, runs in zip(losses, values, strict=True)])
        width = max(float(np.ptp(each)), 1e-9)
        fits["sigmoid"] = _criterion(
            lambda p: p[0] + p[1] / (1 + np.exp(np.clip((each - p[2]) / width * np.exp(p[3]), -50, 50))),
            [[metric.min(), spread, middle, 1.0] for middle in np.quantile(each, [0.25, 0.5, 0.75])],
            metric,
        )
    least = min(fits.values())
    weights = {name: math.exp((least - found) / 2) for name, found in fits.items()}
    total = sum(weights.values())
    ordered = sorted(fits, key=lambda name: fits[name])
    return [Shape(name, fits[name], weights[name] / total) for name in ordered]


def _criterion(shape: Callable[[Floats], Floats], starts: Sequence[Sequence[float]], metric: Floats) -> float:
    """Akaike's criterion with its correction for small samples, of the best fit from several starts."""
    squares = min(
        2 * float(optimize.least_squares(lambda p: shape(p) - metric, start).cost) for start in starts
    )
    count, unknowns = len(metric), len(starts[0]) + 1  # and the variance
    if count - unknowns - 1 <= 0:
        return math.inf
    fit = count * math.log(max(squares / count, 1e-15)) + 2 * unknowns
    return fit + 2 * unknowns * (unknowns + 1) / (count - unknowns - 1)


def pareto_front(costs: Mapping[str, float], values: Mapping[str, float]) -> list[str]:
    """The models to which no other is preferable, being no dearer and no worse; cheapest first.

    >>> pareto_front({"a": 1, "b": 2, "c": 3}, {"a": 0.2, "b": 0.4, "c": 0.3})
    ['a', 'b']
    """
    front: list[str] = []
    for name in sorted(costs, key=lambda name: (costs[name], -values[name])):
        if not front or values[name] > values[front[-1]]:
            front.append(name)
    return front
