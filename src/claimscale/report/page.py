"""The summary as one self-contained HTML file: no script, no network, figures as inline SVG."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup

from claimscale import runs
from claimscale.report import plots
from claimscale.report.answers import METRIC_NAMES, RIVALS, duration, figure, overtaking, percent
from claimscale.study import ON_EMBEDDINGS

ARM_NAMES = {arm: name for arm, (name, _, _) in plots.ARMS.items()}
SPLIT_NAMES = {
    "held_out": "Held-out patients",
    "hospital": "Held-out hospitals",
    "temporal": "Later in time",
}
GROUP_NAMES = {
    "all": "All",
    "train": "Training",
    "tuning": "Tuning",
    "held_out": "Held-out",
    "hospital": "Held-out hospitals",
}
VERDICT_NAMES = {
    "saturated": "A smaller model is good enough",
    "not_saturated": "Size still pays",
    "inconclusive": "Not decided",
}


def render(summary: Mapping[str, Any], study_yaml: str, target: Path) -> None:
    """Write the report of a summary (as read from `summary.json`) and its resolved settings to `target`."""
    runs.write_text(target, html(summary, study_yaml))


def html(summary: Mapping[str, Any], study_yaml: str) -> str:
    """The report's page. Every number in it comes from the summary."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("claimscale.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "figure": figure,
        "percent": percent,
        "duration": duration,
        "count": count,
        "cell": cell,
        "spread": spread,
        "compact": compact,
        "anchor": anchor,
        "overtaking": overtaking,
    }
    return environment.get_template("report.html.j2").render(
        summary=summary,
        study_yaml=study_yaml,
        figures={name: svg(chart) for name, chart in plots.charts(summary).items()},
        tables={task["name"]: forest(task) for task in summary["tasks"]},
        other_splits={task["name"]: other_splits(task) for task in summary["tasks"]},
        arm_names=ARM_NAMES,
        split_names=SPLIT_NAMES,
        group_names=GROUP_NAMES,
        verdict_names=VERDICT_NAMES,
        rivals=list(RIVALS.values()),
        on_embeddings=sorted(ON_EMBEDDINGS),
        metric_names=METRIC_NAMES,
    )


def svg(chart: plots.Chart) -> Markup:
    """A chart as SVG that fills its place."""
    drawn = vl_convert.vegalite_to_svg(chart.to_dict())
    drawn = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r"\1", drawn, count=1)
    # The figure's caption says what is to be seen; hundreds of labelled marks would only be noise.
    drawn = re.sub(r' (?:role|aria-[a-z]+)="[^"]*"', "", drawn)
    return Markup(drawn.replace("<svg", '<svg aria-hidden="true"', 1))


def forest(task: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of a task's table: its main results, each with its interval's place on a scale of 0 to 100."""
    metric = task["saturation"]["metric"]
    results = plots.main_results(task)
    oracle = {"arm": "oracle", "size": None, **task["oracle"]} if task["oracle"] else None
    rows = [*results, *([oracle] if oracle else [])]
    known = [
        value
        for row in rows
        for value in (row[metric]["low"], row[metric]["high"], row[metric]["estimate"])
        if value is not None
    ]
    least, most = (min(known), max(known)) if known else (0.0, 1.0)
    width = (most - least) or 1.0

    def place(value: float | None) -> float | None:
        return None if value is None else round(100 * (value - least) / width, 2)

    return [
        {"result": row, "places": {bound: place(value) for bound, value in row[metric].items()}}
        for row in rows
    ]


def other_splits(task: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The main models where they meet other patients: results of the further test splits."""
    main = {(row["arm"], row["size"], row["patients"]) for row in plots.main_results(task)}
    return [
        row
        for row in task["results"]
        if row["split"] != "held_out" and (row["arm"], row["size"], row["patients"]) in main
    ]


def count(value: float | None) -> str:
    """A whole number with thousands parted: 12,345."""
    return "–" if value is None else f"{value:,.0f}"


def cell(value: int | str | None) -> str:
    """A count of a table: '<10' as it is, a dash for one that is left out."""
    return value if isinstance(value, str) else count(value)


def spread(found: Mapping[str, float | None], scale: float = 1.0) -> dict[str, str]:
    """Mean (SD), median (quartiles) and range for reading, each number divided by `scale`."""

    def told(name: str) -> str:
        value = found[name]
        return "–" if value is None else compact_number(value / scale)

    texts = {
        "mean": f"{told('mean')} ({told('sd')})",
        "median": f"{told('median')} ({told('q1')}–{told('q3')})",
    }
    return texts | {"range": "–" if found["min"] is None else f"{told('min')}–{told('max')}"}


def compact_number(value: float) -> str:
    """One decimal below a hundred, none above or for whole numbers.

    >>> compact_number(71.26), compact_number(12345.6), compact_number(5.0)
    ('71.3', '12,346', '5')
    """
    return f"{value:.1f}" if abs(value) < 100 and value != int(value) else f"{value:,.0f}"


def compact(value: float | None) -> str:
    """Three digits and a unit.

    >>> compact(1_602_004), compact(2.41e12), compact(640)
    ('1.6M', '2.41T', '640')
    """
    if value is None:
        return "–"
    for unit, scale in (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= scale:
            return f"{value / scale:.3g}{unit}"
    return f"{value:.3g}"


def anchor(words: str) -> str:
    """Words as an HTML id."""
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")
