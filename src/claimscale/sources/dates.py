"""Dates in the formats of claims, as expressions on a table.

A value that is no date of the declared style is null, and its row is quarantined. No format is guessed.
"""

from __future__ import annotations

from typing import Literal

import ibis
import ibis.expr.types as ir

from claimscale.sources.casting import Expression, integer_of

DateStyle = Literal["western", "wareki", "excel"]
"""The format of dates in text. western: YYYYMMDD, YYYY-MM-DD, YYYY/M/D (a time may follow), and months
YYYYMM, YYYY-MM, which mean their first day. wareki: GYYMMDD and GYYMM, with a digit for the era. excel: days
since 1899-12-30, or western."""

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
    iso = {"western": _western, "wareki": _wareki, "excel": _western}[style](text)
    day = iso.try_cast("date")
    if style == "excel":
        serial: Expression = text.re_search(r"^\d{5}(\.0*)?$").ifelse(text.substr(0, 5), ibis.null("string"))
        days = serial.try_cast("int64")
        day = ibis.coalesce(day, (ibis.date(EXCEL_DAY_ZERO) + days.as_interval("D")).cast("date"))
    return _midnight(day)


def last_day_of(column: Expression, style: DateStyle = "western") -> Expression:
    """Like `timestamp_of`, but a month means its last day."""
    time = timestamp_of(column, style)
    if not isinstance(column, ir.StringValue | ir.NumericValue):
        return time
    months = r"^[1-5]\d{4}$" if style == "wareki" else r"^\d{4}[-/]?\d{2}$"
    is_month = column.cast("string").strip().re_search(months)
    return is_month.ifelse(month_end(time), time)


def month_end(time: Expression) -> Expression:
    """Midnight of the last day of the month."""
    first = time.truncate("M").cast("date")
    return _midnight(first + ibis.interval(months=1) - ibis.interval(days=1))


def _midnight(day: Expression) -> Expression:
    return day.cast("timestamp(6)")


def _western(text: Expression) -> Expression:
    separated = text.replace("/", "-")
    return ibis.cases(
        (text.re_search(r"^\d{8}$"), _joined(text.substr(0, 4), text.substr(4, 2), text.substr(6, 2))),
        (text.re_search(r"^\d{6}$"), _joined(text.substr(0, 4), text.substr(4, 2), ibis.literal("01"))),
        (text.re_search(r"^\d{4}[-/]\d{2}$"), separated.concat("-01")),
        (text.re_search(r"^\d{4}([-/])\d{2}[-/]\d{2}([ T].*)?$"), separated.substr(0, 10)),
        (text.re_search(r"^\d{4}[-/]\d{1,2}[-/]\d{1,2}$"), _padded(separated)),
        else_=ibis.null("string"),
    )


def _wareki(text: Expression) -> Expression:
    is_day: Expression = text.re_search(r"^[1-5]\d{6}$")
    is_month = text.re_search(r"^[1-5]\d{4}$")
    digits: Expression = ibis.ifelse(is_day | is_month, text, ibis.null("string"))
    era = digits.substr(0, 1)
    base = ibis.cases(*((era == digit, before) for digit, before in ERAS.items()), else_=ibis.null("int64"))
    year = (base + digits.substr(1, 2).try_cast("int64")).cast("string")
    day = is_day.ifelse(digits.substr(5, 2), "01")
    return _joined(year, digits.substr(3, 2), day)


def _padded(text: Expression) -> Expression:
    parts = [text.split("-")[part] for part in range(3)]
    return _joined(parts[0], parts[1].lpad(2, "0"), parts[2].lpad(2, "0"))


def _joined(year: Expression, month: Expression, day: Expression) -> Expression:
    return year.concat("-", month, "-", day)
