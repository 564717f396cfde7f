"""What a study can decide, before it is run: how small a gain it can rule out, and how often it will.

Two sources of chance blur the difference of two sizes: which patients are tested, and how training fell out.
How much each contributes is worked out on simulated scores (two normal distributions, one of patients with
the outcome; models that partly share their errors). The decision itself is then drawn many times by the very
rule that is used on results (`intervals.variance_components`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy import optimize, stats

from claimscale.evaluation.intervals import CONFIDENCE, patient_degrees, variance_components
from claimscale.evaluation.metrics import Floats
from claimscale.evaluation.size_decision import MIN_POSITIVES, POWER

DRAWS = 20_000
SIMULATED_POSITIVES = 4000
LARGE_STUDIES = 4
MOST_NEGATIVES = 200_000
FEW_POSITIVES = 50
SMALL_STUDIES = 320
MOST_NEGATIVES_OF_FEW = 10_000


@dataclass(frozen=True)
class Assumptions:
    """What is taken for granted about models before there are any.

    Attributes:
        auprc: of the largest model.
        prevalence: share of patients with the outcome.
        between_sizes: correlation of two sizes' scores among patients of the same outcome.
        between_runs: the same, of two runs of one size.
        seed_spread: standard deviation of the AUPRC between runs on endless patients, as a share of it.
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
        shared: that of endlessly many runs, times the number of positives.
        within: what each run adds by erring on other patients, times the number of positives.
        common: variance of the largest model's own metric that it shares with the others, likewise
            relative and times the number of positives; it bears on the margin, a share of that metric.
        lasting: between runs of one size, whatever the patients.
        weight: how many positives count as one, for the degrees of freedom of a variance.
        scarcity: the first three hold for many positives; a study of 50 has this share of such variances.
    """

    shared: float
    within: float
    common: float
    lasting: float
    weight: float
    scarcity: float = 1.0

    def at(self, positives: int) -> Components:
        """The same for a study of so many positives; of fewer than were simulated, as of those."""
        share = self.scarcity ** (FEW_POSITIVES / max(positives, FEW_POSITIVES))
        shared, within, common = (share * part for part in (self.shared, self.within, self.common))
        return replace(self, shared=shared, within=within, common=common, scarcity=1.0)


@lru_cache(maxsize=64)
def components(assumed: Assumptions) -> Components:
    """The variance of a relative gain under what is assumed, by the influence of each patient on it."""
    generator = np.random.default_rng(0)
    large = [
        _simulated(assumed, SIMULATED_POSITIVES, MOST_NEGATIVES, generator) for _ in range(LARGE_STUDIES)
    ]
    small = [
        _simulated(assumed, FEW_POSITIVES, MOST_NEGATIVES_OF_FEW, generator) for _ in range(SMALL_STUDIES)
    ]
    shared, within, common, weight, _ = np.mean(large, axis=0).tolist()
    of_few, within_few, *_, auprc = np.mean(small, axis=0).tolist()
    # Average precision lies higher with few positives; a share of it, as the margin is, then varies less.
    scarcity = (of_few + within_few) * (assumed.auprc / auprc) ** 2 / (shared + within)
    return Components(shared, within, common, assumed.seed_spread**2, weight, scarcity)


def _simulated(
    assumed: Assumptions, positives: int, most_negatives: int, generator: np.random.Generator
) -> tuple[float, float, float, float, float]:
    """Of one study of so many positives `shared`, `within`, `common`, `weight`, and the AUPRC it measures."""
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
    # Of a relative gain, per positive.
    influences = np.array(changes) * positives / assumed.auprc
    first, second = influences[1] - influences[0]
    # A patient who stands for `each` others counts so often in sums over patients, not in their square.
    shared = float(np.sum(weights * first * second)) / positives
    total = float(np.sum(weights * (first**2 + second**2))) / 2 / positives
    both = float(np.sum(weights * influences[0, 0] * influences[1, 0])) / positives
    mean = (first + second) / 2
    fourth, square = float(np.sum(weights * mean**4)), float(np.sum(weights * mean**2))
    weight = fourth / square**2 * positives / 2
    shared = min(max(shared, 0.0), total)
    return shared, total - shared, both, weight, float(np.mean(areas))


def margins_met(
    parts: Components, positives: int, seeds: int, margin: float, level: float = 1 - CONFIDENCE, seed: int = 0
) -> Floats:
    """The relative margin that each of many studies of two equal sizes meets, judged near `margin`: (DRAWS,).

    It is the upper bound on the gain, or the bound's distance from the estimate, whichever is more.
    """
    # The test is of M_t - M_s - margin * M_t, which varies less than M_t - M_s as far as the two err apart.
    own = 1 - margin + margin**2 / 2
    tested = replace(
        parts,
        shared=parts.shared * own + parts.common * margin**2,
        within=parts.within * own,
        lasting=parts.lasting * own,
    )
    deviation, half_width = _drawn([(tested, positives, 1.0)], seeds, level, seed, cautious=True)
    return np.maximum(deviation, 0.0) + half_width


def power(
    parts: Components, positives: int, seeds: int, margin: float, level: float = 1 - CONFIDENCE
) -> float:
    """How often a truly flat curve is called saturated, at a relative margin.

    Never with one seed, or with fewer positives than a verdict may rest on.
    """
    if seeds < 2 or positives < MIN_POSITIVES:
        return 0.0
    return float(np.mean(margins_met(parts, positives, seeds, margin, level) < margin))


def resolvable(parts: Components, positives: int, seeds: int, level: float = 1 - CONFIDENCE) -> float:
    """The smallest relative margin at which a flat curve is called saturated in 80 % of studies.

    Infinite where none is.
    """
    if seeds < 2 or positives < MIN_POSITIVES:
        return math.inf
    margin = 0.0
    for _ in range(4):  # the margin bears on its own test, ever less
        margin = min(float(np.quantile(margins_met(parts, positives, seeds, margin, level), POWER)), 1.0)
    return margin


def positives_for(parts: Components, seeds: int, margin: float, level: float = 1 - CONFIDENCE) -> int | None:
    """Test positives with which a flat curve is called saturated in 80 % of studies; None if none suffice."""

    def excess(log_positives: float) -> float:
        met = margins_met(parts, round(math.exp(log_positives)), seeds, margin, level)
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
    """How often the task-dependence of size is shown, were the mean relative gains apart by `effect`.

    Each task is given by its components and test positives. Runs are taken to differ from task to task.
    """
    if seeds < 2 or not all(positives for _, positives in (*diseases, *medications)):
        return 0.0
    # A relative gain is 1 less a ratio, and varies as that ratio does: less where the gain is large.
    tasks = [(*task, (1 - effect) / len(diseases)) for task in diseases]
    tasks += [(*task, 1 / len(medications)) for task in medications]
    deviation, half_width = _drawn(tasks, seeds, (1 - CONFIDENCE) / 2, 0)
    return float(np.mean(np.abs(effect + deviation) > half_width))


def _drawn(
    tasks: Sequence[tuple[Components, int, float]],
    seeds: int,
    level: float,
    seed: int,
    cautious: bool = False,
) -> tuple[Floats, Floats]:
    """How far off studies are in a weighted sum of gains, and what they would add for a bound: (DRAWS,)."""
    generator = np.random.default_rng(seed)
    tasks = [(parts.at(positives), positives, weight) for parts, positives, weight in tasks]
    shared = sum(weight**2 * parts.shared / positives for parts, positives, weight in tasks)
    within = sum(weight**2 * parts.within / positives for parts, positives, weight in tasks)
    lasting = sum(weight**2 * parts.lasting for parts, _, weight in tasks)
    per_run = within / 2 + lasting  # of one size; a gain has two
    deviation = math.sqrt(shared) * generator.normal(size=DRAWS)
    deviation += math.sqrt(2 * per_run / seeds) * generator.normal(size=DRAWS)
    freedom = max(sum(positives / parts.weight for parts, positives, _ in tasks), 1.0)
    blur = generator.chisquare(freedom, size=DRAWS) / freedom
    by_model = per_run * generator.chisquare(seeds - 1, size=(DRAWS, 2)) / (seeds - 1)
    fewest = min(positives for _, positives, _ in tasks)
    bootstrap = (shared + within / seeds) * blur
    patients, spread, degrees = variance_components(
        bootstrap, within * blur, by_model, seeds, patient_degrees(fewest)
    )
    if cautious:
        patients = np.maximum(patients, bootstrap - spread)
    return deviation, stats.t.ppf(1 - level, degrees) * np.sqrt(patients + spread)


def influence(labels: np.ndarray, scores: Floats, weights: Floats) -> tuple[Floats, float]:
    """How AUPRC changes with the weight of each patient (n), and the AUPRC; ties are taken in any order.

    AUPRC is the mean over positives of TP / (TP + FP) at their place. A patient's weight moves the counts at
    every place from his or her own downwards, and, if positive, adds a place.
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
    """AUPRC of scores N(0, 1) without and N(separation, 1) with the outcome, on endless patients."""
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
