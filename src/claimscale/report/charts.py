"""The summary as charts: a dictionary in, Altair charts out.

Pretrained, scratch and LightGBM use blue, orange and green of the Okabe-Ito palette, which colour-blind
readers can tell apart; its purple, yellow and grey are for the other baselines. Shapes and dashes repeat what
colours say.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from claimscale.report.chart_theme import (
    FAINT,
    FONT_SIZE,
    HEIGHT,
    INK,
    PRETRAINED,
    WIDTH,
    Chart,
    padded,
    size_axis,
    styled,
)
from claimscale.report.cohort_charts import cohort_charts, hidden_notes
from claimscale.report.pretraining_charts import pretraining_charts
from claimscale.summary.verdict_text import METRIC_NAMES

LINE_HEIGHT = 15
ARMS = {
    "pretrained": ("Pretrained", PRETRAINED, "circle"),
    "scratch": ("From scratch", "var(--scratch)", "square"),
    "lightgbm": ("LightGBM", "var(--lightgbm)", "diamond"),
    "logistic": ("Logistic regression", "var(--logistic)", "triangle-up"),
    "outcome_history": ("Carry-forward", "var(--carry-forward)", "cross"),
    "lightgbm_embeddings": ("LightGBM on embeddings", "var(--embeddings)", "triangle-down"),
    "lightgbm_counts_and_embeddings": ("LightGBM on both", "var(--both)", "triangle-right"),
    "ensemble": ("Encoder and LightGBM", "var(--averaged)", "triangle-left"),
}
Summary = Mapping[str, Any]


def charts(summary: Summary) -> dict[str, Chart]:
    """All charts by name; one that has nothing to show is left out.

    `<task>/size`, `<task>/patients`, `<task>/calibration` per task, and those of `page_charts`.
    """
    drawn: dict[str, Chart | None] = {}
    for task in summary["tasks"]:
        drawn[f"{task['name']}/size"] = metric_by_size(task)
        drawn[f"{task['name']}/patients"] = metric_by_patients(task)
        drawn[f"{task['name']}/calibration"] = calibration(task)
    return {name: chart for name, chart in drawn.items() if chart is not None} | page_charts(summary)


def page_charts(summary: Summary) -> dict[str, Chart]:
    """Charts of the whole study: those of `pretraining_charts` and of the cohort (`cohort/...`)."""
    drawn = pretraining_charts(summary["sizes"], summary.get("loss_fit"))
    if description := summary["dataset"].get("description"):
        drawn |= cohort_charts(description)
    return {name: chart for name, chart in drawn.items() if chart is not None}


def notes(summary: Summary) -> dict[str, str]:
    """What the captions of some charts must say besides, by the chart's name."""
    description = summary["dataset"].get("description")
    return hidden_notes(description) if description else {}


def main_results(task: Summary) -> list[Summary]:
    """Held-out results at the largest number of labelled patients: what verdicts rest on."""
    held_out = [result for result in task["results"] if result["split"] == "held_out"]
    encoders = [result for result in held_out if result["size"] is not None]
    largest = max((result["n_labelled"] for result in encoders or held_out), default=0)
    return [result for result in held_out if result["n_labelled"] == largest]


def metric_by_size(task: Summary) -> Chart | None:
    """The metric against parameters, with intervals; rules for LightGBM, the oracle and the prevalence."""
    metric = task["saturation"]["metric"]
    results = main_results(task)
    rows = [
        {**_point(result, metric), "parameters": result["parameters"]}
        for result in results
        if result["size"] is not None and result[metric]["estimate"] is not None
    ]
    if not rows:
        return None
    names = {result["parameters"]: result["size"] for result in results if result["size"] is not None}
    rules = _rules(task, results, metric)
    low, high = _domain(rows)
    near = [rule["value"] for rule in rules if rule["value"] > low - 0.5 * (high - low)]
    domain = _domain([*rows, *({"low": value, "high": value, "estimate": value} for value in near)])
    arms = [name for name, _, _ in _shown(rows)]
    shifted = [_shifted(row, "parameters", sorted(names), arms) for row in rows]
    x = size_axis(names, "shifted")
    return styled(
        [*_rule_layers(rules, domain), *_lines(shifted, x, METRIC_NAMES[metric], domain)],
        width=WIDTH - 70 if rules else WIDTH,
    )


def metric_by_patients(task: Summary) -> Chart | None:
    """The metric against labelled patients: the largest encoder per arm, and all baselines."""
    metric = task["saturation"]["metric"]
    held_out = [result for result in task["results"] if result["split"] == "held_out"]
    largest = max((result["parameters"] or 0 for result in held_out), default=0)
    rows = [
        {**_point(result, metric), "patients": result["n_labelled"]}
        for result in held_out
        if result["parameters"] in (None, largest) and result[metric]["estimate"] is not None
    ]
    counts = sorted({row["patients"] for row in rows})
    if len(counts) < 2:
        return None
    x = alt.X("shifted:Q", title="Labelled patients").scale(type="log", nice=False, domain=padded(counts))
    x = x.axis(values=counts, format=",", labelOverlap="greedy", grid=False)
    arms = [name for name, _, _ in _shown(rows)]
    shifted = [_shifted(row, "patients", counts, arms) for row in rows]
    return styled(_lines(shifted, x, METRIC_NAMES[metric], _domain(rows)))


