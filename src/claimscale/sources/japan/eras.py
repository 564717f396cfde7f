"""Single dates of Japanese claim files, western or in eras, which their length distinguishes."""

from __future__ import annotations

import calendar
import datetime as dt
import functools

from claimscale.sources.dates import ERAS

NO_DATE = ("", "00000000", "0000000")


@functools.lru_cache(maxsize=1 << 16)
def day_of(text: str) -> dt.date | None:
    """YYYYMMDD or GYYMMDD; None for anything else.

    >>> day_of("20210403"), day_of("5030403"), day_of("20210431")
    (datetime.date(2021, 4, 3), datetime.date(2021, 4, 3), None)
    """
    if len(text) not in (7, 8) or not _is_digits(text):
        return None
    first = month_of(text[:-2])
    try:
        return None if first is None else first.replace(day=int(text[-2:]))
    except ValueError:
        return None


@functools.lru_cache(maxsize=1 << 12)
def month_of(text: str) -> dt.date | None:
    """The first day of a month written YYYYMM or GYYMM; None for anything else.

    >>> month_of("202104"), month_of("50304"), month_of("60304")
    (datetime.date(2021, 4, 1), datetime.date(2021, 4, 1), None)
    """
    if not _is_digits(text):
        return None
    if len(text) == 5:
        era = ERAS.get(text[0])
        return None if era is None else _first(era + int(text[1:3]), int(text[3:]))
    return _first(int(text[:4]), int(text[4:])) if len(text) == 6 else None


def last_day(day: dt.date) -> dt.date:
    """The last day of a day's month."""
    return day.replace(day=calendar.monthrange(day.year, day.month)[1])


def _first(year: int, month: int) -> dt.date | None:
    return dt.date(year, month, 1) if 1 <= year <= 9999 and 1 <= month <= 12 else None


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit()
