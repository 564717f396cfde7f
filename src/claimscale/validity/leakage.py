"""Leakage: inputs that hold the outcome, and precursors that predict it almost alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from claimscale.findings import finding
from claimscale.validity.check_result import Bools, CheckResult, Entries, Floats, Ints, check_result, part
from claimscale.validity.ranking import auroc, auroc_error, cross_fitted, presence, presence_aurocs

CONFIDENCE = 2.58
"""Standard errors below an AUROC at its lower bound: one-sided 99.5 %."""
MAX_LATE_AUROC = 0.6
"""Chosen threshold of codes that are dated before the index date but known later. Ordinary late claims stay
below it: they only show that sicker patients have more of them."""
MAX_LATE_EXCESS, EXCESS_CONFIDENCE = 0.05, 4.0
"""Excess of one such code in positives, by four standard errors: enough for a thousand codes at once."""
MAX_SINGLE_AUROC = 0.95
"""No single feature of a patient predicts a disease so well, but a proxy of the label does (leakage: Kaufman
et al., ACM TKDD 2012;6:15)."""
MAX_PRECURSOR_AUROC = 0.75
"""Chosen threshold: such a ranking by precursors alone leaves little for a model to add."""
MIN_POSITIVES = 10
COMMON = 0.05
"""Codes of so large a share of patients are tested by their number too."""
MAX_COMMON_CODES = 300
ALL_MONTH_STARTS = 0.99


def label_leakage(entries: Entries, index_day: Ints, outcome: Bools, onset_day: Ints) -> CheckResult:
    """Claims around the index date that hold the outcome.

    `entries` are all codes of the patients; `index_day` int [n]; `outcome` bool [n]; `onset_day` int [n],
    day of the first outcome code after the index date, negative for none.

    Warns if codes dated up to the index date but known later rank the outcome with a cross-fitted AUROC
    whose lower bound is above 0.6, or if one such code is at least 5 percentage points more common in
    positives; if the outcome of a positive is in the month of the index date; or if the source gives months
    only and no later day of availability, so that the order within a month is lost.
    """
    known_later = entries.available > entries.day
    late = entries.where(
        (entries.day <= index_day[entries.patient]) & (entries.available > index_day[entries.patient])
    )
    area, low = _area(late, outcome)
    excess = _largest_excess(late, outcome)
    same_month = outcome & (onset_day >= 0) & (_month(onset_day) == _month(index_day))
    first = np.asarray(entries.day).astype("datetime64[D]")
    month_starts = float((first == first.astype("datetime64[M]")).mean()) if len(first) else 0.0
    evidence = {
        "late_auroc": area,
        "late_auroc_low": low,
        "late_code_excess_low": excess,
        "late_entries": float(len(late.patient)),
        "positives_with_onset_in_index_month": float(same_month.sum()),
        "known_later_share": float(known_later.mean()) if len(known_later) else 0.0,
        "month_start_share": month_starts,
    }
    problems = []
    if low > MAX_LATE_AUROC:
        problems.append(finding("validity.known_later_predict", auroc=area))
    elif excess > MAX_LATE_EXCESS:
        problems.append(finding("validity.known_later_code"))
    if same_month.any():
        share = part(same_month.sum(), outcome.sum())
        problems.append(finding("validity.outcome_in_index_month", share=share))
    if month_starts > ALL_MONTH_STARTS and not known_later.any():
        problems.append(finding("validity.months_only"))
    return check_result("label_leakage", problems, finding("validity.no_leakage"), evidence)


def single_feature(visible: Entries, outcome: Bools, others: Mapping[str, Floats | Ints]) -> CheckResult:
    """A single feature that ranks the outcome with an AUROC above 0.95 (or below 0.05).

    `visible` are the codes known on the index date; `others` are further features by name, [n] each: age,
    counts, the index date, the order of ids. Codes are tested by presence, and common ones by their number
    too.
    """
    positives = int(outcome.sum())
    areas: dict[str, float] = {name: auroc(values, outcome) for name, values in others.items()}
    present = presence(visible, len(outcome))
    for name, area in zip(visible.names, presence_aurocs(present, outcome).tolist(), strict=True):
        areas[name] = area
    carriers = np.asarray(present.sum(axis=0)).ravel()
    common = np.argsort(-carriers, kind="stable")[:MAX_COMMON_CODES]
    for code in common[carriers[common] >= COMMON * len(outcome)].tolist():
        counts = np.bincount(visible.patient[visible.code == code], minlength=len(outcome))
        area = auroc(counts, outcome)
        if abs(area - 0.5) > abs(areas[visible.names[code]] - 0.5):
            areas[visible.names[code]] = area
    strength = {name: max(area, 1 - area) for name, area in areas.items() if np.isfinite(area)}
    best = max(strength, key=lambda name: strength[name], default=None)
    found = strength[best] if best is not None else float("nan")
    evidence = {"features": float(len(areas)), "highest_auroc": found, "positives": float(positives)}
    problems = []
    if positives >= MIN_POSITIVES and found > MAX_SINGLE_AUROC:
        problems.append(finding("validity.single_feature", feature=best, auroc=found))
    if positives < MIN_POSITIVES:
        clean = finding("validity.single_feature_few")
    else:
        clean = finding("validity.no_single_feature", auroc=found)
    return check_result("single_feature", problems, clean, evidence)


def outcome_precursors(visible: Entries, is_precursor: Bools, outcome: Bools) -> CheckResult:
    """AUROC of the outcome's precursors alone.

    `visible` are the codes known on the index date; `is_precursor` bool [C] marks suspicions of the outcome
    and codes of its group. Warns if the lower bound of their cross-fitted AUROC is above 0.75: many outcomes
    have then begun before the index date.
    """
    area, low = _area(visible.where(is_precursor[visible.code]), outcome)
    everything, _ = _area(visible, outcome)
    gain = (area - 0.5) / (everything - 0.5) if everything > 0.5 else float("nan")
    evidence = {
        "precursors": float(is_precursor.sum()),
        "precursor_auroc": area,
        "precursor_auroc_low": low,
        "all_codes_auroc": everything,
        "share_of_all_codes": gain,
    }
    problems = []
    if low > MAX_PRECURSOR_AUROC:
        problems.append(finding("validity.precursors_strong", auroc=area, all_codes=everything))
    clean = (
        finding("validity.precursors", auroc=area) if np.isfinite(area) else finding("validity.no_precursors")
    )
    return check_result("outcome_precursors", problems, clean, evidence)


def _area(entries: Entries, outcome: Bools) -> tuple[float, float]:
    """Cross-fitted AUROC of the entries' codes, and its lower bound; (0.5, 0) where it is undefined."""
    positives = int(outcome.sum())
    if not len(entries.patient) or positives < MIN_POSITIVES or positives == len(outcome):
        return 0.5, 0.0
    area = auroc(cross_fitted(presence(entries, len(outcome)), outcome), outcome)
    return area, area - CONFIDENCE * auroc_error(area, positives, len(outcome) - positives)


def _largest_excess(entries: Entries, outcome: Bools) -> float:
    """Largest lower bound, over codes, of the difference between their shares in positives and negatives."""
    positives = int(outcome.sum())
    if not len(entries.patient) or positives < MIN_POSITIVES or positives == len(outcome):
        return 0.0
    present = presence(entries, len(outcome))
    p, q = (np.asarray(present[group].mean(axis=0)).ravel() for group in (outcome, ~outcome))
    error = np.sqrt(p * (1 - p) / positives + q * (1 - q) / (len(outcome) - positives))
    return float((p - q - EXCESS_CONFIDENCE * error).max())


def _month(day: Ints) -> Ints:
    return np.asarray(day).astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
