"""What sizes not yet trained would add, foretold from those that are; and whether to train them at all.

The metric is taken to go on as it went: straight over the logarithm of the parameters, once through the three
largest sizes so far and once through the last two. Curves that flatten add less than that, so that a size
whose forecast stays below the margin is not worth its training. A metric that has stood still and then jumps
at a size never seen cannot be foretold by anybody; docs/decisions.md says what that costs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from claimscale.evaluation.intervals import CONFIDENCE, Interval, Scores, combine, interval
from claimscale.evaluation.metrics import Floats
from claimscale.evaluation.size_decision import FEWEST_POSITIVES

FEWEST_SIZES = 3
"""A line through two sizes has nothing to be held against."""
STEEPER = 1.5
"""Curves may rise half as fast again as they did, before a size is lost that was needed. Measured: at 1
curves whose rise quickens are stopped too often, at 2 flat ones hardly ever."""


@dataclass(frozen=True)
class Forecast:
    """What a larger size is expected to add to the largest one trained so far.

    Attributes:
        after: the largest size that was seen.
        target: the size foretold.
        gain: through the three largest sizes seen.
        steepest: the highest upper bound: of that line, half as steep again, or of the line through the last
        two.
        margin: absolute, from the largest size seen.
        seen: the sizes the forecast rests on, ascending, and what each weighs in `gain`.
    """

    after: str
    target: str
    gain: Interval
    steepest: Interval
    margin: float
    seen: Mapping[str, float]

    def futile(self, level: float = 1 - CONFIDENCE) -> bool:
        """Whether the target cannot be expected to gain the margin."""
        return self.steepest.upper(1 - level) < self.margin


def forecast(
    seen: Mapping[str, Scores], parameters: Mapping[str, float], target: str, relative_margin: float
) -> Forecast | None:
    """Foretell the gain of `target` over the last of the sizes seen (ascending).

    None where nothing can be said: fewer than three sizes, fewer than two common seeds, too few positives.
    """
    names = list(seen)[-FEWEST_SIZES:]
    if len(names) < FEWEST_SIZES or seen[names[-1]].positives < FEWEST_POSITIVES:
        return None
    sizes = np.log([parameters[name] for name in names])
    ahead = math.log(parameters[target]) - sizes[-1]
    line, last = (
        np.concatenate([np.zeros(len(names) - few), slope(sizes[-few:]) * ahead]) for few in (FEWEST_SIZES, 2)
    )
    rises = (line, STEEPER * line, last)
    gains = [weighted([seen[name] for name in names], weights) for weights in rises]
    found = [interval(gain) for gain in gains if gain is not None and len(gain.seeds) > 1]
    if len(found) < len(rises) or any(math.isnan(one.standard_error) for one in found):
        return None
    margin = relative_margin * float(seen[names[-1]].values.mean())
    steepest = max(found, key=lambda one: one.upper())
    weights = dict(zip(names, map(float, line), strict=True))
    return Forecast(names[-1], target, found[0], steepest, margin, weights)


def slope(x: Floats) -> Floats:
    """Weights whose product with values at `x` is the slope of the least-squares line through them."""
    centred = x - x.mean()
    return centred / float(centred @ centred)


def weighted(scores: Sequence[Scores], weights: Floats) -> Scores | None:
    """A linear contrast of sizes; None without common seeds."""
    return combine(lambda *values: np.tensordot(weights, np.stack(values), axes=1), *scores)


def error(
    made: Mapping[str, float], after: str, seen: Mapping[str, Scores], target: Scores
) -> Interval | None:
    """How far the measured gain of the target lies above the forecast, over patients and seeds.

    `made` are the weights a forecast was made with. Zero inside the interval means that the forecast held.
    """
    names = list(made)
    weights = np.array([*(-made[name] - (name == after) for name in names), 1.0])
    missed = weighted([*(seen[name] for name in names), target], weights)
    return None if missed is None or len(missed.seeds) < 2 else interval(missed)
