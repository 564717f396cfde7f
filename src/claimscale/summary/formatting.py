"""Numbers as they stand in sentences."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any


def figure(value: float | None, decimals: int = 3) -> str:
    """A number for reading: a true minus sign, a dash for what is not known."""
    if value is None or math.isnan(value):
        return "–"
    # adding zero turns -0.0, which a small negative number rounds to, into 0.0
    return f"{round(value, decimals) + 0.0:.{decimals}f}".replace("-", "−")


def count(value: int | str | None) -> str:
    """A number of patients; '<10' as it is, 'some' where the privacy gate left it out.

    >>> count(12345), count("<10"), count(None)
    ('12,345', '<10', 'some')
    """
    return f"{value:,}" if isinstance(value, int) else value or "some"


def span(entry: Mapping[str, Any], name: str = "estimate") -> str:
    """An estimate with its 95 % interval."""
    if entry["low"] is None or math.isnan(entry["low"]):
        return f"{figure(entry[name])} (no interval)"
    return f"{figure(entry[name])} (95 % interval {figure(entry['low'])} to {figure(entry['high'])})"


def percent(share: float) -> str:
    return f"{100 * share:.3g} %".replace("-", "−")


def rounded(count: float) -> str:
    """Two significant digits: the number is a plan, not a measurement."""
    return f"{int(float(f'{count:.2g}')):,}"


def duration(hours: float | None, say: Callable[..., str] = str.format) -> str:
    """Hours in the unit a reader would say; `say` fills in the text, in the language of the report.

    >>> duration(178.2), duration(1234.6), duration(999.6), duration(0.25), duration(0.004)
    ('178 hours', '1,235 hours', '1,000 hours', '15 minutes', '14 seconds')
    """
    if hours is None:
        return "–"
    if hours >= 1:
        # From a thousand up three digits would be written as a power of ten.
        return say("{n} hours", n=f"{hours:,.0f}" if hours >= 999.5 else f"{hours:.3g}")
    minutes = 60 * hours
    return (
        say("{n} minutes", n=f"{minutes:.2g}")
        if minutes >= 1
        else say("{n} seconds", n=f"{60 * minutes:.2g}")
    )
