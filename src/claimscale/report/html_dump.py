"""Any part of a summary as HTML: a mapping as terms, a list of mappings as a table, all else as text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from markupsafe import Markup, escape

from claimscale.report.i18n import Texts

INTERVALS = ({"estimate", "low", "high"}, {"difference", "low", "high"})
"""Keys of an estimate with its bounds, which are told in one line."""


def listing(content: Any, t: Texts, number: Callable[[Any], str]) -> Markup:
    """The content, nested as it is; numbers go through `number`, names through the catalogue."""

    def inner(value: Any) -> Markup:
        return listing(value, t, number)

    def named(name: str) -> Markup:
        return escape(t(name.replace("_", " ")))

    if isinstance(content, Mapping) and content.keys() in INTERVALS:
        estimate, low, high = content.values()
        if low is None or high is None:
            return inner(estimate)
        return Markup("{} ({} {} {})").format(inner(estimate), inner(low), t("to"), inner(high))
    if isinstance(content, Mapping):
        terms = [
            Markup("<dt>{}</dt><dd>{}</dd>").format(named(key), inner(value))
            for key, value in content.items()
        ]
        return Markup('<dl class="listing">{}</dl>').format(Markup("").join(terms))
    if isinstance(content, list) and content and all(isinstance(row, Mapping) for row in content):
        names = list(dict.fromkeys(key for row in content for key in row))
        head = Markup("").join(Markup('<th scope="col">{}</th>').format(named(name)) for name in names)
        rows = [
            Markup("<tr>{}</tr>").format(
                Markup("").join(Markup("<td>{}</td>").format(inner(row.get(name))) for name in names)
            )
            for row in content
        ]
        return Markup(
            '<div class="scroll" tabindex="0" role="region" aria-label="{}"><table>'
            "<thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>"
        ).format(t("Table"), head, Markup("").join(rows))
    if isinstance(content, list):
        return escape(t(", ")).join(inner(value) for value in content)
    if content is None:
        return Markup("–")
    if isinstance(content, bool):
        return escape(t("yes") if content else t("no"))
    if isinstance(content, int | float):
        return escape(number(content))
    return escape(t.sentence(str(content)))
