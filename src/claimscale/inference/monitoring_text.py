"""What a monitoring says in sentences."""

from __future__ import annotations

from claimscale.inference.monitoring_schema import MonitoredDate, Monitoring
from claimscale.inference.validation_text import PSI_LARGE, with_interval

FILE, PAGE = "monitoring.json", "monitoring.html"
UNREAD_RISE = 0.05
"""Rise of the unread share of the events that is said."""


def conclusions(found: Monitoring) -> list[str]:
    """What the monitoring shows, in sentences."""
    return [*_risks(found), *_unread(found), *_outcomes(found)]


def _risks(found: Monitoring) -> list[str]:
    shifted = [one.date for one in found.dates if one.risk_psi is not None and one.risk_psi > PSI_LARGE]
    known = [one.risk_psi for one in found.dates if one.risk_psi is not None]
    if not known:
        return ["Too few patients: the distribution of the risks cannot be shown."]
    text = f"Distribution of the risks: stability index {known[-1]:.2f} on the last date"
    if not shifted:
        return [f"{text}, and at most {PSI_LARGE} on every date: no large shift from the study."]
    return [
        f"{text}, and above {PSI_LARGE} on {len(shifted)} of {len(known)} dates, first on {shifted[0]}: the "
        "patients differ from those of the study. Validate the package again."
    ]


def _unread(found: Monitoring) -> list[str]:
    known = [one for one in found.dates if one.unread_share is not None]
    if not known:
        return []
    first, last = (share or 0.0 for share in (known[0].unread_share, known[-1].unread_share))
    text = f"Unread events: {first:.1%} on {known[0].date}, {last:.1%} on {known[-1].date}."
    if last - first > UNREAD_RISE:
        text += " New codes have come into use, or a code system has changed."
    return [text]


def _outcomes(found: Monitoring) -> list[str]:
    complete = [one for one in found.dates if one.is_complete]
    if not complete:
        return [
            f"Outcomes: the time of no outcome has passed. Claims reach to {found.claims_until}; the first "
            f"date needs those until {found.first_complete}."
        ]
    ratio, auroc = found.observed_expected, found.auroc
    if ratio.estimate is None or ratio.low is None or ratio.high is None:
        return ["Outcomes: too few patients have the outcome for a comparison."]
    verdict = (
        "The risks are too low." if ratio.low > 1 else
        "The risks are too high." if ratio.high < 1 else
        "No error of calibration is shown."
    )  # fmt: skip
    return [
        f"Calibration over {len(complete)} dates whose outcomes are known: {with_interval(ratio, 2)} "
        f"patients have the outcome per patient expected. {verdict}",
        f"Discrimination over these dates: AUROC {with_interval(auroc)}.",
        *_single_dates(complete),
    ]


def _single_dates(complete: list[MonitoredDate]) -> list[str]:
    """One interval in twenty misses 1 by chance: their number is said, not each of them."""
    ends = [(one.observed_expected.low, one.observed_expected.high) for one in complete]
    known = [(low, high) for low, high in ends if low is not None and high is not None]
    missed = sum(not low <= 1 <= high for low, high in known)
    return [f"On {missed} of {len(known)} single dates the interval does not include 1."] if known else []
