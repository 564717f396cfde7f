"""What a paper and an ethics board ask for, filled from the run: methods, model card, TRIPOD+AI checklist.

What a run cannot know is marked for a human. Numbers are those of the summary, never of the settings alone.
"""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import yaml

from claimscale.report.i18n import Texts
from claimscale.report.page_data import ARMS
from claimscale.report.page_numbers import count
from claimscale.summary.formatting import percent
from claimscale.summary.verdict_text import METRIC_NAMES

Summary = Mapping[str, Any]


class _Texts(NamedTuple):
    methods: list[str]
    development: dict[str, str]
    references: list[str]
    card: list[tuple[str, str, bool]]
    tripod: list[tuple[str, str, str, str, bool]]


def _read() -> _Texts:
    file = importlib.resources.files("claimscale.report") / "documents.yaml"
    return _Texts(**yaml.safe_load(file.read_text("utf-8")))


METHODS, DEVELOPMENT, REFERENCES, CARD, TRIPOD = _read()
CITED = {"lightgbm": "[4]"}
"""References that belong to a model's name."""
UNTUNED = {"pretrained", "scratch", "ensemble"}
"""Encoders, told of by themselves, and the average, which has nothing to tune."""
SOURCES = {
    "simulated": "simulated patients",
    "synpuf": "CMS DE-SynPUF",
    "tables": "tables of claims",
    "receipt": "receipt files",
    "dpc": "DPC files",
    "omop": "OMOP tables",
    "meds": "MEDS files",
}
"""Kinds of sources, for readers."""


class Item(NamedTuple):
    """An entry of a checklist or card; `human` where the text says what is still to be filled in."""

    number: str
    section: str
    topic: str
    text: str
    human: bool


def methods(summary: Summary, study_yaml: str, t: Texts) -> list[str]:
    """Paragraphs for the methods section, with the numbers of the references in brackets."""
    found = facts(summary, study_yaml, t)
    return [t(paragraph, **found) for paragraph in METHODS]


def facts(summary: Summary, study_yaml: str, t: Texts) -> dict[str, str]:
    """Short texts on the run for sentences to take up; a dash for what is not known."""
    study = yaml.safe_load(study_yaml)
    study = study if isinstance(study, dict) else {}
    compare, cohort, dataset = study.get("compare") or {}, study.get("cohort") or {}, summary["dataset"]
    saturation = next((task["saturation"] for task in summary["tasks"]), {})
    margin, metric = saturation.get("relative_margin"), saturation.get("metric")
    profile = summary.get("privacy", {}).get("profile", "none")
    source = str(dataset.get("source") or "–")
    development = _development(summary, study, t)
    tasks = [
        f"{task['name']} ({t('with the outcome:')} {count(task['positives'])} / {count(task['n_test'])})"
        for task in summary["tasks"]
    ]
    return {
        "patients": count(dataset.get("patients")),
        "hospitals": count(dataset.get("hospitals")),
        "source": t(SOURCES.get(source, source)),
        "landmark": str(cohort.get("landmark", "–")),
        "development": development,
        # Only the methods stand beside a list of references.
        "models": re.sub(r" ?\[\d+\]", "", development),
        "tasks": _several(tasks, t),
        "metric": METRIC_NAMES[metric] if metric else "–",
        "replicates": count(compare.get("bootstrap_replicates")),
        "margin": "–" if margin is None else percent(margin),
        "version": summary["version"],
        "shown": t("Counts are shown as they are.")
        if profile == "none"
        else t("Counts are shown under the privacy rule '{privacy}'.", privacy=profile),
        "outcomes": _several([task["source"] or task["name"] for task in summary["tasks"]], t),
        "warnings": " ".join(warnings(summary, t)) or "–",
        "answers": _answers(summary, t),
        **_splits(cohort.get("splits") or {}, t),
    }


def _several(values: Iterable[object], t: Texts) -> str:
    return t(", ").join(map(str, values)) or "–"


