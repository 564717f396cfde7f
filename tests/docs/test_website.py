"""The site: generated pages have what the program has; it builds without problems and searches from disk."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pages
import pytest
from pages import DOCS, ROOT

from claimscale.cli import app
from claimscale.config.study import Study

WEBSITE = DOCS / "website"
HAS_ZENSICAL = all(importlib.util.find_spec(name) for name in ("zensical", "mkdocstrings"))
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def website() -> dict[str, ModuleType]:
    """The modules of docs/website."""
    sys.path.insert(0, str(WEBSITE))
    try:
        import build
        import reference
    finally:
        sys.path.remove(str(WEBSITE))
    return {"build": build, "reference": reference}


def test_the_page_of_settings_has_every_setting(website: dict[str, ModuleType]) -> None:
    text = website["reference"].settings_page()
    shown = re.findall(r"^\| `([\w.]+)` \|", text, re.MULTILINE)
    study = (ROOT / "docs" / "study.md").read_text("utf-8")
    assert set(re.findall(r"^\| `([\w.]+)` \|", study, re.MULTILINE)) <= set(shown)
    assert "| `compare.relative_margin` | number; above 0" in text
    assert "`landmark`, `every_visit`" in text and "### `source` with `kind: omop`" in text
    assert all(field.description in " ".join(text.split()) for field in [Study.model_fields["seed"]])


def test_the_page_of_commands_has_every_command(website: dict[str, ModuleType]) -> None:
    text = website["reference"].cli_page()
    commands = [name for name in app if not name.startswith("-")]
    assert len(commands) > 20
    assert [name for name in commands if f"## `claimscale {name}`" not in text] == []
    assert "--dry-run" in text and "[validity.md](../validity.md)" in text


def test_the_page_of_the_summary_has_every_part(website: dict[str, ModuleType]) -> None:
    text = website["reference"].summary_page()
    links = set(re.findall(r"\]\(#(\w+)\)", text))
    assert len(links) > 20 and links <= pages.anchors(text)


def test_every_page_is_in_the_navigation() -> None:
    config = (WEBSITE / "zensical.toml").read_text("utf-8")
    listed = set(re.findall(r'"([\w/.-]+\.md)"', config)) - {"project/benchmarks/README.md", "index.md"}
    here = {str(page.relative_to(DOCS)) for page in [*DOCS.rglob("*.md"), *pages.GENERATED]} - {"README.md"}
    assert listed == here


def test_problems_of_a_site_are_found(website: dict[str, ModuleType], tmp_path: Path) -> None:
    (tmp_path / "b.html").write_text('<p id="here"></p>', "utf-8")
    (tmp_path / "a.html").write_text(
        '<a href="b.html#here"></a><a href="b.html#gone"></a><a href="c.html"></a><a href="https://x.org"></a>'
        '<script src="https://x.org/a.js"></script><link rel="stylesheet" href="//fonts.org/f.css">',
        "utf-8",
    )
    assert website["build"].problems(tmp_path) == [
        "a.html: b.html#gone has no such anchor",
        "a.html: c.html does not exist",
        "a.html: loads //fonts.org/f.css",
        "a.html: loads https://x.org/a.js",
    ]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not HAS_ZENSICAL:
        pytest.skip("needs claimscale[docs]")
    folder = tmp_path_factory.mktemp("docs") / "site"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, str(WEBSITE / "build.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_site_builds_without_problems(site: Path) -> None:
    assert len(list(site.rglob("*.html"))) > 50
    assert "simulate_histories" not in (site / "python.html").read_text("utf-8")
    assert "from_pretrained" in (site / "python.html").read_text("utf-8")


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize(("words", "found"), [("washout", "glossary.html#"), ("傷病名", "ja/receipt.html#")])
def test_the_search_works_from_disk(site: Path, words: str, found: str) -> None:
    from playwright.sync_api import sync_playwright

    loaded: list[str] = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("request", lambda request: loaded.append(request.url))
        page.goto((site / "index.html").as_uri())
        page.keyboard.press("/")
        page.wait_for_timeout(300)
        page.keyboard.type(words)
        page.locator(f"a[href*='{found}']:visible").first.wait_for(timeout=20_000)
        browser.close()
    assert not [url for url in loaded if url.startswith("http")]
