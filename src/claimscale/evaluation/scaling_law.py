"""The scaling law of the pretraining loss over parameters and tokens.

The loss is fitted as E + A / N^a + B / D^b over parameters N and tokens D (Hoffmann 2022, arXiv 2203.15556);
repeated tokens count less with each repetition (Muennighoff 2023, arXiv 2305.16264).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import optimize

from claimscale.evaluation.intervals import CONFIDENCE
from claimscale.evaluation.metrics import Floats
from claimscale.evaluation.pretrained_sizes import PretrainedSize

REPETITION_DECAY = 15.4
"""Repeated tokens lose 1 - 1/e of their value after this many epochs (R*_D of Muennighoff 2023)."""
REFITS = 200
TAILS = (1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2
CURVE_POINTS = 25


SMALLEST_FLOOR = 1e-3
"""Share of the lowest loss below which a floor is at its bound of zero."""


@dataclass(frozen=True)
class LossPoint:
    """The validation loss at one end of a pretraining: `tokens` trained on, `tokens_per_epoch` in one
    epoch."""

    size: str
    parameters: float
    tokens: float
    tokens_per_epoch: float
    loss: float


@dataclass(frozen=True)
class ScalingLaw:
    """The fitted law; each of `values` (floor, A, a and, where tokens vary, B, b) with a 95 % interval.

    `values` apply to parameters and tokens in units of their geometric means, `units`. Intervals come from
    refits to resampled residuals: they include noise, not the uncertainty of the law itself.
    """

    values: dict[str, float]
    low: dict[str, float]
    high: dict[str, float]
    units: tuple[float, float]
    residual_sd: float
    refits: Floats = field(repr=False, compare=False)

    def loss(self, parameters: float, tokens: float) -> float:
        return float(
            _law(np.array(list(self.values.values())), parameters / self.units[0], tokens / self.units[1])
        )

    def band(self, parameters: float, tokens: float) -> tuple[float, float]:
        """The 95 % interval of the loss: that of the refits (`refits`: one law per row)."""
        x, d = parameters / self.units[0], tokens / self.units[1]
        low, high = np.quantile([_law(values, x, d) for values in self.refits], TAILS)
        return float(low), float(high)


def effective_tokens(tokens: float, epoch: float) -> float:
    """The number of unrepeated tokens that would teach as much as `tokens`, if an epoch has `epoch` tokens.

    >>> effective_tokens(80, 100), round(effective_tokens(800, 100))
    (80, 663)
    """
    if tokens <= epoch:
        return tokens
    return epoch * (1 + REPETITION_DECAY * (1 - math.exp(-(tokens / epoch - 1) / REPETITION_DECAY)))


def fit_scaling_law(points: Sequence[LossPoint], seed: int = 0) -> ScalingLaw | None:
    """Fit the law; None with fewer points, or fewer different sizes, than it has unknowns, or where the
    points do not identify it.

    The term in tokens is fitted only if some size was scored at three numbers of tokens or more.
    """
    sizes = {point.parameters for point in points}
    by_size = [{point.tokens for point in points if point.parameters == size} for size in sizes]
    with_tokens = max((len(tokens) for tokens in by_size), default=0) >= 3
    if len(sizes) < 4 or len(points) < (6 if with_tokens else 4):
        return None
    parameters = np.array([point.parameters for point in points])
    tokens = np.array([effective_tokens(point.tokens, point.tokens_per_epoch) for point in points])
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
    # Residuals are smaller than the noise, because the fit uses up degrees of freedom.
    inflated = (loss - fitted) * math.sqrt(len(loss) / max(len(loss) - len(names), 1))
    refits = np.array(
        [_fit(best.x, x, d, fitted + generator.choice(inflated, len(loss))).x for _ in range(REFITS)]
    )
    low, high = np.quantile(refits, TAILS, axis=0)
    values, lowest, highest = (
        dict(zip(names, map(float, numbers), strict=True)) for numbers in (best.x, low, high)
    )
    inside = all(lowest[name] <= value <= highest[name] for name, value in values.items())
    if not inside or values["floor"] < SMALLEST_FLOOR * loss.min():
        return None  # outside its own interval, or at the bound: the points do not identify the law
    residual = float(np.sqrt(np.mean((loss - fitted) ** 2)))
    return ScalingLaw(values, lowest, highest, units, residual, refits)


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
class LossOverSize:
    """The law over size at one number of tokens, with its 95 % band."""

    tokens: float
    parameters: list[float]
    loss: list[float]
    low: list[float]
    high: list[float]


@dataclass(frozen=True)
class LossOverTokens:
    """The law over tokens for one size, with its 95 % band."""

    size: str
    tokens: list[float]
    loss: list[float]
    low: list[float]
    high: list[float]


@dataclass(frozen=True)
class LossFit:
    """Measured losses and the fitted curves within their range.

    `over_size` is at the largest number of tokens of any size, None without a law. `over_tokens` has one
    curve per size; it is empty if the law has no term in tokens.
    """

    points: tuple[LossPoint, ...]
    over_size: LossOverSize | None
    over_tokens: tuple[LossOverTokens, ...]


def loss_points(sizes: Sequence[PretrainedSize], epochs: float) -> list[LossPoint]:
    """Every validation loss of pretraining: each seed after all tokens, and after each cooldown."""
    found = []
    for size in sizes:
        if not size.tokens:
            continue
        ends = set[tuple[float, float]]()
        cooldowns_by_seed = size.cooldowns_by_seed or [None] * len(size.validation_loss_by_seed)
        for loss, cooldowns in zip(size.validation_loss_by_seed, cooldowns_by_seed, strict=True):
            for end in cooldowns or ():
                if end["validation_loss"]:
                    ends.add((end["tokens"], end["validation_loss"]))
            # The last cooldown is the end of the run, with the tokens of its own seed.
            if loss and not any(end["share"] == 1 for end in cooldowns or ()):
                ends.add((size.tokens, loss))
        epoch = size.tokens / epochs
        found += [LossPoint(size.name, size.parameters, tokens, epoch, loss) for tokens, loss in sorted(ends)]
    return found


def loss_fit(points: Sequence[LossPoint], law: ScalingLaw | None) -> LossFit:
    """The curves of the law between the measured points."""
    if law is None:
        return LossFit(tuple(points), None, ())
    most = max(points, key=lambda point: point.tokens)
    parameters = _log_spaced([point.parameters for point in points])
    tokens = effective_tokens(most.tokens, most.tokens_per_epoch)
    over_size = LossOverSize(most.tokens, parameters, *_band(law, [(count, tokens) for count in parameters]))
    over_tokens = []
    for size in dict.fromkeys(point.size for point in points) if "b" in law.values else ():
        own = [point for point in points if point.size == size]
        budgets = _log_spaced([point.tokens for point in own])
        places = [
            (own[0].parameters, effective_tokens(budget, own[0].tokens_per_epoch)) for budget in budgets
        ]
        over_tokens.append(LossOverTokens(size, budgets, *_band(law, places)))
    return LossFit(tuple(points), over_size, tuple(over_tokens))


def _log_spaced(values: Sequence[float]) -> list[float]:
    return [float(one) for one in np.geomspace(min(values), max(values), CURVE_POINTS)]


def _band(
    law: ScalingLaw, places: Sequence[tuple[float, float]]
) -> tuple[list[float], list[float], list[float]]:
    """Loss, lower and upper bounds at each (parameters, tokens)."""
    bands = [law.band(*place) for place in places]
    return [law.loss(*place) for place in places], [low for low, _ in bands], [high for _, high in bands]
