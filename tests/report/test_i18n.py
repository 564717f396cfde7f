"""Every label of the page is in the Japanese catalogue, and a Japanese page has no English left."""

from __future__ import annotations

import importlib.resources
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import english
import synthetic

from claimscale.findings import Finding, catalogue, placeholders
from claimscale.report import cohort_charts, documents, page, page_data, phenome_picture
from claimscale.report.i18n import Texts
from claimscale.sources.issues import ISSUES
from claimscale.sources.japan import masters
from claimscale.validity import checks

MASTERS = (masters.NOT_IN_MASTERS, masters.WITHOUT_TARGET, masters.ABOLISHED)
GOLDEN = Path(__file__).parents[1] / "summary" / "golden_summary.json"
NAMES = (
    "synthetic", "question-1", "question-2", "a guideline", "tables", "drugs", "ndb", "python", "torch", "lightgbm",
    "logistic", "outcome_history", "ckd", "pregabalin", "0123456789abcdef", "events",
    "TransformEHR", "EveryQuery",
    *(task.source for task in synthetic.STUDY.tasks),
)  # fmt: skip
"""What users have called things; the same in every language."""
VALUES: dict[str, Any] = {
    "interval": {"estimate": 0.1, "low": 0.05, "high": 0.15},
    "duration": 12.5,
    "sentences": [],
    "": "X",
}
"""A value for each type of placeholder; 0.5 for all others."""


def labels_in_code() -> set[str]:
    """The labels that templates, the script and modules look up."""
    folder = importlib.resources.files("claimscale.report")
    found = set[str]()
    for file in [
        *(folder / "templates").iterdir(),
        *(folder / name for name in ("documents.py", "page.py", "phenome_picture.py")),
    ]:
        if not file.name.endswith(".css"):
            text = re.sub(r'"\s*\n\s*"', "", file.read_text("utf-8"))
            found |= set(re.findall(r'\bt\(\s*"((?:[^"\\]|\\.)*)"', text))
    found |= {text for row in documents.TRIPOD for text in row[1:4]}
    found |= {text for row in documents.CARD for text in row[:2]}
    found |= {step for _, step in page.ATTRITION} | {*page.GROUP_NAMES.values(), *page.VERDICT_NAMES.values()}
    found |= {name for name, _ in page_data.ARMS.values()} | set(page_data.SPLIT_NAMES.values())
    found |= {*page_data.ALL_METRICS.values(), *page_data.GROUPS, *page_data.SHORT.values()}
    found |= {*page.FAMILY_NAMES.values(), *phenome_picture.NAMES.values()}
    found |= {*page.CONVERGENCE_NAMES.values(), *checks.TITLES.values()}
    found |= {cohort_charts.BROKEN_LINE, cohort_charts.GREY_PLACE}
    return {text for text in found if re.search(r"[A-Za-z]", re.sub(r"\{\w+\}", "", text))}


def test_every_label_has_a_japanese_one_with_its_places() -> None:
    table = Texts("ja").table
    assert sorted(labels_in_code() - set(table)) == []
    for text, translated in table.items():
        assert sorted(re.findall(r"\{\w+\}", text)) == sorted(re.findall(r"\{\w+\}", translated)), text


def test_english_labels_are_their_own_keys() -> None:
    assert Texts("en")("{n} labelled patients", n="1,000") == "1,000 labelled patients"


def example(code: str) -> Finding:
    """A finding of the code with a value at every placeholder."""
    parameters = {name: VALUES.get(kind, 0.5) for name, kind in placeholders(catalogue("en")[code])}
    return Finding(code=code, parameters=parameters)


def messages() -> Iterator[Finding]:
    yield from map(example, catalogue("en"))


def test_no_message_has_english_left_in_japanese() -> None:
    found = {one.code: one.render("ja") for one in messages()}
    assert {
        code: text for code, text in found.items() if english.is_english(text) and text not in NAMES
    } == {}


def everything() -> dict[str, Any]:
    """A summary with every message of the catalogue among its limitations, and every kind of issue."""
    summary = synthetic.summary(tasks=2)
    golden = json.loads(GOLDEN.read_text("utf-8"))
    summary |= {key: golden[key] for key in ("forecast", "convergence")}
    quality = summary["dataset"]["quality"]
    quality["quarantined"] = dict.fromkeys(ISSUES, 100)
    quality["warnings"] = dict.fromkeys(
        (*MASTERS, "totals differ", "unreadable code", "dated to the month"), 100
    )
    quality["rows_in"] = quality["used"] + 100 * len(ISSUES) + sum(quality["dropped"].values())
    summary["notes"] = [one.model_dump() for one in messages()]
    for title in checks.TITLES.values():
        check = {"task": None, "title": title, "status": "passed", "text": synthetic.STABLE.model_dump()}
        summary["checks"].append(check)
    return synthetic.shown(summary, "ndb")


def test_the_japanese_page_has_no_english_left() -> None:
    text = page.html(synthetic.typed(everything()), synthetic.STUDY, "ja")
    assert '<html lang="ja">' in text
    assert english.left(text, NAMES) == []


def test_english_would_be_found() -> None:
    """An English sentence is seen, within Japanese too; names and codes are not."""
    page_text = (
        "<p>A third leave early.</p><p>結果は the best one です</p><td>status</td><td>LightGBM 11M</td>"
    )
    assert english.left(page_text) == ["A third leave early.", "status", "結果は the best one です"]
    assert english.left("<style>a b c</style><td>ICD10//N18 は陽性</td><td>AUPRC</td>") == []
