"""The pages: links and anchors resolve, commands parse, YAML is valid, pages and sentences are short."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import shlex
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import cyclopts
import pages
import pytest
import yaml
from pages import DOCS, PAGES, ROOT

from claimscale.cli import app
from claimscale.config import loading
from claimscale.config.study import Study
from claimscale.errors import BadInput
from claimscale.inference.source_file import SourceFile

MOST_WORDS = 1500
REFERENCE = {"study.md", "files.md", "glossary.md", "simulated-formats.md", "measured/simulator.md"}
"""Pages that are looked up and not read; the last is written by a benchmark."""
SENTENCE_WORDS = 20
COMMAND = re.compile(r"(?:^|&& )(?:\.venv/bin/|\$ )?claimscale (.*)$")
BASE: dict[str, Any] = {
    "name": "page",
    "source": {"kind": "simulated"},
    "cohort": {"landmark": dt.date(2020, 1, 1)},
    "sizes": ["80k", "1.3M"],
    "tasks": ["ckd"],
}
TESTED = {"yaml task", "yaml refused", "yaml fragment"}
"""Blocks that test_task_page.py reads, and parts of other files."""


@pytest.fixture(scope="module", params=PAGES, ids=pages.name)
def page(request: pytest.FixtureRequest) -> Path:
    return request.param


def anchors_of(page: Path) -> set[str]:
    return pages.anchors(page.read_text("utf-8"))


def broken(page: Path) -> list[str]:
    """The links of a page that lead nowhere."""
    found: list[str] = []
    for link in pages.links(page.read_text("utf-8")):
        parts = urlsplit(link)
        if parts.scheme:
            continue
        target = Path(os.path.normpath(page.parent / unquote(parts.path))) if parts.path else page
        if target in pages.GENERATED:
            continue
        if not target.exists():
            found.append(f"{link}: no such file")
        elif parts.fragment and target.suffix == ".md" and unquote(parts.fragment) not in anchors_of(target):
            found.append(f"{link}: no such heading")
    return found


def test_links_and_anchors_resolve(page: Path) -> None:
    assert broken(page) == []


def test_a_broken_link_and_a_broken_anchor_are_found(tmp_path: Path) -> None:
    other = tmp_path / "other.md"
    other.write_text("# A `heading` here\n", "utf-8")
    page = tmp_path / "page.md"
    page.write_text(
        "# Page\n[a](other.md#a-heading-here) [b](gone.md) [c](other.md#gone) [d](#page)\n", "utf-8"
    )
    assert broken(page) == ["gone.md: no such file", "other.md#gone: no such heading"]


def commands(text: str) -> list[str]:
    """The command lines of the shell blocks of a page, without comments."""
    lines = [
        line
        for info, content in pages.blocks(text)
        if info.split(" ")[0] in ("sh", "bash", "console", "")
        for line in content.replace("\\\n", " ").splitlines()
    ]
    lines = [re.sub(r"^[A-Z_]+=\S+ +", "", line.strip()) for line in lines]
    return [found[1] for line in lines if (found := COMMAND.search(line))]


def parses(command: str) -> bool:
    words = shlex.split(command, comments=True)
    if words in (["--version"], ["--help"]):
        return True
    try:
        app.parse_args(words, exit_on_error=False, print_error=False)
    except cyclopts.CycloptsError:
        return False
    return True


def test_commands_parse(page: Path) -> None:
    text = page.read_text("utf-8")
    assert [command for command in commands(text) if not parses(command)] == []


def test_pages_have_commands_and_wrong_ones_are_found() -> None:
    assert sum(len(commands(page.read_text("utf-8"))) for page in PAGES) > 50
    assert not parses("ingest study.yaml --dry")
    assert not parses("simulate out")
    assert commands("```sh\nCUDA_VISIBLE_DEVICES=0 claimscale study a.yaml # why\n```\n") == [
        "study a.yaml # why"
    ]


def validate(info: str, content: str) -> None:
    """Raises an error unless a block is a study, or a part of one, or a source file."""
    given = yaml.safe_load(content)
    if info == "yaml study":
        loading.validated(Study, given, "page")
    elif set(given) == {"source"}:
        loading.validated(SourceFile, given, "page")
    else:
        loading.validated(Study, BASE | given, "page")


def test_yaml_is_valid(page: Path) -> None:
    for info, content in pages.blocks(page.read_text("utf-8")):
        if info.split(" ")[0] == "yaml" and info not in TESTED:
            validate(info, content)


def test_wrong_yaml_is_found() -> None:
    wrong = [
        ("yaml", "pretrain: {epoch: 3}", "epoch"),
        ("yaml study", "name: a", "source"),
        ("yaml", "source: {kind: x}", "kind"),
    ]
    for info, content, place in wrong:
        with pytest.raises(BadInput, match=place):
            validate(info, content)


def length(page: Path) -> int:
    return len(page.read_text("utf-8").split())


def test_page_is_short(page: Path) -> None:
    if page.is_relative_to(DOCS) and str(page.relative_to(DOCS)) not in REFERENCE:
        assert length(page) <= MOST_WORDS


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 70


def mean_length(text: str) -> float:
    lengths = [pages.words(sentence) for sentence in pages.sentences(text)]
    return sum(lengths) / max(len(lengths), 1)


def test_sentences_are_short(page: Path) -> None:
    if page.is_relative_to(DOCS) and "ja" not in page.relative_to(DOCS).parts:
        assert mean_length(page.read_text("utf-8")) <= SENTENCE_WORDS


def test_long_sentences_are_found() -> None:
    text = "# Title\n\n| a | b |\n\n```sh\nx\n```\n- One two three.\n- Four five (six). Seven!\n"
    assert [pages.words(sentence) for sentence in pages.sentences(text)] == [3, 3, 1]
    assert mean_length("word " * 30) == 30


def test_the_notebook_links_to_pages() -> None:
    cells = json.loads((DOCS / "risk_scores.ipynb").read_text("utf-8"))["cells"]
    linked = [
        one
        for cell in cells
        if cell["cell_type"] == "markdown"
        for one in pages.links("".join(cell["source"]))
    ]
    assert linked and all((DOCS / link).is_file() for link in linked)
