"""Size-sufficiency rule: is a smaller model as good? One verdict per task and scope.

The scope 'recipe' asks about models trained again: runs vary, as patients do. The scope 'trained_models' asks
about the trained models as they are: patients alone vary. Who deploys a model asks the second.

A size suffices if the one-sided upper bound of every larger size's gain over it is below the margin. Sizes
are tested from the largest down and testing stops at the first failure, so a task needs no further
correction. Holm's procedure controls the error rate across tasks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from claimscale.constants import Reason, Scope, SizeVerdict
from claimscale.evaluation.assurance import (
    POWER,
    Evidence,
    assurance,
    positives_for_verdict,
    seeds_for_verdict,
)
from claimscale.evaluation.intervals import CONFIDENCE, Interval, Scores, combine, difference, interval
from claimscale.evaluation.metrics import Floats
from claimscale.evaluation.run_variance import moderated

MIN_POSITIVES = 30
"""With fewer positives the bootstrap variance itself is too uncertain for a verdict."""


@dataclass(frozen=True)
class SizeCurve:
    """One task's metric by model size: `scores` from the smallest size to the largest.

    `chance` is the metric of an uninformative model: the prevalence for AUPRC, 0.5 for AUROC.
    """

    scores: Mapping[str, Scores]
    chance: float
    positives: int

    @property
    def largest(self) -> str:
        return list(self.scores)[-1]

    def as_trained(self) -> SizeCurve:
        """The curve of the trained models themselves: the mean of a size's runs, which do not vary."""
        return replace(self, scores={size: _as_one_run(scores) for size, scores in self.scores.items()})

    def margin(self, relative_margin: float) -> float:
        """The absolute margin: a share of the largest size's estimate."""
        return relative_margin * float(self.scores[self.largest].values.mean())


@dataclass(frozen=True)
class Comparison:
    """The gain of a larger size over a smaller one, on the same patients and seeds.

    `margin` is absolute: the relative margin times the largest model's estimate. `excess` is the gain minus
    the margin. Its (conservative) interval includes the uncertainty of the margin, which is estimated from
    the same patients and seeds.
    """

    smaller: str
    larger: str
    gain: Interval
    margin: float
    excess: Interval

    @property
    def p_sufficient(self) -> float:
        """One-sided p-value against 'the larger size gains the margin or more'.

        It is at least the p-value of a gain of exactly zero: a sample too small to show equality must not
        show it by luck.
        """
        return max(self.excess.p_below(0.0), self.excess.p_distance(self.margin))

    @property
    def p_insufficient(self) -> float:
        """One-sided p-value against 'the larger size gains the margin or less'."""
        return self.excess.p_above(0.0)

    def upper(self, confidence: float) -> float:
        """One-sided upper bound of the gain; the smaller size suffices where it is below the margin.

        It is at least the bound's distance from the estimate, for the reason given at `p_sufficient`.
        """
        bound = self.excess.upper(confidence)
        return max(self.margin + bound, bound - self.excess.estimate)


@dataclass(frozen=True)
class Verdict:
    """The size decision of one task.

    Attributes:
        margin: absolute, the relative margin times the largest model's estimate.
        alpha: one-sided error rate of the task's tests after Holm's correction.
        comparisons: smaller sizes from the largest down, each with all larger ones, the largest first.
        reason: why the verdict is inconclusive, if it is.
        positives_needed: if inconclusive, test patients with the outcome that are expected to decide it, in
            80 % of repeats: if the sizes are equally good, or, if borderline, with the gains that the study
            allows.
        seeds_needed: if inconclusive, seeds that are expected to decide it with the same test patients.
    """

    verdict: SizeVerdict
    smallest_sufficient: str | None
    margin: float
    alpha: float
    comparisons: tuple[Comparison, ...]
    reason: Reason | None = None
    positives_needed: int | None = None
    seeds_needed: int | None = None


def decide(
    curves: Mapping[str, SizeCurve], relative_margin: float, scope: Scope = "recipe"
) -> dict[str, Verdict]:
    """The verdict of every task in one scope, by name.

    The two claims, 'a smaller size suffices' and 'the largest size gains more than the margin', each have a
    family-wise error rate of 5 % across tasks.
    """
    if scope == "trained_models":
        curves = {task: curve.as_trained() for task, curve in curves.items()}
    else:
        curves = _with_moderated_runs(curves)
    family_alpha = 1 - CONFIDENCE
    compared = {task: _comparisons(curve, relative_margin) for task, curve in curves.items()}
    obstacles: dict[str, Reason | None] = {
        task: _obstacle(curve, compared[task], scope) for task, curve in curves.items()
    }
    sufficient_p = {
        task: [1.0] if obstacles[task] else _sufficiency_p_values(pairs) for task, pairs in compared.items()
    }
    gain_p = {
        task: [1.0] if obstacles[task] else [pairs[0].p_insufficient] for task, pairs in compared.items()
    }
    sufficient_alphas, gain_alphas = (
        holm_alphas(sufficient_p, family_alpha),
        holm_alphas(gain_p, family_alpha),
    )
    verdicts = {}
    for task, curve in curves.items():
        sizes, pairs, margin = list(curve.scores), compared[task], curve.margin(relative_margin)
        alpha = sufficient_alphas[task]
        passed = _rejected_before_first_failure(sufficient_p[task], alpha)
        if passed:
            verdicts[task] = Verdict("saturated", sizes[-1 - passed], margin, alpha, pairs)
        elif _rejected_before_first_failure(gain_p[task], gain_alphas[task]):
            verdicts[task] = Verdict("not_saturated", None, margin, gain_alphas[task], pairs)
        else:
            reason, needed = _inconclusive_reason(curve, pairs, obstacles[task], alpha)
            study = _evidence(curve, pairs[0], alpha) if reason == "underpowered" else None
            seeds = seeds_for_verdict(study) if study and scope == "recipe" else None
            verdicts[task] = Verdict("inconclusive", None, margin, alpha, pairs, reason, needed, seeds)
    return verdicts


