"""Numbers for reading: one function per kind of number, the same in every language."""

from __future__ import annotations

import math

from claimscale.constants import DAYS_PER_YEAR

MINUS = "−"
UNKNOWN = "–"
ROUNDS_UP = 999.5
"""From here on three digits round to a thousand."""


def count(value: float | str | None) -> str:
    """A whole number with thousands separators; a suppressed count ('<10') stays as it is.

    >>> count(12345), count("<10"), count(None)
    ('12,345', '<10', '–')
    """
    if isinstance(value, str):
        return value
    return UNKNOWN if value is None else f"{value:,.0f}".replace("-", MINUS)


def figure(value: float | None, decimals: int = 3) -> str:
    """A number with fixed decimals.

    >>> figure(-0.0004), figure(-1.5, 1)
    ('0.000', '−1.5')
    """
    if value is None or math.isnan(value):
        return UNKNOWN
    # Adding zero turns -0.0, which a small negative number rounds to, into 0.0.
    return f"{round(value, decimals) + 0.0:.{decimals}f}".replace("-", MINUS)


def percent(value: float | None) -> str:
    """A proportion in percent, three significant digits.

    >>> percent(0.02), percent(0.12345)
    ('2 %', '12.3 %')
    """
    return UNKNOWN if value is None else f"{100 * value:.3g} %".replace("-", MINUS)


def rough_percent(value: float | None) -> str:
    """A proportion in percent, two significant digits.

    >>> rough_percent(0.1234), rough_percent(0.0004), rough_percent(0.999)
    ('12 %', '0.04 %', '100 %')
    """
    if value is None:
        return UNKNOWN
    return f"{100 * value:.2g} %" if value < 0.995 else f"{100 * value:.0f} %"


def points(value: float | None) -> str:
    """A proportion in percentage points."""
    return figure(None if value is None else 100 * value, 1)


def two_digits(value: float) -> int:
    """Rounded to two significant digits.

    >>> two_digits(12345), two_digits(7)
    (12000, 7)
    """
    return int(float(f"{value:.2g}"))


def rounded(value: float | str | None) -> str:
    """Two significant digits, for a planned number."""
    return count(value if value is None or isinstance(value, str) else two_digits(value))


def rate(value: float | None) -> str:
    """A learning rate, as short as it can be.

    >>> rate(0.004), rate(2e-05)
    ('0.004', '2e-05')
    """
    return UNKNOWN if value is None else f"{value:g}"


def years(days: float | None) -> str:
    """Days in years."""
    return compact_number(None if days is None else days / DAYS_PER_YEAR)


def compact_number(value: float | None) -> str:
    """One decimal below a hundred; none above, or for whole numbers.

    >>> compact_number(71.26), compact_number(12345.6), compact_number(5.0)
    ('71.3', '12,346', '5')
    """
    if value is None:
        return UNKNOWN
    return f"{value:.1f}" if abs(value) < 100 and value != int(value) else f"{value:,.0f}"


def compact(value: float | None) -> str:
    """Three digits and a unit; what rounds to a thousand takes the next unit.

    >>> compact(1_602_004), compact(2.41e12), compact(640), compact(999_600), compact(1.2e22)
    ('1.6M', '2.41T', '640', '1M', '12,000E')
    """
    if value is None:
        return UNKNOWN
    scaled, unit = value, ""
    for larger in "kMGTPE":
        if abs(scaled) < ROUNDS_UP:
            break
        scaled, unit = scaled / 1000, larger
    return f"{scaled:,.0f}{unit}" if abs(scaled) >= ROUNDS_UP else f"{scaled:.3g}{unit}"


def probability(p: float | None) -> str:
    """A p-value with its sign; never zero.

    >>> probability(0.027), probability(0.0004), probability(None)
    ('p = 0.027', 'p < 0.001', 'p = –')
    """
    return "p < 0.001" if p is not None and p < 0.001 else f"p = {figure(p)}"


def shortest(value: float | None) -> str:
    """Whole numbers in full, others with four digits.

    >>> shortest(7), shortest(0.23456), shortest(71234.5)
    ('7', '0.2346', '71,234')
    """
    if value is None or isinstance(value, int):
        return count(value)
    return (f"{value:,.0f}" if abs(value) >= 9999.5 else f"{value:.4g}").replace("-", MINUS)