def calibration(task: Summary) -> Chart | None:
    """Observed against predicted risk, for the largest encoder per arm and LightGBM."""
    results = main_results(task)
    largest = max((result["parameters"] or 0 for result in results), default=0)
    rows = [
        {**point, "arm": ARMS[result["arm"]][0]}
        for result in results
        if result["parameters"] == largest or result["arm"] == "lightgbm"
        for point in result["calibration"].get("curve", [])
    ]
    if not rows:
        return None
    top = max(max(row["predicted"], row["observed"]) for row in rows)
    scale = alt.Scale(domain=[0, top * 1.05])
    diagonal = alt.Chart(alt.Data(values=[{"risk": 0}, {"risk": top}])).mark_line(
        stroke=FAINT, strokeDash=[3, 3], strokeWidth=1.2
    )
    x = alt.X("predicted:Q", title="Predicted risk").scale(scale).axis(format="%", tickCount=5)
    y = alt.Y("observed:Q", title="Observed share").scale(scale).axis(format="%", tickCount=5)
    base = alt.Chart(alt.Data(values=rows)).encode(x=x, y=y, color=_colour(rows))
    return styled(
        [
            diagonal.encode(x=alt.X("risk:Q"), y=alt.Y("risk:Q")),
            base.mark_line(strokeWidth=1.8),
            base.mark_point(filled=True, size=42, opacity=1).encode(shape=_shape(rows)),
        ]
    )


def _point(result: Summary, metric: str) -> dict[str, Any]:
    return {"arm": ARMS[result["arm"]][0], **result[metric]}


def _shifted(row: dict[str, Any], axis: str, places: Sequence[float], arms: Sequence[str]) -> dict[str, Any]:
    """Move the arms that are shown a little apart, so that their intervals do not cover each other."""
    width = math.log(places[-1] / places[0]) if len(places) > 1 else 1.0
    offset = (arms.index(row["arm"]) - (len(arms) - 1) / 2) * 0.018 * width
    return {**row, "shifted": row[axis] * math.exp(offset)}


def _domain(rows: Sequence[Summary]) -> list[float]:
    """From the lowest bound to the highest, with a little room."""
    ends = [
        value for row in rows for value in (row["low"], row["high"], row["estimate"]) if value is not None
    ]
    room = 0.05 * (max(ends) - min(ends)) or 0.01
    return [max(min(ends) - room, 0.0), min(max(ends) + room, 1.0)]


def _lines(rows: Sequence[Summary], x: alt.X, title: str, domain: Sequence[float]) -> list[alt.Chart]:
    base = alt.Chart(alt.Data(values=list(rows))).encode(x=x, color=_colour(rows))
    y = alt.Y("estimate:Q", title=title).scale(zero=False, nice=False, domain=list(domain))
    y = y.axis(tickCount=6)
    bounded = [row for row in rows if row["low"] is not None]
    bars = alt.Chart(alt.Data(values=bounded)).mark_rule(strokeWidth=1.6, opacity=0.75)
    return [
        bars.encode(x=x, y=alt.Y("low:Q"), y2=alt.Y2("high:Q"), color=_colour(rows)),
        base.mark_line(strokeWidth=2).encode(y=y),
        base.mark_point(filled=True, size=58, opacity=1).encode(y=y, shape=_shape(rows)),
    ]


def _rules(task: Summary, results: Sequence[Summary], metric: str) -> list[dict[str, Any]]:
    """Horizontal references: their value, label and colour."""
    rules = []
    for result in results:
        if result["arm"] == "lightgbm":
            rules.append(
                {"value": result[metric]["estimate"], "label": "LightGBM", "colour": ARMS["lightgbm"][1]}
            )
    if task["oracle"] is not None:
        rules.append({"value": task["oracle"][metric]["estimate"], "label": "reachable", "colour": INK})
    if metric == "auprc":
        rules.append({"value": task["prevalence"], "label": "prevalence", "colour": FAINT})
    return [rule for rule in rules if rule["value"] is not None]


def _rule_layers(rules: Sequence[Mapping[str, Any]], domain: Sequence[float]) -> list[alt.Chart]:
    """Rules labelled at their right ends; labels make way for each other.

    A rule far below everything else would squash the rest: it is named at the lower edge instead.
    """
    layers, taken = [], -math.inf
    for rule in sorted(rules, key=lambda rule: -rule["value"]):
        inside = rule["value"] >= domain[0]
        place = HEIGHT * (domain[1] - rule["value"]) / (domain[1] - domain[0])
        taken = max(min(place, HEIGHT - 4), taken + LINE_HEIGHT)
        base = alt.Chart(alt.Data(values=[rule]))
        if inside:
            line = base.mark_rule(stroke=rule["colour"], strokeDash=[5, 4], strokeWidth=1.5)
            layers.append(line.encode(y=alt.Y("value:Q")))
        words = [(4, rule["label"])] if inside else [(4, "↓"), (16, rule["label"])]
        for gap, text in words:
            mark = base.mark_text(
                align="left", baseline="middle", fontSize=FONT_SIZE - 1, fill=rule["colour"], text=text
            )
            layers.append(mark.encode(x=alt.value(WIDTH - 70 + gap), y=alt.value(taken)))
    return layers


def _colour(rows: Sequence[Summary]) -> alt.Color:
    shown = _shown(rows)
    return alt.Color("arm:N", title=None).scale(
        domain=[name for name, _, _ in shown], range=[colour for _, colour, _ in shown]
    )


def _shape(rows: Sequence[Summary]) -> alt.Shape:
    shown = _shown(rows)
    return alt.Shape("arm:N", title=None).scale(
        domain=[name for name, _, _ in shown], range=[shape for _, _, shape in shown]
    )


def _shown(rows: Sequence[Summary]) -> list[tuple[str, str, str]]:
    present = {row["arm"] for row in rows}
    return [arm for arm in ARMS.values() if arm[0] in present]
