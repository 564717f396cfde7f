"""The answers for families of outcomes: which size suffices, and why."""

from __future__ import annotations

from collections.abc import Mapping

from claimscale.findings import Finding, finding, sentences
from claimscale.summary.entries import METRIC_NAMES
from claimscale.summary.family_schema import FamilyAnswerEntry, FamilyEntry, FamilyVerdictEntry
from claimscale.summary.phenome_schema import PhenomeEntry
from claimscale.summary.pretraining_schema import ConvergenceEntry

NAMES = {
    "diseases": finding("family.diseases"),
    "medications": finding("family.medications"),
    "procedures": finding("family.procedures"),
    "disease_tasks": finding("family.disease_tasks"),
    "medication_tasks": finding("family.medication_tasks"),
}


def interaction_text(phenome: PhenomeEntry) -> Finding | None:
    """Whether diseases gain more from size than medications; None if it was not tested."""
    found = phenome.interaction
    if found is None or found.low is None or found.high is None:
        return None
    shown = {"gain": {"estimate": found.difference, "low": found.low, "high": found.high}}
    if found.low > 0:
        return finding("family.diseases_gain_more", **shown, p=phenome.interaction_p)
    if found.high < 0:
        return finding("family.medications_gain_more", **shown, p=phenome.interaction_p)
    return finding("family.gain_alike", **shown, p=phenome.interaction_p)


def family_answer(
    family: FamilyEntry, convergence: ConvergenceEntry, hours: Mapping[str, float | None]
) -> FamilyAnswerEntry:
    """The answer for one family: the verdict on the recipe; where it is open, that on the trained models.

    `hours` are those of pretraining one seed, by size.
    """
    recipe, trained = family.recipe, family.trained_models
    scope, found = "recipe", recipe
    if recipe.verdict == "inconclusive" and trained.verdict != "inconclusive":
        scope, found = "trained_models", trained
    under_trained = found.verdict == "saturated" and convergence.status == "under_trained"
    size = found.smallest_sufficient if found.verdict == "saturated" else None
    if found.verdict == "not_saturated":
        size = found.larger
    parts = [_text(family, found, under_trained)]
    if scope == "trained_models":
        parts.append(finding("family.trained_only"))
    if found.verdict == "saturated" and not under_trained:
        parts += _saved(found, hours)
        if convergence.status == "unknown":
            parts.append(finding("answer.convergence_not_measured"))
    return FamilyAnswerEntry(
        family=family.name,
        name=NAMES[family.name],
        verdict="under_trained" if under_trained else found.verdict,
        scope=scope,
        size=None if under_trained else size,
        text=sentences(parts),
    )


def _saved(found: FamilyVerdictEntry, hours: Mapping[str, float | None]) -> list[Finding]:
    """The hours of pretraining that the smallest sufficient size saves, one seed."""
    largest, size = hours.get(found.larger or ""), hours.get(found.smallest_sufficient or "")
    if not largest or not size or largest <= size:
        return []
    return [finding("answer.hours_saved", hours=largest - size)]


def _text(family: FamilyEntry, found: FamilyVerdictEntry, under_trained: bool) -> Finding:
    if found.gain is None:
        return finding("family.not_compared", n=family.outcomes)
    shown = {
        "n": family.outcomes,
        "larger": found.larger,
        "smaller": found.smaller,
        "gain": found.gain.difference,
        "low": found.gain.low,
        "high": found.gain.high,
        "margin": family.relative_margin,
        "metric": METRIC_NAMES[family.metric],
    }
    if under_trained:
        return finding("family.under_trained", **shown)
    if found.verdict == "saturated":
        return finding("family.sufficient", **shown)
    if found.verdict == "not_saturated":
        return finding("family.not_saturated", **shown)
    parts = [finding("family.inconclusive", **shown)]
    if (small := family.too_small) is not None:
        gain = {"gain": small.gain.difference, "low": small.gain.low, "high": small.gain.high}
        parts.append(finding("family.too_small", size=small.size, larger=small.larger, **gain))
    if found.patients_factor and found.patients_factor > 1:
        parts.append(finding("family.patients_needed", factor=found.patients_factor))
    if found.seeds_needed:
        parts.append(finding("family.seeds_needed", n=found.seeds_needed))
    return sentences(parts)
