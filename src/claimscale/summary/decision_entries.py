"""Entries of the summary about the decision of one task: advice, trained models, averages."""

from __future__ import annotations

import math

from claimscale.evaluation.intervals import Interval
from claimscale.evaluation.recommendation import EnsembleGain, Recommendation
from claimscale.evaluation.seed_ensembles import SeedEnsemble
from claimscale.evaluation.size_decision import Verdict
from claimscale.summary.decision_schema import (
    BaselineComparisonEntry,
    EnsembleGainEntry,
    RecommendationEntry,
    SeedEnsembleEntry,
    TrainedModelsEntry,
)
from claimscale.summary.entries import DifferenceEntry, EstimateEntry

RANGES = {"auprc": (0.0, 1.0), "auroc": (0.0, 1.0), "log_loss": (0.0, math.inf)}
"""Ranges of the metrics; intervals are cut there."""


def recommendation_entry(found: Recommendation) -> RecommendationEntry:
    against, compared = found.against_baseline, None
    if against:
        fields = {**vars(against), "gain": difference_fields(against.gain)}
        compared = BaselineComparisonEntry.model_validate(fields)
    return RecommendationEntry(
        verdict=found.verdict, scope=found.scope, size=found.size, against_baseline=compared
    )


def trained_models_entry(verdict: Verdict) -> TrainedModelsEntry:
    shown = next(
        (one for one in verdict.comparisons if verdict.smallest_sufficient in (None, one.smaller)), None
    )
    return TrainedModelsEntry(
        verdict=verdict.verdict,
        smallest_sufficient=verdict.smallest_sufficient,
        reason=verdict.reason,
        positives_needed=verdict.positives_needed,
        larger=shown and shown.larger,
        smaller=shown and shown.smaller,
        gain=shown and DifferenceEntry(**difference_fields(shown.gain)),
    )


def ensemble_entry(found: EnsembleGain) -> EnsembleGainEntry:
    return EnsembleGainEntry(
        encoder_size=found.encoder_size,
        estimate=found.estimate,
        over_arm=found.over_arm,
        over_size=found.over_size,
        **difference_fields(found.gain),
    )


def seed_ensemble_entry(found: SeedEnsemble) -> SeedEnsembleEntry:
    gain = found.over_lightgbm
    return SeedEnsembleEntry(
        arm=found.arm,
        size=found.size,
        runs=found.runs,
        auprc=EstimateEntry.model_validate(found.auprc.bounded(*RANGES["auprc"])),
        auroc=EstimateEntry.model_validate(found.auroc.bounded(*RANGES["auroc"])),
        over_lightgbm=gain and DifferenceEntry(**difference_fields(gain)),
    )


def difference_fields(found: Interval) -> dict[str, float]:
    low, high = found.two_sided()
    return {"difference": found.estimate, "low": low, "high": high}
