"""The part of the summary that holds one task."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from claimscale.summary.decision_schema import (
    EnsembleGainEntry,
    RecommendationEntry,
    SaturationEntry,
    SeedEnsembleEntry,
)
from claimscale.summary.entries import Count, Entry, Real
from claimscale.summary.recipe_schema import RecipeEntry
from claimscale.summary.result_schema import (
    CrossoverEntry,
    ModelDiagnosticsEntry,
    ModelResultEntry,
    OracleEntry,
    PretrainingGainEntry,
    SkippedSubsetsEntry,
    SplitCountsEntry,
)


class TaskEntry(Entry):
    """One prediction task."""

    name: str
    """Name of the task."""
    kind: Literal["disease", "medication", "other"]
    """Kind of the outcome."""
    source: str | None
    """Source of the outcome's definition."""
    has_outcome_codes: bool
    """Whether codes define the outcome; false where labels come from a file."""
    outcome_codes: tuple[str, ...] = ()
    """Code prefixes that define the outcome, by code system; empty where labels come from a file."""
    excluded: dict[str, Count] = Field(default_factory=dict[str, Count])
    """Index dates of all splits that are not labelled, by the first reason that applies."""
    n_train: Count
    """Labelled training patients."""
    n_test: Count
    """Held-out labels."""
    positives: Count
    """Held-out labels with the outcome."""
    prevalence: Real
    """Share of held-out labels with the outcome."""
    splits: dict[str, SplitCountsEntry]
    """Labels by split."""
    pretraining_positives: Count = None
    """Training patients with an outcome code that pretraining sees; null without outcome codes."""
    results: tuple[ModelResultEntry, ...]
    """Results of all models on all test splits."""
    pretraining_gain: tuple[PretrainingGainEntry, ...]
    """Gains of pretraining over training from scratch."""
    crossover: tuple[CrossoverEntry, ...] = ()
    """Labelled patients from which each pretrained size exceeds LightGBM."""
    oracle: OracleEntry | None
    """Metrics of the true risks; null unless patients are simulated."""
    saturation: SaturationEntry
    """The decision on size."""
    recommendation: RecommendationEntry | None = None
    """The advice; null where nothing was trained or results are suppressed."""
    ensemble: EnsembleGainEntry | None = None
    """An ensemble that is better than each model alone; null if there is none."""
    seed_ensembles: tuple[SeedEnsembleEntry, ...] = ()
    """Models averaged over their seeds, with the largest number of labelled patients."""
    per_model: tuple[ModelDiagnosticsEntry, ...] = ()
    """Diagnostics of each model with the largest number of labelled patients."""
    recipes: tuple[RecipeEntry, ...] = ()
    """Published recipes on held-out patients, with the largest number of labelled patients."""
    skipped_labelled_patients: SkippedSubsetsEntry | None = None
    """Subsets of labelled patients that were too small; null if none were."""
