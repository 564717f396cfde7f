"""The part of the summary that holds the phenome: families with their verdicts, and each outcome."""

from __future__ import annotations

from typing import Literal

from claimscale.summary.entries import Count, DifferenceEntry, Entry, EstimateEntry, Number, Real, Whole
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


class LightgbmOutcomeEntry(Entry):
    """One outcome for which LightGBM was trained."""

    code: str
    """Code or group of codes."""
    kind: Literal["disease", "medication", "procedure"]
    """Kind of the outcome."""
    training_cases: Count
    """Index dates of training patients with the outcome."""
    auprc: Real
    """Average precision of LightGBM."""
    auroc: Real
    """Area under the ROC curve of LightGBM."""
    gains: tuple[Real, ...]
    """Relative gain of AUPRC of the pretrained encoder over LightGBM, by size, mean over seeds."""


class BandEntry(Entry):
    """Outcomes of a range of training cases."""

    low: Whole
    """Fewest training cases."""
    high: Whole | None
    """Training cases below which outcomes belong to it; null for no limit."""
    outcomes: Whole
    """Number of outcomes."""
    encoder: Real
    """AUPRC of the encoder, geometric mean over outcomes and seeds."""
    lightgbm: Real
    """AUPRC of LightGBM, geometric mean over outcomes."""
    gain: DifferenceEntry
    """Relative gain of the encoder; interval over patients, runs and outcomes."""


class AgainstLightgbmEntry(Entry):
    """One size of the pretrained encoder, without fine-tuning, against LightGBM per outcome."""

    size: str
    """Size of the encoder."""
    bands: tuple[BandEntry, ...]
    """Outcomes by training cases, the fewest first; only ranges with at least three outcomes."""
    gain: DifferenceEntry
    """Relative gain of AUPRC over all compared outcomes."""
    per_tenfold: EstimateEntry | None
    """Change of the gain (a logarithm) per tenfold training cases; null for too few outcomes."""
    break_even: EstimateEntry | None
    """Training cases below which the encoder is above LightGBM; null where no crossing is shown."""
    line: tuple[Number, Number] | None
    """Gain (a logarithm) at the fewest and at the most training cases, by the line over their logarithm."""


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
    lightgbm: tuple[LightgbmOutcomeEntry, ...] = ()
    """Outcomes for which LightGBM was trained, the fewest training cases first."""
    against_lightgbm: tuple[AgainstLightgbmEntry, ...] = ()
    """The comparison by size, ascending."""
