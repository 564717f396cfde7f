"""Families of outcomes: one verdict on size from the mean over several outcomes.

One outcome has a few hundred cases and decides little. The mean over the outcomes of a family decides more,
for the same patients and runs. AUPRC is averaged as a geometric mean, so that a gain is a share of each
outcome's own AUPRC, and common outcomes do not outweigh rare ones.

Patients and runs vary. Where the outcomes are a sample of all such outcomes, they vary as well: what they add
beyond the noise of patients is estimated by moments, as in a random-effects meta-analysis (DerSimonian &
Laird 1986, doi 10.1016/0197-2456(86)90046-2), jointly for all sizes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from claimscale.evaluation.intervals import CONFIDENCE, Interval, Scores, combine, interval
from claimscale.evaluation.metrics import Floats
from claimscale.evaluation.size_decision import Comparison, SizeCurve, Verdict, decide

MIN_OUTCOMES = 3
"""A claim about a family needs at least so many outcomes."""
MIN_AUROC = 1e-3
"""AUROCs are clipped this far from 0 and 1 before they become d'."""


@dataclass(frozen=True)
class OutcomeMetrics:
    """A metric of K outcomes by size, on a scale on which outcomes are averaged.

    Attributes:
        seeds: by size.
        values: by size, float64 [k, K].
        deviations: by size, how patients change them, [k, K, B]; the same replicates of patients for all.
    """

    seeds: Mapping[str, tuple[int, ...]]
    values: Mapping[str, Floats]
    deviations: Mapping[str, NDArray[np.floating]]

    def d_prime(self) -> OutcomeMetrics:
        """AUROC as d' = sqrt(2) * probit(AUROC), on which neither prevalence nor a ceiling bends a gain."""
        values, deviations = {}, {}
        for size, aurocs in self.values.items():
            probit = stats.norm.ppf(aurocs.clip(MIN_AUROC, 1 - MIN_AUROC))
            slope = math.sqrt(2) / stats.norm.pdf(probit)
            values[size] = math.sqrt(2) * probit
            deviations[size] = self.deviations[size] * slope[:, :, None].astype(np.float32)
        return OutcomeMetrics(self.seeds, values, deviations)

    def mean(self, outcomes: NDArray[np.intp], cases: int, sampled: bool, seed: int) -> dict[str, Scores]:
        """The mean over some outcomes by size. With `sampled` the choice of outcomes varies as well."""
        found = {}
        effects = self._outcome_effects(outcomes, seed) if sampled else np.zeros((len(self.values), 1))
        for place, size in enumerate(self.values):
            values = self.values[size][:, outcomes].mean(1)
            deviations = self.deviations[size][:, outcomes].mean(1, dtype=np.float64)
            found[size] = Scores(
                self.seeds[size], values, values[:, None] + deviations + effects[place], cases
            )
        return found

    def _outcome_effects(self, outcomes: NDArray[np.intp], seed: int) -> Floats:
        """Replicates of what the choice of outcomes adds to the mean of each size, float64 [sizes, B].

        The covariance over outcomes, less what patients contribute to it, divided by the number of outcomes.
        """
        means = np.stack([values[:, outcomes].mean(0) for values in self.values.values()])
        noise = np.stack([deviations[:, outcomes].mean(0) for deviations in self.deviations.values()])
        by_patients = np.einsum("sob,tob->st", noise, noise) / (noise.shape[1] * noise.shape[2])
        between = np.atleast_2d(np.cov(means)) - by_patients
        roots, vectors = np.linalg.eigh(between / len(outcomes))
        half = vectors * np.sqrt(roots.clip(0))
        draws = np.random.default_rng([seed, len(outcomes)]).standard_normal((len(means), noise.shape[2]))
        return half @ draws


@dataclass(frozen=True)
class OutcomeTable:
    """What verdicts of families need.

    Attributes:
        log_metric: the logarithm of the metric of the verdicts.
        auroc: AUROC.
        cases: of each outcome, int64 [K].
        chance: the metric of an uninformative model, float64 [K].
        parameters: by size, ascending.
        sampled: whether the outcomes are a sample of all such outcomes.
    """

    log_metric: OutcomeMetrics
    auroc: OutcomeMetrics
    cases: NDArray[np.int64]
    chance: Floats
    parameters: Mapping[str, float]
    sampled: bool
    seed: int

    def mean(self, metric: OutcomeMetrics, outcomes: NDArray[np.intp]) -> dict[str, Scores]:
        return metric.mean(outcomes, int(self.cases[outcomes].sum()), self.sampled, self.seed)

    def curve(self, outcomes: NDArray[np.intp]) -> SizeCurve:
        """The geometric mean of the metric over some outcomes, by size."""
        scores = {
            size: Scores(one.seeds, np.exp(one.values), np.exp(one.replicates), one.positives)
            for size, one in self.mean(self.log_metric, outcomes).items()
        }
        chance = float(np.exp(np.log(self.chance[outcomes]).mean()))
        return SizeCurve(scores, chance, int(self.cases[outcomes].sum()))

    def slope_weights(self) -> Floats:
        """Weights of the sizes in the slope over the logarithm (base 2) of their parameters."""
        doublings = np.log2([self.parameters[size] for size in self.log_metric.values])
        centred = doublings - doublings.mean()
        spread = float(centred @ centred)
        return centred / spread if spread else centred


