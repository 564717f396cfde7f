"""What a paper and an ethics board ask for, filled from the run: methods, model card, TRIPOD+AI checklist.

What a run cannot know is marked for a human. Numbers are those of the summary, never of the settings alone.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping
from typing import Any, NamedTuple

import yaml

from claimscale.report.answers import percent
from claimscale.report.numbers import count
from claimscale.report.texts import Texts

Summary = Mapping[str, Any]


class _Texts(NamedTuple):
    methods: list[str]
    references: list[str]
    card: list[tuple[str, str, bool]]
    tripod: list[tuple[str, str, str, str, bool]]


def _read() -> _Texts:
    file = importlib.resources.files("claimscale.report") / "documents.yaml"
    return _Texts(**yaml.safe_load(file.read_text("utf-8")))


METHODS, REFERENCES, CARD, TRIPOD = _read()


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
    cohort, pretrain, finetune = (study.get(part) or {} for part in ("cohort", "pretrain", "finetune"))
    compare, splits = study.get("compare") or {}, cohort.get("splits") or {}
    further = []
    if splits.get("held_out_hospitals"):
        further.append(t("{n} hospitals were held out whole", n=splits["held_out_hospitals"]))
    if splits.get("temporal"):
        further.append(t("a second landmark, {date}, gives a later test set", date=splits["temporal"]))
    dataset, listed = summary["dataset"], t(", ")

    def several(values: Any) -> str:
        return listed.join(str(value) for value in values or []) or "–"

    tasks = several(
        f"{task['name']} ({t('with the outcome:')} {count(task['positives'])} / {count(task['n_test'])})"
        for task in summary["tasks"]
    )
    metric = str(compare.get("metric", "auprc")).upper()
    return {
        "patients": count(dataset.get("patients")),
        "hospitals": count(dataset.get("hospitals")),
        "source": str(dataset.get("source") or "–"),
        "landmark": str(cohort.get("landmark", "–")),
        "splits": several(percent(part) for part in splits.get("patients", [])),
        "further": t("; ").join(further) or t("no other test set was made"),
        "sizes": several(size["name"] for size in summary["sizes"]),
        "mask": percent(pretrain["mask"]) if "mask" in pretrain else "–",
        "epochs": str(pretrain.get("epochs", "–")),
        "seeds": several(pretrain.get("seeds")),
        "labelled": several(finetune.get("patients")),
        "baselines": several(study.get("baselines")),
        "trials": str((study.get("search") or {}).get("trials", "–")),
        "tasks": tasks,
        "metric": metric,
        "replicates": count(compare.get("replicates")),
        "margin": percent(compare["margin"]) if "margin" in compare else "–",
        "version": summary["version"],
        "privacy": summary.get("privacy", {}).get("profile", "none"),
        "outcomes": several(task["source"] or task["name"] for task in summary["tasks"]),
        "warnings": " ".join(warnings(summary, t)) or "–",
        "answers": " ".join(
            " ".join(
                [
                    f"{answer['task']}:",
                    *(t.sentence(answer[said]) for said in ("sentence", "together") if answer[said]),
                ]
            )
            for answer in summary["answers"]
        ),
    }


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
