"""The summary as one self-contained HTML file: its own script and nothing else, no network.

The page is made from the summary alone. Text and numbers are written here, by templates that escape whatever
they are given; the figures of each question are drawn by `templates/report.js` from what `view` embeds.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup

from claimscale import artifacts
from claimscale.config.comparison import USES_EMBEDDINGS
from claimscale.evaluation.convergence import MAX_GENERALIZATION_GAP, MAX_LOSS_DROP
from claimscale.report import charts as plots, documents, page_numbers as numbers
from claimscale.report.chart_theme import translated
from claimscale.report.html_dump import listing
from claimscale.report.i18n import Texts
from claimscale.report.page_data import ARMS, METRIC_NAMES, SPLIT_NAMES, embedded, splits_of, view
from claimscale.summary.formatting import percent
from claimscale.summary.verdict_text import RIVALS, UNDER_TRAINED, overtaking

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
    UNDER_TRAINED: "Under-trained",
}
ATTRITION = (
    ("patients", "In the source"),
    ("seen_before_landmark", "Seen before the landmark"),
    ("in_sampled_hospitals", "Of the hospitals drawn"),
    ("with_enough_events", "With enough events"),
    ("included", "Studied"),
)
SHOWN = frozenset(
    [
        "name",
        "version",
        "answers",
        "dataset",
        "sizes",
        "tasks",
        "task_size_interaction",
        "checks",
        "warnings",
        "privacy",
        "partial",
        "provenance",
        "training_losses",
        "loss_fit",
        "convergence",
        "forecast",
    ]
)
"""Keys of the summary that have a place of their own; all others are listed as they are."""
CONVERGENCE_NAMES = {
    "converged": "Every guard holds: a plateau may be called one.",
    "under_trained": "A guard failed: a plateau is not to be relied on.",
    "unknown": "Not every guard was measured: a plateau may be too little training.",
}
WARNINGS_SHOWN = 8


def render(summary: Mapping[str, Any], study_yaml: str, target: Path, language: str = "en") -> None:
    """Write the report of a summary (as read from `summary.json`) and its resolved settings to `target`."""
    artifacts.write_text(target, html(summary, study_yaml, language))


def html(summary: Mapping[str, Any], study_yaml: str, language: str = "en", traced: bool = False) -> str:
    """The report's page. Every number in it comes from the summary.

    `traced` marks every number with its place in the summary, for tests to walk; the text is the same.
    """
    t, script = Texts(language), _template_text("report.js")
    if "</" in script:
        raise AssertionError("the script would end its element")
    data, untraced = embedded(view(summary, t, script)), summary
    summary = numbers.placed(summary) if traced else summary
    environment = _environment(t)
    return environment.get_template("report.html.j2").render(
        summary=summary,
        partial=summary.get("partial"),
        study_yaml=study_yaml,
        notes=plots.notes(untraced),
        figures={name: svg(chart, t) for name, chart in plots.page_charts(untraced).items()},
        tables={task["name"]: forest(task) for task in summary["tasks"]},
        other_splits={task["name"]: other_splits(task) for task in summary["tasks"]},
        cell_names={task["name"]: cell_names(task) for task in summary["tasks"]},
        data=Markup(data),
        script=Markup(script),
        script_hash="sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        arms=ARMS,
        splits=splits_of(summary),
        split_names=SPLIT_NAMES,
        group_names=GROUP_NAMES,
        verdict_names=VERDICT_NAMES,
        attrition=ATTRITION,
        rivals=list(RIVALS.values()),
        on_embeddings=sorted(USES_EMBEDDINGS),
        metric_names=METRIC_NAMES,
        warnings=documents.warnings(summary, t),
        warnings_shown=WARNINGS_SHOWN,
        verdicts=Counter(answer["verdict"] for answer in summary["answers"]),
        further=[key for key in summary if key not in SHOWN and summary[key]],
        sweeps=sweeps(summary),
        convergence_names=CONVERGENCE_NAMES,
        bars={"tokens": percent(MAX_LOSS_DROP), "overfitting": percent(MAX_GENERALIZATION_GAP)},
        methods=documents.methods(untraced, study_yaml, t),
        references=documents.REFERENCES,
        model_card=documents.model_card(untraced, study_yaml, t),
        tripod=documents.tripod(untraced, study_yaml, t),
        versions=summary.get("provenance"),
        privacy_note=privacy_note(summary, t),
    )


def _environment(t: Texts) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("claimscale.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {name: numbers.traced(name) for name in numbers.FORMATS}
    environment.filters |= {"duration": numbers.traced_duration(t), "overtaking": overtaking}
    shortest = numbers.traced("shortest")
    environment.globals |= {
        "t": t,
        "share": numbers.share,
        "told": lambda value, how: environment.filters[how](value),
        "listing": lambda content: listing(content, t, shortest),
    }
    return environment


def _template_text(name: str) -> str:
    return (importlib.resources.files("claimscale.report") / "templates" / name).read_text("utf-8")


def privacy_note(summary: Mapping[str, Any], t: Texts) -> str:
    """What of the counts is shown."""
    profile = summary.get("privacy", {}).get("profile", "none")
    if profile == "none":
        return t(
            "All counts are shown as they are (privacy profile: none). Think before you pass this file on."
        )
    return t(
        "Small counts, and counts that would give one away, are hidden and not drawn (profile: {profile}).",
        profile=profile,
    )


def svg(chart: plots.Chart, t: Texts) -> Markup:
    """A chart as SVG that fills its place."""
    drawn = vl_convert.vegalite_to_svg(translated(chart.to_dict(), t))
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
    main = {(row["arm"], row["size"], row["n_labelled"]) for row in plots.main_results(task)}
    return [
        row
        for row in task["results"]
        if row["split"] != "held_out" and (row["arm"], row["size"], row["n_labelled"]) in main
    ]


def sweeps(summary: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Learning rates tried, ascending, and of each size the loss at each (null: not tried, or diverged)."""
    tried = {size["name"]: size["lr_sweep"] for size in summary["sizes"] if size.get("lr_sweep")}
    rates = sorted({one["learning_rate"]: None for runs_of in tried.values() for one in runs_of})
    rows = []
    for size, runs_of in tried.items():
        losses = {one["learning_rate"]: one["validation_loss"] for one in runs_of}
        lowest = min((loss for loss in losses.values() if loss is not None), default=None)
        rows.append({"size": size, "losses": [losses.get(rate) for rate in rates], "lowest": lowest})
    return {"rates": rates, "rows": rows}


def cell_names(task: Mapping[str, Any]) -> dict[tuple[str, str | None], list[str]]:
    """The cells behind each main result, by arm and size."""
    return {(one["arm"], one["size"]): one["cells"] for one in task.get("per_model", [])}
