"""Every text of the report is in the Japanese catalogue, and sentences of the summary are recognised."""

from __future__ import annotations

import importlib.resources
import re
from typing import Any

import pytest
import synthetic

from claimscale.report import answers, documents, gate, page, view
from claimscale.report.texts import Texts
from claimscale.validity import checks

JAPANESE = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")


def texts_in_code() -> set[str]:
    """The keys that templates, script and modules ask for."""
    folder = importlib.resources.files("claimscale.report")
    found = set()
    for file in [*(folder / "templates").iterdir(), *(folder / name for name in ("documents.py", "page.py"))]:
        if not file.name.endswith(".css"):
            found |= set(re.findall(r'\bt\(\s*"((?:[^"\\]|\\.)*)"', file.read_text("utf-8")))
    found |= {text for row in documents.TRIPOD for text in row[1:4]} | {
        text for row in documents.CARD for text in row[:2]
    }
    found |= (
        {step for _, step in page.ATTRITION}
        | set(page.GROUP_NAMES.values())
        | set(page.VERDICT_NAMES.values())
    )
    found |= (
        {name for name, _ in view.ARMS.values()}
        | set(view.SPLIT_NAMES.values())
        | set(view.METRIC_NAMES.values())
    )
    found |= (
        set(view.GROUPS)
        | set(view.SHORT.values())
        | set(page.HEADINGS.values())
        | set(checks.TITLES.values())
    )
    return {text for text in found if re.search(r"[A-Za-z]", re.sub(r"\{\w+\}", "", text))}


def test_every_text_has_a_japanese_one_with_the_same_places() -> None:
    catalogue = Texts("ja").table
    assert sorted(texts_in_code() - set(catalogue)) == []
    for text, told in catalogue.items():
        assert sorted(re.findall(r"\{\w+\}", text)) == sorted(re.findall(r"\{\w+\}", told)), text


def test_english_texts_are_their_own_keys() -> None:
    assert Texts("en")("{n} labelled patients", n="1,000") == "1,000 labelled patients"
    assert Texts("en").sentence("Anything at all.") == "Anything at all."


@pytest.mark.parametrize(
    ("reason", "needed"),
    [
        ("one_size", None), ("one_seed", None), ("no_signal", None), ("few_positives", None), ("few_positives", 4321),
        ("too_wide", 987_654), ("too_wide", None), ("near_margin", 5000),
    ],
)  # fmt: skip
def test_every_answer_is_said_in_japanese(demo: Any, reason: str, needed: int | None) -> None:
    run, summary = demo
    task = dict(summary["tasks"][0])
    task["saturation"] = task["saturation"] | {
        "verdict": "inconclusive", "smallest_sufficient": None, "reason": reason, "positives_needed": needed,
    }  # fmt: skip
    english = answers.answer(run.study, task, {})["sentence"]
    assert_translated(english, Texts("ja").sentence(english))


def assert_translated(english: str, told: str) -> None:
    """Japanese, with the numbers of the English sentence and none of its prose."""
    assert JAPANESE.search(told), english
    numbers = re.compile(r"\d[\d,.]*\d|\d")
    assert sorted(numbers.findall(told)) == sorted(numbers.findall(english)), told
    assert not re.search(r"\b(the|is|of|to|with|are)\b", told), told


def test_the_sentences_of_a_whole_summary_are_said_in_japanese(demo: Any) -> None:
    _, summary = demo
    t = Texts("ja")
    said = [answer["sentence"] for answer in summary["answers"]] + [
        answer["about_size"] for answer in summary["answers"]
    ]
    for english in said:
        assert_translated(english, t.sentence(english))
    for warning in page.warnings({**summary, "checks": []}, t):
        if "third leave early" not in warning:
            assert JAPANESE.search(warning), warning


@pytest.mark.parametrize(
    "english",
    [
        "The 11M model is good enough: the largest, 101M, changes AUPRC by 0.004 (95 % interval −0.002 to 0.010), and no "
        "larger one gains 2 % or more; it saves 178 hours of pretraining.",
        "Use 101M, the largest model: it adds 0.021 (95 % interval 0.012 to 0.030) AUROC to 32M, more than the margin of "
        "2 %; larger ones may add still more.",
        "Use logistic regression: no encoder is shown to be better (AUPRC 0.312 against 0.299 of the best, 11M "
        "pretrained).",
        "Undecided, nothing was trained: too few to learn from or to test on, as the outcome came to 2 of 900 in training "
        "and 2 of 900 in testing; at least 36 more positives needed (8 to train, 28 to test).",
        "The pretrained 11M model overtakes LightGBM at about 2,300 labelled patients (95 % interval fewer than 300 to "
        "more than 10,000).",
        "15 % leave before the window ends: the risk of 2.6 % is 3.1 % if that is reckoned with; Those who leave differ in "
        "risk from those who stay, by how often they were seen.",
    ],
)  # fmt: skip
def test_sentences_are_recognised(english: str) -> None:
    assert_translated(english, Texts("ja").sentence(english))


def test_a_sentence_nobody_knows_stays_as_it_is() -> None:
    assert Texts("ja").sentence("Quite another thing; and one more.") == "Quite another thing; and one more."


def test_the_japanese_page_says_little_in_english() -> None:
    text = page.html(gate.passed(synthetic.summary(tasks=2), "ndb"), synthetic.STUDY, "ja")
    assert '<html lang="ja">' in text
    body = re.sub(r"<(script|style|pre|svg).*?</\1>", "", text, flags=re.S)
    body = re.sub(r'<ol class="references">.*?</ol>', "", body, flags=re.S)
    body = re.sub("code spelt otherwise|code not in masters", "", body)
    words = re.findall(r">([^<>]*[a-z]{3,} [a-z]{2,} [a-z]{2,}[^<>]*)<", body)
    assert words == [], "no English prose is left"
