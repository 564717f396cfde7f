"""Which model to use for a task: a size, or a baseline that no encoder exceeds; and whether to ensemble."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from claimscale.constants import Scope, SizeVerdict
from claimscale.evaluation.contrasts import best_model, superior_to_all
from claimscale.evaluation.convergence import Status
from claimscale.evaluation.intervals import Interval, Scores, difference, interval
from claimscale.evaluation.scoring import Model
from claimscale.evaluation.selection import (
    ENSEMBLE,
    TaskScores,
    compared_arm,
    encoders_and_baselines,
    largest_labelled_set,
)
from claimscale.evaluation.size_decision import Verdict


@dataclass(frozen=True)
class BaselineComparison:
    """The best baseline and the advised encoder, or the best encoder where none is advised.

    Attributes:
        baseline: arm of the baseline with the highest estimate.
        encoder_arm, encoder_size: the encoder.
        baseline_estimate, encoder_estimate: their metric.
        gain: of the encoder over the baseline, paired.
        superior: whether the baseline is shown to be better than the encoder.
    """

    baseline: str
    encoder_arm: str
    encoder_size: str
    baseline_estimate: float
    encoder_estimate: float
    gain: Interval
    superior: bool

    @property
    def prefers_baseline(self) -> bool:
        return self.baseline_estimate >= self.encoder_estimate


@dataclass(frozen=True)
class Recommendation:
    """The advice for one task.

    `verdict` is the size verdict, or `under_trained` where a plateau may come from too little pretraining. It
    holds for `scope`: the trained models alone where models trained again may differ. `size` is the
    recommended size. `against_baseline` compares it with the best baseline, which replaces it where the
    size has no higher estimate; None without baselines.
    """

    verdict: SizeVerdict | Literal["under_trained"]
    scope: Scope
    size: str | None
    against_baseline: BaselineComparison | None


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


def recommend(
    verdict: Verdict, as_trained: Verdict, status: Status, scores: TaskScores, metric: str
) -> Recommendation:
    """The advice that follows from the size verdicts, the convergence of pretraining and the baselines.

    Where the verdict on the recipe is inconclusive, the verdict on the trained models is the advice.
    """
    if verdict.verdict == "saturated" and status == "under_trained":
        return Recommendation("under_trained", "recipe", None, _against_baseline(scores, metric, None))
    scope: Scope = "recipe"
    plateau_in_doubt = as_trained.verdict == "saturated" and status == "under_trained"
    if verdict.verdict == "inconclusive" and as_trained.verdict != "inconclusive" and not plateau_in_doubt:
        verdict, scope = as_trained, "trained_models"
    largest = verdict.comparisons[0].larger if verdict.verdict == "not_saturated" else None
    size = verdict.smallest_sufficient or largest
    return Recommendation(verdict.verdict, scope, size, _against_baseline(scores, metric, size))


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


def _against_baseline(scores: TaskScores, metric: str, advised: str | None) -> BaselineComparison | None:
    """The best baseline against the advised size itself: the best of several sizes is best by luck too."""
    encoders, baselines = encoders_and_baselines(scores, metric)
    if not baselines or not encoders:
        return None
    arm, baseline = compared_arm(scores), best_model(baselines)
    of_size = [model for model in encoders if (model.arm, model.size) == (arm, advised)]
    encoder = of_size[0] if of_size else best_model(encoders)
    gain = difference(encoders[encoder], baselines[baseline])
    if gain is None:
        return None
    others = [encoders[encoder]] if of_size else list(encoders.values())
    theirs, ours = (float(found.values.mean()) for found in (encoders[encoder], baselines[baseline]))
    assert encoder.size is not None
    return BaselineComparison(
        baseline.arm,
        encoder.arm,
        encoder.size,
        ours,
        theirs,
        interval(gain).conservative(),
        superior_to_all(baselines[baseline], others),
    )
