"""The summary as one self-contained HTML file: its own script, no network.

Templates write text and numbers and escape whatever they are given. `templates/report.js` draws the figures
of each task from the data that `page_data` embeds.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.resources
from collections import Counter
from pathlib import Path

import jinja2
from markupsafe import Markup

from claimscale import artifacts, formatting
from claimscale.config import loading
from claimscale.config.comparison import USES_EMBEDDINGS
from claimscale.config.study import Study
from claimscale.evaluation.convergence import MAX_GENERALIZATION_GAP, MAX_LOSS_DROP
from claimscale.findings import duration
from claimscale.report import documents, figures, methods, phenome_picture, recipes_picture, tables
from claimscale.report.break_even_picture import break_even_svg
from claimscale.report.i18n import Texts
from claimscale.report.page_data import ALL_METRICS, ARMS, SPLIT_NAMES, embedded, splits_of, view
from claimscale.report.phenome_picture import phenome_svg
from claimscale.summary import recipe_entries
from claimscale.summary.baseline_text import BASELINES, main_results
from claimscale.summary.break_even_entries import break_even_text
from claimscale.summary.decision_schema import AnswerEntry
from claimscale.summary.family_text import interaction_text
from claimscale.summary.result_schema import ModelDiagnosticsEntry
from claimscale.summary.schema import Summary
from claimscale.summary.task_schema import TaskEntry
from claimscale.summary.verdict_text import UNDER_TRAINED, crossover_text

GROUP_NAMES = {
    "all": "All",
    "train": "Training",
    "tuning": "Tuning",
    "held_out": "Held-out",
    "hospital": "Held-out hospitals",
}
VERDICT_NAMES = {
    "saturated": "Saturated",
    "not_saturated": "Not saturated",
    "inconclusive": "Inconclusive",
    UNDER_TRAINED: "Under-trained",
}
RECIPE_COMPARISONS = {
    "better": "The encoder is better",
    "not_worse": "The encoder is not worse by the margin",
    "worse": "The encoder is worse",
    "undecided": "Undecided",
}
FAMILY_NAMES = {
    "diseases": "All diseases",
    "medications": "All medications",
    "procedures": "All procedures",
    "disease_tasks": "Disease tasks together",
    "medication_tasks": "Medication tasks together",
}
ATTRITION = (
    ("patients", "In the source"),
    ("seen_before_landmark", "Seen before the landmark"),
    ("in_sampled_hospitals", "In the sampled hospitals"),
    ("with_enough_events", "With enough events"),
    ("included", "Included"),
)
EXCLUSION_NAMES = {
    "dead": "dead",
    "no_recent_contact": "no recent contact",
    "history_too_short": "history too short",
    "outcome_before_index": "outcome before the index date",
    "excluded_code": "excluded by a code",
    "not_sampled": "not sampled",
    "unknown_patient": "patient unknown",
    "not_in_cohort": "not in the cohort",
    "outside_observation": "outside observation",
    "after_landmark": "after the landmark",
    "repeated_row": "repeated row",
}
"""Reasons why an index date has no label (`tasks/labels.py`, `tasks/label_files.py`)."""
CONVERGENCE_NAMES = {
    "converged": "All convergence guards passed.",
    "under_trained": "A convergence guard failed: a plateau may be insufficient training.",
    "unknown": "Not every convergence guard was measured: a plateau may be insufficient training.",
}
LIMITATIONS_SHOWN = 8
FILTERS = {
    "count": formatting.count,
    "figure": formatting.figure,
    "percent": formatting.percent,
    "points": formatting.points,
    "compact": formatting.compact,
    "probability": formatting.probability,
    "years": formatting.years,
    "number": formatting.compact_number,
    "shortest": formatting.shortest,
}
"""Filters of the templates that turn one number into text."""


def render(summary: Summary, study: Study, target: Path, language: str = "en") -> None:
    """Write the report of a summary (as read from `summary.json`) and its settings to `target`."""
    artifacts.write_text(target, html(summary, study, language))


def html(summary: Summary, study: Study, language: str = "en") -> str:
    """The report's page. Every number in it comes from the summary or the settings."""
    t, script = Texts(language), _template_text("report.js")
    if "</" in script:
        raise AssertionError("the script would end its element")
    tasks = summary.tasks
    return (
        _environment(language)
        .get_template("report.html.j2")
        .render(
            summary=summary,
            partial=summary.partial,
            study_yaml=loading.dump(study),
            notes=figures.notes(summary),
            figures={name: figures.inline_svg(one, t) for name, one in figures.charts(summary).items()},
            tables={task.name: tables.forest(task) for task in tasks},
            other_splits={task.name: tables.other_splits(task) for task in tasks},
            cell_names={task.name: tables.cell_names(task) for task in tasks},
            sweeps=tables.sweeps(summary.sizes),
            data=Markup(embedded(view(summary, t, script))),
            script=Markup(script),
            script_hash="sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            splits=splits_of(summary),
            limitations=documents.limitations(summary, t),
            badges=Counter(map(badge, summary.answers)).most_common(),
            methods=[t.say(paragraph) for paragraph in methods.paragraphs(summary, study)],
            model_card=documents.model_card(summary, study, t),
            tripod=documents.tripod(summary, study, t),
            privacy_note=privacy_note(summary, t),
            phenome_picture=phenome_svg(summary.phenome, t)
            if summary.phenome and summary.phenome.outcomes
            else None,
            phenome_interaction=interaction_text(summary.phenome) if summary.phenome else None,
            recipe_pictures={
                task.name: recipes_picture.recipes_svg(summary, task, t) for task in tasks if task.recipes
            },
            break_even_answer=break_even_text(summary.phenome) if summary.phenome else None,
            break_even_picture=break_even_svg(summary.phenome, t)
            if summary.phenome and summary.phenome.against_lightgbm
            else None,
        )
    )


