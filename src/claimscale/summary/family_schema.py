"""The part of the summary that holds families of outcomes: one verdict on size for several outcomes."""

from __future__ import annotations

from typing import Literal

from claimscale.constants import Reason, Scope, SizeVerdict
from claimscale.findings import Finding
from claimscale.summary.entries import DifferenceEntry, Entry, EstimateEntry, Metric, Real, Whole


class FamilySizeEntry(Entry):
    """One size in one family."""

    size: str
    """Name of the size."""
    performance: EstimateEntry
    """Geometric mean of the metric of the verdict over the outcomes."""
    auroc: EstimateEntry
    """Mean AUROC over the outcomes."""


class FamilyVerdictEntry(Entry):
    """The verdict of one family in one scope."""

    verdict: SizeVerdict
    """The verdict."""
    smallest_sufficient: str | None
    """The smallest sufficient size; null unless saturated."""
    reason: Reason | None
    """Why the verdict is inconclusive; null otherwise."""
    larger: str | None
    """The largest size."""
    smaller: str | None
    """The size it is compared with: the smallest sufficient one, or else the one before it."""
    gain: DifferenceEntry | None
    """Gain of the larger of the two, as a share of its metric."""
    patients_factor: Real
    """How many times as many test patients are expected to decide; null where they do not."""
    seeds_needed: Whole | None
    """Seeds that are expected to decide on the same patients; null where they do not."""


class TooSmallEntry(Entry):
    """A size over which the largest is shown to gain more than the margin."""

    size: str
    """Name of the size."""
    larger: str
    """The largest size."""
    gain: DifferenceEntry
    """Gain of the largest, as a share of its metric."""


class FamilyEntry(Entry):
    """A family of outcomes: a kind, a chapter of a code system, or the tasks of a kind."""

    name: str
    """diseases, medications or procedures; the chapter; disease_tasks or medication_tasks."""
    metric: Metric
    """Metric of the verdict."""
    relative_margin: Real
    """Margin of non-inferiority, as a share of the largest model's metric."""
    outcomes: Whole
    """Number of outcomes."""
    sizes: tuple[FamilySizeEntry, ...]
    """Results by size, ascending."""
    recipe: FamilyVerdictEntry
    """The verdict on models trained again by the same recipe."""
    trained_models: FamilyVerdictEntry
    """The verdict on the trained models alone."""
    too_small: TooSmallEntry | None
    """The largest size that is shown to be too small by itself; null where none is."""
    per_doubling: DifferenceEntry | None
    """Relative gain of the metric per doubling of the parameters; null with one size or one seed."""


class FamilyAnswerEntry(Entry):
    """The answer for one family."""

    family: str
    """Name of the family."""
    name: Finding
    """Name of the family in words."""
    verdict: SizeVerdict | Literal["under_trained"]
    """The verdict on size; under_trained where a plateau may come from too little pretraining."""
    scope: Scope
    """What the verdict holds for."""
    size: str | None
    """The size to use; null if there is no advice."""
    text: Finding
    """The answer in words."""
