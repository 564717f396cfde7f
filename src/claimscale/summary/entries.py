"""What the parts of the summary share: immutability, rounding, counts that may be suppressed, estimates."""

from __future__ import annotations

import math
from typing import Annotated, Literal, cast

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

DIGITS = 6
"""Significant digits of every real number."""

Split = Literal["train", "tuning", "held_out", "hospital", "temporal"]
Metric = Literal["auprc", "auroc"]
METRIC_NAMES: dict[Metric, str] = {"auprc": "AUPRC", "auroc": "AUROC"}


class Entry(BaseModel):
    """A part of the summary: immutable, without unknown fields. It can be read from a dataclass."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", from_attributes=True, use_attribute_docstrings=True
    )


def _rounded(value: object) -> object:
    """A number with six significant digits; None for NaN and infinity, which JSON cannot hold."""
    if isinstance(value, np.floating):
        value = float(cast("np.float64", value))
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value


def _integer(value: object) -> object:
    """A NumPy integer as a Python integer."""
    return int(cast("np.int64", value)) if isinstance(value, np.integer) else value


Real = Annotated[float | None, BeforeValidator(_rounded)]
"""A real number, rounded to six significant digits; null where it is unknown or suppressed."""
Number = Annotated[float, BeforeValidator(_rounded)]
"""A real number that is always known, rounded to six significant digits."""
Whole = Annotated[int, BeforeValidator(_integer)]
Suppressed = Annotated[str, Field(pattern=r"^<\d+$")]
Count = Annotated[int | Suppressed | None, BeforeValidator(_integer)]
"""A number of patients or rows. Text such as '<10' is a suppressed small count; null is a count that would
disclose one."""


class EstimateEntry(Entry):
    """A point estimate with its 95 % interval over patients and seeds."""

    estimate: Real
    """Mean over seeds."""
    low: Real
    """Lower bound of the 95 % interval; null where it cannot be computed."""
    high: Real
    """Upper bound of the 95 % interval; null where it cannot be computed."""


class DifferenceEntry(Entry):
    """A difference with its 95 % interval over patients and seeds."""

    difference: Real
    """Mean difference over seeds."""
    low: Real
    """Lower bound of the 95 % interval."""
    high: Real
    """Upper bound of the 95 % interval."""


class AurocDifferenceEntry(DifferenceEntry):
    """A difference in AUROC with DeLong's interval."""

    p: Real
    """Two-sided p-value against no difference."""
