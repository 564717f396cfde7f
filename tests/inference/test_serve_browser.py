"""The page of the server in a browser: it scores a patient, shows refusals, and loads nothing else."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from claimscale.inference import serve
from claimscale.inference.package import ModelPackage

sys.path.insert(0, str(Path(__file__).parent))
from serve_fixtures import LANDMARK, made_package, patient  # noqa: F401

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))),
    None,
)
playwright = pytest.importorskip(
    "playwright.sync_api", reason="Playwright is not installed: no browser tests"
)
pytest.importorskip("fastapi")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: no browser tests")
TOKEN = "a-token-of-tests-0123456789"


@pytest.fixture(scope="module")
def address(package: ModelPackage) -> Iterator[str]:
    command = [sys.executable, "-m", "claimscale", "serve", str(package.folder), "--port", "0"]
    environment = os.environ | {serve.TOKEN_VARIABLE: TOKEN}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[1]
        process.kill()


@pytest.fixture
def page(address: str) -> Iterator[tuple[Any, list[str]]]:
    """The opened page, and what it requests and says on its console."""
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        opened, seen = browser.new_page(), []
        opened.on("request", lambda request: seen.append(request.url))
        opened.on("console", lambda message: seen.append(message.text))
        opened.on("pageerror", lambda error: seen.append(str(error)))
        opened.goto(address)
        yield opened, seen
        browser.close()


def send(page: Any, token: str, text: str) -> None:
    page.fill("#token", token)
    page.fill("#date", LANDMARK.isoformat())
    page.fill("#text", text)
    page.click("#send")
    page.wait_for_selector("#send:enabled")


def test_a_patient_is_scored(page: tuple[Any, list[str]], address: str) -> None:
    opened, seen = page
    events = [*patient(1, 4), {"subject_id": 1, "time": "2020-01-01", "code": "<img src=x>//1"}]
    send(opened, TOKEN, json.dumps(events))
    opened.wait_for_selector("#result h2")
    shown = opened.inner_text("#result")
    assert re.search(r"Calibrated risk\s+[\d.]+ %", shown) and re.search(r"Interval\s+[\d.e-]+ % to", shown)
    assert "Unread code: <img src=x>//1" in shown and "fact without a time" in shown
    assert all(text.startswith(address) for text in seen), seen
    assert opened.evaluate("localStorage.length + sessionStorage.length + document.cookie.length") == 0


@pytest.mark.parametrize(
    ("token", "text", "said"),
    [
        ("wrong", "[]", "bearer token"),
        (TOKEN, "{", "not JSON"),
        (TOKEN, "[]", "events"),
        (TOKEN, "null", "events"),
    ],
)
def test_refusals_are_shown(page: tuple[Any, list[str]], token: str, text: str, said: str) -> None:
    opened, _seen = page
    send(opened, token, text)
    assert said in opened.inner_text("#problem") and opened.inner_text("#problem")
    assert not opened.inner_text("#result")
