"""Intervals over patients and seeds, for a metric and for any contrast of metrics.

Other patients and other training runs would both give other results. Resampling patients alone would treat
the k training runs of the study as the only possible ones.

`variance_components` says how the two add up.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from claimscale.evaluation.metrics import Floats
from claimscale.evaluation.variance_components import RunSpread, patient_degrees, variance_components

CONFIDENCE = 0.95
USABLE_REPLICATES = 0.95
"""Share of replicates that must contain both classes; otherwise there is no interval."""


@dataclass(frozen=True)
class Scores:
    """A metric, or a contrast of metrics, of k training runs on the same patients.

    Attributes:
        values: (k) on the test patients, one per seed.
        replicates: (k, B) on resampled patients.
        positives: patients with the outcome, the effective sample size.
        runs: of a contrast, the contribution of each model's runs (k each): runs of two models vary
            independently.
        spread: of a model, the variance of its runs where it was estimated from more than these runs
            (`run_variance`).
        spreads: of a contrast, the contribution of each model's spread; empty where one has none.
        units: where whole hospitals were resampled, the effective number of equal hospitals.
    """

    seeds: tuple[int, ...]
    values: Floats
    replicates: Floats
    positives: int
    runs: tuple[Floats, ...] = ()
    spread: RunSpread | None = None
    spreads: tuple[RunSpread, ...] = ()
    units: float | None = None

    @property
    def patient_degrees(self) -> float:
        """Degrees of freedom of a variance over the resampled patients or hospitals."""
        by_positives = patient_degrees(self.positives)
        return by_positives if self.units is None else max(min(by_positives, self.units - 1), 1.0)


def combine(
    contrast: Callable[..., Floats], *scores: Scores, models: Sequence[Hashable] = ()
) -> Scores | None:
    """Apply an elementwise function per seed and per replicate; None without common seeds.

    All scores must come from the same `Resamples`. Runs are paired by seed. `models` names the model of each
    score, where several scores share the runs of one model (one pretraining, two tasks).
    """
    common = sorted(set.intersection(*(set(score.seeds) for score in scores)))
    if not common:
        return None
    places = [[score.seeds.index(seed) for seed in common] for score in scores]
    values = [score.values[place] for score, place in zip(scores, places, strict=True)]
    owners = list(models) or list(range(len(scores)))
    # One model's contribution: its own runs vary, all others are at their mean.
    runs = [
        contrast(
            *(
                own if owner == model else np.full_like(own, own.mean())
                for own, owner in zip(values, owners, strict=True)
            )
        )
        for model in dict.fromkeys(owners)
    ]
    return Scores(
        tuple(common),
        contrast(*values),
        contrast(*(score.replicates[place] for score, place in zip(scores, places, strict=True))),
        min(score.positives for score in scores),
        tuple(runs),
        None,
        _spreads(contrast, scores, owners),
        min((score.units for score in scores if score.units is not None), default=None),
    )


def _spreads(
    contrast: Callable[..., Floats], scores: Sequence[Scores], owners: Sequence[Hashable]
) -> tuple[RunSpread, ...]:
    """The contribution of each model's runs, by the delta method; none where a model lacks a spread, or has
    different scores (one pretraining, two tasks), for how they vary together is not known."""
    means = [score.values.mean(keepdims=True) for score in scores]
    found = []
    for model in dict.fromkeys(owners):
        own = [score for score, owner in zip(scores, owners, strict=True) if owner == model]
        spread = own[0].spread
        if spread is None or any(score is not own[0] for score in own):
            return ()
        step = 1e-6 * max(abs(float(own[0].values.mean())), 1e-6)
        moved = [mean + step * (owner == model) for mean, owner in zip(means, owners, strict=True)]
        slope = float(contrast(*moved)[0] - contrast(*means)[0]) / step
        found.append(RunSpread(slope**2 * spread.variance, spread.degrees))
    return tuple(found)


def difference(larger: Scores, smaller: Scores) -> Scores | None:
    """Paired by patient and seed; None without common seeds."""
    return combine(np.subtract, larger, smaller)


def average(scores: Sequence[Scores]) -> Scores | None:
    """Mean of several scores; None without common seeds."""
    return combine(lambda *arrays: np.mean(arrays, axis=0), *scores)


@dataclass(frozen=True)
class Estimate:
    """An estimate with its 95 % interval."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class Interval:
    """A seed-mean with its two variance components; bounds and tests follow Student's t.

    Attributes:
        seed_variance: 0 with one seed, because it is unknown.
        within_variance: what patients contribute to the variance between seeds (not their mean), because runs
            err on different patients; more test patients remove it.
        bootstrap_variance: the variance over resampled patients alone, with `patient_degrees` degrees of
            freedom.
        run_degrees: of the variance between one model's runs, the mean over models.
    """

    estimate: float
    patient_variance: float
    seed_variance: float
    degrees: float
    seeds: int
    within_variance: float = 0.0
    bootstrap_variance: float = 0.0
    patient_degrees: float = np.inf
    run_degrees: float = np.inf

    def conservative(self) -> Interval:
        """The same with at least the bootstrap variance, for decisions.

        Otherwise a few runs that happen to agree would make the interval narrower than the patients allow.
        """
        return replace(
            self, patient_variance=max(self.patient_variance, self.bootstrap_variance - self.seed_variance)
        )

    @property
    def standard_error(self) -> float:
        return float(np.sqrt(self.patient_variance + self.seed_variance))

    def two_sided(self, confidence: float = CONFIDENCE) -> tuple[float, float]:
        tail = (1 - confidence) / 2
        return self.lower(1 - tail), self.upper(1 - tail)

    def bounded(self, least: float = -np.inf, most: float = np.inf) -> Estimate:
        """The estimate with its 95 % interval, cut at the range of the metric."""
        low, high = self.two_sided()
        return Estimate(self.estimate, max(low, least), min(high, most))

    def upper(self, confidence: float = CONFIDENCE) -> float:
        """One-sided upper bound."""
        return self.estimate + float(stats.t.ppf(confidence, self.degrees)) * self.standard_error

    def lower(self, confidence: float = CONFIDENCE) -> float:
        """One-sided lower bound."""
        return self.estimate - float(stats.t.ppf(confidence, self.degrees)) * self.standard_error

    def p_below(self, threshold: float) -> float:
        """One-sided p-value against 'the truth is at or above the threshold'."""
        return float(stats.t.cdf(self._standard_errors_from(threshold), self.degrees))

    def p_above(self, threshold: float) -> float:
        """One-sided p-value against 'the truth is at or below the threshold'."""
        return float(stats.t.sf(self._standard_errors_from(threshold), self.degrees))

    def p_differs(self, threshold: float = 0.0) -> float:
        """Two-sided p-value against 'the truth is the threshold'."""
        return min(1.0, 2 * float(stats.t.sf(abs(self._standard_errors_from(threshold)), self.degrees)))

    def p_distance(self, distance: float) -> float:
        """One-sided p-value of an estimate at this distance (>= 0) from the threshold."""
        if self.standard_error == 0:
            return 0.0 if distance > 0 else 0.5
        return float(stats.t.sf(distance / self.standard_error, self.degrees))

    def _standard_errors_from(self, threshold: float) -> float:
        """Distance from the threshold; infinite with the sign of the distance if there is no variance."""
        gap = self.estimate - threshold
        if self.standard_error == 0:
            return 0.0 if gap == 0 else float(np.copysign(np.inf, gap))
        return gap / self.standard_error