def _splits(splits: Mapping[str, Any], t: Texts) -> dict[str, str]:
    further = []
    if splits.get("held_out_hospitals"):
        further.append(t("{n} hospitals were held out whole", n=splits["held_out_hospitals"]))
    if splits.get("temporal_date"):
        further.append(t("a second landmark, {date}, gives a later test set", date=splits["temporal_date"]))
    return {
        "splits": _several([percent(part) for part in splits.get("patients", [])], t),
        "further": t("; ").join(further) or t("no other test set was made"),
    }


def _answers(summary: Summary, t: Texts) -> str:
    return " ".join(
        " ".join(
            [
                f"{answer['task']}:",
                *(t.sentence(answer[said]) for said in ("text", "ensemble_text") if answer[said]),
            ]
        )
        for answer in summary["answers"]
    )


def _development(summary: Summary, study: Mapping[str, Any], t: Texts) -> str:
    """Which models were made and how: only those that the summary has results of."""
    results = [result for task in summary["tasks"] for result in task["results"]]
    arms = [arm for arm in ARMS if any(result["arm"] == arm for result in results)]
    asked = {result["labelled_patients"] for result in results if result["size"]}
    pretrained = [size for size in summary["sizes"] if size.get("seeds")]
    names = [
        t(ARMS[arm][0]) + (f" {CITED[arm]}" if arm in CITED else "") for arm in arms if arm not in UNTUNED
    ]
    told = {
        "pretrained": bool(pretrained),
        "tuned": "pretrained" in arms and len(asked) == 1,
        "tuned_on_subsets": "pretrained" in arms and len(asked) > 1,
        "scratch_beside": "scratch" in arms and "pretrained" in arms,
        "scratch": "scratch" in arms and "pretrained" not in arms,
        "baselines": bool(names),
        "averaged": "ensemble" in arms,
        "nothing": not results,
    }
    pretrain = study.get("pretrain") or {}
    found = {
        "sizes": _several([size["name"] for size in pretrained or summary["sizes"]], t),
        "mask": percent(pretrain["mask_probability"]) if "mask_probability" in pretrain else "–",
        "epochs": str(pretrain.get("epochs", "–")),
        "seeds": _several(sorted({seed for size in pretrained for seed in size["seeds"]}), t),
        "labelled": _several(
            [count(n) for n in sorted(asked - {"all"})] + [t("all available")] * ("all" in asked), t
        ),
        "baselines": _several(names, t),
        "trials": str((study.get("search") or {}).get("n_trials", "–")),
    }
    return t(" ").join(t(DEVELOPMENT[name], **found) for name, true in told.items() if true)


def warnings(summary: Mapping[str, Any], t: Texts) -> list[str]:
    """The warnings; one that several questions share is told once, before it the questions."""
    names = [task["name"] for task in summary["tasks"]]
    told: dict[str, list[str]] = {}
    for warning in summary["warnings"]:
        name = next((name for name in names if warning.startswith(f"{name}: ")), None)
        told.setdefault(warning.removeprefix(f"{name}: ") if name else warning, []).extend(
            [name] if name else []
        )
    return [
        (f"{t(', ').join(questions)}{t(': ')}" if questions else "") + t.sentence(text)
        for text, questions in told.items()
    ]


def tripod(summary: Summary, study_yaml: str, t: Texts) -> list[Item]:
    """The 27 items of TRIPOD+AI with their parts, filled from the run where it can."""
    found = facts(summary, study_yaml, t)
    return [
        Item(number, t(section), t(topic), t(text, **found), human)
        for number, section, topic, text, human in TRIPOD
    ]


def model_card(summary: Summary, study_yaml: str, t: Texts) -> list[Item]:
    """A model card (Mitchell 2019, doi 10.1145/3287560.3287596)."""
    found = facts(summary, study_yaml, t)
    return [Item("", "", t(topic), t(text, **found), human) for topic, text, human in CARD]
