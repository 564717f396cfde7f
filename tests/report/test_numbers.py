"""Every number on the page is in the summary: the page is walked with each number's place marked."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from html import escape, unescape
from typing import Any

import pytest
import synthetic

from claimscale.evaluation.convergence import MAX_GENERALIZATION_GAP, MAX_LOSS_DROP
from claimscale.privacy import gate
from claimscale.report import documents, page, page_data as view, page_numbers as numbers
from claimscale.report.i18n import Texts
from claimscale.summary import formatting as wording

MARKED = re.compile(r'<data data-path="([^"]+)" data-as="([^"]+)">(.*?)</data>')
BETWEEN = re.compile(r"[\s,、。：（）()·]+")
"""What parts names that stand in one text."""


def at(summary: Any, path: str) -> Any:
    for key in path.split("."):
        summary = summary[int(key)] if isinstance(summary, list) else summary[key]
    return summary


def body(text: str) -> str:
    """What a reader sees of the page: no scripts, styles, drawn figures or settings."""
    text = text[text.index("<body") :]
    return re.sub(r"<(script|style|svg|pre)\b.*?</\1>", "", text, flags=re.S)


def expected(summary: dict[str, Any], path: str, how: str, t: Texts) -> str:
    """A number's text, made from its place in the summary anew."""
    if how == "share":
        part, whole = (at(summary, place) for place in path.split(" of "))
        return f"{100 * part / whole:.3g} %"
    value = at(summary, path)
    return wording.duration(value, t) if how == "duration" else numbers.FORMATS[how](value)


@pytest.mark.parametrize(("profile", "language"), [("none", "en"), ("ndb", "en"), ("opensafely", "ja")])
def test_every_number_on_the_page_is_the_summarys(profile: str, language: str) -> None:
    summary = gate.suppress(synthetic.summary(tasks=3, seed=4), profile)
    traced = body(page.html(summary, synthetic.STUDY, language, traced=True))
    t, walked = Texts(language), 0
    for path, how, told in MARKED.findall(traced):
        assert unescape(told) == expected(summary, path, how, t), path
        walked += 1
    assert walked > 500
    plain = body(page.html(summary, synthetic.STUDY, language))
    assert MARKED.sub(r"\3", traced) == plain, "marking changes nothing"
    assert Unmarked(summary, t).found(MARKED.sub("", traced)) == []


def test_a_number_without_its_place_would_be_found() -> None:
    """Also one that occurs in the summary, in a sentence of the page or in the catalogue."""
    summary = gate.suppress(synthetic.summary(tasks=3, seed=4), "none")
    unmarked = Unmarked(summary, Texts("en"))
    for number in (
        *range(1000),
        summary["tasks"][0]["positives"],
        "0.004",
        "2 %",
        "95 %",
        "178 hours",
        "1.6k",
    ):
        assert unmarked.found(f"<td>{number}</td>") == [str(number)]
        assert unmarked.found(f"<p>Test patients: {number}, with the outcome</p>") != []
    assert unmarked.found("<td>question-1</td><td>11M</td><p>below 7 %</p>") == ["below 7 %"]


