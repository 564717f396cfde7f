"""The part of the summary that holds the decision of one task: the verdict on size and the recommendation."""

from __future__ import annotations

from typing import Literal

from claimscale.constants import Reason, Scope, SizeVerdict
from claimscale.findings import Finding
from claimscale.summary.entries import (
    AurocDifferenceEntry,
    DifferenceEntry,
    Entry,
    EstimateEntry,
    Metric,
    Real,
    Whole,
)

SUPPRESSED = "suppressed"
"""The reason of a verdict that is not shown, because it would disclose a small count."""
NoVerdictReason = Literal[
    Reason,
    "suppressed",
    "not_trained_few_positives",
    "not_trained_few_negatives",
    "not_trained_tuning_few_positives",
    "not_trained_tuning_few_negatives",
    "not_trained_subsets_few_positives",
    "not_trained_subsets_few_negatives",
]


class RelativeGainEntry(Entry):
    """A gain as a share of the larger model's metric, for the comparison of two runs."""

    gain: Real
    """The share."""
    standard_error: Real
    """Standard error of the share."""
    degrees_of_freedom: Real
    """Degrees of freedom of the standard error (Satterthwaite)."""


class ClusterIntervalEntry(Entry):
    """A difference with whole hospitals resampled."""

    low: Real
    """Lower bound of the 95 % interval."""
    high: Real
    """Upper bound of the 95 % interval."""
    upper_at_alpha: Real
    """One-sided upper bound at the alpha of the task."""


class ComparisonEntry(DifferenceEntry):
    """Gain of a larger size over a smaller one."""

    smaller: str
    """The smaller size."""
    larger: str
    """The larger size."""
    upper_95: Real
    """One-sided upper bound at 95 %."""
    upper_at_alpha: Real
    """One-sided upper bound at the alpha of the task; below the margin, the smaller size suffices."""
    margin: Real
    """Margin of non-inferiority, absolute."""
    n_seeds: Whole
    """Seeds common to both."""
    relative: RelativeGainEntry | None = None
    """The gain as a share of the larger model's metric."""
    auroc: AurocDifferenceEntry | None = None
    """Gain in AUROC by DeLong's method."""
    cluster_bootstrap: ClusterIntervalEntry | None = None
    """The gain with whole hospitals resampled; null where there are too few."""


class ClusterVerdictEntry(Entry):
    """The verdict with whole hospitals resampled."""

    verdict: SizeVerdict
    """The verdict."""
    smallest_sufficient: str | None
    """The smallest sufficient size; null unless saturated."""
    hospitals: Whole
    """Hospitals with test patients."""


class TrainedModelsEntry(Entry):
    """The verdict on the trained models as they are: patients alone vary, not runs."""

    verdict: SizeVerdict
    """The verdict."""
    smallest_sufficient: str | None = None
    """The smallest sufficient size; null unless saturated."""
    reason: NoVerdictReason | None = None
    """Why the verdict is inconclusive; null otherwise."""
    positives_needed: Whole | None = None
    """Test patients with the outcome with which a decision is expected."""
    larger: str | None = None
    """The largest size."""
    smaller: str | None = None
    """The size it is compared with: the smallest sufficient one, or else the one before it."""
    gain: DifferenceEntry | None = None
    """Gain of the larger of the two, with an interval over patients."""


class NeededEntry(Entry):
    """Additional patients that a decision needs, at least."""

    train: Whole
    """Additional training patients."""
    held_out: Whole
    """Additional test patients."""


