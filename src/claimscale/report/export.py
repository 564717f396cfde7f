"""The report's static figures as SVG and PNG, and its tables as CSV, for slides and papers.

Figures have the light colours and a white ground. The figures of each task can be saved from the page.
"""

from __future__ import annotations

import csv
import importlib.resources
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import vl_convert

from claimscale import artifacts
from claimscale.constants import SEXES
from claimscale.report import figures
from claimscale.report.i18n import Texts
from claimscale.report.page_data import METRICS
from claimscale.summary.dataset_schema import GroupEntry
from claimscale.summary.entries import Entry
from claimscale.summary.family_schema import FamilyEntry
from claimscale.summary.phenome_schema import PhenomeEntry
from claimscale.summary.schema import Summary

FIGURES, TABLES = "figures", "tables"
FACTS = ("by", "group", "n_test", "positives", "observed", "predicted")
RECIPE_COLUMNS = (
    *("recipe", "size", "parameters", "n_labelled", "n_seeds", "metric", "comparison", "p"),
    *("learning_rate", "pretraining_hours", "pretraining_tokens", "tokens_per_second", "train_flops"),
)
SIZE_COLUMNS = (
    "name", "parameters", "layers", "width", "train_flops", "tokens", "hours", "validation_loss",
)  # fmt: skip
PNG_SCALE = 3.0
"""Pixels per unit: 300 per inch at the width of a journal's column."""
BOUNDS = ("estimate", "low", "high")
Row = Sequence[object]


def write(summary: Summary, run_directory: Path, language: str = "en") -> None:
    """Write `figures/*.svg`, `figures/*.png` and `tables/*.csv` into the run, replacing earlier ones."""
    t, colours = Texts(language), light_colours()
    for folder in (FIGURES, TABLES):
        artifacts.make_folder(run_directory / folder)
        for old in (run_directory / folder).iterdir():
            old.unlink()
    notes = figures.notes(summary)
    for place, (name, chart) in enumerate(figures.charts(summary).items(), start=1):
        svg = figures.plain_svg(chart, t, colours, notes.get(name))
        file = run_directory / FIGURES / f"{place:02d}-{re.sub(r'[^A-Za-z0-9]+', '-', name).strip('-')}.svg"
        file.write_text(svg, "utf-8")
        file.with_suffix(".png").write_bytes(vl_convert.svg_to_png(svg, scale=PNG_SCALE))
    for name, rows in tables(summary, t).items():
        (run_directory / TABLES / f"{name}.csv").write_text(as_csv(rows), "utf-8")


def light_colours() -> dict[str, str]:
    """The page's colours by variable, those of the light scheme."""
    style = (importlib.resources.files("claimscale.report") / "templates" / "report.css").read_text("utf-8")
    return dict(re.findall(r"(--[a-z-]+): (#[0-9a-f]+)", style.split("@media", 1)[0]))


def tables(summary: Summary, t: Texts) -> dict[str, list[Row]]:
    """The tables by name, each with its heads first."""
    bounds = [f"{metric}_{bound}" for metric in METRICS for bound in BOUNDS]
    heads = ("arm", "size", "parameters", "split", "n_labelled", "n_seeds", "n_test", "positives", "seconds")
    found: dict[str, list[Row]] = {
        "results": [
            ("task", *heads, *bounds),
            *(
                (
                    task.name,
                    *_values(result, heads),
                    *(value for metric in METRICS for value in _values(getattr(result, metric), BOUNDS)),
                )
                for task in summary.tasks
                for result in task.results
            ),
        ],
        "answers": [
            ("task", "verdict", "recommendation", "text", "ensemble_text"),
            *((one.family, one.verdict, one.size, t.say(one.text), None) for one in summary.family_answers),
            *(
                (
                    *_values(answer, ("task", "verdict", "recommendation")),
                    *(found and t.say(found) for found in (answer.text, answer.ensemble_text)),
                )
                for answer in summary.answers
            ),
        ],
        "comparisons": _of_tasks(
            ("smaller", "larger", "difference", "low", "high", "upper_at_alpha", "margin", "n_seeds"),
            ((task.name, entry) for task in summary.tasks for entry in task.saturation.comparisons),
        ),
        "pretraining_gain": _of_tasks(
            ("size", "n_labelled", "metric", "difference", "low", "high", "p", "n_seeds"),
            ((task.name, gain) for task in summary.tasks for gain in task.pretraining_gain),
        ),
        "crossover": _of_tasks(
            ("size", "comparator", "metric", "outcome", "n_labelled", "low", "high", "prob_superior"),
            ((task.name, found) for task in summary.tasks for found in task.crossover),
        ),
        "recipes": list(_recipes(summary)),
        "subgroups": list(_subgroups(summary)),
        "sizes": [SIZE_COLUMNS, *(_values(size, SIZE_COLUMNS) for size in summary.sizes)],
    }
    families = (
        *((*summary.phenome.families, *summary.phenome.chapters) if summary.phenome else ()),
        *summary.task_families,
    )
    found["families"] = list(_families(families))
    if summary.phenome:
        found["outcomes"] = list(_outcomes(summary.phenome))
        found["outcomes_lightgbm"] = list(_lightgbm_outcomes(summary.phenome))
    if summary.dataset.description:
        found["cohort"] = list(_cohort(summary.dataset.description.groups))
    return {name: rows for name, rows in found.items() if len(rows) > 1}


