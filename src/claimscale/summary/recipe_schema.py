"""Parts of the summary about published recipes."""

from __future__ import annotations

from typing import Literal

from claimscale.summary.entries import DifferenceEntry, Entry, EstimateEntry, Metric, Real, Whole


class RecipeEntry(Entry):
    """One published recipe at one size, and the study's own encoder of that size against it."""

    recipe: str
    """Name in the study file."""
    size: str
    """Size in the study file."""
    parameters: Whole
    """Parameters of its model, without the classifier."""
    n_labelled: Whole
    """Labelled patients it was fine-tuned on."""
    n_seeds: Whole
    """Seeds of the recipe."""
    auprc: EstimateEntry
    """Average precision on held-out patients."""
    auroc: EstimateEntry
    """Area under the ROC curve on held-out patients."""
    metric: Metric
    """Metric of the comparison."""
    encoder_gain: DifferenceEntry | None
    """Metric of the encoder of that size minus that of the recipe; null without a common seed."""
    p: Real = None
    """Two-sided p-value against no gain."""
    comparison: Literal["better", "not_worse", "worse", "undecided"] | None
    """Whether the encoder is shown to be better, not worse by the margin, worse, or neither."""
    learning_rate: Real
    """Learning rate of pretraining that its search chose, in the first seed."""
    pretraining_hours: Real
    """Hours of one pretraining with its search, mean over seeds."""
    pretraining_tokens: Whole
    """Positions that the final run of a pretraining saw."""
    tokens_per_second: Real
    """Positions per second of pretraining, mean over seeds."""
    train_flops: Real
    """Floating-point operations of the final run of a pretraining, as PyTorch counts them."""