def holm_alphas(p_values: Mapping[str, Sequence[float]], alpha: float) -> dict[str, float]:
    """The error rate of each family: Holm's procedure for families tested in a fixed order.

    `p_values` holds each family's hypotheses in their testing order. Families share alpha equally; a family
    whose hypotheses are all rejected passes its share to the rest. This is the graphical procedure of Bretz
    2009 (doi 10.1002/sim.3495). With one hypothesis per family it is Holm's procedure.
    """
    alphas: dict[str, float] = {}
    while len(alphas) < len(p_values):
        share = alpha / (len(p_values) - len(alphas))
        remaining = [name for name in p_values if name not in alphas]
        rejected = [name for name in remaining if max(p_values[name]) < share]
        # One family per step, because its share raises the next one's alpha.
        for name in [min(rejected, key=lambda name: max(p_values[name]))] if rejected else remaining:
            alphas[name] = share
    return alphas


def _comparisons(curve: SizeCurve, relative_margin: float) -> tuple[Comparison, ...]:
    """Smaller sizes from the largest down, each with all larger ones, the largest first."""
    sizes, margin = list(curve.scores), curve.margin(relative_margin)
    largest, compared = curve.scores[curve.largest], []

    def excess(larger: Floats, smaller: Floats, top: Floats) -> Floats:
        return larger - smaller - relative_margin * top

    for index in range(len(sizes) - 2, -1, -1):
        for larger in reversed(sizes[index + 1 :]):
            pair = curve.scores[larger], curve.scores[sizes[index]]
            gain = difference(*pair)
            over = combine(excess, *pair, largest, models=[larger, sizes[index], sizes[-1]])
            if gain is not None and over is not None:
                over_interval = interval(over).conservative()
                compared.append(Comparison(sizes[index], larger, interval(gain), margin, over_interval))
    return tuple(compared)


def _with_moderated_runs(curves: Mapping[str, SizeCurve]) -> dict[str, SizeCurve]:
    """The curves with the variance between runs that all sizes and tasks together suggest."""
    scores = {(task, size): one for task, curve in curves.items() for size, one in curve.scores.items()}
    found = moderated(scores)
    return {
        task: replace(curve, scores={size: found[task, size] for size in curve.scores})
        for task, curve in curves.items()
    }


def _as_one_run(scores: Scores) -> Scores:
    mean, replicates = scores.values.mean(keepdims=True), scores.replicates.mean(axis=0, keepdims=True)
    return replace(scores, seeds=(0,), values=mean, replicates=replicates, runs=())


def _obstacle(curve: SizeCurve, compared: tuple[Comparison, ...], scope: Scope) -> Reason | None:
    """Why no verdict can be given, whatever the differences are: equal is not the same as good."""
    if len(curve.scores) < 2:
        return "one_size"
    pairs = len(curve.scores) * (len(curve.scores) - 1) // 2
    runs = min((comparison.gain.seeds for comparison in compared), default=0)
    if len(compared) < pairs or (scope == "recipe" and runs < 2):
        return "one_seed"
    if curve.positives < MIN_POSITIVES or any(math.isnan(c.gain.standard_error) for c in compared):
        return "few_positives"
    if not interval(curve.scores[curve.largest]).lower() > curve.chance:
        return "not_above_chance"
    # The last step gains, yet a smaller size was better than the largest: neither claim holds.
    worse = any(one.larger == curve.largest and one.gain.upper() < 0 for one in compared)
    return "non_monotone" if worse and compared[0].p_insufficient < 1 - CONFIDENCE else None


def _sufficiency_p_values(compared: Sequence[Comparison]) -> list[float]:
    """Per size from the second largest down: the largest p-value over its comparisons with larger sizes."""
    worst: dict[str, float] = {}
    for comparison in compared:
        worst[comparison.smaller] = max(worst.get(comparison.smaller, 0.0), comparison.p_sufficient)
    return list(worst.values())


def _rejected_before_first_failure(p_values: Sequence[float], alpha: float) -> int:
    return next((index for index, p_value in enumerate(p_values) if p_value >= alpha), len(p_values))


def _inconclusive_reason(
    curve: SizeCurve, compared: tuple[Comparison, ...], obstacle: Reason | None, alpha: float
) -> tuple[Reason, int | None]:
    """Why a task is inconclusive, and how many positives would decide it."""
    if obstacle in ("one_size", "one_seed", "not_above_chance", "non_monotone"):
        return obstacle, None
    study = _evidence(curve, compared[0], alpha)
    if study is None:
        return obstacle or "underpowered", None
    if obstacle is not None:
        needed = positives_for_verdict(study)
        return obstacle, None if needed is None else max(needed, MIN_POSITIVES)
    if assurance(study, curve.positives, study.excess.seeds) >= POWER:
        # The sample could show equality but did not: the gain is near the margin, and its distance decides.
        return "borderline", positives_for_verdict(replace(study, equal=False))
    return "underpowered", positives_for_verdict(study)


def _evidence(curve: SizeCurve, pair: Comparison, alpha: float) -> Evidence | None:
    """What the first comparison tested says about repeats; None without positives, a variance or a margin."""
    if not curve.positives or math.isnan(pair.excess.standard_error) or not pair.margin > 0:
        return None
    metric = float(curve.scores[curve.largest].values.mean())
    return Evidence(pair.excess, pair.margin, metric, curve.positives, alpha)
