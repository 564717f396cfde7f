"""The package, its pages and its texts use the field's words: private ones are refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRIVATE = {
    "foretell": r"foretell\w*",
    "foretold": r"foretold",
    "told": r"told",
    "drawn": r"drawn",
    "set aside": r"sets?[ _]aside",
    "put right": r"puts?[ _]right",
    "go on": r"go(?:es)?[ _]on",
    "came out": r"c[ao]mes?[ _]out",
    "what became of": r"what (?:became|becomes) of",
    "rival": r"rivals?",
    "account": r"account(?:s|ed)?",
    "asked": r"asked",
    "at a time": r"at[ _]a[ _]time",
    "worth": r"worth",
}
PLACES = ("src", "docs", "examples")
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "Makefile")
KINDS = {".py", ".md", ".yaml", ".j2", ".js", ".css"}
EXEMPT = {ROOT / "src" / "claimscale" / "config" / "renamed.py"}
"""The table of renamed settings holds their old names."""


def files() -> list[Path]:
    found = [file for place in PLACES for file in sorted((ROOT / place).rglob("*")) if file.suffix in KINDS]
    return [file for file in [*found, *(ROOT / page for page in PAGES)] if file not in EXEMPT]


@pytest.mark.parametrize("word", PRIVATE)
def test_no_text_uses_a_private_word(word: str) -> None:
    pattern = re.compile(rf"(?<![A-Za-z]){PRIVATE[word]}(?![A-Za-z])", re.I)
    uses = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for file in files()
        for number, line in enumerate(file.read_text("utf-8").splitlines(), 1)
        if pattern.search(line)
    ]
    assert uses == []


@pytest.mark.parametrize("word", PRIVATE)
def test_each_pattern_matches_its_word(word: str) -> None:
    assert re.fullmatch(PRIVATE[word], word)
