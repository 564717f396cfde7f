"""`validation.json`: how a package performs on another database, in aggregate.

It holds no patient. Counts pass the rule of a privacy profile before they are written.
"""

from __future__ import annotations

import datetime as dt
from typing import Literal

from claimscale.config.base import Number, Settings

Shown = int | str | None
"""A count: itself, '<10' where it is small, null where it would disclose a small one."""
Profile = Literal["none", "ndb", "cms", "opensafely", "acro"]
Version = Literal["as_is", "calibrated", "recalibrated"]
"""Risks as the model gives them; by the package's calibration; by a line fitted on other patients here."""


class Estimate(Settings):
    """An estimate with its 95 % interval over patients; null where it cannot be computed or shown."""

    estimate: Number | None
    """Estimate."""
    low: Number | None = None
    """Lower end."""
    high: Number | None = None
    """Upper end."""


class CurvePoint(Settings):
    """One bin of a calibration curve."""

    predicted: Number
    """Mean risk."""
    observed: Number
    """Share with the outcome."""


class BenefitPoint(Settings):
    """Net benefit per patient of acting above a risk (Vickers 2006, doi 10.1177/0272989X06295361)."""

    threshold: Number
    """Risk above which is acted."""
    net_benefit: Number
    """Of acting by the model."""
    treat_all: Number
    """Of acting in everybody."""


class Performance(Settings):
    """Discrimination and calibration of one version of the risks."""

    version: Version
    """Which risks."""
    auroc: Estimate
    """Area under the ROC curve."""
    auprc: Estimate
    """Average precision."""
    log_loss: Estimate
    """Mean negative log likelihood."""
    observed_expected: Estimate
    """Patients with the outcome, per patient expected to have it; 1 is ideal."""
    intercept: Estimate
    """Calibration in the large, in log odds; 0 is ideal."""
    slope: Estimate
    """Calibration slope; 1 is ideal."""
    curve: list[CurvePoint]
    """Calibration curve, at most ten bins."""
    net_benefit: list[BenefitPoint]
    """Net benefit by risk threshold."""


class Subgroup(Settings):
    """Performance of the risks as they are in a subgroup."""

    by: Literal["sex", "age"]
    """What divides the patients."""
    group: str
    """Name of the subgroup."""
    predictions: Shown
    """Predictions in it."""
    positives: Shown
    """Those with the outcome."""
    auroc: Estimate
    """Area under the ROC curve."""
    observed_expected: Estimate
    """Observed per expected outcome."""


class CodeShare(Settings):
    """A code that is much more or much less common here than in training."""

    code: str
    """The code."""
    training: Number
    """Share of the training patients with it."""
    here: Number
    """Share of the patients here."""


class Codes(Settings):
    """How much of the claims the package reads."""

    read_share: Number
    """Share of the events whose code has a token."""
    of_ancestor_share: Number
    """Share of the events that are read by a shorter code."""
    unread_codes: list[str]
    """The commonest codes without a token."""
    unread_systems: dict[str, Number]
    """Code systems of which no code has a token, with their shares of the events."""
    mean_unread_share: Number
    """Mean over patients of the share of their events without a token."""


class Drift(Settings):
    """How far the patients differ from those of training."""

    outside: dict[str, Number | None]
    """By measure, the share of predictions beyond the range of 99 % of the training patients; null where few
    are."""
    risk_psi: Number | None
    """Population stability index of the risks, over deciles of the study's test patients."""
    code_psi: Number | None
    """Mean population stability index over the codes of the vocabulary."""
    codes: list[CodeShare]
    """The codes whose shares differ most."""


class Flow(Settings):
    """From all patients to those who were compared with their outcomes."""

    patients: Shown
    """Patients with enough known events on a date."""
    predictions: Shown
    """Patients and dates with enough known events."""
    excluded: dict[str, Shown]
    """By reason, those whom the question is not about."""
    eligible: Shown
    """Predictions that were compared with outcomes."""
    positives: Shown
    """Those with the outcome."""
    censored: Shown
    """Those without, whose claims end before the outcome's time does."""


class Validation(Settings):
    """The content of `validation.json`."""

    format: Literal["claimscale-validation-1"] = "claimscale-validation-1"
    """Layout of the file."""
    package: str
    """Name of the package."""
    digest: str
    """Fingerprint of its files."""
    source: str
    """Kind of the source."""
    simulated: bool
    """Whether the patients here are simulated."""
    task: str
    """The question."""
    dates: list[dt.date]
    """Dates on which patients were assessed."""
    claims_until: dt.date
    """The last day with claims."""
    incomplete: list[dt.date]
    """The dates of assessment whose outcomes have not all had their time by then."""
    privacy: Profile
    """Profile whose rule the counts passed."""
    flow: Flow
    """From all patients to those who were compared with their outcomes."""
    performance: list[Performance]
    """One entry per version of the risks; empty with too few outcomes."""
    recalibration: tuple[Number, Number] | None
    """Intercept and slope that recalibrate the log odds here; null with too few outcomes."""
    subgroups: list[Subgroup]
    """By sex and age."""
    codes: Codes
    """How much of the claims the package reads."""
    drift: Drift
    """How far the patients differ from those of training."""
    training: list[dict[str, object]]
    """The package's results in its study, from its `evidence.json`."""
