"""The page of a validation: one HTML file without scripts or network, made from `validation.json`."""

from __future__ import annotations

import importlib.resources

import altair as alt
import jinja2
from markupsafe import Markup

from claimscale import formatting
from claimscale.inference.validation_schema import Shown, Validation
from claimscale.inference.validation_text import VERSIONS, conclusions, with_interval
from claimscale.report.chart_theme import FAINT, PRETRAINED, Chart, styled
from claimscale.report.figures import inline_svg
from claimscale.report.i18n import Texts

COLOURS = {"as_is": PRETRAINED, "calibrated": "var(--both)", "recalibrated": "var(--lightgbm)"}
EXCLUDED = {
    "dead": "had died",
    "no_recent_contact": "no recent contact",
    "history_too_short": "history too short",
    "outcome_before_index": "had the outcome before",
    "excluded_code": "had an excluding code",
}
MEASURES = {
    "age_years": "Age",
    "history_years": "Length of history",
    "codes": "Number of codes",
    "unread_share": "Share of unread events",
}


def page(validation: Validation) -> str:
    """The page's HTML."""
    texts = Texts("en")
    charts = {}
    if validation.performance:
        charts = {
            "calibration": inline_svg(calibration_chart(validation), texts),
            "benefit": inline_svg(benefit_chart(validation), texts),
        }
    return (
        environment()
        .get_template("validation.html.j2")
        .render(
            validation=validation,
            charts=charts,
            versions=VERSIONS,
            excluded=EXCLUDED,
            measures=MEASURES,
            conclusions=conclusions(validation),
        )
    )


def environment() -> jinja2.Environment:
    """The templates of the pages of this folder, with the report's style as `css`."""
    css = (importlib.resources.files("claimscale.report") / "templates" / "report.css").read_text("utf-8")
    found = jinja2.Environment(
        loader=jinja2.PackageLoader("claimscale.inference"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {"estimate": with_interval, "count": shown_text, "percent": formatting.percent}
    found.globals["css"] = Markup(css)
    return found


def shown_text(count: Shown) -> str:
    """A count as it may be shown."""
    return "hidden" if count is None else count if isinstance(count, str) else f"{count:,}"


def calibration_chart(validation: Validation) -> Chart:
    """Observed shares by predicted risk, one line per version of the risks."""
    rows = [
        {"predicted": point.predicted, "observed": point.observed, "risks": VERSIONS[one.version]}
        for one in validation.performance
        for point in one.curve
    ]
    end = max((max(row["predicted"], row["observed"]) for row in rows), default=1.0)
    ideal = alt.Chart(alt.Data(values=[{"x": 0, "y": 0}, {"x": end, "y": end}]))
    ideal = ideal.mark_line(color=FAINT, strokeDash=[4, 4]).encode(x="x:Q", y="y:Q")
    line = alt.Chart(alt.Data(values=rows)).mark_line(point=True)
    line = line.encode(
        x=alt.X("predicted:Q", title="Predicted risk"),
        y=alt.Y("observed:Q", title="Observed share"),
        color=_colour(validation),
    )
    return styled([ideal, line])


def benefit_chart(validation: Validation) -> Chart:
    """Net benefit by risk threshold, and that of acting in everybody."""
    rows = [
        {"threshold": point.threshold, "benefit": point.net_benefit, "risks": VERSIONS[one.version]}
        for one in validation.performance
        for point in one.net_benefit
    ]
    everybody = [
        {"threshold": point.threshold, "benefit": max(point.treat_all, 0.0)}
        for point in validation.performance[0].net_benefit
    ]
    reference = alt.Chart(alt.Data(values=everybody)).mark_line(color=FAINT, strokeDash=[4, 4])
    reference = reference.encode(x="threshold:Q", y="benefit:Q")
    line = alt.Chart(alt.Data(values=rows)).mark_line(point=True)
    line = line.encode(
        x=alt.X("threshold:Q", title="Risk above which is acted", scale=alt.Scale(type="log")),
        y=alt.Y("benefit:Q", title="Net benefit per patient"),
        color=_colour(validation),
    )
    return styled([reference, line])


def _colour(validation: Validation) -> alt.Color:
    shown = [one.version for one in validation.performance]
    scale = alt.Scale(domain=[VERSIONS[v] for v in shown], range=[COLOURS[v] for v in shown])
    return alt.Color("risks:N", title=None, scale=scale)
