"""The glossary has every setting and every abbreviation of the report, and each of its sources."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from claimscale.config.study import Study

ROOT = Path(__file__).parents[2]
GLOSSARY = (ROOT / "docs/glossary.md").read_text("utf-8")
TEXTS = ROOT / "src/claimscale/report/texts.ja.yaml"
ABBREVIATION = re.compile(r"\b[A-Z][A-Za-z]*[A-Z]\w*\b")
NOT_TERMS = {"CMS", "DE", "SynPUF", "DPC", "OMOP", "MEDS", "SVG", "CI", "JavaScript", "ID", "YAML", "JSON"}
"""Names of formats and files."""


def models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from models(part)


def settings(model: type[BaseModel] = Study) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield name
        for part in models(field.annotation):
            yield from settings(part)


def plain(text: str) -> str:
    return re.sub(r"[-_]", " ", text.lower())


@pytest.mark.parametrize("name", sorted(set(settings())))
def test_setting_is_in_the_glossary(name: str) -> None:
    words = plain(name).removesuffix("s")
    assert f"`{name}`" in GLOSSARY or re.search(rf"\b{words}", plain(GLOSSARY)), name


def test_abbreviations_of_the_report_are_in_the_glossary() -> None:
    texts = [str(text) for text in yaml.safe_load(TEXTS.read_text("utf-8"))]
    found = {word for text in texts for word in ABBREVIATION.findall(text)} - NOT_TERMS
    assert len(found) > 5
    assert not sorted(word for word in found if word not in GLOSSARY)


def test_every_term_has_a_source_that_is_listed() -> None:
    terms, listed = GLOSSARY.split("## Sources\n")
    rows = [line.split("|")[1:-1] for line in terms.splitlines() if line.startswith("| ")]
    rows = [row for row in rows if row[0].strip() != "term"]
    assert len(rows) > 100 and all(len(row) == 3 and all(cell.strip() for cell in row) for row in rows)
    cited = {number for row in rows for number in re.findall(r"\[(\d+)\]", row[2])}
    assert cited == set(re.findall(r"^(\d+)\. ", listed, re.MULTILINE))
