"""Which model to use for a task: a size, or a baseline that no encoder exceeds; and whether to ensemble."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from claimscale.constants import SizeVerdict
from claimscale.evaluation.contrasts import best_model, superior_to_all
from claimscale.evaluation.convergence import Status
from claimscale.evaluation.intervals import Interval, Scores, difference, interval
from claimscale.evaluation.scoring import Model
from claimscale.evaluation.selection import ENSEMBLE, TaskScores, encoders_and_baselines, largest_labelled_set
from claimscale.evaluation.size_decision import Verdict


@dataclass(frozen=True)
class BaselineAdvantage:
    """A baseline whose estimate is at least that of every encoder.

    Attributes:
        baseline: its arm.
        encoder_arm, encoder_size: the encoder with the highest estimate.
        baseline_estimate, encoder_estimate: their metric.
        superior: whether the baseline is shown to be better than every encoder.
    """

    baseline: str
    encoder_arm: str
    encoder_size: str
    baseline_estimate: float
    encoder_estimate: float
    superior: bool


@dataclass(frozen=True)
class Recommendation:
    """The advice for one task.

    `verdict` is the size verdict, or `under_trained` where a plateau may come from too little pretraining.
    `size` is the recommended size. `baseline` replaces it where no encoder has a higher estimate.
    """

    verdict: SizeVerdict | Literal["under_trained"]
    size: str | None
    baseline: BaselineAdvantage | None


@dataclass(frozen=True)
class EnsembleGain:
    """An ensemble of the largest encoder and LightGBM that is better than each model alone.

    `gain` is over the best single model, `over_arm` and `over_size`.
    """

    encoder_size: str
    estimate: float
    gain: Interval
    over_arm: str
    over_size: str | None


def recommend(verdict: Verdict, status: Status, scores: TaskScores, metric: str) -> Recommendation:
    """The advice that follows from the size verdict, the convergence of pretraining and the baselines."""
    baseline = _baseline_advantage(scores, metric)
    if verdict.verdict == "saturated" and status == "under_trained":
        return Recommendation("under_trained", None, baseline)
    largest = verdict.comparisons[0].larger if verdict.verdict == "not_saturated" else None
    return Recommendation(verdict.verdict, verdict.smallest_sufficient or largest, baseline)


def ensemble_gain(scores: TaskScores, metric: str, encoder_size: str) -> EnsembleGain | None:
    """None unless the ensemble is shown to be better than every encoder and every baseline."""
    ensemble = Model(ENSEMBLE, None, largest_labelled_set(scores))
    encoders, baselines = encoders_and_baselines(scores, metric)
    single: Mapping[Model, Scores] = encoders | baselines
    if ensemble not in scores or not single:
        return None
    both, best = scores[ensemble].by_metric[metric], best_model(single)
    gain = difference(both, single[best])
    if gain is None or not superior_to_all(both, list(single.values())):
        return None
    found = interval(gain)
    if found.two_sided()[0] <= 0:
        return None
    return EnsembleGain(encoder_size, float(both.values.mean()), found, best.arm, best.size)


def _baseline_advantage(scores: TaskScores, metric: str) -> BaselineAdvantage | None:
    encoders, baselines = encoders_and_baselines(scores, metric)
    if not baselines or not encoders:
        return None
    encoder, baseline = best_model(encoders), best_model(baselines)
    theirs, ours = (float(found.values.mean()) for found in (encoders[encoder], baselines[baseline]))
    if not ours >= theirs:
        return None
    superior = superior_to_all(baselines[baseline], list(encoders.values()))
    assert encoder.size is not None
    return BaselineAdvantage(baseline.arm, encoder.arm, encoder.size, ours, theirs, superior)
