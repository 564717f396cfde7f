"""Columns as users' files hold them, as texts and numbers: the same on every engine.

Files that went through a spreadsheet or pandas write whole numbers as `12.0`; what is none is null, never
rounded.
"""

from __future__ import annotations

import functools
import operator
from typing import Any

import ibis
import ibis.expr.types as ir

Expression = Any
"""A column, or what is made of columns. Ibis's own annotations refuse much of what it accepts."""

NO_TEXT = ibis.null("string")
BLANKS = " \t\n\r\v\f"
NUMBER = r"^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,2})?$"
WHOLE_NUMBER = r"^[+-]?\d{1,18}(\.0*)?$"


def text_of(column: Expression) -> Expression:
    """A column as text without blanks around it; empty is null. Whole numbers are written without a point."""
    if isinstance(column, ir.FloatingValue | ir.DecimalValue):
        whole = integer_of(column).cast("string")
        return ibis.coalesce(whole, column.cast("string"))
    text: Expression = column.cast("string")
    # Most texts have no blanks: asking first spares a sixth of the time that DuckDB takes for whole tables.
    has_blank = functools.reduce(operator.or_, (text.contains(blank) for blank in BLANKS))
    return has_blank.ifelse(text.strip(), text).nullif("")


def integer_of(column: Expression) -> Expression:
    """A column as whole numbers; null for what is none."""
    if isinstance(column, ir.BooleanValue):
        return ibis.null("int64")  # an empty column, of which a writer could not tell the type
    if isinstance(column, ir.StringValue):
        text = column.strip()
        digits = text.re_search(WHOLE_NUMBER).ifelse(text.re_replace(r"\.0*$", ""), NO_TEXT)
        return digits.try_cast("int64")
    if isinstance(column, ir.IntegerValue):
        return column.try_cast("int64")
    whole = column.try_cast("int64")  # engines round or cut: what is not the number itself is none
    return (whole.cast("float64") == column.cast("float64")).ifelse(whole, ibis.null("int64"))


def number_of(column: Expression) -> tuple[Expression, Expression]:
    """A column as float32, null for what is none, and whether something stands there that is no number."""
    if isinstance(column, ir.StringValue):
        text = text_of(column)
        number = text.re_search(NUMBER).ifelse(text, NO_TEXT).try_cast("float32")
        return number, text.notnull() & number.isnull()
    if isinstance(column, ir.BooleanValue):
        return ibis.null("float32"), ibis.literal(False)
    return column.try_cast("float32"), ibis.literal(False)