def _values(entry: Entry, names: Sequence[str]) -> tuple[object, ...]:
    return tuple(getattr(entry, name) for name in names)


def _of_tasks(names: Sequence[str], entries: Iterable[tuple[str, Entry]]) -> list[Row]:
    return [("task", *names), *((task, *_values(entry, names)) for task, entry in entries)]


def _recipes(summary: Summary) -> Iterator[Row]:
    bounds = [f"{metric}_{bound}" for metric in ("auprc", "auroc") for bound in BOUNDS]
    yield ("task", *RECIPE_COLUMNS, *bounds, "difference", "low", "high")
    for task in summary.tasks:
        for one in task.recipes:
            known = (value for entry in (one.auprc, one.auroc) for value in _values(entry, BOUNDS))
            gain = one.encoder_gain
            against = _values(gain, ("difference", "low", "high")) if gain else (None,) * 3
            yield (task.name, *_values(one, RECIPE_COLUMNS), *known, *against)


def _subgroups(summary: Summary) -> Iterator[Row]:
    bounds = [f"{metric}_{bound}" for metric in ("auprc", "auroc") for bound in BOUNDS]
    yield ("task", "arm", "size", *FACTS, *bounds)
    for task in summary.tasks:
        for detail in task.per_model:
            for group in detail.subgroups or ():
                known = [one and _values(one, BOUNDS) for one in (group.auprc, group.auroc)]
                values = (value for one in known for value in one or (None,) * len(BOUNDS))
                yield (task.name, detail.arm, detail.size, *_values(group, FACTS), *values)


def _families(families: Iterable[FamilyEntry]) -> Iterator[Row]:
    """One row per family and size."""
    facts = ("verdict", "smallest_sufficient")
    yield (
        "family",
        "metric",
        "outcomes",
        "size",
        *(f"{m}_{b}" for m in ("metric", "auroc") for b in BOUNDS),
        *facts,
    )
    for family in families:
        for size in family.sizes:
            metrics = (*_values(size.performance, BOUNDS), *_values(size.auroc, BOUNDS))
            yield (
                family.name,
                family.metric,
                family.outcomes,
                size.size,
                *metrics,
                *_values(family.recipe, facts),
            )


def _outcomes(phenome: PhenomeEntry) -> Iterator[Row]:
    """One row per outcome."""
    metrics, facts = ("auprc", "auroc", "log_loss"), ("code", "kind", "chapter", "cases")
    gain = ("difference", "low", "high")
    yield (
        *facts,
        *(f"{metric}_{size}" for metric in metrics for size in phenome.sizes),
        *("gain", "gain_low", "gain_high", "shrunk_gain"),
    )
    for one in phenome.outcomes:
        results = (value for metric in metrics for value in getattr(one, metric))
        yield (*_values(one, facts), *results, *_values(one.gain, gain), one.shrunk_gain)


def _lightgbm_outcomes(phenome: PhenomeEntry) -> Iterator[Row]:
    """One row per outcome for which LightGBM was trained."""
    facts = ("code", "kind", "training_cases", "auprc", "auroc")
    yield (*facts, *(f"gain_{size}" for size in phenome.sizes))
    for one in phenome.lightgbm:
        yield (*_values(one, facts), *one.gains)


def _cohort(groups: Mapping[str, GroupEntry]) -> Iterator[Row]:
    """One row per fact, one column per group, as in the page's table."""
    yield ("fact", *groups)
    yield ("patients", *(group.patients for group in groups.values()))
    yield ("hospitals", *(group.hospitals for group in groups.values()))
    for sex in SEXES:
        yield (f"sex {sex}", *(group.sex.get(sex) for group in groups.values()))
    for field in ("age", "visits", "sequence_length", "observation_days"):
        for name in ("mean", "sd", "median", "q1", "q3", "min", "max"):
            yield (f"{field} {name}", *(getattr(getattr(group, field), name) for group in groups.values()))


def as_csv(rows: Iterable[Row]) -> str:
    """Rows as CSV; text that a spreadsheet would take for a formula is quoted with an apostrophe.

    >>> as_csv([("a", "b"), ("=1+1", None)])
    "a,b\\r\\n'=1+1,\\r\\n"
    """
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    for row in rows:
        writer.writerow(
            [f"'{cell}" if isinstance(cell, str) and cell[:1] in tuple("=+-@\t\r") else cell for cell in row]
        )
    return stream.getvalue()
