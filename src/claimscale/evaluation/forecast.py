"""Forecasts of the gain of a larger size from the sizes trained so far, to decide whether to train it.

The metric is extrapolated linearly over the logarithm of the parameters, through the three largest sizes so
far and through the last two. A curve that flattens gains less than that, so a size whose forecast stays below
the margin need not be trained. A late jump of a flat curve cannot be forecast; docs/decisions.md gives the
share of such jumps that is lost.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from claimscale.config.study import Study, parameter_count
from claimscale.evaluation.intervals import CONFIDENCE, Interval, Scores, combine, difference, interval
from claimscale.evaluation.metrics import Floats
from claimscale.evaluation.size_decision import MIN_POSITIVES, SizeCurve

MIN_SIZES = 3
"""Two sizes define a line but cannot test it."""
STEEPER = 1.5
"""Curves may rise 1.5 times as fast as before without losing a size that is needed. Measured: at 1, curves
whose rise accelerates are stopped too often; at 2, flat curves are hardly ever stopped."""


@dataclass(frozen=True)
class Forecast:
    """The expected gain of a larger size over the largest one trained so far.

    Attributes:
        last_trained_size: the largest size trained so far.
        target: the size of the forecast.
        gain: from the line through the three largest sizes trained.
        steepest: the gain with the highest upper bound: of that line, of a line 1.5 times as steep, or of the
            line through the last two sizes.
        margin: absolute, from the last trained size.
        weights: the sizes used, ascending, with their weights in `gain`.
    """

    last_trained_size: str
    target: str
    gain: Interval
    steepest: Interval
    margin: float
    weights: Mapping[str, float]

    def futile(self, alpha: float = 1 - CONFIDENCE) -> bool:
        """Whether the target cannot be expected to gain the margin."""
        return self.steepest.upper(1 - alpha) < self.margin


@dataclass(frozen=True)
class ForecastRecord:
    """A forecast as written to forecasts.json and the summary.

    `gain`, `low` and `high` are its estimate and 95 % interval, `upper_bound` the one-sided bound of the
    steepest line. `stop`: larger sizes of the task are not trained. `made_before_training`: nothing larger
    was trained when the forecast was made.
    """

    task: str
    last_trained_size: str
    target: str
    gain: float
    low: float
    high: float
    upper_bound: float
    margin: float
    stop: bool
    weights: Mapping[str, float]
    made_before_training: bool

    @classmethod
    def of(cls, task: str, made: Forecast, made_before_training: bool) -> ForecastRecord:
        low, high = made.gain.two_sided()
        return cls(
            task=task,
            last_trained_size=made.last_trained_size,
            target=made.target,
            gain=made.gain.estimate,
            low=low,
            high=high,
            upper_bound=made.steepest.upper(),
            margin=made.margin,
            stop=made.futile(),
            weights=made.weights,
            made_before_training=made_before_training,
        )

    def same_forecast(self, other: ForecastRecord) -> bool:
        """Whether both hold the same numbers, whenever they were made and whatever followed."""
        return replace(other, stop=self.stop, made_before_training=self.made_before_training) == self


@dataclass(frozen=True)
class ForecastOutcome:
    """A forecast and the result: the measured gain, and the measured gain minus the forecast.

    All but the record are None while the target is not trained. `within_interval`: the residual's interval
    contains zero.
    """

    record: ForecastRecord
    measured: Interval | None = None
    residual: Interval | None = None
    within_interval: bool | None = None


def forecast_gain(
    seen: Mapping[str, Scores], parameters: Mapping[str, float], target: str, relative_margin: float
) -> Forecast | None:
    """Forecast the gain of `target` over the last of the sizes seen (ascending).

    None with fewer than three sizes, fewer than two common seeds, or too few positives.
    """
    names = list(seen)[-MIN_SIZES:]
    if len(names) < MIN_SIZES or seen[names[-1]].positives < MIN_POSITIVES:
        return None
    sizes = np.log([parameters[name] for name in names])
    step = math.log(parameters[target]) - sizes[-1]
    line, last = (
        np.concatenate([np.zeros(len(names) - count), _slope_weights(sizes[-count:]) * step])
        for count in (MIN_SIZES, 2)
    )
    gains = [
        _linear_contrast([seen[name] for name in names], weights) for weights in (line, STEEPER * line, last)
    ]
    found = [interval(gain) for gain in gains if gain is not None and len(gain.seeds) > 1]
    if len(found) < len(gains) or any(math.isnan(one.standard_error) for one in found):
        return None
    margin = relative_margin * float(seen[names[-1]].values.mean())
    steepest = max(found, key=lambda one: one.upper())
    weights = dict(zip(names, map(float, line), strict=True))
    return Forecast(names[-1], target, found[0], steepest, margin, weights)


def study_forecast(study: Study, seen: Mapping[str, Scores], target: str) -> Forecast | None:
    """The forecast with the study's sizes and margin."""
    parameters = {size: float(parameter_count(size)) for size in study.sizes}
    return forecast_gain(seen, parameters, target, study.compare.relative_margin)


def retrospective_forecasts(study: Study, curves: Mapping[str, SizeCurve]) -> list[ForecastRecord]:
    """Forecasts made after all sizes were trained, each from the smaller sizes alone."""
    return [
        ForecastRecord.of(task, made, made_before_training=False)
        for task, curve in curves.items()
        for count in range(MIN_SIZES, len(curve.scores))
        if (made := study_forecast(study, dict(list(curve.scores.items())[:count]), curve.largest))
    ]


def forecast_outcome(record: ForecastRecord, curve: SizeCurve | None) -> ForecastOutcome:
    """Compare a forecast with the task's measured curve."""
    scores = curve.scores if curve is not None else {}
    last, target = record.last_trained_size, record.target
    if target not in scores or any(name not in scores for name in record.weights):
        return ForecastOutcome(record)
    gain = difference(scores[target], scores[last])
    missed = forecast_residual(record.weights, last, scores, scores[target])
    if gain is None or missed is None:
        return ForecastOutcome(record)
    low, high = missed.two_sided()
    return ForecastOutcome(record, interval(gain), missed, low <= 0 <= high)


def forecast_residual(
    weights: Mapping[str, float], last_trained_size: str, seen: Mapping[str, Scores], target: Scores
) -> Interval | None:
    """The measured gain of the target minus the forecast, over patients and seeds."""
    names = list(weights)
    contrast = np.array([*(-weights[name] - (name == last_trained_size) for name in names), 1.0])
    missed = _linear_contrast([*(seen[name] for name in names), target], contrast)
    return None if missed is None or len(missed.seeds) < 2 else interval(missed)


def _slope_weights(x: Floats) -> Floats:
    """Weights whose product with values at `x` is the slope of their least-squares line."""
    centred = x - x.mean()
    return centred / float(centred @ centred)


def _linear_contrast(scores: Sequence[Scores], weights: Floats) -> Scores | None:
    """None without common seeds."""
    return combine(lambda *values: np.tensordot(weights, np.stack(values), axes=1), *scores)
