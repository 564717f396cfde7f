"""The part of the summary about pretraining: sizes, convergence, forecasts and scaling."""

from __future__ import annotations

from typing import Literal

from claimscale.summary.entries import DifferenceEntry, Entry, EstimateEntry, Real, Whole

Guard = Literal["tokens", "learning_rate", "overfitting"]


class LearningRateEntry(Entry):
    """One learning rate of a sweep."""

    learning_rate: Real
    """The rate."""
    validation_loss: Real
    """Validation loss after the short run; null where training diverged."""


class CooldownEntry(Entry):
    """One end of a pretraining: a cooldown forked from its constant-rate run."""

    share: Real
    """Share of all tokens."""
    tokens: Whole
    """Tokens trained on."""
    steps: Whole
    """Optimizer steps."""
    train_loss: Real = None
    """Loss on training patients."""
    validation_loss: Real
    """Validation loss."""
    validation_loss_new: Real = None
    """Validation loss on codes that are new for the patient."""
    validation_loss_recurrent: Real = None
    """Validation loss on codes that the patient had before."""
    validation_loss_incident: Real = None
    """Validation loss of incident-code prediction."""


class SizeEntry(Entry):
    """One model size and its pretraining; null where it was not pretrained. Losses are in nats per code."""

    name: str
    """Name of the size."""
    parameters: Whole
    """Parameters."""
    non_embedding_parameters: Whole | None = None
    """Parameters without embeddings."""
    layers: Whole | None = None
    """Layers."""
    width: Whole | None = None
    """Width of the residual stream."""
    feed_forward: Whole | None = None
    """Width of the feed-forward layers."""
    train_flops: Real = None
    """Floating-point operations of pretraining, one seed, without validation."""
    tokens: Whole | None = None
    """Tokens trained on, one seed."""
    tokens_per_second: Real = None
    """Throughput, mean over seeds."""
    train_loss: Real = None
    """Loss on training patients, mean over seeds."""
    validation_loss: Real = None
    """Loss on tuning patients, mean over seeds."""
    validation_loss_new: Real = None
    """Loss on codes that are new for the patient, mean over seeds."""
    validation_loss_recurrent: Real = None
    """Loss on codes that the patient had before, mean over seeds."""
    validation_loss_incident: Real = None
    """Loss of incident-code prediction, mean over seeds."""
    hours: Real = None
    """Hours of pretraining, mean over seeds."""
    validation_loss_by_seed: tuple[Real, ...] = ()
    """Loss on tuning patients, in the order of `seeds`."""
    seeds: tuple[Whole, ...] = ()
    """Seeds of the pretraining."""
    lr_sweep: tuple[LearningRateEntry, ...] | None = None
    """The learning-rate sweep; null where there was none."""
    cooldowns_by_seed: tuple[tuple[CooldownEntry, ...] | None, ...] = ()
    """Cooldowns after shares of the tokens, in the order of `seeds`."""


class FailedRunEntry(Entry):
    """A pretraining whose validation loss is far above that of the other runs of its size."""

    size: str
    """Size of the encoder."""
    seed: Whole
    """Seed of the run."""
    excess: Real
    """Share by which its loss exceeds the median of the others."""


class ConvergenceEntry(Entry):
    """Guards against insufficient pretraining."""

    status: Literal["converged", "under_trained", "unknown"]
    """under_trained if a guard failed, unknown if one was not measured."""
    loss_drop_last_doubling: Real
    """Share of the largest size's loss that the last doubling of tokens removed, of masked or incident codes,
    whichever changed more; negative where it rose."""
    learning_rates: dict[str, bool | None]
    """By size, whether the best learning rate is inside the sweep; null without a sweep."""
    generalization_gap: Real
    """Largest share, over sizes, by which the loss on training patients is below the validation loss."""
    failed: tuple[Guard, ...]
    """Guards that failed."""
    not_measured: tuple[Guard, ...]
    """Guards that were not measured."""