def interval(scores: Scores) -> Interval:
    """Interval of the mean over seeds; NaN bounds where too few replicates contain both classes."""
    mean_replicates = scores.replicates.mean(axis=0)
    usable = mean_replicates[np.isfinite(mean_replicates)]
    enough = len(usable) >= max(2, USABLE_REPLICATES * len(mean_replicates))
    bootstrap = float(usable.var(ddof=1)) if enough else float("nan")
    within = 0.0
    if enough and len(scores.seeds) > 1:
        # Resampling adds the patients' contribution to the variance between seeds a second time.
        resampled = float(np.nanmean(scores.replicates.var(axis=0, ddof=1)))
        within = resampled - float(scores.values.var(ddof=1))
    # A few units sampled with replacement vary less than new ones would.
    few = 1.0 if scores.units is None else scores.units / max(scores.units - 1, 1.0)
    runs = scores.runs or (scores.values,)
    patients = few * bootstrap, few * within, scores.patient_degrees
    return interval_of(scores.values, runs, *patients, scores.spreads)


def interval_of(
    values: Floats,
    runs: Sequence[Floats],
    over_patients: float,
    within: float,
    patient_degrees: float,
    spreads: Sequence[RunSpread] = (),
) -> Interval:
    """Interval of a seed-mean from its variance over patients, however that was estimated.

    Args:
        values: (k), by seed.
        runs: the contribution of each model's runs, (k) each.
        over_patients: variance of the mean over patients, with `patient_degrees` degrees of freedom.
        within: the contribution of patients to the variance between seeds.
        spreads: the variance of each model's runs, where it is better known than from `runs`.
    """
    seeds, estimate = len(values), float(values.mean())
    if seeds == 1:
        alone = (0.0, over_patients, patient_degrees)
        return Interval(estimate, over_patients, 0.0, patient_degrees, 1, *alone)
    within = max(within, 0.0)
    spreads = spreads or [RunSpread(float(own.var(ddof=1)), seeds - 1) for own in runs]
    by_model, run_degrees = (np.array(part) for part in zip(*spreads, strict=True))
    patients, spread, degrees = variance_components(
        over_patients, within, by_model, seeds, patient_degrees, run_degrees
    )
    sources = within, over_patients, patient_degrees, float(run_degrees.mean())
    return Interval(estimate, float(patients), float(spread), float(degrees), seeds, *sources)
