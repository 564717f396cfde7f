"""Numbers for reading, as the page shows them, each with the place in the summary that it comes from."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from markupsafe import Markup

from claimscale.constants import DAYS_PER_YEAR
from claimscale.report.i18n import Texts
from claimscale.summary.formatting import duration, figure, percent

ROUNDS_UP = 999.5
"""From here on three digits are a thousand."""


class Whole(int):
    """A whole number of the summary that knows its place there."""

    path: str


class Real(float):
    """A number of the summary that knows its place there."""

    path: str


class Hidden(str):
    """A count that the privacy gate hides, '<10', and that knows its place in the summary."""

    path: str


class Listed(list[Any]):
    """A list of the summary that knows its place there."""

    path: str


def placed(content: Any, path: str = "") -> Any:
    """The same content with numbers, and lists, that know their places: `tasks.0.positives`."""
    if isinstance(content, Mapping):
        return {key: placed(value, f"{path}.{key}" if path else str(key)) for key, value in content.items()}
    if isinstance(content, list):
        listed = Listed(
            placed(value, f"{path}.{place}" if path else str(place)) for place, value in enumerate(content)
        )
        listed.path = path
        return listed
    if isinstance(content, str) and re.fullmatch(r"<\d+", content):
        number = Hidden(content)
    elif isinstance(content, bool) or not isinstance(content, int | float):
        return content
    else:
        number = Whole(content) if isinstance(content, int) else Real(content)
    number.path = path
    return number


def share(part: Any, whole: Any) -> str:
    """A part in percent; nothing where either is hidden. Marked where both know their places."""
    known = isinstance(part, int | float) and isinstance(whole, int | float) and whole
    told = percent(part / whole) if known else ""
    places = [getattr(number, "path", None) for number in (part, whole)]
    return marked(" of ".join(map(str, places)), "share", told) if told and None not in places else told


def marked(path: str, how: str, told: str) -> Markup:
    """A number as told, with its place in the summary and how it was made from what is there."""
    return Markup('<data data-path="{}" data-as="{}">{}</data>').format(path, how, told)


def how_many(listed: list[Any]) -> str:
    return count(len(listed))


def thousandths(value: Any) -> str:
    return "–" if value is None else percent(value)


def points(value: float | None) -> str:
    """A share in percentage points."""
    return figure(None if value is None else 100 * value, 1)


def count(value: int | float | str | None) -> str:
    """A whole number with thousands parted, 12,345; '<10' as it is; a dash for what is left out."""
    if isinstance(value, str):
        return value
    return "–" if value is None else f"{value:,.0f}"


def years(value: float | None) -> str:
    """Days in years."""
    return "–" if value is None else compact_number(value / DAYS_PER_YEAR)


def plain_number(value: float | None) -> str:
    return "–" if value is None else compact_number(value)


def compact_number(value: float) -> str:
    """One decimal below a hundred, none above or for whole numbers.

    >>> compact_number(71.26), compact_number(12345.6), compact_number(5.0)
    ('71.3', '12,346', '5')
    """
    return f"{value:.1f}" if abs(value) < 100 and value != int(value) else f"{value:,.0f}"


def compact(value: float | None) -> str:
    """Three digits and a unit; what rounds to a thousand takes the next unit.

    >>> compact(1_602_004), compact(2.41e12), compact(640), compact(999_600), compact(1.2e22)
    ('1.6M', '2.41T', '640', '1M', '12,000E')
    """
    if value is None:
        return "–"
    scaled, unit = value, ""
    for larger in "kMGTPE":
        if abs(scaled) < ROUNDS_UP:
            break
        scaled, unit = scaled / 1000, larger
    return f"{scaled:,.0f}{unit}" if abs(scaled) >= ROUNDS_UP else f"{scaled:.3g}{unit}"


def probability(p: float | None) -> str:
    """A p-value with its sign: no probability is told as nothing at all.

    >>> probability(0.027), probability(0.0004), probability(None)
    ('p = 0.027', 'p < 0.001', 'p = –')
    """
    return "p < 0.001" if p is not None and p < 0.001 else f"p = {figure(p)}"


def shortest(value: int | float | None) -> str:
    """Whole numbers in full, others to four digits.

    >>> shortest(7), shortest(0.23456), shortest(71234.5)
    ('7', '0.2346', '71,234')
    """
    if value is None or isinstance(value, int):
        return count(value)
    return (f"{value:,.0f}" if abs(value) >= 9999.5 else f"{value:.4g}").replace("-", "−")


FORMATS: dict[str, Callable[[Any], str]] = {
    "count": count,
    "how_many": how_many,
    "figure": figure,
    "percent": thousandths,
    "points": points,
    "compact": compact,
    "probability": probability,
    "years": years,
    "number": plain_number,
    "shortest": shortest,
}
"""The filters of the templates that turn one number into text."""


def traced(name: str) -> Callable[[Any], str]:
    """The filter of that name; numbers that know their place are marked with it."""
    return _marking(name, FORMATS[name])


def traced_duration(texts: Texts) -> Callable[[Any], str]:
    """The filter for hours, in the language of the texts; marked like the others."""
    return _marking("duration", lambda hours: duration(hours, texts))


def _marking(name: str, told: Callable[[Any], str]) -> Callable[[Any], str]:
    def filtered(value: Any) -> str:
        path = getattr(value, "path", None)
        return told(value) if path is None else marked(path, name, told(value))

    return filtered
