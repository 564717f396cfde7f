"""Intervals over patients and seeds, for a metric and for any contrast of metrics.

PROTOCOL, 'Is a smaller model as good?': other patients and other training runs would both have given other
figures. Resampling patients alone would treat the k training runs at hand as the only ones possible.

The variance of a seed-mean is V_p + sum of s² / k over the models it is made of. s² is the spread of a
model's runs, and holds already that each run errs on other patients; V_p is the bootstrap variance of the
seed-mean less that part, which would otherwise count twice. What each is worth in degrees of freedom follows
Satterthwaite. docs/decisions.md measures this rule beside others.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from claimscale.evaluation.metrics import Floats

CONFIDENCE = 0.95
USABLE_REPLICATES = 0.95
"""Share of replicates that must have drawn both classes; below it there is no interval."""

POSITIVES_PER_DEGREE = 4
"""A few positives, those with the highest scores, carry most of a precision-recall curve: the bootstrap
variance of its area is as uncertain as that of a quarter as many normal observations (measured: 2 to 8)."""


@dataclass(frozen=True)
class Scores:
    """A metric, or a contrast of metrics, of k training runs on the same patients.

    `values` (k) on the patients as they are, `replicates` (k, B) on resampled ones, one row per seed.
    `positives` are the patients with the outcome, the effective size of the sample. `runs` holds, of a
    contrast, what each model's runs contribute (k): runs of two models vary independently of each other.
    `units` is given where whole hospitals were resampled: how many of equal size they are worth.
    """

    seeds: tuple[int, ...]
    values: Floats
    replicates: Floats
    positives: int
    runs: tuple[Floats, ...] = ()
    units: float | None = None

    @property
    def patient_degrees(self) -> float:
        """What a variance over the resampled patients, or hospitals, is worth in degrees of freedom."""
        by_positives = patient_degrees(self.positives)
        return by_positives if self.units is None else max(min(by_positives, self.units - 1), 1.0)


def combine(
    contrast: Callable[..., Floats], *scores: Scores, models: Sequence[Hashable] = ()
) -> Scores | None:
    """Apply an elementwise function seed by seed and replicate by replicate; None without common seeds.

    All scores must come from the same `Resamples`. Runs are paired by seed. `models` names whose runs each
    score belongs to, where two of them come from the same ones (one pretraining, two tasks).
    """
    common = sorted(set.intersection(*(set(score.seeds) for score in scores)))
    if not common:
        return None
    places = [[score.seeds.index(seed) for seed in common] for score in scores]
    values = [score.values[place] for score, place in zip(scores, places, strict=True)]
    owners = list(models) or list(range(len(scores)))
    # What one model's runs contribute: they as they are, all others at their mean.
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
        min((score.units for score in scores if score.units is not None), default=None),
    )


def difference(larger: Scores, smaller: Scores) -> Scores | None:
    """Paired by patient and seed; None without common seeds."""
    return combine(np.subtract, larger, smaller)


def average(scores: Sequence[Scores]) -> Scores | None:
    """Mean of several scores; None without common seeds."""
    return combine(lambda *arrays: np.mean(arrays, axis=0), *scores)


@dataclass(frozen=True)
class Interval:
    """A seed-mean with its two sources of variance; bounds and tests follow Student's t.

    With one seed `seed_variance` is 0 because it cannot be known, not because it is small.
    `lasting_seed_variance` is its part that more test patients would not remove: seeds also differ
    because each errs on other patients of this sample. `bootstrap_variance` is that over resampled patients
    alone.
    """

    estimate: float
    patient_variance: float
    seed_variance: float
    degrees: float
    seeds: int
    lasting_seed_variance: float = 0.0
    bootstrap_variance: float = 0.0

    def cautious(self) -> Interval:
        """The same with no less variance than the bootstrap found, for decisions.

        A few runs that agree by chance would else make them surer than the patients alone allow.
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

    def upper(self, confidence: float = CONFIDENCE) -> float:
        """One-sided upper bound."""
        return self.estimate + float(stats.t.ppf(confidence, self.degrees)) * self.standard_error

    def lower(self, confidence: float = CONFIDENCE) -> float:
        """One-sided lower bound."""
        return self.estimate - float(stats.t.ppf(confidence, self.degrees)) * self.standard_error

    def p_below(self, threshold: float) -> float:
        """One-sided p-value against 'the truth is at or above the threshold'."""
        return float(stats.t.cdf(self._distance(threshold), self.degrees))

    def p_above(self, threshold: float) -> float:
        """One-sided p-value against 'the truth is at or below the threshold'."""
        return float(stats.t.sf(self._distance(threshold), self.degrees))

    def p_differs(self, threshold: float = 0.0) -> float:
        """Two-sided p-value against 'the truth is the threshold'."""
        return min(1.0, 2 * float(stats.t.sf(abs(self._distance(threshold)), self.degrees)))

    def p_distance(self, distance: float) -> float:
        """One-sided p-value that an estimate this far (>= 0) from the threshold would have."""
        if self.standard_error == 0:
            return 0.0 if distance > 0 else 0.5
        return float(stats.t.sf(distance / self.standard_error, self.degrees))

    def _distance(self, threshold: float) -> float:
        """In standard errors; without any variance, the sign decides."""
        gap = self.estimate - threshold
        if self.standard_error == 0:
            return 0.0 if gap == 0 else float(np.copysign(np.inf, gap))
        return gap / self.standard_error