@functools.cache
def _environment(language: str) -> jinja2.Environment:
    """The templates with the texts of a language, compiled once."""
    t = Texts(language)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("claimscale.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        **FILTERS,
        "duration": lambda hours: t.say(duration(hours)),
        "say": t.say,
        "crossover": lambda found: t.say(crossover_text(found)),
    }
    environment.globals |= {
        "t": t,
        "share": share,
        "badge": badge,
        "top_decile": top_decile,
        "assessed_dates": assessed_dates,
        "exclusion_names": EXCLUSION_NAMES,
        "formatted": lambda value, how: FILTERS[how](value),
        "arms": ARMS,
        "split_names": SPLIT_NAMES,
        "group_names": GROUP_NAMES,
        "verdict_names": VERDICT_NAMES,
        "attrition": ATTRITION,
        "baselines": BASELINES,
        "uses_embeddings": sorted(USES_EMBEDDINGS),
        "metric_names": ALL_METRICS,
        "limitations_shown": LIMITATIONS_SHOWN,
        "convergence_names": CONVERGENCE_NAMES,
        "limits": {"tokens": MAX_LOSS_DROP, "overfitting": MAX_GENERALIZATION_GAP},
        "references": documents.REFERENCES,
        "phenome_kinds": phenome_picture.NAMES,
        "phenome_colours": phenome_picture.COLOURS,
        "family_names": FAMILY_NAMES,
        "recipes_text": recipe_entries.recipes_text,
        "recipe_titles": recipe_entries.TITLES,
        "recipe_comparisons": RECIPE_COMPARISONS,
    }
    return environment


def _template_text(name: str) -> str:
    return (importlib.resources.files("claimscale.report") / "templates" / name).read_text("utf-8")


def share(part: float | str | None, whole: float | str | None) -> str:
    """A part in percent of a whole; empty where either is suppressed."""
    if not isinstance(part, int | float) or not isinstance(whole, int | float) or not whole:
        return ""
    return formatting.percent(part / whole)


def assessed_dates(task: TaskEntry) -> int | None:
    """All index dates of a task, labelled or excluded; None where a part is suppressed."""
    parts = [*task.excluded.values(), *(found.index_dates for found in task.splits.values())]
    known = [part for part in parts if isinstance(part, int)]
    return sum(known) if len(known) == len(parts) else None


def top_decile(summary: Summary, answer: AnswerEntry) -> ModelDiagnosticsEntry | None:
    """The model of an answer, for its outcomes among the highest risks: the one to use, or else the best.

    None where its outcomes are suppressed, or no model was trained.
    """
    task = next(one for one in summary.tasks if one.name == answer.task)
    metric = task.saturation.metric
    order = {(one.arm, one.size): getattr(one, metric).estimate or 0.0 for one in main_results(task)}
    known = [one for one in task.per_model if one.top_decile is not None and (one.arm, one.size) in order]
    used = [one for one in known if answer.recommendation in (one.size or one.arm,)]
    return max(used or known, key=lambda one: order[one.arm, one.size], default=None)


def badge(answer: AnswerEntry) -> str:
    """The word or two at the head of an answer: the baseline to use, or the verdict on size."""
    if answer.recommendation in BASELINES:
        return ARMS[answer.recommendation][0]
    return VERDICT_NAMES[answer.verdict]


def privacy_note(summary: Summary, t: Texts) -> str:
    """Which counts are shown."""
    profile = summary.privacy.profile
    if profile == "none":
        return t("All counts are shown (privacy profile: none). Consider this before sharing the file.")
    return t(
        "Small counts, and counts that would disclose one, are suppressed and not shown in figures "
        "(profile: {profile}).",
        profile=profile,
    )
