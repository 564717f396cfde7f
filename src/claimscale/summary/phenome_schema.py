"""The part of the summary that holds the phenome: families with their verdicts, and each outcome."""

from __future__ import annotations

from typing import Literal

from claimscale.constants import Reason, Scope, SizeVerdict
from claimscale.findings import Finding
from claimscale.summary.entries import Count, DifferenceEntry, Entry, EstimateEntry, Real, Whole


class FamilySizeEntry(Entry):
    """One size in one family."""

    size: str
    """Name of the size."""
    auprc: EstimateEntry
    """Geometric mean of AUPRC over the outcomes."""
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
    """Gain of the larger of the two, as a share of its AUPRC."""
    patients_factor: Real
    """How many times as many test patients are expected to decide; null where they do not."""
    seeds_needed: Whole | None
    """Seeds that are expected to decide on the same patients; null where they do not."""


class FamilyEntry(Entry):
    """A family of outcomes: a kind, or a chapter of a code system."""

    name: str
    """diseases, medications or procedures; or the chapter."""
    outcomes: Whole
    """Number of outcomes."""
    sizes: tuple[FamilySizeEntry, ...]
    """Results by size, ascending."""
    recipe: FamilyVerdictEntry
    """The verdict on models trained again by the same recipe."""
    trained_models: FamilyVerdictEntry
    """The verdict on the trained models alone."""
    per_doubling: DifferenceEntry | None
    """Relative gain of AUPRC per doubling of the parameters; null with one size or one seed."""


class OutcomeEntry(Entry):
    """One outcome of the phenome."""

    code: str
    """Code or group of codes."""
    kind: Literal["disease", "medication", "procedure"]
    """Kind of the outcome."""
    chapter: str
    """Chapter of the diagnosis, or first character of another code."""
    cases: Count
    """Test patients with the outcome."""
    auprc: tuple[Real, ...]
    """Average precision by size, mean over seeds."""
    auroc: tuple[Real, ...]
    """Area under the ROC curve by size, mean over seeds."""
    log_loss: tuple[Real, ...]
    """Log-loss by size, mean over seeds."""
    gain: DifferenceEntry
    """Relative gain of AUPRC from the smallest to the largest size; interval over patients."""
    shrunk_gain: Real
    """The gain shrunken towards the mean of its kind by as much as patients leave it uncertain."""


class FamilyAnswerEntry(Entry):
    """The answer for one family."""

    family: str
    """Name of the family."""
    verdict: SizeVerdict | Literal["under_trained"]
    """The verdict on size; under_trained where a plateau may come from too little pretraining."""
    scope: Scope
    """What the verdict holds for."""
    size: str | None
    """The size to use; null if there is no advice."""
    text: Finding
    """The answer in words."""


class PhenomeEntry(Entry):
    """The phenome: every outcome with enough cases, predicted without fine-tuning."""

    test_patients: Count
    """Test patients at the landmark."""
    min_cases: Whole
    """Fewest cases of an outcome."""
    gap_days: Whole
    """Days after the landmark in which an outcome does not count."""
    horizon_days: Whole
    """Days after the gap in which it counts."""
    relative_margin: Real
    """Margin of non-inferiority, as a share of the largest model's AUPRC."""
    sizes: tuple[str, ...]
    """Sizes, ascending; the order of the results of an outcome."""
    families: tuple[FamilyEntry, ...]
    """Diseases, medications and procedures."""
    chapters: tuple[FamilyEntry, ...]
    """Chapters with at least three outcomes."""
    interaction: DifferenceEntry | None
    """How much more d' (from AUROC) diseases gain per doubling than medications; null if not tested."""
    interaction_p: Real
    """Two-sided p-value against no difference."""
    outcomes: tuple[OutcomeEntry, ...]
    """All outcomes."""
