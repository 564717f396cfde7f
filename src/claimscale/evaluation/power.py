"""Power analysis of a study before it runs: the smallest gain it can rule out, and how often it will.

The difference of two sizes has two sources of variance: the tested patients and the training runs. Their
contributions are computed on simulated scores (one normal distribution for patients with the outcome, one for
the others; models that share part of their errors). The decision is then simulated many times by the rule
that is used on results (`variance_components`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy import optimize, stats

from claimscale.evaluation.intervals import CONFIDENCE
from claimscale.evaluation.metrics import Floats
from claimscale.evaluation.run_variance import MIN_VARIANCES
from claimscale.evaluation.size_decision import MIN_POSITIVES, POWER
from claimscale.evaluation.variance_components import patient_degrees, variance_components

SIMULATIONS = 20_000
SIMULATED_POSITIVES = 4000
LARGE_STUDIES = 4
MOST_NEGATIVES = 200_000
FEW_POSITIVES = 50
SMALL_STUDIES = 320
MOST_NEGATIVES_OF_FEW = 10_000
MODERATION = 0.6
"""Degrees of freedom of the moderated variance between runs, as a share of those of all sizes: less than 1,
because a study estimates them too. More tasks raise it, up to 1.3 with three seeds; that is not promised."""


@dataclass(frozen=True)
class Assumptions:
    """Assumptions about the models before any is trained.

    Attributes:
        auprc: of the largest model.
        prevalence: share of patients with the outcome.
        between_sizes: correlation of two sizes' scores among patients of the same outcome.
        between_runs: the same for two runs of one size.
        seed_spread: standard deviation of the AUPRC between runs on infinitely many patients, as a share of
            it.
    """

    auprc: float
    prevalence: float
    between_sizes: float = 0.90
    between_runs: float = 0.93
    seed_spread: float = 0.005


@dataclass(frozen=True)
class Components:
    """Variance of the relative difference of two sizes, (M_t - M_s) / M_t.

    Attributes:
        shared: that of infinitely many runs, times the number of positives.
        within: the addition of each run that errs on different patients, times the number of positives.
        common: variance of the largest model's metric that it shares with the others, also relative and times
            the number of positives; the margin, a share of that metric, varies with it.
        lasting: variance between runs of one size on infinitely many patients.
        weight: positives per degree of freedom of a variance.
        scarcity: the first three hold for many positives; a study of 50 has this share of them.
        sizes: of the study; the variance between runs is moderated over them (`run_variance`).
    """

    shared: float
    within: float
    common: float
    lasting: float
    weight: float
    scarcity: float = 1.0
    sizes: int = 2

    def at(self, positives: int) -> Components:
        """The components for a study with this many positives, at least those of the small simulated
        studies."""
        share = self.scarcity ** (FEW_POSITIVES / max(positives, FEW_POSITIVES))
        shared, within, common = (share * part for part in (self.shared, self.within, self.common))
        return replace(self, shared=shared, within=within, common=common, scarcity=1.0)


@lru_cache(maxsize=64)
def components(assumed: Assumptions) -> Components:
    """The variance of a relative gain under the assumptions, from the influence of each patient on it."""
    generator = np.random.default_rng(0)
    large = [
        _simulated_study(assumed, SIMULATED_POSITIVES, MOST_NEGATIVES, generator)
        for _ in range(LARGE_STUDIES)
    ]
    small = [
        _simulated_study(assumed, FEW_POSITIVES, MOST_NEGATIVES_OF_FEW, generator)
        for _ in range(SMALL_STUDIES)
    ]
    shared, within, common, weight, _ = np.mean(large, axis=0).tolist()
    of_few, within_few, *_, auprc = np.mean(small, axis=0).tolist()
    # Average precision is higher with few positives, so that a share of it, such as the margin, varies less.
    scarcity = (of_few + within_few) * (assumed.auprc / auprc) ** 2 / (shared + within)
    return Components(shared, within, common, assumed.seed_spread**2, weight, scarcity)


def _simulated_study(
    assumed: Assumptions, positives: int, most_negatives: int, generator: np.random.Generator
) -> tuple[float, float, float, float, float]:
    """`shared`, `within`, `common`, `weight` of one study with this many positives, and its AUPRC."""
    negatives = min(round(positives / assumed.prevalence * (1 - assumed.prevalence)), most_negatives)
    labels = np.arange(positives + negatives) < positives
    each = positives * (1 - assumed.prevalence) / assumed.prevalence / negatives
    weights = np.where(labels, 1.0, each)
    separation = separation_for(assumed.auprc, assumed.prevalence)
    common = math.sqrt(assumed.between_sizes) * generator.normal(size=len(labels)) + separation * labels
    of_size = math.sqrt(max(assumed.between_runs - assumed.between_sizes, 0.0))
    of_run = math.sqrt(1 - max(assumed.between_runs, assumed.between_sizes))
    changes, areas = [], []
    for _ in range(2):
        size = common + of_size * generator.normal(size=len(labels))
        runs = [size + of_run * generator.normal(size=len(labels)) for _ in range(2)]
        found = [influence(labels, scores, weights) for scores in runs]
        changes.append([change for change, _ in found])
        areas += [area for _, area in found]
    # Influence on a relative gain, per positive.
    influences = np.array(changes) * positives / assumed.auprc
    first, second = influences[1] - influences[0]
    # A patient who represents `each` patients counts that often in sums over patients, not in squares.
    shared = float(np.sum(weights * first * second)) / positives
    total = float(np.sum(weights * (first**2 + second**2))) / 2 / positives
    both = float(np.sum(weights * influences[0, 0] * influences[1, 0])) / positives
    mean = (first + second) / 2
    fourth, square = float(np.sum(weights * mean**4)), float(np.sum(weights * mean**2))
    weight = fourth / square**2 * positives / 2
    shared = min(max(shared, 0.0), total)
    return shared, total - shared, both, weight, float(np.mean(areas))


def margins_met(
    parts: Components, positives: int, seeds: int, margin: float, alpha: float = 1 - CONFIDENCE, seed: int = 0
) -> Floats:
    """The relative margin that each simulated study of two equal sizes meets, near `margin`: (SIMULATIONS,).

    It is the upper bound of the gain, or the bound's distance from the estimate, whichever is larger.
    """
    # The test is of M_t - M_s - margin * M_t, which varies less than M_t - M_s if the two err differently.
    own = 1 - margin + margin**2 / 2
    tested = replace(
        parts,
        shared=parts.shared * own + parts.common * margin**2,
        within=parts.within * own,
        lasting=parts.lasting * own,
    )
    deviation, half_width = _simulated_bounds(
        [(tested, positives, 1.0)], seeds, alpha, seed, conservative=True
    )
    return np.maximum(deviation, 0.0) + half_width


def power(
    parts: Components, positives: int, seeds: int, margin: float, alpha: float = 1 - CONFIDENCE
) -> float:
    """The share of studies that call a truly flat curve saturated, at a relative margin.

    It is 0 with one seed, or with fewer positives than a verdict needs.
    """
    if seeds < 2 or positives < MIN_POSITIVES:
        return 0.0
    return float(np.mean(margins_met(parts, positives, seeds, margin, alpha) < margin))


def resolvable(parts: Components, positives: int, seeds: int, alpha: float = 1 - CONFIDENCE) -> float:
    """The smallest relative margin at which 80 % of studies call a flat curve saturated; infinite if none."""
    if seeds < 2 or positives < MIN_POSITIVES:
        return math.inf
    margin = 0.0
    for _ in range(4):  # the margin affects its own test, less with each iteration
        margin = min(float(np.quantile(margins_met(parts, positives, seeds, margin, alpha), POWER)), 1.0)
    return margin


def positives_for(parts: Components, seeds: int, margin: float, alpha: float = 1 - CONFIDENCE) -> int | None:
    """Test positives with which 80 % of studies call a flat curve saturated; None if no number suffices."""

    def excess(log_positives: float) -> float:
        met = margins_met(parts, round(math.exp(log_positives)), seeds, margin, alpha)
        return float(np.quantile(met, POWER)) - margin

    low, high = math.log(MIN_POSITIVES), math.log(1e8)
    if seeds < 2 or excess(high) > 0:
        return None
    return MIN_POSITIVES if excess(low) < 0 else math.ceil(math.exp(_root(excess, low, high)))


def interaction_power(
    diseases: Sequence[tuple[Components, int]],
    medications: Sequence[tuple[Components, int]],
    seeds: int,
    effect: float,
) -> float:
    """The share of studies that show a task-size interaction, if mean relative gains differ by `effect`.

    Each task is given by its components and test positives. Runs are assumed independent between tasks.
    """
    if seeds < 2 or not all(positives for _, positives in (*diseases, *medications)):
        return 0.0
    # A relative gain is 1 minus a ratio and varies as that ratio does: less if the gain is large.
    tasks = [(*task, (1 - effect) / len(diseases)) for task in diseases]
    tasks += [(*task, 1 / len(medications)) for task in medications]
    deviation, half_width = _simulated_bounds(tasks, seeds, (1 - CONFIDENCE) / 2, 0)
    return float(np.mean(np.abs(effect + deviation) > half_width))


def _simulated_bounds(
    tasks: Sequence[tuple[Components, int, float]],
    seeds: int,
    alpha: float,
    seed: int,
    conservative: bool = False,
) -> tuple[Floats, Floats]:
    """Errors of studies in a weighted sum of gains, and the half-widths of their bounds: (SIMULATIONS,)
    each."""
    generator = np.random.default_rng(seed)
    tasks = [(parts.at(positives), positives, weight) for parts, positives, weight in tasks]
    shared = sum(weight**2 * parts.shared / positives for parts, positives, weight in tasks)
    within = sum(weight**2 * parts.within / positives for parts, positives, weight in tasks)
    lasting = sum(weight**2 * parts.lasting for parts, _, weight in tasks)
    per_run = within / 2 + lasting  # of one size; a gain has two
    deviation = math.sqrt(shared) * generator.normal(size=SIMULATIONS)
    deviation += math.sqrt(2 * per_run / seeds) * generator.normal(size=SIMULATIONS)
    freedom = max(sum(positives / parts.weight for parts, positives, _ in tasks), 1.0)
    blur = generator.chisquare(freedom, size=SIMULATIONS) / freedom
    by_model, run_degrees = _moderated(per_run, seeds, min(parts.sizes for parts, _, _ in tasks), generator)
    fewest = min(positives for _, positives, _ in tasks)
    bootstrap = (shared + within / seeds) * blur
    patients, spread, degrees = variance_components(
        bootstrap, within * blur, by_model, seeds, patient_degrees(fewest), run_degrees
    )
    if conservative:
        patients = np.maximum(patients, bootstrap - spread)
    return deviation, stats.t.ppf(1 - alpha, degrees) * np.sqrt(patients + spread)


def _moderated(
    variance: float, seeds: int, sizes: int, generator: np.random.Generator
) -> tuple[Floats, float]:
    """Moderated variances between the runs of two sizes, (SIMULATIONS, 2), and their degrees of freedom."""
    own = seeds - 1
    others = MODERATION * sizes * own if sizes >= MIN_VARIANCES else 0.0
    found = variance * generator.chisquare(own, size=(SIMULATIONS, 2))
    if others:
        found = found + variance * generator.chisquare(others, size=(SIMULATIONS, 1))
    return found / (own + others), own + others


def influence(labels: np.ndarray, scores: Floats, weights: Floats) -> tuple[Floats, float]:
    """The derivative of AUPRC by the weight of each patient (n), and the AUPRC; ties in any order.

    AUPRC is the mean over positives of TP / (TP + FP) at their rank. A patient's weight changes the counts at
    every rank from the patient's own downwards, and a positive adds a rank.
    """
    order = np.argsort(-scores, kind="stable")
    positive, weight = labels[order], weights[order]
    true, false = np.cumsum(weight * positive), np.cumsum(weight * ~positive)
    total = true[-1]
    counted = np.maximum(true + false, np.finfo(float).tiny)
    area = float(np.sum((weight * true / counted)[positive])) / total
    here = weight * positive / counted**2 / total

    def from_here(values: Floats) -> Floats:
        return np.cumsum(values[::-1])[::-1]

    changes = np.where(
        positive, from_here(here * false) + (true / counted - area) / total, -from_here(here * true)
    )
    back = np.empty(len(order))
    back[order] = changes
    return back, area


def expected_auprc(separation: float, prevalence: float) -> float:
    """AUPRC of scores N(0, 1) without and N(separation, 1) with the outcome, on infinitely many patients."""
    cut = np.linspace(separation - 8, separation + 8, 4001)
    true, false = stats.norm.sf(cut - separation), stats.norm.sf(cut)
    precision = prevalence * true / (prevalence * true + (1 - prevalence) * false)
    return float(np.trapezoid(precision * stats.norm.pdf(cut - separation), cut))


@lru_cache(maxsize=256)
def separation_for(auprc: float, prevalence: float) -> float:
    """The separation that gives an AUPRC; the inverse of `expected_auprc`."""
    if not prevalence < auprc < 1:
        return 0.0
    return _root(lambda d: expected_auprc(d, prevalence) - auprc, 0.0, 12.0)


def _root(excess: Callable[[float], float], low: float, high: float) -> float:
    return float(optimize.root_scalar(excess, bracket=(low, high), xtol=1e-4).root)