class Unmarked:
    """Texts with numbers that are neither marked, nor a sentence that is known whole, nor a name."""

    def __init__(self, summary: dict[str, Any], t: Texts) -> None:
        settings = synthetic.STUDY
        catalogue = [*t.table.values()] if t.table else [*Texts("ja").table]
        said = [text for text in catalogue if "{" not in text]
        said += [
            *documents.REFERENCES,
            *documents.methods(summary, settings, t),
            *documents.warnings(summary, t),
        ]
        cards = [*documents.tripod(summary, settings, t), *documents.model_card(summary, settings, t)]
        said += [item.text for item in cards]
        said += [
            t.sentence(answer[part])
            for answer in summary["answers"]
            for part in ("text", "size_text", "ensemble_text")
            if answer[part]
        ]
        said += [
            t.sentence(page.overtaking(found)) for task in summary["tasks"] for found in task["crossover"]
        ]
        said += [t.sentence(check["text"]) for check in summary["checks"]]
        said += [
            t("below {share}", share=numbers.percent(bar)) for bar in (MAX_LOSS_DROP, MAX_GENERALIZATION_GAP)
        ]
        passing = sum(check["status"] == "passed" for check in summary["checks"])
        (told,) = (text for text in Texts("ja").table if "{passed} of {all} passed" in text)
        said.append(t(told, passed=passing, all=len(summary["checks"])))
        self.sentences = sorted({one for one in said if re.search(r"\d", one)}, key=len, reverse=True)
        self.names = set(self.names_of(summary))
        self.fixed = [
            *(f'<th scope="row">{row[0]}</th><td>{escape(t(row[1]))}</td>' for row in documents.TRIPOD),
            *(
                f'<a href="cells/{cell}/cell.json" title="{cell}">{cell.rsplit("-s", 1)[-1]}</a>'
                for task in summary["tasks"]
                for detail in task["per_model"]
                for cell in detail["cells"]
            ),
            *(
                f"{t(page.VERDICT_NAMES[verdict])}: <strong>{number}</strong>"
                for verdict, number in Counter(answer["verdict"] for answer in summary["answers"]).items()
            ),
        ]

    @staticmethod
    def names_of(summary: dict[str, Any]) -> Iterator[str]:
        """What sizes, questions, codes, groups and versions are called, and the span of the data."""
        yield from (summary["version"], *summary["dataset"]["span"])
        yield from (entry["name"] for kind in ("sizes", "tasks") for entry in summary[kind])
        yield from (code["code"] for code in summary["dataset"]["codes"])
        yield from summary["provenance"]["versions"].values()
        yield from summary["provenance"]["manifests"].values()
        for task in summary["tasks"]:
            yield from (
                group["group"] for detail in task["per_model"] for group in detail.get("subgroups", [])
            )

    def found(self, text: str) -> list[str]:
        for fixed in self.fixed:
            text = text.replace(fixed, "")
        texts = {" ".join(unescape(part).split()) for part in re.split(r"<[^>]*>", text)}
        return sorted(part for part in texts if self.left(part))

    def left(self, part: str) -> bool:
        for sentence in self.sentences if re.search(r"\d", part) else ():
            part = part.replace(sentence, " ")
        return any(
            re.search(r"\d", word) and word.rstrip(".:;") not in self.names for word in BETWEEN.split(part)
        )


def test_shares_of_the_sexes_are_those_of_the_counts() -> None:
    summary = gate.suppress(synthetic.summary(tasks=1), "none")
    traced = body(page.html(summary, synthetic.STUDY, traced=True))
    shares = {path: told for path, how, told in MARKED.findall(traced) if how == "share"}
    of = "dataset.description.groups.all.{}"
    group = summary["dataset"]["description"]["groups"]["all"]
    told = shares[f"{of.format('sex.F')} of {of.format('patients')}"]
    assert told == f"{100 * group['sex']['F'] / group['patients']:.3g} %"


def test_figures_are_drawn_from_the_numbers_of_the_summary() -> None:
    """Each row for the script is a result, number by number; and there is one for each."""
    summary = gate.suppress(synthetic.summary(tasks=2), "ndb")
    shown = view.view(summary, Texts("en"), "")
    names = [arm["key"] for arm in shown["arms"]]
    for task, drawn in zip(summary["tasks"], shown["tasks"], strict=True):
        assert len(drawn["rows"]) == len(task["results"])
        for row, result in zip(drawn["rows"], task["results"], strict=True):
            assert names[row[0]] == result["arm"] and shown["splits"][row[2]] == result["split"]
            assert (
                row[1] == -1 if result["size"] is None else shown["sizes"][row[1]]["name"] == result["size"]
            )
            assert row[3:6] == [result["n_labelled"], result["n_seeds"], result["seconds"]]
            expected = [
                result[metric][bound]
                for metric in ("auprc", "auroc", "log_loss", "calibration")
                for bound in ("estimate", "low", "high")
            ]
            assert row[6:] == expected
        for split, counts in drawn["splits"].items():
            told = task["splits"][split]
            assert counts == [told["index_dates"], told["positives"], told["prevalence"]]
        leads = [detail for detail in task["per_model"] if detail["highlighted"]]
        for detail, lead in zip(drawn["per_model"], leads, strict=True):
            assert detail == {name: value for name, value in lead.items() if name != "cells"}


def test_unknown_parts_of_a_summary_are_listed_with_their_numbers() -> None:
    """A part that the page has no place for is shown as it is, not left out."""
    summary = gate.suppress(synthetic.summary(tasks=1), "none")
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
    assert wording.duration(hours) == wording.duration(hours, Texts("en")) == said
    assert wording.duration(hours, Texts("ja")).split()[0] == said.split()[0]


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
    summary = gate.suppress(synthetic.summary(tasks=1), "none")
    summary["task_size_interaction"]["p"] = p
    text = body(page.html(summary, synthetic.STUDY, language))
    assert re.findall(r"p (?:=|&lt;) [^)]*", text) == [said]
