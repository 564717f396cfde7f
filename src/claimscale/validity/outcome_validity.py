"""Outcome validity: suspected-only positives, prevalent cases, eligibility."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from claimscale.findings import finding
from claimscale.validity.check_result import Bools, CheckResult, Ints, check_result, part, share
from claimscale.validity.ranking import auroc, auroc_error

MAX_TREATED = 0.01
"""Share of positives treated before the index date; a few receive such a drug for another reason."""
MIN_TREATED = 3
"""Positives with earlier treatment; one or two have it for other reasons."""
MAX_CONFIRMING_EXCESS = 0.2
"""Excess of confirming codes in positives before the index date from which treatment has begun."""
MAX_MISPLACED = 0.01
MAX_IMMORTAL = 0.05
"""Share of the time at risk before the landmark."""
MIN_EXPECTED_LOSSES = 10.0
"""Expected losses to follow-up; none is observed with probability e^-10."""
MAX_FOLLOW_UP_SHIFT = 0.1
CONFIDENCE = 2.58


@dataclass(frozen=True)
class Codings:
    """m codes of one kind: `patient` (position), `day` and `available` int [m], `suspected` bool [m]."""

    patient: Ints
    day: Ints
    available: Ints
    suspected: Bools


def suspected_only(outcomes: Codings, index_day: Ints, outcome: Bools, gap: int, horizon: int) -> CheckResult:
    """Positives whose outcome codes are all suspected diagnoses.

    `outcomes` are all outcome codes, with suspected ones; `index_day` int [n], `outcome` bool [n], `gap` and
    `horizon` in days. Warns on any positive without a confirmed code in the window.
    """
    since = outcomes.day - index_day[outcomes.patient]
    inside = (since > gap) & (since <= gap + horizon)
    confirmed = _has(outcomes.patient[inside & ~outcomes.suspected], len(outcome))
    suspicion = _has(outcomes.patient[inside & outcomes.suspected], len(outcome))
    bad = outcome & ~confirmed & suspicion
    none = outcome & ~confirmed & ~suspicion
    evidence = {
        "positives": float(outcome.sum()),
        "suspected_only": float(bad.sum()),
        "without_any_code": float(none.sum()),
        "negatives_with_suspicion": float((~outcome & suspicion).sum()),
    }
    problems = []
    if bad.any():
        problems.append(finding("validity.suspected_only", share=part(bad.sum(), outcome.sum())))
    if none.any():
        problems.append(finding("validity.no_outcome_code", share=part(none.sum(), outcome.sum())))
    return check_result("suspected_only", problems, finding("validity.none_suspected_only"), evidence)


def prevalent_cases(
    outcomes: Codings, treatments: Codings, confirming: Codings, index_day: Ints, outcome: Bools,
    washout: int | None,
) -> CheckResult:  # fmt: skip
    """Patients with the outcome, or its treatment, before the index date.

    `treatments` are codes that only follow the outcome, `confirming` codes that may confirm it. Outcome
    codes count in the `washout` (days; None for the whole history) by their date, also if they became known
    later. Warns on any outcome known by the index date; on 1 % of positives with an earlier outcome known
    later, or with treatment; or on confirming codes at least 20 percentage points more common in positives
    than in others.
    """
    n, confirmed = len(outcome), ~outcomes.suspected
    since = index_day[outcomes.patient] - outcomes.day
    inside = (since >= 0) & (since < (washout if washout else np.inf)) & confirmed
    known = outcomes.available <= index_day[outcomes.patient]
    had = _has(outcomes.patient[inside & known], n)
    late = _has(outcomes.patient[inside & ~known], n) & ~had
    treated, confirmable = (
        _has(codes.patient[codes.day <= index_day[codes.patient]], n) for codes in (treatments, confirming)
    )
    enriched = _mean(confirmable[outcome]) - _mean(confirmable[~outcome])
    evidence = {
        "outcome_before_index": float(had.sum()),
        "outcome_dated_before_but_known_later": float(late.sum()),
        "treated_share_of_positives": _mean(treated[outcome]),
        "treated_share_of_others": _mean(treated[~outcome]),
        "confirming_excess_in_positives": enriched,
    }
    problems = []
    if had.any():
        problems.append(finding("validity.prevalent", share=part(had.sum(), n)))
    if share((late & outcome).sum(), outcome.sum()) >= MAX_TREATED:
        late_share = part((late & outcome).sum(), outcome.sum())
        problems.append(finding("validity.outcome_known_later", share=late_share))
    if (treated & outcome).sum() >= MIN_TREATED and evidence["treated_share_of_positives"] >= MAX_TREATED:
        treated_share = part((treated & outcome).sum(), outcome.sum())
        problems.append(finding("validity.treated_before", share=treated_share))
    if enriched >= MAX_CONFIRMING_EXCESS:
        problems.append(finding("validity.confirming_before"))
    return check_result("prevalent_cases", problems, finding("validity.none_prevalent"), evidence)


def immortal_time(
    index_day: Ints,
    due_day: Ints,
    observed_until: Ints,
    eligible: Bools,
    labelled: Bools,
    landmark: int,
    window: tuple[int, int],
) -> CheckResult:
    """Eligibility or index dates that depend on the future (immortal time).

    For the m patients with enough events before the landmark, int [m]: `index_day` of labelled patients,
    `due_day`, on which it should be, and `observed_until`; bool [m]: `eligible` by the past alone, and
    `labelled`. `window` are the days from the index date after which the time at risk begins and ends. Warns
    if index dates are not where they should be; if a twentieth of the time at risk lies before the landmark,
    where an included patient cannot have died; if labelled patients are not eligible; or if eligible patients
    have no label and the labelled ones have longer follow-up, or no loss to follow-up (Suissa, Am J Epidemiol
    2008;167:492).
    """
    moved = share((index_day[labelled] != due_day[labelled]).sum(), labelled.sum())
    start, end = index_day[labelled] + window[0], index_day[labelled] + window[1]
    before = np.clip(np.minimum(end, landmark) - start, 0, None)
    immortal = share(before.sum(), (end - start).sum())
    not_labelled = eligible & ~labelled
    ineligible = labelled & ~eligible
    followed = observed_until - due_day
    pool = labelled | not_labelled
    lost = followed < window[1]
    expected = _mean(lost[pool]) * float(labelled.sum())
    area = auroc(followed[pool], labelled[pool]) if not_labelled.any() else 0.5
    error = (
        auroc_error(area, int(labelled[pool].sum()), int(not_labelled.sum())) if not_labelled.any() else 0.0
    )
    evidence = {
        "index_moved": moved,
        "time_at_risk_before_landmark": immortal,
        "eligible_not_labelled": float(not_labelled.sum()),
        "labelled_not_eligible": float(ineligible.sum()),
        "lost_share_of_labelled": _mean(lost[labelled]),
        "lost_share_of_not_labelled": _mean(lost[not_labelled]),
        "follow_up_auroc": area,
    }
    problems = []
    if moved > MAX_MISPLACED:
        problems.append(finding("validity.index_moved", share=moved))
    if immortal > MAX_IMMORTAL:
        problems.append(finding("validity.time_before_landmark", share=immortal))
    if not_labelled.any() and not lost[labelled].any() and expected >= MIN_EXPECTED_LOSSES:
        problems.append(finding("validity.none_lost"))
    elif not_labelled.any() and abs(area - 0.5) - CONFIDENCE * error > MAX_FOLLOW_UP_SHIFT:
        problems.append(finding("validity.follow_up_differs"))
    if share(ineligible.sum(), labelled.sum()) > MAX_MISPLACED:
        ineligible_share = part(ineligible.sum(), labelled.sum())
        problems.append(finding("validity.ineligible", share=ineligible_share))
    return check_result("immortal_time", problems, finding("validity.no_immortal_time"), evidence)


def _has(patients: Ints, n: int) -> Bools:
    return np.bincount(patients, minlength=n) > 0


def _mean(values: Bools) -> float:
    return float(values.mean()) if len(values) else 0.0