class SaturationEntry(Entry):
    """The decision on size: whether a smaller model is as good as all larger ones."""

    verdict: SizeVerdict
    """The verdict."""
    smallest_sufficient: str | None = None
    """The smallest sufficient size; null unless saturated."""
    metric: Metric
    """Metric of the decision."""
    margin: Real = None
    """Margin of non-inferiority, absolute."""
    relative_margin: Real
    """Margin of non-inferiority, as a share of the largest model's metric."""
    alpha: Real = None
    """One-sided error rate of the task after Holm's correction."""
    reason: NoVerdictReason | None
    """Why the verdict is inconclusive; null otherwise."""
    positives_needed: Whole | None = None
    """Test patients with the outcome with which a decision is expected."""
    seeds_needed: Whole | None = None
    """Seeds with which a decision is expected on the same test patients; null where they do not decide."""
    additional_needed: NeededEntry | None = None
    """Patients that are missing for a decision."""
    hours_saved: Real = None
    """Hours of pretraining that the smallest sufficient size saves, one seed."""
    hours_saved_estimated: bool = False
    """Whether the hours are estimated, because a size was not trained."""
    flops_saved: Real = None
    """Floating-point operations that the smallest sufficient size saves."""
    reference_size: str | None = None
    """The size that the saving is relative to."""
    comparisons: tuple[ComparisonEntry, ...] = ()
    """All pairs of sizes, in the order in which they are tested."""
    trained_models: TrainedModelsEntry | None = None
    """The verdict on the trained models as they are; null where none was trained."""
    cluster_bootstrap: ClusterVerdictEntry | None = None
    """The verdict with whole hospitals resampled; null where there are too few."""
    convergence_status: Literal["converged", "under_trained", "unknown"] = "unknown"
    """Whether pretraining had converged."""


class BaselineComparisonEntry(Entry):
    """The best baseline and the advised encoder, or the best encoder where none is advised."""

    baseline: str
    """Name of the baseline."""
    encoder_arm: str
    """Initialization of the encoder."""
    encoder_size: str
    """Size of the encoder."""
    baseline_estimate: Real
    """Metric of the baseline."""
    encoder_estimate: Real
    """Metric of the encoder."""
    gain: DifferenceEntry
    """Gain of the encoder over the baseline, paired by patient and seed."""
    superior: bool
    """Whether the baseline is shown to be better than the encoder."""

    @property
    def prefers_baseline(self) -> bool:
        """Whether the encoder has no higher estimate."""
        return (self.baseline_estimate or 0.0) >= (self.encoder_estimate or 0.0)


class RecommendationEntry(Entry):
    """The advice that follows from the verdict, the convergence of pretraining and the baselines."""

    verdict: SizeVerdict | Literal["under_trained"]
    """The verdict on size; under_trained where saturation may come from too little pretraining."""
    scope: Scope = "recipe"
    """What the verdict holds for: models trained again by the same recipe, or only the trained models."""
    size: str | None
    """The recommended size, if any."""
    against_baseline: BaselineComparisonEntry | None = None
    """The best baseline against the advised encoder; null without baselines."""

    @property
    def baseline(self) -> BaselineComparisonEntry | None:
        """The baseline to use instead of an encoder, if any."""
        found = self.against_baseline
        return found if found and found.prefers_baseline else None


class SeedEnsembleEntry(Entry):
    """One model averaged over its seeds (mean log odds), as it would be deployed; intervals over patients."""

    arm: str
    """Initialization of an encoder (pretrained, scratch) or name of a baseline."""
    size: str | None
    """Size of the encoder; null for baselines."""
    runs: Whole
    """Seeds that are averaged."""
    auprc: EstimateEntry
    """Average precision."""
    auroc: EstimateEntry
    """Area under the ROC curve."""
    over_lightgbm: DifferenceEntry | None = None
    """Gain in the metric of the verdict over LightGBM, averaged over as many seeds; null without it."""


class EnsembleGainEntry(DifferenceEntry):
    """An ensemble of the largest encoder and LightGBM that is better than each model alone."""

    encoder_size: str
    """Size of the encoder in the ensemble."""
    estimate: Real
    """Metric of the ensemble."""
    over_arm: str
    """Initialization of the best single encoder, or name of the best baseline, that it is compared with."""
    over_size: str | None
    """Size of that encoder; null for a baseline."""


class AnswerEntry(Entry):
    """The answer to one task."""

    task: str
    """Name of the task."""
    verdict: SizeVerdict | Literal["under_trained"]
    """The verdict on size; under_trained where saturation may come from too little pretraining."""
    scope: Scope = "recipe"
    """What the verdict holds for: models trained again by the same recipe, or only the trained models."""
    recommendation: str | None
    """The size or the baseline to use; null if there is no advice."""
    text: Finding
    """The advice in words."""
    size_text: Finding
    """The verdict on size in words."""
    ensemble_text: Finding | None
    """The gain of the ensemble in words; null if there is none."""
