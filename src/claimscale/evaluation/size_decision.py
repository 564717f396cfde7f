"""Is a smaller model as good? The verdict per task, by the protocol's rule.

A size suffices if every larger one's gain over it is, with one-sided confidence, below the margin. Sizes
are tested from the largest down and testing stops at the first failure, so no further correction is
needed within a task; Holm's correction holds the error rate across tasks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from scipy import stats

from claimscale.evaluation.intervals import CONFIDENCE, Interval, Scores, combine, difference, interval
from claimscale.evaluation.metrics import Floats

FEWEST_POSITIVES = 30
"""Below this the bootstrap variance itself is too uncertain to rest a verdict on."""
POWER = 0.8

Reason = Literal[
    "one_size", "one_seed", "few_positives", "not_above_chance", "non_monotone", "underpowered", "borderline"
]


@dataclass(frozen=True)
class Curve:
    """One task's metric by model size: `scores` from the smallest size to the largest.

    `chance` is what a model without any information reaches: the prevalence for AUPRC, 0.5 for AUROC.
    """

    scores: Mapping[str, Scores]
    chance: float
    positives: int


@dataclass(frozen=True)
class Comparison:
    """The gain of a larger size over a smaller one, on the same patients and seeds.

    `margin` is absolute: the relative margin times the largest model's estimate. `excess` is the gain less
    the margin; its (cautious) interval knows that the margin, too, is estimated from these patients and
    seeds.
    """

    smaller: str
    larger: str
    gain: Interval
    margin: float
    excess: Interval

    @property
    def p_sufficient(self) -> float:
        """One-sided p-value against 'the larger size gains the margin or more'.

        It is never less than the one that a gain of exactly zero would have had: a sample too small to show
        equality does not show it by luck either.
        """
        return max(self.excess.p_below(0.0), self.excess.p_distance(self.margin))

    @property
    def p_insufficient(self) -> float:
        """One-sided p-value against 'the larger size gains the margin or less'."""
        return self.excess.p_above(0.0)

    def upper(self, confidence: float) -> float:
        """What the gain may be at most, one-sided; the smaller size suffices where this is below the margin.

        At least as much as the bound lies above the estimate, for the reason given at `p_sufficient`.
        """
        bound = self.excess.upper(confidence)
        return max(self.margin + bound, bound - self.excess.estimate)


@dataclass(frozen=True)
class Verdict:
    """What may be said about one task.

    `margin` is absolute: the relative margin times the largest model's estimate. `level` is the
    one-sided error rate the task was tested at, after Holm. `positives_needed`, where the verdict is
    inconclusive, is the number of test patients with the outcome expected to decide it.
    """

    verdict: Literal["saturated", "not_saturated", "inconclusive"]
    smallest_sufficient: str | None
    margin: float
    level: float
    evidence: tuple[Comparison, ...]
    reason: Reason | None = None
    positives_needed: int | None = None


def judge(curves: Mapping[str, Curve], relative_margin: float) -> dict[str, Verdict]:
    """The verdict of every task, by name.

    The two claims, 'a smaller size suffices' and 'the largest size gains more than the margin', are
    each held to a family-wise error rate of 5 % across tasks.
    """
    alpha = 1 - CONFIDENCE
    evidence = {task: _comparisons(curve, relative_margin) for task, curve in curves.items()}
    obstacles: dict[str, Reason | None] = {
        task: _obstacle(curve, evidence[task]) for task, curve in curves.items()
    }
    sufficient_p = {
        task: [1.0] if obstacles[task] else _sufficiency_p_values(compared)
        for task, compared in evidence.items()
    }
    gain_p = {
        task: [1.0] if obstacles[task] else [compared[0].p_insufficient]
        for task, compared in evidence.items()
    }
    sufficient_levels, gain_levels = holm_levels(sufficient_p, alpha), holm_levels(gain_p, alpha)
    verdicts = {}
    for task, curve in curves.items():
        sizes, compared, margin = list(curve.scores), evidence[task], _margin(curve, relative_margin)
        passed = _leading(sufficient_p[task], sufficient_levels[task])
        if passed:
            verdicts[task] = Verdict(
                "saturated", sizes[-1 - passed], margin, sufficient_levels[task], compared
            )
        elif _leading(gain_p[task], gain_levels[task]):
            verdicts[task] = Verdict("not_saturated", None, margin, gain_levels[task], compared)
        else:
            level = sufficient_levels[task]
            reason, needed = _what_would_decide(curve, compared, obstacles[task], level)
            verdicts[task] = Verdict("inconclusive", None, margin, level, compared, reason, needed)
    return verdicts


def holm_levels(p_values: Mapping[str, Sequence[float]], alpha: float) -> dict[str, float]:
    """The level each family is tested at: Holm's procedure for families tested in a fixed order.

    `p_values` hold, per family, the hypotheses in the order in which they are tested. Families share
    alpha equally; one whose hypotheses all fall hands its share to the rest. This is the graphical
    procedure of Bretz 2009 (doi 10.1002/sim.3495); with one hypothesis per family it is Holm's.
    """
    levels: dict[str, float] = {}
    while len(levels) < len(p_values):
        level = alpha / (len(p_values) - len(levels))
        open_families = [name for name in p_values if name not in levels]
        finished = [name for name in open_families if max(p_values[name]) < level]
        # one at a time, because the next one's level grows by it
        for name in [min(finished, key=lambda name: max(p_values[name]))] if finished else open_families:
            levels[name] = level
    return levels


def positives_needed(comparison: Comparison, positives: int, level: float) -> int | None:
    """Positives with which 80 % of studies would find the smaller size sufficient, were it truly as good.

    The variance of the gain has a part V_n that falls as 1 / positives and a part V_s between seeds that
    stays. The sample-size formula of a non-inferiority trial, with quantiles of Student's t,
    (t_level + t_power)² (V_n · positives / needed + V_s) = margin², gives
    needed = positives · V_n / (margin² / (t_level + t_power)² - V_s).
    None where the seeds alone already differ too much: only more seeds can decide then.
    """
    return _needed(comparison.excess, comparison.margin, positives, level)


def _margin(curve: Curve, relative_margin: float) -> float:
    largest = list(curve.scores.values())[-1]
    return relative_margin * float(largest.values.mean())


def _comparisons(curve: Curve, relative_margin: float) -> tuple[Comparison, ...]:
    """Smaller sizes from the largest down, each against all larger ones, the largest first."""
    sizes, margin = list(curve.scores), _margin(curve, relative_margin)
    largest, compared = curve.scores[sizes[-1]], []

    def excess(larger: Floats, smaller: Floats, top: Floats) -> Floats:
        return larger - smaller - relative_margin * top

    for index in range(len(sizes) - 2, -1, -1):
        for larger in reversed(sizes[index + 1 :]):
            pair = curve.scores[larger], curve.scores[sizes[index]]
            gain = difference(*pair)
            over = combine(excess, *pair, largest, models=[larger, sizes[index], sizes[-1]])
            if gain is not None and over is not None:
                compared.append(
                    Comparison(sizes[index], larger, interval(gain), margin, interval(over).cautious())
                )
    return tuple(compared)


def _obstacle(curve: Curve, compared: tuple[Comparison, ...]) -> Reason | None:
    """Why no verdict can be given whatever the differences are: equal is not the same as good."""
    if len(curve.scores) < 2:
        return "one_size"
    pairs = len(curve.scores) * (len(curve.scores) - 1) // 2
    if len(compared) < pairs or min(comparison.gain.seeds for comparison in compared) < 2:
        return "one_seed"
    if curve.positives < FEWEST_POSITIVES or any(math.isnan(c.gain.standard_error) for c in compared):
        return "few_positives"
    largest = list(curve.scores)[-1]
    if not interval(curve.scores[largest]).lower() > curve.chance:
        return "not_above_chance"
    # Size pays at the last step, yet a size before it was better: neither claim is worth making.
    beaten = any(one.larger == largest and one.gain.upper() < 0 for one in compared)
    return "non_monotone" if beaten and compared[0].p_insufficient < 1 - CONFIDENCE else None


def _sufficiency_p_values(compared: Sequence[Comparison]) -> list[float]:
    """Per size from the second largest down: a size suffices only if it does against every larger one."""
    worst: dict[str, float] = {}
    for comparison in compared:
        worst[comparison.smaller] = max(worst.get(comparison.smaller, 0.0), comparison.p_sufficient)
    return list(worst.values())


def _leading(p_values: Sequence[float], level: float) -> int:
    """How many hypotheses fall before the first that stands."""
    return next((index for index, p_value in enumerate(p_values) if p_value >= level), len(p_values))


def _what_would_decide(
    curve: Curve, evidence: tuple[Comparison, ...], obstacle: Reason | None, level: float
) -> tuple[Reason, int | None]:
    if obstacle in ("one_size", "one_seed", "not_above_chance", "non_monotone"):
        return obstacle, None
    needed = positives_needed(evidence[0], curve.positives, level)
    if obstacle is not None:
        return obstacle, None if needed is None else max(needed, FEWEST_POSITIVES)
    if needed is not None and needed <= curve.positives:
        # Enough to see equality, yet not seen: the gain lies near the margin, and its distance decides.
        gap = abs(evidence[0].margin - evidence[0].gain.estimate)
        return "borderline", _needed(evidence[0].excess, gap, curve.positives, level)
    return "underpowered", needed


def _needed(gain: Interval, distance: float, positives: int, level: float) -> int | None:
    quantiles = float(stats.t.ppf(1 - level, gain.degrees) + stats.t.ppf(POWER, gain.degrees))
    lasting = gain.lasting_seed_variance
    falling = gain.patient_variance + gain.seed_variance - lasting
    room = (distance / quantiles) ** 2 - lasting
    if not room > 0 or math.isnan(falling):
        return None
    return math.ceil(positives * falling / room)
