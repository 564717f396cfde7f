"""How every chart looks. Drawn for 400 pixels, the width of a phone.

Colours are CSS variables that the page defines, one set for light and one for dark.
"""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

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
