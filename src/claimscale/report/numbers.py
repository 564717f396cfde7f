"""Numbers for reading, as the page shows them, each with the place in the summary that it comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from markupsafe import Markup

from claimscale.report.answers import figure, percent
from claimscale.report.texts import Texts


class Whole(int):
    """A whole number of the summary that knows its place there."""

    path: str


class Real(float):
    """A number of the summary that knows its place there."""

    path: str


def placed(content: Any, path: str = "") -> Any:
    """The same content with numbers that know their places: `tasks.0.positives`."""
    if isinstance(content, Mapping):
        return {key: placed(value, f"{path}.{key}" if path else str(key)) for key, value in content.items()}
    if isinstance(content, list):
        return [
            placed(value, f"{path}.{place}" if path else str(place)) for place, value in enumerate(content)
        ]
    if isinstance(content, bool) or not isinstance(content, int | float):
        return content
    number = Whole(content) if isinstance(content, int) else Real(content)
    number.path = path
    return number


def share(part: Any, whole: Any) -> str:
    """A part in percent; nothing where either is hidden."""
    known = isinstance(part, int | float) and isinstance(whole, int | float) and whole
    return percent(part / whole) if known else ""


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
    return "–" if value is None else compact_number(value / 365.25)


def plain_number(value: float | None) -> str:
    return "–" if value is None else compact_number(value)


def compact_number(value: float) -> str:
    """One decimal below a hundred, none above or for whole numbers.

    >>> compact_number(71.26), compact_number(12345.6), compact_number(5.0)
    ('71.3', '12,346', '5')
    """
    return f"{value:.1f}" if abs(value) < 100 and value != int(value) else f"{value:,.0f}"


def compact(value: float | None) -> str:
    """Three digits and a unit.

    >>> compact(1_602_004), compact(2.41e12), compact(640)
    ('1.6M', '2.41T', '640')
    """
    if value is None:
        return "–"
    for unit, scale in (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= scale:
            return f"{value / scale:.3g}{unit}"
    return f"{value:.3g}"


def duration(hours: float | None, texts: Texts) -> str:
    """Hours in the unit a reader would say."""
    if hours is None:
        return "–"
    if hours >= 1:
        return texts("{n} hours", n=f"{hours:.3g}")
    return (
        texts("{n} minutes", n=f"{60 * hours:.2g}")
        if hours >= 1 / 60
        else texts("{n} seconds", n=f"{3600 * hours:.2g}")
    )


def shortest(value: int | float | None) -> str:
    """Whole numbers in full, others to four digits."""
    if value is None or isinstance(value, int):
        return count(value)
    return f"{value:.4g}".replace("-", "−")


FORMATS: dict[str, Callable[[Any], str]] = {
    "count": count,
    "figure": figure,
    "percent": thousandths,
    "points": points,
    "compact": compact,
    "years": years,
    "number": plain_number,
    "shortest": shortest,
}
"""The filters of the templates that turn one number into text."""


def traced(name: str) -> Callable[[Any], str]:
    """The filter of that name; numbers that know their place are marked with it."""
    told = FORMATS[name]

    def filtered(value: Any) -> str:
        path = getattr(value, "path", None)
        if path is None:
            return told(value)
        return Markup('<data data-path="{}" data-as="{}">{}</data>').format(path, name, told(value))

    return filtered


def traced_duration(texts: Texts) -> Callable[[float | None], str]:
    """The filter for hours, in the language of the texts; marked like the others."""

    def filtered(hours: float | None) -> str:
        path = getattr(hours, "path", None)
        told = duration(hours, texts)
        return (
            told
            if path is None
            else Markup('<data data-path="{}" data-as="duration">{}</data>').format(path, told)
        )

    return filtered
