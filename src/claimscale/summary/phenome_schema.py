"""The part of the summary that holds the phenome: families with their verdicts, and each outcome."""

from __future__ import annotations

from typing import Literal

from claimscale.summary.entries import Count, DifferenceEntry, Entry, Real, Whole
from claimscale.summary.family_schema import FamilyEntry


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
