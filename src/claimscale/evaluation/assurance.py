"""Assurance: the probability that a repeated study comes to a verdict, given what the first study showed.

How far runs differ on infinitely many patients decides what further patients can show, and a study of a few
seeds hardly knows it. An estimate of zero would promise that patients alone suffice. The probability of a
verdict is therefore averaged over all values that the study allows (O'Hagan 2005, doi 10.1002/pst.175). Their
weights come from the moderated variance between runs, with its degrees of freedom, and from a prior.

The prior of the standard deviation between runs is half-t with four degrees of freedom (Gelman 2006, doi
10.1214/06-BA117A), as a share of the metric. The mean of its variance is (0.5 %)², the spread that `plan`
assumes by default. Half of it lies below 0.26 %, one twentieth above 1 %.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import special, stats

from claimscale.evaluation.intervals import Interval
from claimscale.evaluation.metrics import Floats
from claimscale.evaluation.variance_components import variance_components

POWER = 0.8
LEAST_AT_MOST = 0.85
"""A number is named only where the most positives, or the most seeds, give this probability. With a lower one
the probability hardly rises with the number, which then follows from the prior more than from the study."""
MOST_SEEDS = 50
MOST_POSITIVES = 1000
"""Times the positives of the study."""
ASSUMED_SPREAD = 0.005
PRIOR_DEGREES = 4
SPREADS = np.geomspace(0.06, 16.0, 24)
"""Standard deviations between runs over which the probability is averaged, in scales of the prior."""
QUANTILES = (np.arange(12) + 0.5) / 12
"""Of the variance that a model's runs show in a repeated study."""


@dataclass(frozen=True)
class Evidence:
    """What a study of two sizes says about its repeats.

    Attributes:
        excess: the larger size's gain minus the margin, with its conservative interval.
        margin: absolute.
        metric: the larger size's, the unit of the prior.
        positives: test patients with the outcome.
        alpha: one-sided error rate of the verdict.
        equal: whether the sizes are taken as equally good. Otherwise the gain is taken from the study, with
            its uncertainty; before the study, gains of either sign and the order of the margin are plausible.
    """

    excess: Interval
    margin: float
    metric: float
    positives: int
    alpha: float
    equal: bool = True


def positives_for_verdict(study: Evidence) -> int | None:
    """The positives with which 80 % of repeats with as many seeds come to a verdict.

    They are more than those of the study. None where patients alone hardly decide.
    """

    def reached(log_share: float) -> bool:
        return assurance(study, study.positives * math.exp(log_share), study.excess.seeds) >= POWER

    low, high = 0.0, math.log(MOST_POSITIVES)
    if assurance(study, study.positives * MOST_POSITIVES, study.excess.seeds) < LEAST_AT_MOST:
        return None
    while high - low > 0.005:
        middle = (low + high) / 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return math.ceil(study.positives * math.exp(high))


def seeds_for_verdict(study: Evidence) -> int | None:
    """The seeds with which 80 % of repeats with as many test patients come to a verdict.

    They are more than those of the study. None where MOST_SEEDS hardly decide.
    """
    low, high = study.excess.seeds, MOST_SEEDS
    if assurance(study, study.positives, high) < LEAST_AT_MOST:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if assurance(study, study.positives, middle) >= POWER else (middle, high)
    return high


def assurance(study: Evidence, positives: float, seeds: int) -> float:
    """The probability that a repeat with these positives and seeds comes to a verdict."""
    lasting, weights = lasting_variance(study)
    return float(weights @ _verdict_probability(study, lasting, positives, seeds))


def lasting_variance(study: Evidence) -> tuple[Floats, Floats]:
    """Values of the variance between runs on infinitely many patients, the sum of both sizes, and weights.

    One run per size has no such variance: the models are taken as they are.
    """
    excess = study.excess
    if excess.seeds == 1:
        return np.zeros(1), np.ones(1)
    scale = ASSUMED_SPREAD * math.sqrt((PRIOR_DEGREES - 2) / PRIOR_DEGREES) * study.metric
    lasting = 2 * (scale * SPREADS) ** 2
    expected = excess.within_variance + lasting
    degrees = _degrees_of_sum(excess.run_degrees, excess.seeds)
    found = excess.seed_variance * excess.seeds
    # The values are equally far apart on the logarithmic scale, so that the density is per logarithm.
    log_weights = stats.t.logpdf(SPREADS, PRIOR_DEGREES) + np.log(SPREADS)
    log_weights -= degrees / 2 * (np.log(expected) + found / expected)
    weights = np.exp(log_weights - log_weights.max())
    return lasting, weights / weights.sum()


def _degrees_of_sum(degrees: float, seeds: int) -> float:
    """Degrees of freedom of the sum of both sizes' variances.

    Moderated variances have a part in common, `degrees` minus the own (seeds - 1), and count less than twice.
    """
    return 2 * degrees**2 / (degrees + max(degrees - (seeds - 1), 0.0))


def _verdict_probability(study: Evidence, lasting: Floats, positives: float, seeds: int) -> Floats:
    """The probability of a verdict in a repeat for each lasting variance of both sizes.

    The variance between runs that a repeat finds is integrated over. Given it, the half-width of the bound is
    known and the estimate is normal.
    """
    excess, margin = study.excess, study.margin
    share = study.positives / positives
    within, tiny = excess.within_variance, np.finfo(float).tiny
    shared = max(excess.bootstrap_variance - within / excess.seeds, 0.0)
    per_run = (within * share + lasting)[:, None]
    bootstrap = shared * share + within * share / seeds
    by_model, weights, degrees = np.zeros((1, 1, 2)), np.ones(1), 1.0
    if seeds > 1:
        degrees = excess.run_degrees * (seeds - 1) / (excess.seeds - 1)
        ratios, weights = _variance_ratios(_degrees_of_sum(degrees, seeds) / 2)
        by_model = per_run[..., None] / 2 * ratios
    patients, spread, freedom = variance_components(
        bootstrap, within * share, by_model, seeds, excess.patient_degrees / share, degrees
    )
    patients = np.maximum(patients, bootstrap - spread)
    half_width = special.stdtrit(freedom, 1 - study.alpha) * np.sqrt(patients + spread)
    variance = shared * share + per_run / seeds
    center = np.zeros_like(variance)
    if not study.equal:
        of_study = shared + (within + lasting)[:, None] / excess.seeds
        kept = margin**2 / (margin**2 + of_study)
        center, variance = kept * (excess.estimate + margin), variance + kept * of_study
    deviation = np.sqrt(np.maximum(variance, tiny))
    sufficient = np.where(half_width < margin, special.ndtr((margin - half_width - center) / deviation), 0.0)
    if study.equal:
        return sufficient @ weights
    return (sufficient + special.ndtr((center - margin - half_width) / deviation)) @ weights


@lru_cache(maxsize=256)
def _variance_ratios(degrees: float) -> tuple[Floats, Floats]:
    """Estimated over true variance of the two sizes [pairs, 2], and the probability of each pair."""
    ratios = stats.chi2.ppf(QUANTILES, degrees) / degrees
    first, second = np.triu_indices(len(ratios))
    weights = np.where(first == second, 1.0, 2.0) / len(ratios) ** 2
    return np.stack([ratios[first], ratios[second]], axis=-1), weights