class ForecastEntry(Entry):
    """Forecast of the gain of a larger size, and the gain that was observed."""

    task: str
    """Name of the task."""
    last_trained_size: str
    """Largest size that the forecast uses."""
    target: str
    """Size of the forecast."""
    gain: Real
    """Predicted gain of the target over the last trained size."""
    low: Real
    """Lower bound of its 95 % interval."""
    high: Real
    """Upper bound of its 95 % interval."""
    upper_bound: Real
    """One-sided upper bound at 95 % of the steepest extrapolation."""
    margin: Real
    """Margin of non-inferiority, absolute."""
    stop: bool
    """Whether the gain cannot be expected to reach the margin."""
    weights: dict[str, Real]
    """Weight of each size in the forecast."""
    made_before_training: bool | None = None
    """Whether the forecast was recorded before any larger size was trained; null for one made afterwards."""
    observed_gain: DifferenceEntry | None
    """Observed gain; null while the target is not trained."""
    residual: EstimateEntry | None
    """Observed minus predicted gain."""
    within_interval: bool | None
    """Whether the interval of the residual includes zero."""


class ScalingLawEntry(Entry):
    """The law of the validation loss over parameters and tokens."""

    values: dict[str, Real]
    """Coefficients: floor, A, a and, where tokens vary, B, b."""
    low: dict[str, Real]
    """Lower bounds of their 95 % intervals."""
    high: dict[str, Real]
    """Upper bounds of their 95 % intervals."""
    units: tuple[Real, Real]
    """Units of parameters and tokens: their geometric means."""
    residual_sd: Real
    """Root mean square of the residuals."""


class CurveFitEntry(Entry):
    """One curve fitted to a metric over size."""

    name: str
    """Name of the curve."""
    aicc: Real
    """Corrected Akaike information criterion; smaller is better."""
    weight: Real
    """Akaike weight among the curves compared."""


class ForecastsEntry(Entry):
    """Forecasts by task, and the curves of loss and metric."""

    prospective: bool
    """Whether all forecasts were recorded before larger sizes were trained."""
    tasks: tuple[ForecastEntry, ...]
    """Forecasts by task."""
    scaling_law: ScalingLawEntry | None
    """The law of the validation loss; null with too few losses."""
    curve_fits: dict[str, tuple[CurveFitEntry, ...]]
    """By task, curves fitted to the metric over size."""
    pareto: dict[str, tuple[str, ...]]
    """By task, sizes that no other size exceeds in metric at lower cost."""


class LossPointEntry(Entry):
    """Validation loss at one end of a pretraining."""

    size: str
    """Name of the size."""
    parameters: Whole
    """Parameters."""
    tokens: Whole
    """Tokens trained on."""
    tokens_per_epoch: Real
    """Tokens of one epoch."""
    loss: Real
    """Validation loss."""


class LossBandEntry(Entry):
    """Points of the fitted law with their 95 % band."""

    loss: tuple[Real, ...]
    """Loss by the law."""
    low: tuple[Real, ...]
    """Lower bounds."""
    high: tuple[Real, ...]
    """Upper bounds."""


class LossOverSizeEntry(LossBandEntry):
    """The fitted law over parameters."""

    tokens: Real
    """Tokens of the curve."""
    parameters: tuple[Real, ...]
    """Parameters at each point."""


class LossOverTokensEntry(LossBandEntry):
    """The fitted law of one size over tokens."""

    size: str
    """Name of the size."""
    tokens: tuple[Real, ...]
    """Tokens at each point."""


class LossFitEntry(Entry):
    """Validation losses and the fitted law, within the measured range."""

    points: tuple[LossPointEntry, ...]
    """Validation losses at all ends of pretraining."""
    over_size: LossOverSizeEntry | None
    """The law over parameters; null with too few losses."""
    over_tokens: tuple[LossOverTokensEntry, ...]
    """The law over tokens, by size."""


class TrainingLossEntry(Entry):
    """Loss during the pretraining of one size, first seed."""

    size: str
    """Name of the size."""
    seed: Whole
    """Seed of the pretraining."""
    tokens: tuple[Whole, ...]
    """Tokens trained on at each point."""
    loss: tuple[Real, ...]
    """Mean loss since the point before."""
