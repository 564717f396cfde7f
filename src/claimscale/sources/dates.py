"""Dates in the formats of claims, as expressions on a table.

A value that is no date of the declared style is null, and its row is quarantined. No format is guessed.
"""

from __future__ import annotations

from typing import Literal

import ibis
import ibis.expr.types as ir

from claimscale.sources.casting import Expression, integer_of

DateStyle = Literal["western", "month_first", "day_first", "wareki", "excel"]
"""The format of dates in text. western: YYYYMMDD, YYYY-M-D (also with / or .), DDMMMYYYY with the English
name of the month; a time may follow; and months YYYYMM, YYYY-MM, which mean their first day. month_first:
M/D/YYYY and M/YYYY, or western. day_first: D/M/YYYY and M/YYYY, or western. wareki: GYYMMDD and GYYMM, with a
digit for the era. excel: days since 1899-12-30, or western."""

ERAS = {"1": 1867, "2": 1911, "3": 1925, "4": 1988, "5": 2018}
"""The year before the first year of 明治, 大正, 昭和, 平成, 令和."""

EXCEL_DAY_ZERO = "1899-12-30"


def timestamp_of(column: Expression, style: DateStyle = "western") -> Expression:
    """A column of dates, times or text as midnight of its day."""
    if isinstance(column, ir.NumericValue):
        column = integer_of(column).cast("string")
    if not isinstance(column, ir.StringValue):
        return _midnight(column.cast("date"))
    text = column.strip()
    readers = {"month_first": _month_first, "day_first": _day_first, "wareki": _wareki}
    iso = readers.get(style, _western)(text)
    day = iso.try_cast("date")
    if style == "excel":
        serial: Expression = text.re_search(r"^\d{5}(\.0*)?$").ifelse(text.substr(0, 5), ibis.null("string"))
        days = serial.try_cast("int64")
        day = ibis.coalesce(day, (ibis.date(EXCEL_DAY_ZERO) + days.as_interval("D")).cast("date"))
    return _midnight(day)


def birth_of(column: Expression, style: DateStyle = "western") -> Expression:
    """Like `timestamp_of`, but a year alone (YYYY) means its first day: many tables have no day of birth."""
    if isinstance(column, ir.NumericValue):
        column = integer_of(column).cast("string")
    if not isinstance(column, ir.StringValue):
        return timestamp_of(column, style)
    text = column.strip()
    year = text.re_search(r"^[12]\d{3}(\.0*)?$").ifelse(text.substr(0, 4), ibis.null("string"))
    first = _midnight(_joined(year, ibis.literal("01"), ibis.literal("01")).try_cast("date"))
    return ibis.coalesce(first, timestamp_of(column, style))


def last_day_of(column: Expression, style: DateStyle = "western") -> Expression:
    """Like `timestamp_of`, but a month means its last day."""
    time = timestamp_of(column, style)
    if not isinstance(column, ir.StringValue | ir.NumericValue):
        return time
    months = r"^[1-5]\d{4}$" if style == "wareki" else r"^(\d{4}[-/]?\d{2}|\d{1,2}/\d{4})$"
    is_month = column.cast("string").strip().re_search(months)
    return is_month.ifelse(month_end(time), time)


def month_end(time: Expression) -> Expression:
    """Midnight of the last day of the month."""
    first = time.truncate("M").cast("date")
    return _midnight(first + ibis.interval(months=1) - ibis.interval(days=1))


def _midnight(day: Expression) -> Expression:
    return day.cast("timestamp(6)")


YEAR_FIRST = r"^(\d{4})([-/.])(\d{1,2})[-/.](\d{1,2})([ T].*)?$"
NUMBERS = r"^(\d{1,2})[-/.](\d{1,2})[-/.](\d{4})([ T].*)?$"
MONTH_OF_YEAR = r"^(\d{1,2})/(\d{4})$"
NAMED_MONTH = r"^(\d{1,2})[- ]?([A-Za-z]{3})[- ]?(\d{4})([ T:].*)?$"
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def _western(text: Expression) -> Expression:
    separated = text.replace("/", "-")
    return ibis.cases(
        (text.re_search(r"^\d{8}$"), _joined(text.substr(0, 4), text.substr(4, 2), text.substr(6, 2))),
        (text.re_search(r"^\d{6}$"), _joined(text.substr(0, 4), text.substr(4, 2), ibis.literal("01"))),
        (text.re_search(r"^\d{4}[-/]\d{2}$"), separated.concat("-01")),
        (text.re_search(r"^\d{4}([-/])\d{2}[-/]\d{2}([ T].*)?$"), separated.substr(0, 10)),
        (text.re_search(YEAR_FIRST), _captured(text, YEAR_FIRST, 1, 3, 4)),
        (text.re_search(NAMED_MONTH), _named_month(text)),
        else_=ibis.null("string"),
    )


def _month_first(text: Expression) -> Expression:
    return ibis.cases(
        (text.re_search(NUMBERS), _captured(text, NUMBERS, 3, 1, 2)),
        (text.re_search(MONTH_OF_YEAR), _captured(text, MONTH_OF_YEAR, 2, 1, None)),
        else_=_western(text),
    )


def _day_first(text: Expression) -> Expression:
    return ibis.cases(
        (text.re_search(NUMBERS), _captured(text, NUMBERS, 3, 2, 1)),
        (text.re_search(MONTH_OF_YEAR), _captured(text, MONTH_OF_YEAR, 2, 1, None)),
        else_=_western(text),
    )


def _captured(text: Expression, pattern: str, year: int, month: int, day: int | None) -> Expression:
    """The date whose parts are the groups of a pattern; without a day, the first of the month."""
    two_digits = "01" if day is None else text.re_extract(pattern, day).lpad(2, "0")
    return _joined(text.re_extract(pattern, year), text.re_extract(pattern, month).lpad(2, "0"), two_digits)


def _named_month(text: Expression) -> Expression:
    name = text.re_extract(NAMED_MONTH, 2).lower()
    month = ibis.cases(
        *((name == each, f"{number:02d}") for number, each in enumerate(MONTHS, 1)), else_=ibis.null("string")
    )
    return _joined(text.re_extract(NAMED_MONTH, 3), month, text.re_extract(NAMED_MONTH, 1).lpad(2, "0"))


def _wareki(text: Expression) -> Expression:
    is_day: Expression = text.re_search(r"^[1-5]\d{6}$")
    is_month = text.re_search(r"^[1-5]\d{4}$")
    digits: Expression = ibis.ifelse(is_day | is_month, text, ibis.null("string"))
    era = digits.substr(0, 1)
    base = ibis.cases(*((era == digit, before) for digit, before in ERAS.items()), else_=ibis.null("int64"))
    year = (base + digits.substr(1, 2).try_cast("int64")).cast("string")
    day = is_day.ifelse(digits.substr(5, 2), "01")
    return _joined(year, digits.substr(3, 2), day)


def _joined(year: Expression, month: Expression, day: Expression) -> Expression:
    return year.concat("-", month, "-", day)
