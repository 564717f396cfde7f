"""How every chart looks. Drawn for 400 pixels, the width of a phone.

Colours are CSS variables that the page defines, one set for light and one for dark.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from claimscale.report.texts import Texts

WIDTH, HEIGHT = 290, 210
FONT_SIZE = 13
INK, FAINT, GRID = "var(--ink)", "var(--faint)", "var(--grid)"
Chart = alt.LayerChart | alt.FacetChart


def styled(layers: Sequence[alt.Chart], width: int = WIDTH) -> Chart:
    """The layers as one chart in the report's style, `width` pixels wide inside its axes."""
    font = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"
    return (
        alt.layer(*layers)
        .properties(width=width, height=HEIGHT, background="transparent", padding=4)
        .configure(font=font)
        .configure_view(stroke=None)
        .configure_axis(
            labelColor=INK, titleColor=INK, gridColor=GRID, domainColor=FAINT, tickColor=FAINT,
            labelFontSize=FONT_SIZE, titleFontSize=FONT_SIZE, titleFontWeight="normal", titlePadding=8,
        )
        .configure_legend(
            orient="top", labelColor=INK, labelFontSize=FONT_SIZE, symbolOpacity=1, symbolSize=70, offset=4,
            columns=2, labelLimit=200,
        )
    )  # fmt: skip


def translated(content: Any, t: Texts, key: str = "") -> Any:
    """A chart's specification with what readers see in the language of the texts."""
    if isinstance(content, dict):
        return {name: translated(value, t, name) for name, value in content.items()}
    if isinstance(content, list):
        return [translated(value, t, key) for value in content]
    return t(content) if isinstance(content, str) and key in SEEN else content


SEEN = frozenset({"title", "text", "domain", "arm", "sex", "label"})
"""Keys of a specification, and fields of its rows, whose text is shown."""
