"""Every text of the report is in the Japanese catalogue, and sentences of the summary are recognised."""

from __future__ import annotations

import importlib.resources
import json
import re
from pathlib import Path
from typing import Any

import english
import pytest
import synthetic

from claimscale.privacy import gate
from claimscale.report import cohort_charts as cohort_plots, documents, page, page_data as view
from claimscale.report.i18n import Texts
from claimscale.sources.issues import ISSUES
from claimscale.sources.japan import masters
from claimscale.summary import verdict_text as answers
from claimscale.validity import checks

JAPANESE = english.JAPANESE
MASTERS = (masters.NOT_IN_MASTERS, masters.WITHOUT_TARGET, masters.ABOLISHED)


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
    found |= {*documents.METHODS, *documents.DEVELOPMENT.values(), *documents.SOURCES.values()}
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
        | set(page.CONVERGENCE_NAMES.values())
        | set(checks.TITLES.values())
        | {cohort_plots.BROKEN_LINE, cohort_plots.GREY_PLACE}
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


@pytest.mark.parametrize(("reason", "needed"), synthetic.REASONS)
def test_every_answer_is_said_in_japanese(demo: Any, reason: str, needed: int | None) -> None:
    _, summary = demo
    task = synthetic.undecided(summary["tasks"][0], reason, needed)
    sentence = answers.answer(task)["text"]
    assert_translated(sentence, Texts("ja").sentence(sentence))


def assert_translated(sentence: str, told: str) -> None:
    """Japanese, with the numbers of the English sentence and none of its prose."""
    assert JAPANESE.search(told), sentence
    numbers = re.compile(r"\d[\d,.]*\d|\d")
    assert sorted(numbers.findall(told)) == sorted(numbers.findall(sentence)), told
    assert not re.search(r"\b(the|is|of|to|with|are)\b", told), told


def test_the_sentences_of_a_whole_summary_are_said_in_japanese(demo: Any) -> None:
    _, summary = demo
    t = Texts("ja")
    said = [answer["text"] for answer in summary["answers"]] + [
        answer["size_text"] for answer in summary["answers"]
    ]
    for one in said:
        assert_translated(one, t.sentence(one))
    for warning in documents.warnings({**summary, "checks": []}, t):
        if "third leave early" not in warning:
            assert JAPANESE.search(warning), warning


@pytest.mark.parametrize(
    "sentence",
    [
        "The 11M model is good enough: the largest trained, 101M, changes AUPRC by 0.004 (95 % interval −0.002 to 0.010), and no "
        "larger one that was trained gains 2 % or more; it saves 178 hours of pretraining; whether pretraining had converged was "
        "not measured.",
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
def test_sentences_are_recognised(sentence: str) -> None:
    assert_translated(sentence, Texts("ja").sentence(sentence))


def test_a_sentence_nobody_knows_stays_as_it_is() -> None:
    assert Texts("ja").sentence("Quite another thing; and one more.") == "Quite another thing; and one more."


@pytest.mark.parametrize("where", english.sentences())
def test_every_sentence_of_the_code_is_said_in_japanese(where: str) -> None:
    """Of the values at its places some make no sense of it: one that does is enough."""
    said = [one.removeprefix("AUPRC: ") for one in english.sentences()[where]]
    told = [Texts("ja").sentence(one) for one in said]
    assert any(not english.is_english(one) and JAPANESE.search(one) for one in told), told


def everything_said() -> dict[str, Any]:
    """A summary that says whatever the code can say."""
    summary = synthetic.summary(tasks=2)
    golden = json.loads(Path(__file__).with_name("golden_summary.json").read_text("utf-8"))
    summary |= {key: golden[key] for key in ("forecast", "convergence")}
    summary["sizes"][0]["lr_sweep"] = [{"learning_rate": 0.001, "validation_loss": 2.5}]
    quality = summary["dataset"]["quality"]
    quality["quarantined"] = dict.fromkeys(ISSUES, 100)
    quality["warnings"] = dict.fromkeys(
        (*MASTERS, "totals differ", "unreadable code", "dated to the month"), 100
    )
    quality["rows_in"] = quality["used"] + 100 * len(ISSUES) + sum(quality["dropped"].values())
    for where, said in english.sentences().items():
        for told in said:
            if english.is_english(Texts("ja").sentence(told)):
                continue  # a value that makes no sense at its place
            summary["warnings"].append(told)
            if where.startswith("validity"):
                check = {"task": None, "title": "Censoring", "status": "warned", "text": told + "."}
                summary["checks"].append(check)
    summary["warnings"].append("question-1: only 72 test patients have the outcome; below 100 every figure is uncertain "
                               "and the intervals are rough.")  # fmt: skip
    return gate.suppress(summary, "ndb")


def test_the_japanese_page_says_nothing_in_english() -> None:
    summary = everything_said()
    text = page.html(summary, synthetic.STUDY, "ja")
    assert '<html lang="ja">' in text
    names = (
        "synthetic",
        "question-1",
        "question-2",
        "a guideline",
        "tables",
        "drugs",
        "ndb",
        "python",
        "torch",
    )
    names = (*names, "lightgbm", "logistic", "outcome_history", "ckd", "pregabalin", "0123456789abcdef")
    assert english.left(text, names) == []


def test_english_would_be_found() -> None:
    """The walk is not blind: an English sentence is seen, within Japanese too; names and codes are not."""
    said = "<p>A third leave early.</p><p>結果は the best one です</p><td>status</td><td>LightGBM 11M</td>"
    assert english.left(said) == ["A third leave early.", "status", "結果は the best one です"]
    assert english.left("<style>a b c</style><td>ICD10//N18 は陽性</td><td>AUPRC</td>") == []
