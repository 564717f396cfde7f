"""What a model may see that it should not, or that makes the question an easy one."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from claimscale.validity.finding import Bools, Entries, Finding, Floats, Ints, finding, part
from claimscale.validity.ranking import auroc, auroc_error, cross_fitted, presence, presence_aurocs

CERTAINTY = 2.58
"""Standard errors below an AUROC that it must still be high at: one-sided 99.5 %."""
HIDDEN_AUROC = 0.6
"""A judgement: codes dated before the index but known later are a picture of the outcome above this. Claims
that merely come in late tell no more than that sicker patients have more of them."""
HIDDEN_EXCESS, EXCESS_CERTAINTY = 0.05, 4.0
"""One such code in one in twenty more of the positives, by four standard errors: it stands the test for a
thousand codes at once."""
SINGLE_AUROC = 0.95
"""No single fact about a patient foretells a disease so well; a proxy of the label does (Kaufman et al.,
ACM TKDD 2012;6:15, leakage)."""
PRECURSOR_AUROC = 0.75
"""A judgement: a ranking this good by precursors alone leaves a model little to foretell."""
LEAST_POSITIVES = 10
MANY = 0.05
"""Codes of so large a share of patients are judged by how often they occur, too."""
COMMON_CODES = 300
ALL_MONTH_STARTS = 0.99


def label_leakage(entries: Entries, index_day: Ints, outcome: Bools, onset_day: Ints) -> Finding:
    """Do claims around the index date tell of the outcome before a model should know?

    `entries` hold all codes of the patients; `index_day` int [n]; `outcome` bool [n]; `onset_day` int [n],
    day of the first outcome code after the index, negative for none.

    Warns if codes dated up to the index date but known only after it rank the outcome with an AUROC surely
    above 0.6 (cross-fitted), or one of them is surely had by 5 percentage points more of the positives; if
    an outcome of a positive falls in the month of the index; or if the source
    gives months only and no later day of knowing, so that the order within a month is lost.
    """
    known_later = entries.available > entries.day
    hidden = entries.where(
        (entries.day <= index_day[entries.patient]) & (entries.available > index_day[entries.patient])
    )
    area, low = _area(hidden, outcome)
    excess = _largest_excess(hidden, outcome)
    same_month = outcome & (onset_day >= 0) & (_month(onset_day) == _month(index_day))
    first = np.asarray(entries.day).astype("datetime64[D]")
    month_starts = float((first == first.astype("datetime64[M]")).mean()) if len(first) else 0.0
    evidence = {
        "hidden_auroc": area,
        "hidden_auroc_low": low,
        "hidden_code_excess_low": excess,
        "hidden_entries": float(len(hidden.patient)),
        "positives_with_onset_in_index_month": float(same_month.sum()),
        "known_later_share": float(known_later.mean()) if len(known_later) else 0.0,
        "month_start_share": month_starts,
    }
    problems = []
    if low > HIDDEN_AUROC:
        problems.append(
            f"Codes dated up to the index date but known only afterwards foretell the outcome (AUROC "
            f"{area:.2f}): a model that goes by dates of service would see the outcome itself"
        )
    elif excess > HIDDEN_EXCESS:
        problems.append(
            "A code dated up to the index date but known only afterwards is far commoner in positives: a "
            "model that goes by dates of service would see the outcome itself"
        )
    if same_month.any():
        problems.append(
            f"{part(same_month.sum(), outcome.sum())} of the positives have their outcome in the month "
            "of the index date, so what was coded first is not known"
        )
    if month_starts > ALL_MONTH_STARTS and not known_later.any():
        problems.append(
            "Claims carry months only and nothing is said about when they were known: codes of the index "
            "month may have come after the outcome"
        )
    return finding(
        "label_leakage", problems, "Nothing known after the index date foretells the outcome", evidence
    )


def single_feature(visible: Entries, outcome: Bools, others: Mapping[str, Floats | Ints]) -> Finding:
    """Does one fact alone rank the outcome with an AUROC above 0.95 (or below 0.05)?

    `visible` are the codes that a model may see; `others` are more facts by name, [n] each: age, counts, the
    index date, the order of ids. Codes are judged by presence, common ones by their number too.
    """
    positives = int(outcome.sum())
    areas: dict[str, float] = {name: auroc(values, outcome) for name, values in others.items()}
    present = presence(visible, len(outcome))
    for name, area in zip(visible.names, presence_aurocs(present, outcome).tolist(), strict=True):
        areas[name] = area
    carriers = np.asarray(present.sum(axis=0)).ravel()
    common = np.argsort(-carriers, kind="stable")[:COMMON_CODES]
    for code in common[carriers[common] >= MANY * len(outcome)].tolist():
        counts = np.bincount(visible.patient[visible.code == code], minlength=len(outcome))
        area = auroc(counts, outcome)
        if abs(area - 0.5) > abs(areas[visible.names[code]] - 0.5):
            areas[visible.names[code]] = area
    strength = {name: max(area, 1 - area) for name, area in areas.items() if np.isfinite(area)}
    best = max(strength, key=lambda name: strength[name], default=None)
    found = strength[best] if best is not None else float("nan")
    evidence = {"features": float(len(areas)), "highest_auroc": found, "positives": float(positives)}
    problems = []
    if positives >= LEAST_POSITIVES and found > SINGLE_AUROC:
        problems.append(
            f"{best} alone foretells the outcome with an AUROC of {found:.3f}: it may be the label"
        )
    told = "too few positives to tell" if positives < LEAST_POSITIVES else f"the best reaches {found:.2f}"
    return finding("single_feature", problems, f"No single fact gives the outcome away ({told})", evidence)


def outcome_history(visible: Entries, is_precursor: Bools, outcome: Bools) -> Finding:
    """How far do the outcome's own precursors go?

    `visible` are the codes that a model may see; `is_precursor` bool [C] marks suspicions of the outcome and
    codes of its own group. Warns if they alone reach a cross-fitted AUROC surely above 0.75: the task is
    then more about recognising what is under way than about foretelling.
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
    if low > PRECURSOR_AUROC:
        problems.append(
            f"Precursors of the outcome alone reach an AUROC of {area:.2f} (all codes {everything:.2f}): in "
            "many the outcome is under way at the index date"
        )
    told = f"alone reach an AUROC of {area:.2f}" if np.isfinite(area) else "are not seen"
    return finding("outcome_history", problems, f"Precursors of the outcome {told}", evidence)


def _area(entries: Entries, outcome: Bools) -> tuple[float, float]:
    """Cross-fitted AUROC of the entries' codes, and a lower bound; 0.5 where there is nothing to judge."""
    positives = int(outcome.sum())
    if not len(entries.patient) or positives < LEAST_POSITIVES or positives == len(outcome):
        return 0.5, 0.0
    area = auroc(cross_fitted(presence(entries, len(outcome)), outcome), outcome)
    return area, area - CERTAINTY * auroc_error(area, positives, len(outcome) - positives)


def _largest_excess(entries: Entries, outcome: Bools) -> float:
    """How much commoner the most telling code surely is in positives: difference of shares, less error."""
    positives = int(outcome.sum())
    if not len(entries.patient) or positives < LEAST_POSITIVES or positives == len(outcome):
        return 0.0
    present = presence(entries, len(outcome))
    p, q = (np.asarray(present[group].mean(axis=0)).ravel() for group in (outcome, ~outcome))
    error = np.sqrt(p * (1 - p) / positives + q * (1 - q) / (len(outcome) - positives))
    return float((p - q - EXCESS_CERTAINTY * error).max())


def _month(day: Ints) -> Ints:
    return np.asarray(day).astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