@dataclass(frozen=True)
class Family:
    """The results of one family.

    Attributes:
        outcomes: places of its outcomes.
        curve: geometric mean of the metric by size.
        auroc: mean AUROC by size.
        per_doubling: relative gain of the metric per doubling of the parameters.
        too_small: the largest size over which, and over all smaller ones, the largest of all is shown to gain
            more than the margin; with the gain.
    """

    name: str
    outcomes: NDArray[np.intp]
    curve: SizeCurve
    auroc: Mapping[str, Scores]
    verdict: Verdict
    as_trained: Verdict
    per_doubling: Interval | None
    too_small: Comparison | None


def evaluate_families(
    table: OutcomeTable, members: Mapping[str, NDArray[np.intp]], relative_margin: float
) -> tuple[Family, ...]:
    """The families with enough outcomes, decided together. `members` are places of outcomes by family."""
    members = {name: own for name, own in members.items() if len(own) >= MIN_OUTCOMES}
    curves = {name: table.curve(own) for name, own in members.items()}
    verdicts = decide(curves, relative_margin)
    as_trained = decide(curves, relative_margin, "trained_models")
    return tuple(
        Family(
            name,
            own,
            curves[name],
            table.mean(table.auroc, own),
            verdicts[name],
            as_trained[name],
            _slope(table.slope_weights(), table.mean(table.log_metric, own)),
            _too_small(verdicts[name], curves[name].largest, (1 - CONFIDENCE) / len(members)),
        )
        for name, own in members.items()
    )


def _too_small(verdict: Verdict, largest: str, alpha: float) -> Comparison | None:
    """Sizes are tested from the smallest up until the first that is not shown to be too small.

    In a fixed order they need no correction among each other; `alpha` is the family's share.
    """
    found = None
    for pair in reversed([one for one in verdict.comparisons if one.larger == largest]):
        if pair.p_insufficient >= alpha:
            break
        found = pair
    return found


def kind_interaction(
    table: OutcomeTable, diseases: NDArray[np.intp], medications: NDArray[np.intp]
) -> Interval | None:
    """How much more d' diseases gain per doubling than medications; both share patients and runs.

    None with too few outcomes, one size, or one seed.
    """
    if min(len(diseases), len(medications)) < MIN_OUTCOMES:
        return None
    d_prime, weights = table.auroc.d_prime(), table.slope_weights()
    means = [table.mean(d_prime, own) for own in (diseases, medications)]
    return _slope(np.concatenate([weights, -weights]), *means)


def _slope(weights: Floats, *means: Mapping[str, Scores]) -> Interval | None:
    """A weighted sum of means by size; None with one size or one seed."""
    sizes = [size for mean in means for size in mean]
    if len(set(sizes)) < 2:
        return None
    scores = [score for mean in means for score in mean.values()]
    slope = combine(_weighted(weights), *scores, models=sizes)
    return None if slope is None or len(slope.seeds) < 2 else interval(slope)


def _weighted(weights: Floats):
    def contrast(*values: Floats) -> Floats:
        return np.tensordot(weights, np.stack(values), axes=1)

    return contrast


def task_families(
    tasks: Mapping[str, Sequence[tuple[SizeCurve, Mapping[str, Scores]]]],
    parameters: Mapping[str, float],
    relative_margin: float,
    seed: int,
) -> tuple[Family, ...]:
    """Families of fine-tuned tasks, by name: each task's curve and its AUROC by size.

    The mean holds for these tasks: they are no sample of all. Sizes and seeds are those that all tasks share.
    """
    every = [one for own in tasks.values() for one in own]
    sizes = [size for size in parameters if every and all(size in curve.scores for curve, _ in every)]
    seeds = {
        size: tuple(sorted(set.intersection(*(set(curve.scores[size].seeds) for curve, _ in every))))
        for size in sizes
    }
    sizes = [size for size in sizes if seeds[size]]
    if not sizes or max(map(len, tasks.values())) < MIN_OUTCOMES:
        return ()
    table = OutcomeTable(
        _metrics([curve.scores for curve, _ in every], sizes, seeds, logarithm=True),
        _metrics([aurocs for _, aurocs in every], sizes, seeds),
        np.array([curve.positives for curve, _ in every]),
        np.array([curve.chance for curve, _ in every]),
        {size: parameters[size] for size in sizes},
        False,
        seed,
    )
    ends = np.cumsum([len(own) for own in tasks.values()])
    members = dict(zip(tasks, np.split(np.arange(len(every)), ends[:-1]), strict=True))
    return evaluate_families(table, members, relative_margin)


def _metrics(
    by_task: Sequence[Mapping[str, Scores]],
    sizes: Sequence[str],
    seeds: Mapping[str, tuple[int, ...]],
    logarithm: bool = False,
) -> OutcomeMetrics:
    values, deviations = {}, {}
    for size in sizes:
        places = [[own[size].seeds.index(seed) for seed in seeds[size]] for own in by_task]
        value = np.stack([own[size].values[at] for own, at in zip(by_task, places, strict=True)], axis=1)
        replicates = np.stack(
            [own[size].replicates[at] for own, at in zip(by_task, places, strict=True)], axis=1
        )
        if logarithm:
            value, replicates = np.log(value), np.log(replicates)
        values[size], deviations[size] = value, replicates - value[:, :, None]
    return OutcomeMetrics(seeds, values, deviations)
