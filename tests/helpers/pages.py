"""The pages of the documentation, as their tests read them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "benchmarks" / "README.md",
    *sorted(DOCS.rglob("*.md")),
]
GENERATED = {
    DOCS / "reference" / name for name in ("settings.md", "cli.md", "summary.md", "sample-report.md")
}
"""Written from the program when the site is built."""
BLOCK = re.compile(r"^( *)(`{3,})([^\n]*)\n(.*?)^\1\2 *$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!`)!?\[[^\]]*\]\(([^)\s]+)\)")


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """The code blocks of a page: what stands after the fence, and the content."""
    for indent, _, info, content in BLOCK.findall(text):
        yield info.strip(), re.sub(rf"^{indent}", "", content, flags=re.MULTILINE)


def without_blocks(text: str) -> str:
    return BLOCK.sub("\n", text)


def links(text: str) -> list[str]:
    """The targets of the links of a page, without those in code."""
    return LINK.findall(re.sub(r"`[^`\n]*`", "code", without_blocks(text)))


def slug(heading: str) -> str:
    """The anchor of a heading, as Zensical and GitHub write it."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading.strip())
    text = re.sub(r"[^\w\- ]", "", text.lower())
    return text.replace(" ", "-")


def anchors(text: str) -> set[str]:
    headings = re.findall(r"^#{1,6} +(.+?) *$", without_blocks(text), re.MULTILINE)
    return {slug(heading) for heading in headings}


def sentences(text: str) -> list[str]:
    """The sentences of a page, without tables, code blocks and headings; an entry of a list ends one."""
    text = re.sub(r"<!--.*?-->", "", without_blocks(text), flags=re.DOTALL)
    parts = [""]
    for line in map(str.strip, text.splitlines()):
        if not line or line.startswith(("|", "#", "<", ":::", "![")):
            parts.append("")
        elif entry := re.match(r"(?:[-*+]|\d+\.) +(.*)", line):
            parts.append(entry[1])
        else:
            parts[-1] += " " + line
    plain = (re.sub(r"\]\([^)]*\)", "]", part) for part in parts)
    found = [one for part in plain for one in re.split(r"(?<=[.!?:])[*)\"]*\s+(?=[A-Z`*\[\"(0-9])", part)]
    return [one for one in found if words(one)]


def words(text: str) -> int:
    return len(re.findall(r"[A-Za-z0-9`]\S*", text))
