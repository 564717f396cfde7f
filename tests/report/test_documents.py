"""The texts for a paper say what the run did: its models, its numbers of patients, in words for readers."""

from __future__ import annotations

from typing import Any

import pytest
import synthetic

from claimscale.privacy import gate
from claimscale.report import documents
from claimscale.report.i18n import Texts

TUNED = "each tuned with 40 trials"
IDENTIFIERS = (
    "outcome_history",
    "ensemble",
    "lightgbm_",
    "logistic,",
    " all,",
    " all)",
    "（all",
    "、all",
    "'none'",
)


def summary_of(*arms: str, labelled: tuple[int | str, ...] = (1000, 10_000, "all")) -> dict[str, Any]:
    """A summary with results of these arms and numbers of labelled patients only."""
    summary = gate.suppress(synthetic.summary(tasks=2), "none")
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
    settings = synthetic.STUDY + "search: {n_trials: 40}\n"
    t = Texts(language)
    card = documents.model_card(summary, settings, t)[0].text
    (item,) = (item.text for item in documents.tripod(summary, settings, t) if item.number == "12c")
    return [documents.methods(summary, settings, t)[1], card, item]


def test_only_what_was_trained_is_told() -> None:
    for text in texts_of(summary_of("pretrained", "lightgbm", "ensemble", labelled=(1000, "all"))):
        assert "scratch" not in text and "Logistic" not in text and "10,000" not in text
        assert "nested subsets of labelled patients (1,000, all available)" in text
    for text in texts_of(summary_of("pretrained", "scratch", labelled=("all",))):
        assert "on labelled patients (all available). The same shapes were trained from scratch" in text
        assert "baselines" not in text and "tuned with" not in text and "LightGBM" not in text
    for text in texts_of(summary_of("scratch")):
        assert "trained from scratch on labelled patients (1,000, 10,000, all available)" in text
        assert "pretrained" not in text and "fine-tuned" not in text
    for text in texts_of(summary_of()):
        assert text.endswith("No model has results yet.")


def test_the_average_is_not_called_tuned() -> None:
    every = ("pretrained", "scratch", *synthetic.BASELINES)
    paragraph, card, item = texts_of(summary_of(*every))
    assert f"LightGBM [4], Logistic regression, Carry-forward, {TUNED}." in paragraph
    for text in (card, item):
        assert f"LightGBM, Logistic regression, Carry-forward, {TUNED}." in text and "[" not in text
    for text in (paragraph, card, item):
        assert text.endswith("LightGBM were evaluated too, without further tuning.")
    assert "evaluated too" not in texts_of(summary_of("pretrained", "lightgbm"))[0]


@pytest.mark.parametrize("language", ["en", "ja"])
def test_no_identifier_of_the_code_is_left(language: str) -> None:
    summary = summary_of("pretrained", "scratch", *synthetic.BASELINES)
    t = Texts(language)
    said = [*documents.methods(summary, synthetic.STUDY, t), *texts_of(summary, language)]
    said += [item.text for item in documents.model_card(summary, synthetic.STUDY, t)]
    found = [(identifier, text) for text in said for identifier in IDENTIFIERS if identifier in text]
    assert found == []
    if language == "ja":
        assert "ロジスティック回帰" in said[1] and "利用できる全員" in said[1] and " 同じ" not in said[1]


def test_metric_and_margin_are_those_of_the_results() -> None:
    summary = summary_of("pretrained")
    for task in summary["tasks"]:
        task["saturation"] |= {"metric": "auroc", "relative_margin": 0.035}
    text = documents.methods(summary, synthetic.STUDY, Texts("en"))[2]
    assert "is given as AUROC" in text and "less than 3.5 % of the largest" in text
