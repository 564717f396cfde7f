"""The `cohort` section: which patients are included, and how they are split."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

from pydantic import Field, field_validator

from claimscale.config.base import Count, Fraction, Settings


class Splits(Settings):
    """Training, tuning and test patients; no patient is in two of these splits."""

    fractions: tuple[Fraction, Fraction, Fraction] = (0.7, 0.1, 0.2)
    """Shares of the patients for training, tuning and testing; they add up to 1."""
    temporal_date: dt.date | None = None
    """A later landmark, at which the test patients are assessed again (temporal split); null for none."""
    held_out_hospitals: Annotated[int, Field(ge=0)] = 0
    """Number of hospitals whose patients are all used for testing (hospital split)."""

    @field_validator("fractions", mode="before")
    @classmethod
    def as_tuple(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value  # pyright: ignore[reportUnknownArgumentType,reportUnknownVariableType]

    @field_validator("fractions")
    @classmethod
    def sum_to_one(cls, value: tuple[float, float, float]) -> tuple[float, float, float]:
        if abs(sum(value) - 1) > 1e-9:
            raise ValueError(f"fractions add up to {sum(value):g}, not 1")
        return value


class CohortSample(Settings):
    """A random sample of hospitals and patients."""

    hospitals: Count | None = None
    """Number of hospitals to sample; null keeps all."""
    patients: Count | None = None
    """Number of patients to sample from these hospitals; null keeps all."""


class CohortSettings(Settings):
    """The patients of a study: those with enough events before the landmark."""

    landmark: dt.date
    """Calendar date on which patients are assessed; models learn from events known before it."""
    min_events: Count = 5
    """Fewest events before the landmark that include a patient."""
    recency_days: Count | None = 365
    """Days before an index date within which a patient must have had a contact, unless the source states who
    is observed; null requires none."""
    sample: CohortSample = CohortSample()
    """Random sample of hospitals and patients."""
    splits: Splits = Splits()
    """Training, tuning and test patients."""
