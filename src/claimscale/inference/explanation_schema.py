"""`explanation.json`: of one patient, and of a cohort."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal

from pydantic import Field

from claimscale.config.base import Number, Settings
from claimscale.packages.config import Kind

FORMAT = "claimscale-explanation-1"
InputKind = Literal["code", "absent_code", "code_group", "age", "sex", "recency", "history", "services"]
"""A recorded code; a code that is not recorded; a group of codes; age; sex; the time since the newest code;
the length of the record; the use of services."""
FEWEST_PATIENTS = 10
"""Smaller numbers of patients are not shown."""


class Contribution(Settings):
    """One input and what it contributes to the log odds."""

    kind: InputKind
    """What it is."""
    name: str
    """The code `SYSTEM//CODE`, or the name of the input."""
    suspected: bool = False
    """Whether it is a suspected diagnosis."""
    day: dt.date | None = None
    """Day of the newest of the occurrences."""
    count: int | None = None
    """Number of occurrences."""
    contribution: Number
    """In log odds."""
    odds_ratio: Number
    """The same as an odds ratio."""


class Visit(Settings):
    """The codes whose newest occurrence is on one day."""

    day: dt.date
    """The day."""
    codes: int
    """Number of codes."""
    contribution: Number
    """Sum of their contributions, in log odds."""


class CodeRemoval(Settings):
    """One of the codes with the largest contributions, and the score without it."""

    code: str
    """The code."""
    suspected: bool
    """Whether it is a suspected diagnosis."""
    contribution: Number
    """Of all its occurrences, in log odds."""
    risk_without: Number
    """The risk when all its occurrences are removed."""
    change: Number
    """Log odds with the code, minus those without it."""


class MemberExplanation(Settings):
    """One model of the package."""

    kind: Kind
    """What it is."""
    cell: str
    """The cell of the study that trained it."""
    log_odds: Number
    """Log odds of its score."""
    baseline_log_odds: Number
    """Log odds of its baseline."""
    completeness_error: Number
    """Baseline and contributions together, minus the log odds of the score."""
    steps: int | None
    """Points of the integral; null where contributions are exact."""


class PatientExplanation(Settings):
    """`explanation.json` of one patient. It is patient data."""

    format: Literal["claimscale-explanation-1"] = FORMAT
    """Layout of the file."""
    package: str
    """Name of the package."""
    package_digest: str
    """Fingerprint of its files."""
    task: str
    """The question."""
    patient: str
    """The patient, as `--patient` names it: the source's id where ids are text, otherwise `subject_id`."""
    subject_id: int
    """The patient's number in the events."""
    on: dt.date
    """The date of the assessment; what became known before it is used."""
    excluded: str | None
    """Why the question is not about this patient; null if it is."""
    outside: list[str]
    """Measures beyond 99 % of the training patients."""
    risk: Number
    """Probability of the outcome by the package, before calibration."""
    calibrated_risk: Number
    """The calibrated probability."""
    log_odds: Number
    """Log odds of `risk`."""
    baseline_log_odds: Number
    """Log odds to which the contributions add."""
    completeness_error: Number
    """Baseline and contributions together, minus `log_odds`."""
    contributions: list[Contribution]
    """All inputs, the largest contributions first."""
    visits: list[Visit]
    """Days in order."""
    removals: list[CodeRemoval]
    """The recorded codes with the largest contributions, each removed."""
    removal_correlation: Number | None
    """Correlation of contribution and change over `removals`; null with fewer than three."""
    members: list[MemberExplanation]
    """The models. Their log odds, and so their contributions, are averaged."""


class CohortInput(Settings):
    """One input over the patients of a cohort."""

    kind: InputKind
    """What it is."""
    name: str
    """The code, or the name of the input."""
    suspected: bool = False
    """Whether it is a suspected diagnosis."""
    patients: int | None
    """Patients with a contribution of it; null where fewer than 10, but not none, are without."""
    mean_absolute: Number
    """Mean absolute contribution over all patients, in log odds."""
    mean_absolute_with: Number | None
    """Mean absolute contribution over the patients with one; null where `patients` is."""
    mean_with: Number | None
    """Mean contribution over the patients with one; null where `patients` is."""


class CohortExplanation(Settings):
    """`explanation.json` of a cohort. It holds no patient."""

    format: Literal["claimscale-explanation-1"] = FORMAT
    """Layout of the file."""
    package: str
    """Name of the package."""
    package_digest: str
    """Fingerprint of its files."""
    task: str
    """The question."""
    on: dt.date
    """The date of the assessment."""
    models: list[Kind]
    """The models. Their log odds, and so their contributions, are averaged."""
    patients: Annotated[int, Field(ge=FEWEST_PATIENTS)]
    """Patients explained."""
    mean_risk: Number
    """Mean probability of the outcome by the package, before calibration."""
    complete_share: Number
    """Share of the patients whose completeness error is below 1 % of the difference to the baseline."""
    median_removal_correlation: Number | None
    """Median over patients; null where none has one."""
    same_sign_share: Number | None
    """Share of the removed codes whose removal changes the risk in the direction of the contribution."""
    inputs: list[CohortInput]
    """Inputs of at least 10 patients, the largest mean absolute contribution first."""
    hidden_inputs: Annotated[int, Field(ge=0)]
    """Inputs of fewer than 10 patients, which are left out."""
