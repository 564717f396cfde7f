"""Findings: what the software has to say, as a code with parameters, and the text in each language.

A finding is made where its cause is known and rendered where it is read. The catalogue
`messages/<language>.yaml` holds one message per code, a format string with named, typed placeholders:
`{n:count}`, `{share:percent}`. A parameter may itself be a finding.
"""

from __future__ import annotations

import functools
import importlib.resources
import string
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, computed_field

from claimscale import formatting

LANGUAGES = ("en", "ja")


def _plain(value: Any) -> Any:
    """A NumPy scalar as a Python number."""
    return value.item() if hasattr(value, "item") else value


Scalar = str | int | float | None
Value = Annotated[
    "Finding | dict[str, float | None] | list[Finding | Scalar] | Scalar", BeforeValidator(_plain)
]
"""A parameter: a scalar, an interval (`estimate`, `low`, `high`), a finding, or a list."""


class Finding(BaseModel):
    """One statement: `code` names a message of the catalogue, `parameters` fill its placeholders.

    JSON holds the rendered English `text` too, for readers of the file; reading ignores it.
    """

    model_config = ConfigDict(frozen=True)

    code: str
    parameters: dict[str, Value] = {}

    @computed_field
    @property
    def text(self) -> str:
        """The message in English."""
        return self.render("en")

    def render(self, language: str) -> str:
        """The message in `language`. Raises KeyError for a code or a parameter that is missing."""
        return _Renderer(language).format(catalogue(language)[self.code], **self.parameters)

    def with_counts(self, change: Callable[[int], int | str]) -> Finding:
        """The finding with each number of patients (placeholder type `count`) replaced by `change` of it."""
        counted = {name for name, kind in placeholders(catalogue("en")[self.code]) if kind == "count"}
        parameters = {
            name: change(value)
            if name in counted and isinstance(value, int)
            else _each(value, lambda one: one.with_counts(change))
            for name, value in self.parameters.items()
        }
        return Finding(code=self.code, parameters=parameters)


def finding(code: str, **parameters: Any) -> Finding:
    """A finding.

    >>> finding("limitation.overfitting", gap=0.031).text
    'Pretraining overfits: the loss on training patients is 3.1 % lower than on other patients.'
    """
    return Finding(code=code, parameters=parameters)


def sentences(parts: Sequence[Finding]) -> Finding:
    """Several findings as one; a single one as it is."""
    return parts[0] if len(parts) == 1 else finding("list.sentences", parts=list(parts))


@functools.cache
def catalogue(language: str) -> Mapping[str, str]:
    """Messages by code. The file groups codes: `group: {name: message}` is the code `group.name`."""
    file = importlib.resources.files("claimscale.messages") / f"{language}.yaml"
    groups: dict[str, dict[str, str]] = yaml.safe_load(file.read_text("utf-8"))
    return {f"{group}.{name}": text for group, names in groups.items() for name, text in names.items()}


def placeholders(message: str) -> list[tuple[str, str]]:
    """The placeholders of a message, each with its type.

    >>> placeholders("{n:count} of {size}")
    [('n', 'count'), ('size', '')]
    """
    parsed = string.Formatter().parse(message)
    return [(name, kind or "") for _, name, kind, _ in parsed if name is not None]


class _Renderer(string.Formatter):
    """Fills the placeholders of messages in one language."""

    def __init__(self, language: str) -> None:
        self.language = language

    def format_field(self, value: Any, format_spec: str) -> str:
        if isinstance(value, Finding):
            return value.render(self.language)
        if isinstance(value, list):
            separator = "list.space" if format_spec == "sentences" else "list.comma"
            kind = "" if format_spec == "sentences" else format_spec
            return catalogue(self.language)[separator].join(self.format_field(one, kind) for one in value)
        if format_spec in TYPES:
            return TYPES[format_spec](value)
        if format_spec == "duration":
            return duration(value).render(self.language)
        if format_spec == "interval":
            return interval(value).render(self.language)
        if format_spec:
            raise ValueError(f"unknown type of placeholder: {format_spec}")
        return str(value)


TYPES: Mapping[str, Callable[[Any], str]] = {
    "count": formatting.count,
    "number": formatting.count,
    "figure": formatting.figure,
    "two_decimals": lambda value: formatting.figure(value, 2),
    "percent": formatting.percent,
    "rough_percent": formatting.rough_percent,
    "points": formatting.points,
    "rounded": formatting.rounded,
    "rate": formatting.rate,
    "probability": formatting.probability,
}
"""Types of placeholders; `count` is a number of patients, `number` any other whole number.

Also `duration` (hours), `interval`, and for lists `sentences` or the type of the elements.
"""


def duration(hours: float | None) -> Finding:
    """A time in the unit that suits it.

    >>> [duration(hours).text for hours in (178.2, 1234.6, 999.6, 0.25, 0.004)]
    ['178 hours', '1,235 hours', '1,000 hours', '15 minutes', '14 seconds']
    """
    if hours is None:
        return finding("number.unknown")
    if hours >= 1:
        # From a thousand up, three digits would be written as a power of ten.
        digits = f"{hours:,.0f}" if hours >= formatting.ROUNDS_UP else f"{hours:.3g}"
        return finding("number.hours", n=digits)
    if 60 * hours >= 1:
        return finding("number.minutes", n=f"{60 * hours:.2g}")
    return finding("number.seconds", n=f"{3600 * hours:.2g}")


def interval(entry: Mapping[str, float | None]) -> Finding:
    """An estimate with its 95 % interval, from a mapping `estimate`, `low`, `high`."""
    if entry["low"] is None or formatting.figure(entry["low"]) == formatting.UNKNOWN:
        return finding("number.no_interval", estimate=entry["estimate"])
    return finding("number.interval", **entry)


def _each(value: Any, change: Callable[[Finding], Finding]) -> Any:
    """The value with every finding in it replaced."""
    if isinstance(value, list):
        return [_each(one, change) for one in value]
    return change(value) if isinstance(value, Finding) else value


Finding.model_rebuild()
