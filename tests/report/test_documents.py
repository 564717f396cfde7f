"""The documents for a paper state what the run did: its models and its numbers of patients."""

from __future__ import annotations

from typing import Any

import pytest
import synthetic

from claimscale.findings import finding
from claimscale.report import documents, methods
from claimscale.report.i18n import Texts

TUNED = "each tuned with 20 trials"
IDENTIFIERS = (
    "outcome_history", "ensemble", "lightgbm_", "logistic,", " all,", " all)", "（all", "、all", "'none'",
)  # fmt: skip


def summary_of(*arms: str, labelled: tuple[int | str, ...] = (1000, 10_000, "all")) -> dict[str, Any]:
    """A summary with results of these arms and numbers of labelled patients only."""
    summary = synthetic.shown(synthetic.summary(tasks=2))
    for task in summary["tasks"]:
        task["results"] = [
            result
            for result in task["results"]
            if result["arm"] in arms and result["labelled_patients"] in labelled
        ]
    if "pretrained" not in arms:
        for size in summary["sizes"]:
            size["seeds"] = []
    return summary


def texts_of(summary: dict[str, Any], language: str = "en") -> list[str]:
    """The paragraph on models, the same in the model card, and in the checklist."""
    t = Texts(language)
    card = documents.model_card(synthetic.typed(summary), synthetic.STUDY, t)[0].text
    items = documents.tripod(synthetic.typed(summary), synthetic.STUDY, t)
    (item,) = (item.text for item in items if item.number == "12c")
    return [t.say(methods.paragraphs(synthetic.typed(summary), synthetic.STUDY)[2]), card, item]


def test_only_what_was_trained_is_stated() -> None:
    for text in texts_of(summary_of("pretrained", "lightgbm", "ensemble", labelled=(1000, "all"))):
        assert "scratch" not in text and "logistic" not in text and "10,000" not in text
        assert "nested subsets of labelled patients (1,000, all available)" in text
    for text in texts_of(summary_of("pretrained", "scratch", labelled=("all",))):
        assert (
            "on labelled patients (all available). The same architectures were trained from scratch" in text
        )
        assert "Baselines" not in text and "tuned with" not in text and "LightGBM" not in text
    for text in texts_of(summary_of("scratch")):
        assert "trained from scratch on labelled patients (1,000, 10,000, all available)" in text
        assert "pretrained" not in text and "fine-tuned" not in text
    for text in texts_of(summary_of()):
        assert text.endswith("No model has results yet.")


def test_the_ensemble_is_not_called_tuned() -> None:
    every = ("pretrained", "scratch", *synthetic.BASELINES)
    for text in texts_of(summary_of(*every)):
        assert f"LightGBM [4], logistic regression, outcome history, {TUNED}." in text
        assert text.endswith("LightGBM were also evaluated, without further tuning.")
    assert "also evaluated" not in texts_of(summary_of("pretrained", "lightgbm"))[0]


@pytest.mark.parametrize("language", ["en", "ja"])
def test_no_identifier_of_the_code_is_left(language: str) -> None:
    summary = summary_of("pretrained", "scratch", *synthetic.BASELINES)
    t = Texts(language)
    texts = [t.say(one) for one in methods.paragraphs(synthetic.typed(summary), synthetic.STUDY)]
    texts += [item.text for item in documents.model_card(synthetic.typed(summary), synthetic.STUDY, t)]
    found = [(identifier, text) for text in texts for identifier in IDENTIFIERS if identifier in text]
    assert found == []
    if language == "ja":
        assert "ロジスティック回帰" in texts[2] and "利用可能な全員" in texts[2] and " 同じ" not in texts[2]


def test_a_limitation_of_several_tasks_is_shown_once() -> None:
    content = summary_of("pretrained")
    shared = finding("limitation.inconclusive")
    found = [finding("limitation.of_task", task=task, finding=shared) for task in ("ckd", "stroke")]
    content["notes"] = [one.model_dump() for one in [*found, finding("limitation.simulated")]]
    summary = synthetic.typed(content)
    first, second = documents.limitations(summary, Texts("en"))[-2:]
    assert first == f"ckd, stroke: {shared.text}" and second.startswith("The patients are simulated")
    assert documents.limitations(summary, Texts("ja"))[-2].startswith("ckd、stroke：サイズの判定なし")
