"""What the first screen and the head of each question say: they agree with the answers, and with the data."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np
import pytest
import synthetic

from claimscale.evaluation.model_diagnostics import top_decile
from claimscale.report import page


def html(summary: dict[str, Any], language: str = "en") -> str:
    return page.html(synthetic.typed(synthetic.shown(summary)), synthetic.STUDY, language)


def test_the_counts_above_the_cards_are_those_of_the_cards() -> None:
    shown = html(synthetic.summary(tasks=6))
    part = shown[shown.index('<section id="answers"') : shown.index('id="limitations-head"')]
    cards = Counter(re.findall(r'href="#task-\d+">.*?class="badge">([^<(]*[^<( ])', part, re.S))
    line = re.search(r'<p class="facts">(.*?)</p>', part)
    assert line is not None
    counted = {name.strip(", "): int(n) for name, n in re.findall(r"([^<>:]+): <strong>(\d+)", line[1])}
    assert counted == cards and sum(counted.values()) == 6


@pytest.mark.parametrize("running", [True, False])
def test_only_the_page_of_a_running_study_reloads_itself(running: bool) -> None:
    partial = {"done": 2, "total": 9, "running": running}
    shown = html({**synthetic.summary(tasks=1), "partial": partial})
    assert "2 of 9 cells" in shown
    assert ('http-equiv="refresh"' in shown) == ("reloads itself" in shown) == running


def test_a_question_says_what_its_labels_are() -> None:
    summary = synthetic.summary(tasks=4)
    heads = [
        {"kind": "disease", "has_outcome_codes": True, "outcome_codes": ["ICD10 N18 N19"]},
        {"kind": "disease", "has_outcome_codes": False, "outcome_codes": []},
        {"kind": "other", "has_outcome_codes": True, "outcome_codes": ["MEDS_DEATH"]},
        {"kind": "medication", "has_outcome_codes": True, "outcome_codes": ["ATC N02"]},
    ]
    for task, head in zip(summary["tasks"], heads, strict=True):
        task |= head
    said = re.findall(r'id="task-\d+-head">.*?<p class="facts">(.*?)\. ', html(summary), re.S)
    assert said == [
        "New diagnosis: ICD10 N18 N19",
        "Labels from a file",
        "Outcome: MEDS_DEATH",
        "New prescription: ATC N02",
    ]


def test_the_oracle_is_explained_on_simulated_data_only() -> None:
    summary = synthetic.summary(tasks=1)
    with_oracle = html(summary)
    for task in summary["tasks"]:
        task["oracle"] = None
    assert "Oracle: a model" in with_oracle and "Oracle: a model" not in html(summary)


def test_no_hospitals_are_no_number() -> None:
    summary = synthetic.summary(tasks=1)
    summary["dataset"]["hospitals"] = 0
    shown = html(summary)
    assert "<dt>Hospitals</dt>" not in shown and not re.search(
        r"\b0 hospitals", shown.partition("</header>")[0]
    )


def test_the_flow_of_eligibility_adds_up() -> None:
    summary = synthetic.summary(tasks=1)
    (task,) = summary["tasks"]
    task["excluded"] = {"dead": 1000, "history_too_short": 234}
    labelled = sum(split["index_dates"] for split in task["splits"].values())
    shown = html(summary)
    assert f"<b>{1234 + labelled:,}</b>" in shown
    assert "dead: <b>1,000</b>" in shown and "history too short: <b>234</b>" in shown
    task["excluded"]["dead"] = "<10"
    assert f"<b>{1234 + labelled:,}</b>" not in html(summary)


def test_the_tenth_of_highest_risks_holds_the_outcomes_that_it_should() -> None:
    random = np.random.default_rng(3)
    for n in (9, 10, 95, 1000):
        labels = random.random(n) < 0.2
        found = top_decile(labels, labels + random.random(n) / 2)
        size = int(np.ceil(n / 10))
        assert found == (size, min(size, labels.sum())), "a perfect ranking"
        assert top_decile(labels, -(labels + random.random(n) / 2)) == (size, max(0, size - (~labels).sum()))
