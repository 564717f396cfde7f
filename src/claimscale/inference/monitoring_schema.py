"""`monitoring.json`: how the patients and the performance of a package change over time, in aggregate.

It holds no patient. Counts pass the rule of a privacy profile before they are written.
"""

from __future__ import annotations

import datetime as dt
from typing import Literal

from claimscale.config.base import Number, Settings
from claimscale.inference.validation_schema import Estimate, Profile, Shown


class MonitoredDate(Settings):
    """The eligible patients on one date."""

    date: dt.date
    """The date of assessment."""
    predictions: Shown
    """Eligible patients."""
    mean_risk: Number | None
    """Mean risk by the package's calibration; null where the count is hidden."""
    risk_psi: Number | None
    """Population stability index of the risks, over deciles of the study's test patients."""
    code_psi: Number | None
    """Mean population stability index over codes of the year before, against the first date."""
    unread_share: Number | None
    """Mean over patients of the share of their events of the year before that have no token."""
    outside: dict[str, Number | None]
    """By measure, the share beyond the range of 99 % of the training patients; null where few are."""
    is_complete: bool
    """Whether the time of the outcome has passed; without it the rest is null."""
    positives: Shown
    """Patients with the outcome."""
    observed_expected: Estimate
    """Observed outcomes per outcome expected by the package's calibration; 1 is ideal."""
    auroc: Estimate
    """Area under the ROC curve."""


class CodeChange(Settings):
    """A code whose share of patients changed."""

    code: str
    """The code."""
    first: Number
    """Share of the patients with it in the year before the first date."""
    last: Number
    """Share in the year before the last date."""


class Monitoring(Settings):
    """The content of `monitoring.json`."""

    format: Literal["claimscale-monitoring-1"] = "claimscale-monitoring-1"
    """Layout of the file."""
    package: str
    """Name of the package."""
    digest: str
    """Fingerprint of its files."""
    source: str
    """Kind of the source."""
    simulated: bool
    """Whether the patients are simulated."""
    task: str
    """The question."""
    privacy: Profile
    """Profile whose rule the counts passed."""
    claims_until: dt.date
    """The day up to which the source has claims: 0.1 % of the events are later."""
    first_complete: dt.date
    """The earliest month of claims that completes the outcomes of the first date."""
    dates: list[MonitoredDate]
    """The dates, in order."""
    observed_expected: Estimate
    """Over all complete dates; patients are resampled, not dates."""
    auroc: Estimate
    """Over all complete dates."""
    codes: list[CodeChange]
    """The codes that changed most from the first to the last date."""
