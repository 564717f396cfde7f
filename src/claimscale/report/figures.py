"""The static figures of a report: pretraining and cohort, as Altair charts and as SVG.

The figures of each task are made in the page by `templates/report.js`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import altair as alt
import vl_convert
from markupsafe import Markup

from claimscale.report.chart_theme import FAINT, FONT_SIZE, Chart, translated
from claimscale.report.cohort_charts import cohort_charts, hidden_notes
from claimscale.report.i18n import Texts
from claimscale.report.pretraining_charts import pretraining_charts
from claimscale.summary.schema import Summary


def charts(summary: Summary) -> dict[str, Chart]:
    """The charts by name; one without data is left out."""
    svg = pretraining_charts(summary.sizes, summary.loss_fit)
    if summary.dataset.description:
        svg |= cohort_charts(summary.dataset.description)
    return {name: chart for name, chart in svg.items() if chart is not None}


def notes(summary: Summary) -> dict[str, str]:
    """What a caption must add where a chart does not show every count, by the chart's name."""
    description = summary.dataset.description
    return hidden_notes(description) if description else {}


def inline_svg(chart: Chart, t: Texts) -> Markup:
    """A chart as SVG for the page: it fills the width and takes the page's colours."""
    svg = vl_convert.vegalite_to_svg(translated(chart.to_dict(), t))
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r"\1", svg, count=1)
    # The caption describes the figure; a screen reader would read hundreds of labelled marks.
    svg = re.sub(r' (?:role|aria-[a-z]+)="[^"]*"', "", svg)
    return Markup(svg.replace("<svg", '<svg aria-hidden="true"', 1))


def plain_svg(chart: Chart, t: Texts, colours: Mapping[str, str], note: str | None = None) -> str:
    """A chart as SVG for a file: white ground, `colours` by variable, the note of its caption above."""
    if note:
        above = alt.TitleParams(
            note, anchor="start", fontSize=FONT_SIZE - 1, fontWeight="normal", color=FAINT
        )
        chart = chart.properties(title=above)
    svg = vl_convert.vegalite_to_svg(translated(chart.to_dict(), t) | {"background": "#ffffff"})
    return re.sub(r"var\((--[a-z-]+)\)", lambda match: colours[match[1]], svg)
