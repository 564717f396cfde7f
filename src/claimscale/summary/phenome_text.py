"""The answers of the phenome: which size suffices for a family of outcomes, and why."""

from __future__ import annotations

from claimscale.findings import Finding, finding, sentences
from claimscale.summary.phenome_schema import FamilyAnswerEntry, FamilyEntry, FamilyVerdictEntry, PhenomeEntry
from claimscale.summary.pretraining_schema import ConvergenceEntry


def family_answers(phenome: PhenomeEntry, convergence: ConvergenceEntry) -> tuple[FamilyAnswerEntry, ...]:
    """The answer for each family, in their order."""
    return tuple(_answer(one, phenome, convergence) for one in phenome.families)


def interaction_text(phenome: PhenomeEntry) -> Finding | None:
    """Whether diseases gain more from size than medications; None if it was not tested."""
    found = phenome.interaction
    if found is None or found.low is None or found.high is None:
        return None
    shown = {"gain": {"estimate": found.difference, "low": found.low, "high": found.high}}
    if found.low > 0:
        return finding("phenome.diseases_gain_more", **shown, p=phenome.interaction_p)
    if found.high < 0:
        return finding("phenome.medications_gain_more", **shown, p=phenome.interaction_p)
    return finding("phenome.gain_alike", **shown, p=phenome.interaction_p)


def _answer(family: FamilyEntry, phenome: PhenomeEntry, convergence: ConvergenceEntry) -> FamilyAnswerEntry:
    """The verdict on the recipe; where it is open, that on the trained models."""
    recipe, trained = family.recipe, family.trained_models
    scope, found = "recipe", recipe
    if recipe.verdict == "inconclusive" and trained.verdict != "inconclusive":
        scope, found = "trained_models", trained
    under_trained = found.verdict == "saturated" and convergence.status == "under_trained"
    size = found.smallest_sufficient if found.verdict == "saturated" else None
    if found.verdict == "not_saturated":
        size = found.larger
    text = _text(family, found, phenome, under_trained)
    if scope == "trained_models":
        text = sentences([text, finding("phenome.trained_only")])
    elif found.verdict == "saturated" and convergence.status == "unknown":
        text = sentences([text, finding("answer.convergence_not_measured")])
    return FamilyAnswerEntry(
        family=family.name,
        verdict="under_trained" if under_trained else found.verdict,
        scope=scope,
        size=None if under_trained else size,
        text=text,
    )


def _text(
    family: FamilyEntry, found: FamilyVerdictEntry, phenome: PhenomeEntry, under_trained: bool
) -> Finding:
    if found.gain is None:
        return finding("phenome.not_compared", n=family.outcomes)
    shown = {
        "n": family.outcomes,
        "larger": found.larger,
        "smaller": found.smaller,
        "gain": found.gain.difference,
        "low": found.gain.low,
        "high": found.gain.high,
        "margin": phenome.relative_margin,
    }
    if under_trained:
        return finding("phenome.under_trained", **shown)
    if found.verdict == "saturated":
        return finding("phenome.sufficient", **shown)
    if found.verdict == "not_saturated":
        return finding("phenome.not_saturated", **shown)
    parts = [finding("phenome.inconclusive", **shown)]
    if found.patients_factor and found.patients_factor > 1:
        parts.append(finding("phenome.patients_needed", factor=found.patients_factor))
    if found.seeds_needed:
        parts.append(finding("phenome.seeds_needed", n=found.seeds_needed))
    return sentences(parts)
