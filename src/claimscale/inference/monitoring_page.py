"""The page of a monitoring: one HTML file without scripts or network, made from `monitoring.json`."""

from __future__ import annotations

import altair as alt

from claimscale.inference.monitoring_schema import Monitoring
from claimscale.inference.monitoring_text import conclusions
from claimscale.inference.validation_page import MEASURES, environment
from claimscale.report.chart_theme import FAINT, PRETRAINED, Chart, styled
from claimscale.report.figures import inline_svg
from claimscale.report.i18n import Texts


def page(found: Monitoring) -> str:
    """The page's HTML."""
    texts = Texts("en")
    series = {
        "risk_psi": "Stability index of the risks",
        "unread_share": "Share of unread events",
        "mean_risk": "Mean risk",
    }
    charts = {name: chart for name, title in series.items() if (chart := line_chart(found, name, title))}
    if (calibration := calibration_chart(found)) is not None:
        charts["calibration"] = calibration
    return environment().get_template("monitoring.html.j2").render(
        found=found,
        charts={name: inline_svg(chart, texts) for name, chart in charts.items()},
        measures=MEASURES,
        conclusions=conclusions(found),
    )  # fmt: skip


def line_chart(found: Monitoring, name: str, title: str) -> Chart | None:
    """One number by date; None where no date has it."""
    rows = [{"date": str(one.date), "value": getattr(one, name)} for one in found.dates]
    rows = [row for row in rows if row["value"] is not None]
    if not rows:
        return None
    line = alt.Chart(alt.Data(values=rows)).mark_line(point=True, color=PRETRAINED)
    y = alt.Y("value:Q", title=title, scale=alt.Scale(zero=True))
    return styled([line.encode(x=_dates(), y=y)])


def calibration_chart(found: Monitoring) -> Chart | None:
    """Observed per expected outcomes by date, with intervals; None if none are known."""
    rows = [
        {"date": str(one.date), "low": ratio.low, "value": ratio.estimate, "high": ratio.high}
        for one in found.dates
        if (ratio := one.observed_expected).estimate is not None and None not in (ratio.low, ratio.high)
    ]
    if not rows:
        return None
    data = alt.Data(values=rows)
    ideal = alt.Chart(alt.Data(values=[{"y": 1}])).mark_rule(color=FAINT, strokeDash=[4, 4]).encode(y="y:Q")
    y = alt.Y("low:Q", title="Observed per expected", scale=alt.Scale(zero=False))
    interval = alt.Chart(data).mark_rule(color=PRETRAINED).encode(x=_dates(), y=y, y2="high:Q")
    point = alt.Chart(data).mark_point(filled=True, color=PRETRAINED, opacity=1)
    return styled([ideal, interval, point.encode(x=_dates(), y="value:Q")])


def _dates() -> alt.X:
    return alt.X("date:T", title=None, axis=alt.Axis(format="%Y-%m", labelOverlap="greedy", grid=False))
