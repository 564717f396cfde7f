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
    "what became of": r"(?:became|becomes?)[ _]of",
    "rival": r"rivals?",
    "at a time": r"at[ _]a[ _]time",
}
"""Refused everywhere. `account`, `asked`, `chance` and `worth` have ordinary meanings too; reviews look at them."""
PLACES = ("src", "docs", "examples", "tests", "benchmarks")
KINDS = {".py", ".md", ".yaml", ".j2", ".js", ".css"}
EXEMPT = {Path(__file__)}


def files() -> list[Path]:
    found = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "Makefile")]
    for place in PLACES:
        found += [file for file in sorted((ROOT / place).rglob("*")) if file.suffix in KINDS]
    return [file for file in found if file not in EXEMPT]


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


def test_the_pattern_finds_the_word() -> None:
    for word, pattern in PRIVATE.items():
        assert re.fullmatch(pattern, word)
