"""The part of the summary that holds the results of the models of one task."""

from __future__ import annotations

from typing import Literal

from claimscale.summary.entries import (
    AurocDifferenceEntry,
    Count,
    DifferenceEntry,
    Entry,
    EstimateEntry,
    Metric,
    Number,
    Real,
    Split,
    Whole,
)


class SplitCountsEntry(Entry):
    """Labels of one split."""

    patients: Count
    """Patients with a label."""
    index_dates: Count
    """Labels: patients times index dates."""
    positives: Count
    """Labels with the outcome."""
    prevalence: Real = None
    """Share of labels with the outcome."""


class CalibrationPointEntry(Entry):
    """One bin of a calibration curve, pooled over seeds."""

    predicted: Number
    """Mean predicted risk."""
    observed: Number
    """Share with the outcome."""
    predictions: Whole
    """Predictions in the bin, summed over seeds."""


class CalibrationEntry(EstimateEntry):
    """Calibration slope (1 is ideal), intercept, error and curve."""

    intercept: EstimateEntry
    """Calibration intercept (0 is ideal)."""
    expected_error: Real
    """Expected calibration error, pooled over seeds."""
    curve: tuple[CalibrationPointEntry, ...] | None = None
    """Calibration curve; null for models that no verdict uses."""


class ModelResultEntry(Entry):
    """Results of one model on one test split."""

    arm: str
    """Initialization of an encoder (pretrained, scratch) or name of a baseline."""
    size: str | None
    """Size of the encoder; null for baselines."""
    parameters: Whole | None
    """Parameters of the encoder; null for baselines."""
    split: Split
    """Test split."""
    n_labelled: Whole
    """Labelled patients the model was trained on."""
    labelled_patients: Whole | Literal["all"]
    """The setting that gave this number of labelled patients."""
    n_seeds: Whole
    """Seeds of the model."""
    n_test: Count
    """Labels of the test split."""
    positives: Count
    """Labels of the test split with the outcome."""
    seconds: Real
    """Training time, mean over seeds."""
    auprc: EstimateEntry
    """Average precision; null on a further test set with fewer than ten positives."""
    auroc: EstimateEntry
    """Area under the ROC curve; null on a further test set with fewer than ten positives."""
    log_loss: EstimateEntry
    """Mean negative log likelihood."""
    calibration: CalibrationEntry
    """Calibration slope, intercept, error and curve."""


class PretrainingGainEntry(DifferenceEntry):
    """Gain of pretraining over training from scratch."""

    size: str | None
    """Size of the encoder; null for the mean over sizes."""
    n_labelled: Whole
    """Labelled patients both models were trained on."""
    metric: Metric
    """Metric of the gain."""
    p: Real
    """Two-sided p-value against no gain."""
    n_seeds: Whole
    """Seeds common to both."""
    auroc: AurocDifferenceEntry | None = None
    """Gain in AUROC by DeLong's method."""


class CrossoverEntry(Entry):
    """Number of labelled patients from which a pretrained model exceeds a comparator."""

    size: str
    """Size of the pretrained model."""
    comparator: str
    """The model it is compared with."""
    metric: Metric
    """Metric of the comparison."""
    outcome: Literal["at", "from_the_smallest", "never_in_range"]
    """Whether the crossover is within the tested range, below it, or not reached."""
    n_labelled: Real
    """Labelled patients at the crossover; null unless it is within the range."""
    low: Real
    """Lower bound of the 95 % interval; 0 where it is below the tested range, null above it."""
    high: Real
    """Upper bound of the 95 % interval; 0 where it is below the tested range, null above it."""
    prob_superior: Real
    """Probability that the model exceeds the comparator at the largest number tested."""
    tested_n_labelled: tuple[Whole, ...]
    """Numbers of labelled patients compared, ascending."""


class OracleEntry(Entry):
    """Metrics of the true risks, for simulated patients."""

    arm: Literal["oracle"] = "oracle"
    """In place of the arm of a model."""
    size: None = None
    """The oracle has no size."""
    auprc: EstimateEntry
    """Average precision."""
    auroc: EstimateEntry
    """Area under the ROC curve."""


class SkippedSubsetsEntry(Entry):
    """Subsets of labelled patients that were too small for any model."""

    label: Literal["positive", "negative"]
    """The label of which there were too few patients."""
    labelled_patients: tuple[Whole, ...]
    """Sizes of the subsets."""


class NetBenefitPointEntry(Entry):
    """Net benefit of acting above one risk threshold."""

    threshold: Number
    """Risk threshold."""
    true_positives: Whole
    """Positives above the threshold, summed over seeds."""
    false_positives: Whole
    """Negatives above the threshold, summed over seeds."""
    net_benefit: Number
    """Net benefit per patient."""
    treat_all: Number
    """Net benefit of treating everybody."""


class RiskDistributionEntry(Entry):
    """Test labels per band of predicted risk, one seed."""

    edges: tuple[Number, ...]
    """Edges of the bands, one more than there are bands."""
    with_outcome: tuple[Whole, ...]
    """Labels with the outcome, per band."""
    without_outcome: tuple[Whole, ...]
    """Labels without the outcome, per band."""


class SubgroupEntry(Entry):
    """Results of one model in a subgroup of held-out patients."""

    by: Literal["sex", "age", "hospital"]
    """The variable that divides patients."""
    group: str
    """Name of the subgroup."""
    n_test: Count
    """Labels of the subgroup."""
    positives: Count
    """Labels of the subgroup with the outcome."""
    predicted: Real
    """Mean predicted risk."""
    observed: Real
    """Share with the outcome."""
    auprc: EstimateEntry | None
    """Average precision; null unless both outcomes occur."""
    auroc: EstimateEntry | None
    """Area under the ROC curve; null unless both outcomes occur."""


class TopDecileEntry(Entry):
    """The tenth of the test labels with the highest predicted risks, one seed."""

    labels: Whole
    """Labels of the tenth."""
    positives: Whole
    """Those with the outcome."""


class ModelDiagnosticsEntry(Entry):
    """Diagnostics of one model with the largest number of labelled patients."""

    arm: str
    """Initialization of an encoder (pretrained, scratch) or name of a baseline."""
    size: str | None
    """Size of the encoder; null for baselines."""
    highlighted: bool
    """Whether figures show the model."""
    cells: tuple[str, ...]
    """Cells of the model, one per seed."""
    top_decile: TopDecileEntry | None = None
    """Outcomes in the tenth with the highest risks; null under a privacy profile."""
    curve: tuple[CalibrationPointEntry, ...] | None = None
    """Calibration curve."""
    net_benefit: tuple[NetBenefitPointEntry, ...] | None = None
    """Net benefit by risk threshold."""
    risk_distribution: RiskDistributionEntry | None = None
    """Distribution of predicted risks."""
    subgroups: tuple[SubgroupEntry, ...] | None = None
    """Results by subgroup."""
