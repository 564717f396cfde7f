"""Build the documentation site: `make docs`, or `python docs/website/build.py [SITE]`.

Pages are copied to a temporary folder, those that come from the program are written there, and Zensical
renders them.
The site opens from disk and loads nothing from a network: this is checked, and so is every link and anchor.
"""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

sys.path.insert(0, str(Path(__file__).parent))
import reference

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
JAPANESE = DOCS / "ja"
NETWORK_SHIM = "https://unpkg.com/iframe-worker/shim"
"""What the theme loads for a search from disk; search_frame.js takes its place."""
LINK = re.compile(r"(?<!`)(\]\()([^)\s#]+)((?:#[^)\s]*)?\))")
FENCE = re.compile(r"^(`{3,})(\w+) +([^\n{=]+?) *$", re.MULTILINE)

WRAP = re.compile(
    r"(?<=[\u3000-\u30ff\u4e00-\u9fff\uff01-\uffee])\n(?=[\u3000-\u30ff\u4e00-\u9fff\uff01-\uffee])"
)
"""A line break between two Japanese characters."""


def fence(match: re.Match[str]) -> str:
    """The opening of a code block: the second word names a file, or is for tests alone."""
    ticks, language, name = match.groups()
    if language in ("file", "parquet"):
        return f'{ticks}text title="{name}"'
    return f"{ticks}{language}"


def unwrapped(text: str) -> str:
    """Japanese text without the line breaks that a browser would show as spaces; code is left as it is."""
    parts = re.split(r"^(```.*?^```)", text, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if part.startswith("```") else WRAP.sub("", part) for part in parts)


def notebook_page(file: Path) -> str:
    """A notebook as a page: text, code and what it printed."""
    parts: list[str] = []
    for one in json.loads(file.read_text("utf-8"))["cells"]:
        source = "".join(one["source"])
        if one["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        printed = "".join("".join(out.get("text", "")) for out in one["outputs"])
        if printed:
            parts.append(f"```text\n{printed.rstrip()}\n```")
    return "\n\n".join(parts) + "\n"


class Assembly:
    """The pages of the site, from those of the repository, in a folder."""

    def __init__(self, pages: Path) -> None:
        self.pages = pages
        self.waiting: list[tuple[Path, Path]] = []
        self.placed: dict[Path, Path] = {}

    def place(self, file: Path) -> Path:
        """Where a file of the repository lies among the pages; it is copied later."""
        if file not in self.placed:
            inside = file.is_relative_to(DOCS)
            target = self.pages / (
                file.relative_to(DOCS) if inside else Path("project") / file.relative_to(ROOT)
            )
            if target == self.pages / "README.md":
                target = self.pages / "index.md"
            if target.suffix == ".ipynb":
                target = target.with_suffix(".md")
            self.placed[file] = target
            self.waiting.append((file, target))
        return self.placed[file]

    def text(self, file: Path, text: str, target: Path) -> str:
        """The text of a page with links that hold within the site."""

        def link(match: re.Match[str]) -> str:
            before, name, after = match.groups()
            if urlsplit(name).scheme:
                return match[0]
            linked = Path(os.path.normpath(file.parent / unquote(name)))
            if linked.is_relative_to(DOCS / "reference"):  # written from the program
                found = self.pages / linked.relative_to(DOCS)
            elif linked.is_file():
                found = self.place(linked)
            else:
                return match[0]
            return f"{before}{os.path.relpath(found, target.parent)}{after}"

        text = FENCE.sub(fence, LINK.sub(link, text))
        return unwrapped(text) if file.is_relative_to(JAPANESE) else text

    def write(self) -> None:
        """Write all pages."""
        for file in sorted(DOCS.rglob("*")):
            if file.suffix in {".md", ".png", ".svg", ".css", ".js", ".json", ".ipynb"}:
                self.place(file)
        self.place(ROOT / "benchmarks" / "README.md")
        for file, target in self.waiting:  # grows with what the pages link to
            target.parent.mkdir(parents=True, exist_ok=True)
            if file.suffix in (".md", ".ipynb"):
                text = notebook_page(file) if file.suffix == ".ipynb" else file.read_text("utf-8")
                target.write_text(self.text(file, text, target), "utf-8")
            else:
                shutil.copy(file, target)
        for name, page in reference.PAGES.items():
            target = self.pages / "reference" / name
            target.parent.mkdir(exist_ok=True)
            target.write_text(page(), "utf-8")
        if reference.REPORT.is_file():
            shutil.copy(reference.REPORT, self.pages / "sample_report.html")


class Links(HTMLParser):
    """The links, anchors and loaded files of a built page."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        loads = {"script": "src", "img": "src", "iframe": "src", "source": "src"}
        if tag in loads and given.get(loads[tag]):
            self.loaded.append(given[loads[tag]])
        if tag == "link" and set(given.get("rel", "").split()) & {
            "stylesheet",
            "icon",
            "preload",
            "preconnect",
        }:
            self.loaded.append(given["href"])


def read(file: Path) -> Links:
    found = Links()
    found.feed(file.read_text("utf-8"))
    return found


def problems(site: Path) -> list[str]:
    """Links and anchors of a built site that lead nowhere, and what would be loaded from a network."""
    pages = {
        file: read(file)
        for file in site.rglob("*.html")
        if file.name not in ("404.html", "sample_report.html")
    }
    found: list[str] = []
    for file, page in pages.items():
        name = file.relative_to(site)
        found += [f"{name}: loads {url}" for url in page.loaded if re.match(r"(https?:)?//", url)]
        for url in [*page.links, *page.loaded]:
            parts = urlsplit(html.unescape(url))
            if parts.scheme or parts.netloc:
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file():
                found.append(f"{name}: {url} does not exist")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                found.append(f"{name}: {url} has no such anchor")
    for file in site.rglob("*.css"):
        found += [
            f"{file.name}: loads {url}"
            for url in re.findall(r"url\([\"']?(https?://[^)\"']+)", file.read_text("utf-8"))
        ]
    return sorted(set(found))


def build(site: Path) -> list[str]:
    """Build the site into a folder and return its problems."""
    with tempfile.TemporaryDirectory(prefix="claimscale-docs-") as folder:
        work = Path(folder)
        Assembly(work / "pages").write()
        config = (DOCS / "website" / "zensical.toml").read_text("utf-8")
        (work / "zensical.toml").write_text(config.replace("../src", str(ROOT / "src")), "utf-8")
        command = [sys.executable, "-m", "zensical", "build"]
        done = subprocess.run(command, cwd=work, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stdout + done.stderr)
        built = work / "site"
        for page in built.rglob("*.html"):
            text = page.read_text("utf-8")
            shim = os.path.relpath(built / "website" / "search_frame.js", page.parent)
            text = text.replace(NETWORK_SHIM, shim)
            if page.parent.name == JAPANESE.name:
                text = text.replace('<html lang="en"', '<html lang="ja"')
            page.write_text(text, "utf-8")
        shutil.rmtree(site, ignore_errors=True)
        shutil.move(built, site)
    return problems(site)


def main() -> None:
    site = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "site"
    found = build(site.resolve())
    for problem in found:
        print(problem)
    if found:
        raise SystemExit(f"{len(found)} problems")
    print(f"{len(list(site.rglob('*.html')))} pages: open {site / 'index.html'}")


if __name__ == "__main__":
    main()
