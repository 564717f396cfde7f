"""Intervals over patients and seeds, for a metric and for any contrast of metrics.

PROTOCOL, 'Is a smaller model as good?': the variance of a seed-mean is the patient-bootstrap variance
of that mean plus s²_seed / k, with Satterthwaite's degrees of freedom. Resampling patients alone would
treat the k training runs at hand as the only ones possible.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from claimscale.evaluation.metrics import Floats

CONFIDENCE = 0.95
USABLE_REPLICATES = 0.95
"""Share of replicates that must have drawn both classes; below it there is no interval."""


@dataclass(frozen=True)
class Scores:
    """A metric, or a contrast of metrics, of k training runs on the same patients.

    `values` (k) on the patients as they are, `replicates` (k, B) on resampled ones, one row per seed.
    `positives` are the patients with the outcome, the effective size of the sample.
    """

    seeds: tuple[int, ...]
    values: Floats
    replicates: Floats
    positives: int


def combine(contrast: Callable[..., Floats], *scores: Scores) -> Scores | None:
    """Apply an elementwise function seed by seed and replicate by replicate; None without common seeds.

    All scores must come from the same `Resamples`. Runs are paired by seed.
    """
    common = sorted(set.intersection(*(set(score.seeds) for score in scores)))
    if not common:
        return None
    runs = [[score.seeds.index(seed) for seed in common] for score in scores]
    return Scores(
        tuple(common),
        contrast(*(score.values[run] for score, run in zip(scores, runs, strict=True))),
        contrast(*(score.replicates[run] for score, run in zip(scores, runs, strict=True))),
        min(score.positives for score in scores),
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
    because each errs on other patients of this sample.
    """

    estimate: float
    patient_variance: float
    seed_variance: float
    degrees: float
    seeds: int
    lasting_seed_variance: float = 0.0

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

    def _distance(self, threshold: float) -> float:
        """In standard errors; without any variance, the sign decides."""
        gap = self.estimate - threshold
        if self.standard_error == 0:
            return 0.0 if gap == 0 else float(np.copysign(np.inf, gap))
        return gap / self.standard_error


def interval(scores: Scores) -> Interval:
    """Interval of the mean over seeds, over patients and seeds.

    Degrees of freedom (Satterthwaite): positives - 1 for the patient part, k - 1 for the seed part.
    NaN variance, hence NaN bounds, where too few replicates drew both classes.
    """
    seeds = len(scores.seeds)
    mean_replicates = scores.replicates.mean(axis=0)
    usable = mean_replicates[np.isfinite(mean_replicates)]
    enough = len(usable) >= max(2, USABLE_REPLICATES * len(mean_replicates))
    patient_variance = float(usable.var(ddof=1)) if enough else float("nan")
    patient_degrees = max(scores.positives - 1, 1)
    shares = patient_variance**2 / patient_degrees
    seed_variance = lasting = 0.0
    if seeds > 1:
        between_seeds = float(scores.values.var(ddof=1))
        seed_variance = between_seeds / seeds
        shares += seed_variance**2 / (seeds - 1)
        # resampling patients adds once more what they contribute to the spread between seeds
        resampled = np.nanmean(scores.replicates.var(axis=0, ddof=1)) if enough else between_seeds
        lasting = max(0.0, 2 * between_seeds - float(resampled)) / seeds
    total = patient_variance + seed_variance
    degrees = total**2 / shares if shares > 0 else float(patient_degrees)
    estimate = float(scores.values.mean())
    return Interval(estimate, patient_variance, seed_variance, degrees, seeds, lasting)
