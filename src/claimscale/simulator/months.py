"""The months of the simulation: month 0 is April 2017, the last month is December 2022."""

from __future__ import annotations

import numpy as np

EPOCH_MONTH = (2017 - 1970) * 12 + 3
"""Months from January 1970 to month 0."""
MONTHS = 69
"""Number of months with claims."""


def first_days(until: int = MONTHS) -> np.ndarray:
    """First day of months 0 to `until` inclusive, int32 [until + 1], days since 1970-01-01."""
    months = np.arange(EPOCH_MONTH, EPOCH_MONTH + until + 1).astype("datetime64[M]")
    return months.astype("datetime64[D]").astype(np.int32)


def year_months() -> list[str]:
    """The months as texts: `201704`, `201705`, ..."""
    months = np.arange(EPOCH_MONTH, EPOCH_MONTH + MONTHS).astype("datetime64[M]")
    return [str(month).replace("-", "") for month in months]


def month_number(year_month: str) -> int:
    """The number of a month such as `2020-04`; negative before April 2017.

    >>> month_number("2017-04"), month_number("2020-04")
    (0, 36)
    """
    return int(np.datetime64(year_month, "M").astype(int)) - EPOCH_MONTH
