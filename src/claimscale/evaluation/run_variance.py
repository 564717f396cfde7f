"""The variance between training runs, moderated over all sizes and tasks of a study (empirical Bayes).

A size has a few runs, and a variance from two or four degrees of freedom says little. The variances of all
sizes and tasks together say more. Relative to their metrics they are taken as draws from one distribution, a
scaled inverse chi-squared; each is then shrunk towards its centre, by as much as they agree (Smyth 2004, doi
10.2202/1544-6115.1027). Where they differ, as between sizes, little is shrunk.

Tasks share pretraining runs, so that their variances are no independent draws. The degrees of freedom of the
centre are therefore at most those of as many variances as are effectively independent.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy import optimize, special

from claimscale.evaluation.intervals import Scores
from claimscale.evaluation.metrics import Floats
from claimscale.evaluation.variance_components import RunSpread

LARGEST_DEGREES = 1000.0
MIN_VARIANCES = 3
"""With fewer there is nothing to learn how much they differ from."""


class _Runs(NamedTuple):
    """The runs of one size in one task: deviations from their mean, as shares of it, by seed."""

    size: str
    seeds: tuple[int, ...]
    deviations: Floats

    @property
    def degrees(self) -> int:
        return len(self.seeds) - 1

    @property
    def variance(self) -> float:
        return float(np.sum(self.deviations**2)) / self.degrees


@dataclass(frozen=True)
class Prior:
    """What all variances have in common: `variance` is relative, `degrees` its precision."""

    variance: float
    degrees: float

    def posterior(self, variance: float, degrees: float) -> RunSpread:
        """A variance with these degrees of freedom, shrunk towards the prior's."""
        total = self.degrees + degrees
        return RunSpread((self.degrees * self.variance + degrees * variance) / total, total)


def moderated(scores: Mapping[tuple[str, str], Scores]) -> dict[tuple[str, str], Scores]:
    """The scores by (task, size), with the moderated variance of their runs; unchanged where none can be."""
    runs = {key: _runs(key[1], one) for key, one in scores.items() if _has_runs(one)}
    prior = fit_prior(list(runs.values()))
    if prior is None:
        return dict(scores)
    found = dict(scores)
    for key, own in runs.items():
        shrunk = prior.posterior(own.variance, own.degrees)
        scale = float(scores[key].values.mean()) ** 2
        found[key] = replace(scores[key], spread=RunSpread(shrunk.variance * scale, shrunk.degrees))
    return found


def fit_prior(runs: Sequence[_Runs]) -> Prior | None:
    """The prior of the relative variances, by the moments of their logarithms; None below MIN_VARIANCES."""
    informative = [one for one in runs if one.variance > 0]
    if len(informative) < MIN_VARIANCES:
        return None
    half = np.array([one.degrees / 2 for one in informative])
    # A log chi-squared variable has mean psi(d / 2) + log 2 and variance psi'(d / 2).
    centred = np.log([one.variance for one in informative]) - special.digamma(half) + np.log(half)
    excess = float(centred.var(ddof=1) - np.mean(special.polygamma(1, half)))
    largest = effective_number(informative) * float(np.mean(2 * half))
    degrees = largest if excess <= 0 else min(2 * _inverse_trigamma(excess), largest)
    center = float(centred.mean()) + float(special.digamma(degrees / 2)) - math.log(degrees / 2)
    return Prior(math.exp(center), degrees)


def effective_number(runs: Sequence[_Runs]) -> float:
    """How many of the variances are effectively independent.

    Those of different sizes are. Tasks share the runs of a size: n variances whose deviations have the mean
    squared correlation r² count as n / (1 + (n - 1) r²).
    """
    total = 0.0
    for size in dict.fromkeys(one.size for one in runs):
        own = [one for one in runs if one.size == size]
        shared = [_squared_correlation(one, other) for one, other in itertools.combinations(own, 2)]
        total += len(own) / (1 + (len(own) - 1) * (float(np.mean(shared)) if shared else 0.0))
    return total


def _squared_correlation(one: _Runs, other: _Runs) -> float:
    """Of two tasks' runs over their common seeds, without the share that noise alone gives."""
    common = sorted(set(one.seeds) & set(other.seeds))
    if len(common) < 3:
        return 1.0  # two seeds are always perfectly correlated
    first, second = (own.deviations[[own.seeds.index(seed) for seed in common]] for own in (one, other))
    squared = float(np.corrcoef(first, second)[0, 1]) ** 2
    by_noise = 1 / (len(common) - 1)
    return max(0.0, (squared - by_noise) / (1 - by_noise))


def _has_runs(scores: Scores) -> bool:
    return len(scores.seeds) > 1 and float(scores.values.mean()) > 0


def _runs(size: str, scores: Scores) -> _Runs:
    mean = float(scores.values.mean())
    return _Runs(size, scores.seeds, scores.values / mean - 1)


def _inverse_trigamma(value: float) -> float:
    """x with psi'(x) = value, at most LARGEST_DEGREES / 2."""
    high = LARGEST_DEGREES / 2
    if value <= special.polygamma(1, high):
        return high
    excess = optimize.root_scalar(lambda x: special.polygamma(1, x) - value, bracket=(1e-3, high))
    return float(excess.root)
