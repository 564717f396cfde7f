"""Every number on the page is in the summary: the page is walked with each number's place marked."""

from __future__ import annotations

import json
import re
from html import unescape
from typing import Any

import pytest
import synthetic

from claimscale.evaluation.convergence import LARGEST_GAP, MOST_FROM_DOUBLING
from claimscale.report import answers, documents, gate, numbers, page, view
from claimscale.report.texts import Texts

NUMBER = re.compile(r"\d(?:[\d,.]*\d)?")


def at(summary: Any, path: str) -> Any:
    for key in path.split("."):
        summary = summary[int(key)] if isinstance(summary, list) else summary[key]
    return summary


def body(text: str) -> str:
    """What a reader sees of the page: no scripts, styles, drawn figures or settings."""
    text = text[text.index("<body") :]
    return re.sub(r"<(script|style|svg|pre)\b.*?</\1>", "", text, flags=re.S)


@pytest.mark.parametrize(("profile", "language"), [("none", "en"), ("ndb", "en"), ("opensafely", "ja")])
def test_every_number_on_the_page_is_the_summarys(profile: str, language: str) -> None:
    summary = gate.passed(synthetic.summary(tasks=3, seed=4), profile)
    traced = body(page.html(summary, synthetic.STUDY, language, traced=True))
    t, walked = Texts(language), 0
    marked = re.compile(r'<data data-path="([^"]+)" data-as="([^"]+)">(.*?)</data>')
    for path, how, told in marked.findall(traced):
        value = at(summary, path)
        expected = answers.duration(value, t) if how == "duration" else numbers.FORMATS[how](value)
        assert unescape(told) == expected, path
        walked += 1
    assert walked > 500
    plain = body(page.html(summary, synthetic.STUDY, language))
    assert marked.sub(r"\3", traced) == plain, "marking changes nothing"
    assert unmarked(marked.sub("", traced), summary, t) == []


def unmarked(text: str, summary: dict[str, Any], t: Texts) -> list[str]:
    """Numbers that are neither marked nor part of a text: of the catalogue, the summary or the documents."""
    text = re.sub(r'<span class="range" data-share>.*?</span>', "", text)  # shares are checked below
    text = re.sub(r"<[^>]*>", " ", text)
    texts = [*t.table, *t.table.values(), json.dumps(summary, ensure_ascii=False), synthetic.STUDY]
    if t.language == "en":
        texts += [*(row[0] for row in documents.TRIPOD), *Texts("ja").table]
    texts += [item.text + item.number for item in documents.tripod(summary, synthetic.STUDY, t)]
    texts += [item.text for item in documents.model_card(summary, synthetic.STUDY, t)]
    texts += [
        *documents.methods(summary, synthetic.STUDY, t),
        *documents.REFERENCES,
        *documents.warnings(summary, t),
    ]
    said = [answer[part] for answer in summary["answers"] for part in ("sentence", "together")]
    texts += [t.sentence(one) for one in said if one]
    texts += [numbers.percent(bar) for bar in (MOST_FROM_DOUBLING, LARGEST_GAP)]
    allowed = {number for known in texts for number in NUMBER.findall(known)}
    counted = {str(len(summary[name])) for name in ("sizes", "tasks", "checks")} | {"1", "2"}
    said = [page.overtaking(found) for task in summary["tasks"] for found in task["break_even"]]
    overtaken = {number for sentence in said for number in NUMBER.findall(sentence)}
    return [
        number for number in NUMBER.findall(unescape(text)) if number not in allowed | counted | overtaken
    ]


def test_shares_of_the_sexes_are_those_of_the_counts() -> None:
    summary = gate.passed(synthetic.summary(tasks=1), "none")
    text = body(page.html(summary, synthetic.STUDY))
    group = summary["dataset"]["description"]["groups"]["all"]
    assert f"{100 * group['sex']['F'] / group['patients']:.3g} %" in re.findall(r"data-share>(.*?)<", text)


def test_figures_are_drawn_from_the_numbers_of_the_summary() -> None:
    """Each row for the script is a result, number by number; and there is one for each."""
    summary = gate.passed(synthetic.summary(tasks=2), "ndb")
    shown = view.view(summary, Texts("en"), "")
    names = [arm["key"] for arm in shown["arms"]]
    for task, drawn in zip(summary["tasks"], shown["tasks"], strict=True):
        assert len(drawn["rows"]) == len(task["results"])
        for row, result in zip(drawn["rows"], task["results"], strict=True):
            assert names[row[0]] == result["arm"] and shown["splits"][row[2]] == result["split"]
            assert (
                row[1] == -1 if result["size"] is None else shown["sizes"][row[1]]["name"] == result["size"]
            )
            assert row[3:6] == [result["patients"], result["seeds"], result["seconds"]]
            expected = [
                result[metric][bound]
                for metric in ("auprc", "auroc", "log_loss", "calibration")
                for bound in ("estimate", "low", "high")
            ]
            assert row[6:] == expected
        for split, counts in drawn["splits"].items():
            told = task["splits"][split]
            assert counts == [told["dates"], told["positives"], told["prevalence"]]
        leads = [detail for detail in task["details"] if detail["lead"]]
        for detail, lead in zip(drawn["details"], leads, strict=True):
            assert detail == {name: value for name, value in lead.items() if name != "cells"}


def test_unknown_parts_of_a_summary_are_listed_with_their_numbers() -> None:
    """A part that the page has no place for is shown as it is, not left out."""
    summary = gate.passed(synthetic.summary(tasks=1), "none")
    summary["of_later_versions"] = [{"size": "32M", "value": 0.123456, "other": 0.234567, "inside": True}]
    text = page.html(summary, synthetic.STUDY)
    assert "0.1235" in text and "0.2346" in text and "of later versions" in text


@pytest.mark.parametrize(
    ("hours", "said"),
    [
        (0.004, "14 seconds"),
        (178.2, "178 hours"),
        (999.6, "1,000 hours"),
        (1234.6, "1,235 hours"),
        (1e5, "100,000 hours"),
    ],
)
def test_long_durations_are_no_powers_of_ten(hours: float, said: str) -> None:
    assert answers.duration(hours) == answers.duration(hours, Texts("en")) == said
    assert answers.duration(hours, Texts("ja")).split()[0] == said.split()[0]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (999.4, "999"),
        (999.6, "1k"),
        (999_600, "1M"),
        (999_400, "999k"),
        (2.5e21, "2,500E"),
        (-1.6e6, "-1.6M"),
    ],
)
def test_what_rounds_to_a_thousand_takes_the_next_unit(value: float, said: str) -> None:
    assert numbers.compact(value) == said


@pytest.mark.parametrize(
    ("p", "said"), [(0.0004, "p &lt; 0.001"), (0.0, "p &lt; 0.001"), (0.001, "p = 0.001")]
)
@pytest.mark.parametrize("language", ["en", "ja"])
def test_no_probability_is_told_as_nothing(p: float, said: str, language: str) -> None:
    summary = gate.passed(synthetic.summary(tasks=1), "none")
    summary["task_dependence"]["p"] = p
    text = body(page.html(summary, synthetic.STUDY, language))
    assert re.findall(r"p (?:=|&lt;) [^)]*", text) == [said]