def interval(scores: Scores) -> Interval:
    """Interval of the mean over seeds, over patients and seeds.

    NaN variance, hence NaN bounds, where too few replicates drew both classes.
    """
    mean_replicates = scores.replicates.mean(axis=0)
    usable = mean_replicates[np.isfinite(mean_replicates)]
    enough = len(usable) >= max(2, USABLE_REPLICATES * len(mean_replicates))
    bootstrap = float(usable.var(ddof=1)) if enough else float("nan")
    within = 0.0
    if enough and len(scores.seeds) > 1:
        # Resampling adds once more what patients contribute to the spread between seeds.
        resampled = float(np.nanmean(scores.replicates.var(axis=0, ddof=1)))
        within = resampled - float(scores.values.var(ddof=1))
    # Few units, drawn with replacement, vary less than new ones would.
    few = 1.0 if scores.units is None else scores.units / max(scores.units - 1, 1.0)
    runs = scores.runs or (scores.values,)
    return interval_of(scores.values, runs, few * bootstrap, few * within, scores.patient_degrees)


def interval_of(
    values: Floats, runs: Sequence[Floats], over_patients: float, within: float, patient_degrees: float
) -> Interval:
    """Interval of a seed-mean whose variance over patients is known, by whatever method.

    `values` (k) by seed; `runs`, what each model's runs contribute (k each); `over_patients` is the variance
    of the mean over patients, worth `patient_degrees` degrees of freedom, and `within` what patients add to
    the variance between seeds.
    """
    seeds, estimate = len(values), float(values.mean())
    if seeds == 1:
        return Interval(estimate, over_patients, 0.0, patient_degrees, 1, 0.0, over_patients)
    within = max(within, 0.0)
    by_model = np.array([own.var(ddof=1) for own in runs])
    patients, spread, degrees = variance_parts(over_patients, within, by_model, seeds, patient_degrees)
    lasting = max(0.0, float(by_model.sum()) - within) / seeds
    return Interval(estimate, float(patients), float(spread), float(degrees), seeds, lasting, over_patients)


def variance_parts(
    bootstrap: ArrayLike, within: ArrayLike, by_model: ArrayLike, seeds: int, patient_degrees: float
) -> tuple[Floats, Floats, Floats]:
    """The patient part and the seed part of a seed-mean's variance, and the degrees of freedom of their sum.

    Args:
        bootstrap: variance of the seed-mean over resampled patients, any shape.
        within: what resampling adds to the variance between seeds, the same shape.
        by_model: variance between the runs of each model in the contrast, models along the last axis.
        seeds: runs of each model, 2 or more.
        patient_degrees: degrees of freedom of the variance over patients.
    """
    bootstrap, by_model = np.asarray(bootstrap, dtype=float), np.asarray(by_model, dtype=float)
    spread = by_model.sum(axis=-1) / seeds
    shared = np.maximum(bootstrap - np.asarray(within) / seeds, 0.0)
    freedom = shared**2 / patient_degrees + ((by_model / seeds) ** 2).sum(axis=-1) / (seeds - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        degrees = np.where(freedom > 0, (shared + spread) ** 2 / freedom, patient_degrees)
    return shared, spread, degrees


def patient_degrees(positives: int) -> float:
    return max(positives / POSITIVES_PER_DEGREE, 1.0)
