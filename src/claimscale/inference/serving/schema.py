"""What `claimscale serve` receives and sends, with the bounds of each value."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, NaiveDatetime, field_validator

MOST_EVENTS, MOST_PATIENTS = 20_000, 50
FIRST_DATE, LAST_DATE = dt.date(1950, 1, 1), dt.date(2099, 12, 31)
INT64 = 1 << 63
LARGEST_VALUE = 1e30
"""Numbers of an event are float32."""
PRINTABLE = r"^[^\x00-\x1f\x7f]+$"

SubjectId = Annotated[int, Field(ge=-INT64, le=INT64 - 1)]
Text = Annotated[str, Field(min_length=1, max_length=128, pattern=PRINTABLE)]
Day = Annotated[dt.date, Field(ge=FIRST_DATE, le=LAST_DATE)]


class Message(BaseModel):
    """A message is frozen, and unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Event(Message):
    """One row of MEDS data."""

    subject_id: SubjectId
    """Number of the patient."""
    time: NaiveDatetime | None
    """Local time of the event, such as 2023-04-01 or 2023-04-01T09:30:00; null for a fact such as sex."""
    code: Text
    """Code as `SYSTEM//CODE`, for example ICD10//N189, ATC//C09AA02, MEDS_BIRTH, SEX//F."""
    numeric_value: Annotated[float, Field(ge=-LARGEST_VALUE, le=LARGEST_VALUE)] | None = None
    """Number of the event. The models do not read it."""
    text_value: Annotated[str, Field(max_length=1000)] | None = None
    """Text of the event. It is not read."""
    hospital_id: Text | None = None
    """Hospital."""
    visit_id: Text | None = None
    """Visit."""
    available_at: NaiveDatetime | None = None
    """When the event could be known; null for `time`."""
    suspected: bool | None = None
    """Whether a diagnosis is only suspected."""

    @field_validator("time", "available_at", mode="before")
    @classmethod
    def is_no_number(cls, value: object) -> object:
        """Seconds since 1970 are not accepted: a number in place of a date is more often a mistake."""
        if value is not None and (not isinstance(value, str) or value.lstrip("+-").isdigit()):
            raise ValueError("must be a date or time such as 2023-04-01T09:30:00")
        return value


class Patients(Message):
    """The events of one or a few patients, and the date on which they are assessed."""

    date: Day
    """Date of assessment; only what was known before it is used."""
    events: Annotated[list[Event], Field(min_length=1, max_length=MOST_EVENTS)]
    """Events in any order. Each patient needs a birth (code MEDS_BIRTH)."""

    @field_validator("date", mode="before")
    @classmethod
    def is_date_text(cls, value: object) -> object:
        return date_text(value)

    @field_validator("events")
    @classmethod
    def few_patients(cls, events: list[Event]) -> list[Event]:
        if len({event.subject_id for event in events}) > MOST_PATIENTS:
            raise ValueError(f"must be of {MOST_PATIENTS} patients or fewer")
        return events


def date_text(value: object) -> object:
    """A date as text. Raises ValueError for anything else, such as seconds since 1970."""
    if not isinstance(value, str) or len(value) != len("2024-04-01"):
        raise ValueError("must be a date such as 2024-04-01")
    return value


class Prediction(Message):
    """The score of a patient."""

    subject_id: int
    """Number of the patient; of receipts, the place in the sorted order of their ids."""
    source_id: str | None
    """Id of the patient in a receipt; null for JSON."""
    last_day: dt.date
    """The last day whose records the score uses: the day before the date of assessment."""
    risk: float
    """Probability of the outcome as the study computed it."""
    calibrated_risk: float
    """Probability after the package's calibration."""
    low: float | None
    """Lower end of the Venn-Abers interval; null if the package has none."""
    high: float | None
    """Upper end of the Venn-Abers interval; null if the package has none."""
    unread_share: float
    """Share of the known events whose codes the package cannot read."""
    outside: list[str]
    """Measures beyond 99 % of the training patients."""
    excluded: str | None
    """Why the question is not about this patient; null if it is."""


class UnreadCode(Message):
    """A code without a token, and its number of events."""

    code: str
    """Code."""
    events: int
    """Events with this code."""


class Scores(Message):
    """The answer to a prediction request."""

    package: str
    """Fingerprint of the package's files."""
    predictions: list[Prediction]
    """One per patient, by `subject_id`."""
    not_scored: list[str]
    """Patients with too few known events: `subject_id`, or the id in the receipt."""
    rows_in: int
    """Events received."""
    rows_used: int
    """Events used."""
    rows_not_used: dict[str, int]
    """Events that are invalid, repeated, or facts without a time, by reason."""
    unread_codes: list[UnreadCode]
    """The most frequent codes that the package cannot read."""


class Problem(Message):
    """Why a request was refused."""

    detail: str
    """One line."""


class Health(Message):
    """The server runs."""

    status: str = "ok"
    """Always `ok`."""


class ModelDescription(Message):
    """What the package is."""

    name: str
    """Name of the package."""
    package: str
    """Fingerprint of the package's files."""
    question: dict[str, Any]
    """The task: outcome codes, window, eligibility."""
    models: list[str]
    """Kinds of the models; their log odds are averaged."""
    size: str | None
    """Size of the encoder; null without one."""
    landmark: dt.date
    """The models know nothing later than this date."""
    min_events: int
    """Fewest known events of a patient who is scored."""
    code_systems: list[str]
    """Code systems that the package reads."""
    crosswalks: list[str]
    """Maps between code systems that the study used; this server applies none."""
    calibration: str
    """Method of calibration."""
    ranges: dict[str, tuple[float, float]]
    """The middle 99 % of the training patients, by measure."""
    evidence: dict[str, Any]
    """The study's results for this model."""
