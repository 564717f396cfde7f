"""The style of every chart, for a width of 400 pixels, that of a phone.

Colours are CSS variables that the page defines, one set for light and one for dark.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from claimscale.report.i18n import Texts

WIDTH, HEIGHT = 290, 210
FONT = (
    "system-ui, -apple-system, 'Segoe UI', Roboto, 'Hiragino Sans', 'Noto Sans JP', 'Noto Sans CJK JP', "
    "'Yu Gothic UI', sans-serif"
)
"""As on the page (report.css)."""
FONT_SIZE = 13
INK, FAINT, GRID = "var(--ink)", "var(--faint)", "var(--grid)"
PRETRAINED = "var(--pretrained)"
Chart = alt.LayerChart | alt.FacetChart


def styled(layers: Sequence[alt.Chart], width: int = WIDTH) -> Chart:
    """The layers as one chart in the report's style, `width` pixels wide inside its axes."""
    return (
        alt.layer(*layers)
        .properties(width=width, height=HEIGHT, background="transparent", padding=4)
        .configure(font=FONT)
        .configure_view(stroke=None)
        .configure_axis(
            labelColor=INK, titleColor=INK, gridColor=GRID, domainColor=FAINT, tickColor=FAINT,
            labelFontSize=FONT_SIZE, titleFontSize=FONT_SIZE, titleFontWeight="normal", titlePadding=8,
        )
        .configure_legend(
            orient="top", labelColor=INK, labelFontSize=FONT_SIZE, symbolOpacity=1, symbolSize=70, offset=4,
            columns=2, labelLimit=240,
        )
    )  # fmt: skip


def size_axis(names: Mapping[int, str], field: str = "parameters") -> alt.X:
    """A logarithmic axis of parameters with a tick at each size, by its name."""
    sizes = sorted(names)
    labels = ", ".join(f"'{size}': '{names[size]}'" for size in sizes)
    x = alt.X(f"{field}:Q", title="Model size (parameters)")
    x = x.scale(type="log", nice=False, domain=padded(sizes))
    return x.axis(values=sizes, labelExpr=f"{{{labels}}}[datum.value]", labelOverlap="greedy", grid=False)


def padded(places: Sequence[float]) -> list[float]:
    """A logarithmic domain with room at both ends."""
    room = (places[-1] / places[0]) ** 0.08 if len(places) > 1 else 2.0
    return [places[0] / room, places[-1] * room]


def translated(content: Any, t: Texts, key: str = "") -> Any:
    """A chart's specification with what readers see in the language of the texts."""
    if isinstance(content, dict):
        return {name: translated(value, t, name) for name, value in content.items()}
    if isinstance(content, list):
        return [translated(value, t, key) for value in content]
    return t(content) if isinstance(content, str) and key in SEEN else content


SEEN = frozenset({"title", "text", "domain", "arm", "sex", "label"})
"""Keys of a specification, and fields of its rows, whose text is shown."""
