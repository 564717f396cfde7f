"""Explanations as one self-contained HTML file each, in the look of the report, without script or network."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import altair as alt
import jinja2
import vl_convert
from markupsafe import Markup

from claimscale import __version__, formatting
from claimscale.codes.systems import TYPES, type_of
from claimscale.inference.explanation_schema import (
    FEWEST_PATIENTS,
    CohortExplanation,
    Contribution,
    PatientExplanation,
)
from claimscale.inference.explanation_text import correlation_text, input_name, odds_ratio
from claimscale.report.chart_theme import FAINT, INK, Chart, styled

SHOWN_ROWS, SHOWN_BARS = 30, 20
LOWER, NONE, HIGHER = "#0067a8", "#d8d8d4", "#c8500a"
"""Colours of contributions that lower and raise the risk, and of none; each is readable on both grounds."""
WIDTH = 860
LANE_GAP, SLOT_PIXELS, MOST_SLOTS = 1.5, 9, 24
"""Room between lanes, in marks; height of a mark; most marks above each other."""
LANES = [name for name in TYPES if name not in ("special", "sex")]


def patient_html(found: PatientExplanation) -> str:
    """The page of one patient."""
    rows = [one for one in found.contributions if one.contribution][:SHOWN_ROWS]
    removals = {(one.code, one.suspected): one for one in found.removals}
    return _page(
        "patient_explanation.html.j2",
        found=found,
        rows=rows,
        removals=removals,
        timeline=_svg(timeline(found.contributions)) if found.visits else None,
        visits=sorted(found.visits, key=lambda visit: -abs(visit.contribution))[:10],
    )


def cohort_html(found: CohortExplanation) -> str:
    """The page of a cohort; it names no patient."""
    return _page(
        "cohort_explanation.html.j2", found=found, bars=_svg(bars(found)), rows=found.inputs[:SHOWN_ROWS]
    )


def timeline(contributions: Sequence[Contribution]) -> Chart:
    """Codes by day, coloured by contribution, in one lane per type; the codes of a day are stacked."""
    dated = [one for one in contributions if one.day is not None]
    stacks: Counter[tuple[str, Any]] = Counter()
    rows: list[dict[str, Any]] = []
    for one in dated:  # the largest contributions first, at the foot of each stack
        lane = type_of(one.name, one.suspected)
        slot, stacks[lane, one.day] = stacks[lane, one.day], stacks[lane, one.day] + 1
        rows.append({"lane": lane, "slot": min(slot, MOST_SLOTS), "one": one})
    heights: dict[str, int] = defaultdict(int)
    for row in rows:
        heights[row["lane"]] = max(heights[row["lane"]], row["slot"] + 1)
    starts, top = {}, 0.0
    for lane in reversed([lane for lane in LANES if lane in heights]):
        starts[lane] = top
        top += heights[lane] + LANE_GAP
    points = [
        {
            "day": row["one"].day.isoformat(),
            "y": starts[row["lane"]] + row["slot"],
            "contribution": row["one"].contribution,
            "detail": _detail(row["one"]),
        }
        for row in reversed(rows)
    ]
    labels = ", ".join(f"'{start:g}': '{lane}'" for lane, start in starts.items())
    largest = max(abs(one.contribution) for one in dated) or 1.0
    y = alt.Y("y:Q", title=None).scale(domain=[-1, top], nice=False)
    y = y.axis(values=list(starts.values()), labelExpr=f"{{{labels}}}[format(datum.value, '~g')]")
    colour = alt.Color("contribution:Q", title="log odds")
    colour = colour.scale(domain=[-largest, 0, largest], range=[LOWER, NONE, HIGHER], interpolate="rgb")
    chart = alt.Chart(alt.Data(values=points)).mark_circle(size=70, opacity=1, stroke=FAINT, strokeWidth=0.4)
    chart = chart.encode(
        x=alt.X("day:T", title=None)
        .scale(padding=10)
        .axis(grid=False, format="%Y-%m", labelOverlap="greedy"),
        y=y,
        color=colour.legend(orient="top", gradientLength=180, titleColor=INK, format=".2f"),
        description="detail:N",
    )
    return styled([chart], WIDTH).properties(height=max(80, SLOT_PIXELS * (top + 1)))


def bars(found: CohortExplanation) -> Chart:
    """Mean absolute contributions of the first inputs."""
    rows = [
        {
            "name": input_name(one.kind, one.name, one.suspected),
            "value": one.mean_absolute,
            "detail": f"{input_name(one.kind, one.name, one.suspected)}: {one.mean_absolute:.4f} log odds",
        }
        for one in found.inputs[:SHOWN_BARS]
    ]
    chart = alt.Chart(alt.Data(values=rows)).mark_bar(color=LOWER, height={"band": 0.7})
    chart = chart.encode(
        x=alt.X("value:Q", title="Mean absolute contribution (log odds)"),
        y=alt.Y("name:N", title=None, sort=None).axis(grid=False, labelLimit=320),
        description="detail:N",
    )
    return styled([chart], 700).properties(height=18 * max(len(rows), 1))


def _detail(one: Contribution) -> str:
    """What a mark says when a pointer rests on it."""
    name = input_name(one.kind, one.name, one.suspected)
    count = f", {one.count} occurrences" if one.count and one.count > 1 else ""
    return f"{name}, {one.day}{count}: {one.contribution:+.3f} log odds, odds {odds_ratio(one.odds_ratio)}"


def _svg(chart: Chart) -> Markup:
    """The chart as SVG that fills the width; descriptions of marks become titles, which browsers show."""
    svg = vl_convert.vegalite_to_svg(chart.to_dict())
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(
        r'<path aria-label="([^"]*)" role="graphics-symbol"([^>]*?)/?>(?:</path>)?',
        r"<path\2><title>\1</title></path>",
        svg,
    )
    svg = re.sub(r' (?:role|aria-[a-z]+)="[^"]*"', "", svg)
    return Markup(svg.replace("<svg", '<svg aria-hidden="true"', 1))


def _page(template: str, **content: Any) -> str:
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [jinja2.PackageLoader("claimscale.inference"), jinja2.PackageLoader("claimscale.report")]
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": formatting.count,
        "figure": formatting.figure,
        "percent": formatting.percent,
        "odds_ratio": odds_ratio,
        "correlation": correlation_text,
    }
    environment.globals |= {"version": __version__, "input_name": input_name, "fewest": FEWEST_PATIENTS}
    return environment.get_template(template).render(**content)
