"""Are the cases cases, are they new, and was everybody asked who could be?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from claimscale.validity.finding import Bools, Finding, Ints, finding, part, percent, share
from claimscale.validity.ranking import auroc, auroc_error

TREATED_SHARE = 0.01
"""Positives treated before the index date: a few may be given such a drug for another reason."""
ENRICHMENT = 0.2
"""A confirming drug so much commoner in positives before the index date is treatment already begun."""
OFF_CONTACT = 0.01
LEAST_EXPECTED = 10.0
"""Losses expected, of which none is seen, before that is taken as no chance: e^-10."""
UNEVEN = 0.1
CERTAINTY = 2.58


@dataclass(frozen=True)
class Codings:
    """When m codes of one kind were given: `patient` (place), `day` and `available` int [m], `suspected`."""

    patient: Ints
    day: Ints
    available: Ints
    suspected: Bools


def suspected_only(outcomes: Codings, index_day: Ints, outcome: Bools, gap: int, horizon: int) -> Finding:
    """Does a suspicion alone make anybody positive?

    `outcomes` are all outcome codes, suspected ones too; `index_day` int [n], `outcome` bool [n], `gap` and
    `horizon` in days. Warns on any positive without an unsuspected code in the window.
    """
    since = outcomes.day - index_day[outcomes.patient]
    inside = (since > gap) & (since <= gap + horizon)
    firm = _has(outcomes.patient[inside & ~outcomes.suspected], len(outcome))
    suspicion = _has(outcomes.patient[inside & outcomes.suspected], len(outcome))
    bad = outcome & ~firm & suspicion
    none = outcome & ~firm & ~suspicion
    evidence = {
        "positives": float(outcome.sum()),
        "suspected_only": float(bad.sum()),
        "without_any_code": float(none.sum()),
        "negatives_with_suspicion": float((~outcome & suspicion).sum()),
    }
    problems = []
    if bad.any():
        problems.append(f"{part(bad.sum(), outcome.sum())} of the positives rest on suspected codes alone")
    if none.any():
        problems.append(
            f"{part(none.sum(), outcome.sum())} of the positives have no outcome code in the window"
        )
    return finding("suspected_only", problems, "Every positive has a code that is no suspicion", evidence)


def prevalent_cases(
    outcomes: Codings, treatments: Codings, confirming: Codings, index_day: Ints, outcome: Bools,
    washout: int | None,
) -> Finding:  # fmt: skip
    """Had anybody who was asked the outcome, or its treatment, before the index date?

    `treatments` are codes that only follow the outcome, `confirming` those that may confirm it. Outcome
    codes count in the `washout` (days; all history if null), dated before the index, also when they became
    known later. Warns on any; on treatment in 1 % of the positives or more; or on confirming codes in 20
    percentage points more of the positives than of the others.
    """
    n, firm = len(outcome), ~outcomes.suspected
    since = index_day[outcomes.patient] - outcomes.day
    inside = (since >= 0) & (since < (washout if washout else np.inf)) & firm
    known = outcomes.available <= index_day[outcomes.patient]
    had = _has(outcomes.patient[inside & known], n)
    late = _has(outcomes.patient[inside & ~known], n) & ~had
    treated, prepared = (
        _has(codes.patient[codes.day <= index_day[codes.patient]], n) for codes in (treatments, confirming)
    )
    enriched = _mean(prepared[outcome]) - _mean(prepared[~outcome])
    evidence = {
        "outcome_before_index": float(had.sum()),
        "outcome_dated_before_but_known_later": float(late.sum()),
        "treated_share_of_positives": _mean(treated[outcome]),
        "treated_share_of_others": _mean(treated[~outcome]),
        "confirming_excess_in_positives": enriched,
    }
    problems = []
    if had.any():
        problems.append(f"{part(had.sum(), n)} of those asked had the outcome before the index date")
    if share((late & outcome).sum(), outcome.sum()) >= TREATED_SHARE:
        problems.append(
            f"{part((late & outcome).sum(), outcome.sum())} of the positives have an outcome code dated "
            "before the index date that became known later"
        )
    if evidence["treated_share_of_positives"] >= TREATED_SHARE:
        problems.append(
            f"{part((treated & outcome).sum(), outcome.sum())} of the positives had the outcome's treatment "
            "before the index date"
        )
    if enriched >= ENRICHMENT:
        problems.append("Confirming drugs or procedures before the index date are far commoner in positives")
    return finding("prevalent_cases", problems, "Nobody who was asked had the outcome before", evidence)


def immortal_time(
    index_day: Ints, last_known_day: Ints, observed_until: Ints, eligible: Bools, asked: Bools, window: int
) -> Finding:
    """Does anything later than the index date decide who is asked, or when?

    For the m patients who were seen before the landmark: `index_day` of those asked, `last_known_day` the
    last day with a contact known before the landmark, `observed_until`; `eligible` by the past alone;
    `asked`; `window` days from the index to the end of follow-up. Warns if index dates are no last
    contacts; or if eligible patients were not asked and those asked are followed up longer, or none of them
    is lost where others are (immortal time: Suissa, Am J Epidemiol 2008;167:492).
    """
    moved = share((index_day[asked] != last_known_day[asked]).sum(), asked.sum())
    left_out = eligible & ~asked
    ineligible = asked & ~eligible
    followed = observed_until - last_known_day
    pool = asked | left_out
    lost = followed < window
    expected = _mean(lost[pool]) * float(asked.sum())
    area = auroc(followed[pool], asked[pool]) if left_out.any() else 0.5
    error = auroc_error(area, int(asked[pool].sum()), int(left_out.sum())) if left_out.any() else 0.0
    evidence = {
        "index_not_last_contact": moved,
        "eligible_not_asked": float(left_out.sum()),
        "asked_not_eligible": float(ineligible.sum()),
        "lost_share_of_asked": _mean(lost[asked]),
        "lost_share_of_left_out": _mean(lost[left_out]),
        "follow_up_auroc": area,
    }
    problems = []
    if moved > OFF_CONTACT:
        problems.append(
            f"{percent(moved)} of index dates are not the last contact before the landmark: something else, "
            "perhaps later, has set them"
        )
    if left_out.any() and not lost[asked].any() and expected >= LEAST_EXPECTED:
        problems.append(
            "Nobody who was asked is lost to follow-up, while eligible others are: later contacts chose"
        )
    elif left_out.any() and abs(area - 0.5) - CERTAINTY * error > UNEVEN:
        problems.append("Eligible patients who were not asked differ in how long they were seen afterwards")
    if share(ineligible.sum(), asked.sum()) > OFF_CONTACT:
        problems.append(
            f"{part(ineligible.sum(), asked.sum())} of those asked could not be asked by what was "
            "known at the index date"
        )
    return finding(
        "immortal_time", problems, "Nothing later than the index date decides who is asked", evidence
    )


def _has(patients: Ints, n: int) -> Bools:
    return np.bincount(patients, minlength=n) > 0


def _mean(values: Bools) -> float:
    return float(values.mean()) if len(values) else 0.0
