"""The phenome under a privacy rule: outcomes with small counts are left out, others rounded."""

from __future__ import annotations

from claimscale.privacy.suppression import Rule
from claimscale.summary.entries import Count
from claimscale.summary.phenome_schema import PhenomeEntry


def protected_phenome(phenome: PhenomeEntry, rule: Rule) -> PhenomeEntry:
    """The phenome without what a small count could be derived from.

    An outcome has few cases only if `min_cases` is below the rule; its results are left out then. Outcomes
    are no parts of one another, so that none can be derived from others. Families are means over their
    outcomes, and stay if none of them is left out; so does the comparison with LightGBM.
    """
    kept = tuple(
        one.model_copy(update={"cases": _rounded(one.cases, rule)})
        for one in phenome.outcomes
        if not (isinstance(one.cases, int) and rule.is_small(one.cases))
    )
    changed: dict[str, object] = {"outcomes": kept, "test_patients": _rounded(phenome.test_patients, rule)}
    shown = {one.code for one in kept}
    compared = tuple(
        one.model_copy(update={"training_cases": _rounded(one.training_cases, rule)})
        for one in phenome.lightgbm
        if one.code in shown
        and not (isinstance(one.training_cases, int) and rule.is_small(one.training_cases))
    )
    changed["lightgbm"] = compared
    if len(compared) < len(phenome.lightgbm):
        changed["against_lightgbm"] = ()
    if len(kept) < len(phenome.outcomes):
        changed |= {"families": (), "chapters": (), "interaction": None, "interaction_p": None}
    return phenome.model_copy(update=changed)


def _rounded(count: Count, rule: Rule) -> Count:
    return rule.rounded(count) if isinstance(count, int) else count
