"""The report: how large and how fast for 20 tasks by 5 sizes, and whether its hidden counts stay hidden.

The page is opened in headless Chromium from a file, five times; an attacker with integer programming tries
1,000 random tables under each privacy profile (`CLAIMSCALE_PRIVACY_TABLES` for fewer).
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from record import write_record

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "privacy"))

import synthetic
from test_suppression import RULES, attack, random_table

from claimscale.privacy.suppression import suppress_cells
from claimscale.report import export, page

TABLES = int(os.environ.get("CLAIMSCALE_PRIVACY_TABLES", "1000"))
LOADS = 5


def main() -> None:
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "report.html"
        started = time.perf_counter()
        summary = synthetic.shown(synthetic.summary(), "ndb")
        gated = time.perf_counter()
        page.render(synthetic.typed(summary), synthetic.STUDY, file)
        rendered = time.perf_counter()
        export.write(synthetic.typed(summary), Path(folder))
        exported = time.perf_counter()
        figures |= {
            "gate_seconds": gated - started,
            "page_seconds": rendered - gated,
            "figures_and_tables_seconds": exported - rendered,
            "megabytes": file.stat().st_size / 1e6,
        }
        figures |= opened(file)
    figures |= attacked()
    for name, value in figures.items():
        print(f"{name:<32} {value:.3f}")
    write_record("report", figures)


def opened(file: Path) -> dict[str, float]:
    """Seconds until the page is loaded and rendered; requests and console lines of all loads."""
    from playwright.sync_api import sync_playwright

    seconds, noise = [], 0
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu", "--disable-quic"]
        )
        for _ in range(LOADS):
            tab = browser.new_page(viewport={"width": 1280, "height": 900})
            heard: list[str] = []
            tab.on("console", lambda message, heard=heard: heard.append(message.text))
            tab.on("request", lambda request, heard=heard: heard.append(request.url))
            tab.goto(file.as_uri())
            taken = "performance.timing.loadEventEnd - performance.timing.navigationStart"
            seconds.append(tab.evaluate(taken) / 1000)
            noise += len([line for line in heard if not line.startswith(("file:", "data:"))])
            tab.close()
        browser.close()
    return {
        "load_seconds_median": statistics.median(seconds),
        "load_seconds_slowest": max(seconds),
        "console_lines_and_requests": noise,
    }


def attacked() -> dict[str, float]:
    """Hidden cells of random tables, and how many the attacker recovered, per profile."""
    found: dict[str, float] = {}
    for profile, rule in RULES.items():
        hidden = recovered = 0
        for seed in range(TABLES):
            counts, sums = random_table(seed)
            shown = suppress_cells(counts, sums, rule)
            for place, value in enumerate(shown):
                if not isinstance(value, int):
                    least, most = attack(shown, sums, rule, place)
                    hidden += 1
                    recovered += least == most
        found |= {f"{profile}_hidden_cells": hidden, f"{profile}_recovered_cells": recovered}
    return found | {"tables_per_profile": TABLES}


if __name__ == "__main__":
    main()
