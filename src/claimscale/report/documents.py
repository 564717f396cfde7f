"""Documents for a paper and an ethics committee, filled from the run: model card, TRIPOD+AI checklist.

The methods section is in `methods`. What a run cannot know is marked for a human to complete.
"""

from __future__ import annotations

import importlib.resources
from typing import NamedTuple

import yaml

from claimscale import formatting
from claimscale.config.study import Study
from claimscale.findings import Finding, sentences
from claimscale.report import methods
from claimscale.report.i18n import Texts
from claimscale.summary.entries import METRIC_NAMES
from claimscale.summary.schema import Summary


class Item(NamedTuple):
    """An entry of a checklist or card; `human` where the text says what is to be completed."""

    number: str
    section: str
    topic: str
    text: str
    human: bool


class _Documents(NamedTuple):
    references: list[str]
    card: list[tuple[str, str, bool]]
    tripod: list[tuple[str, str, str, str, bool]]


def _read() -> _Documents:
    file = importlib.resources.files("claimscale.report") / "documents.yaml"
    return _Documents(**yaml.safe_load(file.read_text("utf-8")))


REFERENCES, CARD, TRIPOD = _read()


def facts(summary: Summary, study: Study, t: Texts) -> dict[str, str]:
    """Short texts on the run, for the sentences of the documents."""
    dataset = summary.dataset
    tasks = [
        f"{task.name} ({t('with the outcome:')} {formatting.count(task.positives)} / "
        f"{formatting.count(task.n_test)})"
        for task in summary.tasks
    ]
    answers = [
        f"{answer.task}{t(': ')}"
        + t(" ").join(t.say(found) for found in (answer.text, answer.ensemble_text) if found)
        for answer in summary.answers
    ]
    return {
        "patients": formatting.count(dataset.patients),
        "hospitals": formatting.count(dataset.hospitals),
        "source": t.say(methods.SOURCES[study.source.kind]),
        "landmark": str(study.cohort.landmark),
        "models": t.say(sentences(list(methods.models(summary, study)))),
        "tasks": t.several(tasks),
        "metric": METRIC_NAMES[study.compare.metric],
        "version": summary.version,
        "outcomes": t.several(task.source or task.name for task in summary.tasks),
        "limitations": t(" ").join(limitations(summary, t)) or "–",
        "answers": t(" ").join(answers),
        "splits": t.say(sentences(list(methods.splits(study)))),
    }


def limitations(summary: Summary, t: Texts) -> list[str]:
    """The limitations; one that several tasks share is shown once, after the names of these tasks."""
    grouped: dict[str, list[str]] = {}
    for entry in summary.limitations:
        inner = entry.parameters.get("finding")
        if entry.code == "limitation.of_task" and isinstance(inner, Finding):
            grouped.setdefault(t.say(inner), []).append(str(entry.parameters["task"]))
        else:
            grouped.setdefault(t.say(entry), [])
    return [f"{t(', ').join(tasks)}{t(': ')}{text}" if tasks else text for text, tasks in grouped.items()]


def tripod(summary: Summary, study: Study, t: Texts) -> list[Item]:
    """The 27 items of TRIPOD+AI with their parts, filled from the run where it can."""
    found = facts(summary, study, t)
    return [
        Item(number, t(section), t(topic), t(text, **found), human)
        for number, section, topic, text, human in TRIPOD
    ]


def model_card(summary: Summary, study: Study, t: Texts) -> list[Item]:
    """A model card (Mitchell 2019, doi 10.1145/3287560.3287596)."""
    found = facts(summary, study, t)
    return [Item("", "", t(topic), t(text, **found), human) for topic, text, human in CARD]
