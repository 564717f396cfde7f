"""Single fields of UKE records: dates, quantities and codes.

Days are whole days since 1970-01-01. Files repeat the same few texts, so results are cached.
"""

from __future__ import annotations

import datetime as dt
import functools
import re
import unicodedata

from claimscale.codes.systems import SEPARATOR
from claimscale.sources.japan.eras import day_of, last_day, month_of
from claimscale.sources.japan.masters import RECEIPT

MATERIAL = "MATERIAL" + SEPARATOR
FREE_TEXT_MATERIAL = "777770000"
SEXES = {"1": "M", "2": "F"}
EPOCH = dt.date(1970, 1, 1).toordinal()


@functools.lru_cache(maxsize=1 << 16)
def days_until(text: str) -> int | None:
    """A day; None for any other text."""
    day = day_of(text.strip())
    return None if day is None else day.toordinal() - EPOCH


@functools.lru_cache(maxsize=1 << 12)
def ends_of_month(text: str) -> tuple[int | None, int | None]:
    """First and last day of a month; both None for any other text."""
    first = month_of(text.strip())
    return (None, None) if first is None else (first.toordinal() - EPOCH, last_day(first).toordinal() - EPOCH)


@functools.lru_cache(maxsize=1 << 16)
def quantity_of(text: str) -> float | None:
    """A quantity; None for text that is no number, or has more than nine digits."""
    return float(text) if re.fullmatch(r" *\d{1,9}(\.\d{0,9})? *", text, re.ASCII) else None


@functools.lru_cache(maxsize=1 << 16)
def code_of(text: str) -> tuple[str | None, str]:
    """The code of an act, drug or material with its system; and, for text that needs no code, the reason."""
    code = text.strip()
    if not re.fullmatch(r"\d{9}", code, re.ASCII):
        return None, ""
    if code[0] == "8":
        return None, "comment"
    if code == FREE_TEXT_MATERIAL:
        return None, "free text"
    return (MATERIAL if code[0] == "7" else RECEIPT) + code, ""


def half_width(text: str) -> str:
    """Half-width text: insurance numbers use full-width and half-width letters."""
    return unicodedata.normalize("NFKC", text).strip()
