"""The page in a browser: quick, quiet, usable by keyboard, harmless whatever the labels say.

These tests run wherever Chromium is found, and say so where they are skipped. Accessibility is checked by
axe-core where npm can fetch it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import english
import pytest
import synthetic

from claimscale import formatting
from claimscale.findings import duration, finding
from claimscale.report import page, page_data

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))),
    None,
)
playwright = pytest.importorskip(
    "playwright.sync_api", reason="Playwright is not installed: no browser tests"
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: no browser tests")

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
AXE = "axe-core@4.14.1"
MOST_BYTES = 3_000_000
MOST_ELEMENTS = 40_000
"""What a browser has to lay out. How long that takes is measured by benchmarks/report.py."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Twenty questions by five sizes."""
    summary = synthetic.shown(synthetic.summary())
    file = tmp_path_factory.mktemp("page") / "report.html"
    page.render(synthetic.typed(summary), synthetic.STUDY, file)
    return file, summary


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Eight tasks: enough to choose among."""
    summary = synthetic.shown(synthetic.summary(tasks=8))
    file = tmp_path_factory.mktemp("few") / "report.html"
    page.render(synthetic.typed(summary), synthetic.STUDY, file)
    return file, summary


class Visit:
    """A page that is open, and what it did besides being shown."""

    def __init__(self, browser: Any, file: Path, width: int = 1280, scheme: str = "light") -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.said.append("dialog"), dialog.dismiss()))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(file.as_uri())

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    @property
    def network(self) -> list[str]:
        """Requests beside the file itself and what is written into it."""
        return [url for url in self.asked if not url.startswith(("file:", "data:"))]

    def points(self, chart: str = "size") -> list[str]:
        labels = f"section.task:not(.aside) [data-chart={chart}] .point"
        return self.page.eval_on_selector_all(labels, "all => all.map(one => one.getAttribute('aria-label'))")


def test_it_is_small_and_quiet(browser: Any, report: tuple[Path, dict[str, Any]]) -> None:
    file, summary = report
    assert file.stat().st_size < MOST_BYTES
    with Visit(browser, file) as visit:
        assert visit.said == [] and visit.network == []
        assert visit.page.locator(".answer").count() == len(summary["answers"]) + len(
            summary["family_answers"]
        )
        assert visit.page.evaluate("document.querySelectorAll('*').length") < MOST_ELEMENTS
        assert len(visit.points()) == 10


def test_every_control_changes_the_figures(browser: Any, few: tuple[Path, dict[str, Any]]) -> None:
    file, summary = few
    with Visit(browser, file) as visit:
        for place, task in enumerate(summary["tasks"]):
            visit.page.select_option("select[name=task]", str(place))
            assert visit.page.locator("section.task:visible h2").all_inner_texts() == [task["name"]]
        for metric, name in page_data.ALL_METRICS.items():
            visit.page.select_option("select[name=metric]", metric)
            tips = visit.points()
            assert len(tips) == 10 and all(f"\n{name} " in one for one in tips)
        for split in ("hospital", "temporal", "held_out"):
            visit.page.select_option("select[name=split]", split)
            counts = summary["tasks"][-1]["splits"][split]
            assert f"{counts['positives']:,} of {counts['index_dates']:,} test patients" in visit.points()[0]
        assert visit.said == [] and visit.network == []


def test_points_tell_the_summarys_numbers(browser: Any, few: tuple[Path, dict[str, Any]]) -> None:
    file, summary = few
    with Visit(browser, file) as visit:
        tips = visit.points()
        results = [
            result
            for result in summary["tasks"][0]["results"]
            if result["split"] == "held_out" and result["labelled_patients"] == "all" and result["size"]
        ]
        names = {"pretrained": "Pretrained", "scratch": "From scratch"}
        for result in results:
            entry = result["auprc"]
            expected = (
                f"{result['size']} {names[result['arm']]}\n"
                f"AUPRC {entry['estimate']:.3f} ({entry['low']:.3f} to {entry['high']:.3f})\n"
                f"{result['n_labelled']:,} labelled patients, {result['n_seeds']} seeds\n"
            )
            assert sum(one.startswith(expected) for one in tips) == 1, expected
        marks = [
            visit.points(chart) for chart in ("calibration", "benefit", "risks", "patients", "subgroups")
        ]
        assert all(marks)
        group = summary["tasks"][0]["per_model"][4]["subgroups"][0]
        assert any(f"{group['positives']:,} of {group['n_test']:,} test patients" in one for one in marks[-1])


def test_the_keyboard_reaches_everything(browser: Any, few: tuple[Path, dict[str, Any]]) -> None:
    file, _ = few
    with Visit(browser, file) as visit:
        keyboard = visit.page.keyboard
        visit.page.focus("select[name=task]")
        keyboard.press("ArrowDown")
        assert visit.page.locator("section.task:visible h2").all_inner_texts() == ["question-2"]
        visit.page.focus("section.task:not(.aside) [data-chart=size] .point[tabindex='0']")
        first = visit.page.inner_text("#tip")
        assert visit.page.is_visible("#tip") and "AUPRC" in first
        keyboard.press("ArrowRight")
        assert visit.page.inner_text("#tip") not in ("", first)
        keyboard.press("Escape")
        assert not visit.page.is_visible("#tip")
        stops = "section.task:not(.aside) [data-chart=size] .point[tabindex='0']"
        assert visit.page.locator(stops).count() == 1, "one stop of the Tab key per figure"
        visit.page.focus(".answer a[href='#task-7']")
        keyboard.press("Enter")
        # Not wait_for_function: asked a second time it evaluates text, which the page's policy forbids.
        visit.page.locator("section.task:visible h2", has_text="question-7").wait_for()
        assert visit.page.locator("section.task:visible h2").all_inner_texts() == ["question-7"]


def test_hovering_shows_interval_and_counts(browser: Any, few: tuple[Path, dict[str, Any]]) -> None:
    file, _ = few
    with Visit(browser, file) as visit:
        visit.page.locator("section.task:not(.aside) [data-chart=size] .point").first.hover(force=True)
        tips = visit.page.inner_text("#tip")
        assert re.search(r"AUPRC 0\.\d{3} \(0\.\d{3} to 0\.\d{3}\)", tips)
        assert "labelled patients" in tips and "have the outcome" in tips


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Names, codes and reasons as long as nobody would make them."""
    hospitals, codes = (
        [f"{name}{'x' * 120}{place}" for place in range(8)] for name in ("Hospital", "ICD10//N")
    )
    summary = synthetic.summary(
        tasks=3, hospitals=hospitals, codes=codes, names=["question" * 9 + name for name in "abc"]
    )
    quality = summary["dataset"]["quality"]
    reasons = {
        f"{'dated before the birth of the patient whom it is about, ' * 2}{place}": 1234 for place in range(2)
    }
    quality["quarantined"] = quality["repaired"] = reasons
    quality["source_rows"] = {
        "long_name_of_a_table" * 3: {"rows": 5_002_468, "events": 5_000_000, "without_event": reasons}
    }
    limited = finding(
        "limitation.of_cell", cell="A_file_with_a_long_name" * 6, finding=finding("verdict.inconclusive")
    )
    summary["notes"] = [limited.model_dump()]
    file = tmp_path_factory.mktemp("long") / "report.html"
    page.render(synthetic.typed(synthetic.shown(summary)), synthetic.STUDY, file)
    return file


def test_long_names_stay_in_their_place(browser: Any, long: Path) -> None:
    """Labels of an axis are shortened, with the full text as title; nothing extends past a figure's edge."""
    with Visit(browser, long) as visit:
        labels = visit.page.locator(
            "section.task:not(.aside) [data-chart=subgroups] svg > text"
        ).all_text_contents()
        assert "Women" in labels and any("…" in one for one in labels)
        titles = visit.page.locator(
            "section.task:not(.aside) [data-chart=subgroups] svg text title"
        ).all_text_contents()
        assert all(one.startswith("Hospitalxxx") and len(one) > 120 for one in titles) and titles
        assert any(f"Hospital{'x' * 120}7" in one for one in visit.points("subgroups"))
        assert visit.page.evaluate(PAST_THE_EDGE) == []


def test_a_figure_is_saved_as_it_is_shown(browser: Any, few: tuple[Path, dict[str, Any]]) -> None:
    """The file needs no page: names of axes and series, and no colour left to a style sheet."""
    file, _ = few
    with Visit(browser, file) as visit:
        visit.page.select_option("select[name=metric]", "auroc")
        figure = visit.page.locator(
            "section.task:not(.aside) figure", has=visit.page.locator("[data-chart=size]")
        )
        with visit.page.expect_download() as saved:
            figure.locator("button.save").click()
        assert saved.value.suggested_filename == "synthetic-task-1-size.svg"
        marks = Path(saved.value.path()).read_text("utf-8")
        assert marks.startswith("<svg") and "AUROC" in marks and "From scratch" in marks
        assert "var(" not in marks and visit.said == [] and visit.network == []


PAST_THE_EDGE = """() => [...document.querySelectorAll('.interactive svg')].flatMap((figure) => {
  const edge = figure.getBoundingClientRect();
  return [...figure.querySelectorAll('text')].filter((one) => {
    const box = one.getBoundingClientRect();
    const wide = box.left < edge.left - 1 || box.right > edge.right + 1;
    return box.width && (wide || box.top < edge.top - 1 || box.bottom > edge.bottom + 1);
  }).map((one) => one.textContent);
})"""


@pytest.mark.parametrize("width", [400, 1280])
def test_long_names_do_not_widen_the_page(browser: Any, long: Path, width: int) -> None:
    with Visit(browser, long, width) as visit:
        visit.page.evaluate(OPEN_ALL)
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width


OPEN_ALL = "document.querySelectorAll('details').forEach(one => { one.open = true; })"


@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_sticks_out_and_contrast_is_kept(
    browser: Any, few: tuple[Path, dict[str, Any]], width: int, scheme: str
) -> None:
    file, _ = few
    with Visit(browser, file, width, scheme) as visit:
        visit.page.evaluate(OPEN_ALL)
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
        assert visit.page.evaluate(PAST_THE_EDGE) == []
        ratios = visit.page.evaluate(CONTRAST)
        assert {name: ratio for name, ratio in ratios.items() if ratio < 4.5} == {}
        small = visit.page.evaluate(
            "[...document.querySelectorAll('.interactive > div > svg text')].filter((one) => {"
            " const figure = one.ownerSVGElement, marks = figure.getBoundingClientRect().width;"
            " const size = parseFloat(getComputedStyle(one).fontSize);"
            " return marks && size * marks / figure.viewBox.baseVal.width < 11; }).length"
        )
        assert small == 0, "labels of figures stay readable"


CONTRAST = """() => {
  const shade = (colour) => {
    const canvas = document.createElement('canvas').getContext('2d');
    canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map((part) => {
      const share = part / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const style = getComputedStyle(document.documentElement);
  const of = (name) => shade(style.getPropertyValue(name).trim());
  const found = {};
  for (const ground of ['--paper', '--card', '--notice']) {
    for (const name of ['--ink', '--faint', '--good', '--more', '--open', '--pretrained', '--scratch',
                        '--lightgbm', '--logistic', '--outcome-history', '--embeddings', '--both']) {
      const [low, high] = [of(ground), of(name)].sort((one, other) => one - other);
      found[`${name} on ${ground}`] = (high + 0.05) / (low + 0.05);
    }
  }
  return found;
}"""
"""Contrast of every colour of text and marks on every ground, as WCAG 2 defines it (4.5 is AA)."""


def test_series_differ_without_colour_vision(browser: Any, few: tuple[Path, dict[str, Any]]) -> None:
    """Each arm has a shape of its own, whatever its colour."""
    file, _ = few
    with Visit(browser, file) as visit:
        shapes = visit.page.eval_on_selector_all(
            "#front .legend li",
            "all => all.map(one => one.querySelector('.mark')?.getAttribute('d') ?? 'none')",
        )
        assert len(shapes) == len(set(shapes)) == 7


def test_the_mean_of_two_models_costs_what_both_cost(browser: Any, few: tuple[Path, dict[str, Any]]) -> None:
    file, summary = few
    seconds = {
        (one["arm"], one["size"]): one["seconds"]
        for one in summary["tasks"][0]["results"]
        if one["split"] == "held_out" and one["labelled_patients"] == "all"
    }
    largest = summary["sizes"][-1]
    parts = seconds["lightgbm", None] + seconds["pretrained", largest["name"]]
    hours = largest["hours"] + (parts + seconds["ensemble", None]) / 3600
    with Visit(browser, file) as visit:
        tips = visit.page.get_attribute("#front [aria-label^='Encoder and LightGBM']", "aria-label")
    assert tips.endswith(f"computing time {duration(hours).text}")


def test_the_script_tells_durations_and_tokens_as_the_tables_do(browser: Any, tmp_path: Path) -> None:
    """The rule stands twice, in Python and in the script: ends of its ranges are where they would part."""
    summary = synthetic.shown(synthetic.summary(tasks=1))
    hours = (0.0123, 0.25, 999.4, 999.6, 123_456.7)
    tokens = (640, 999_400, 999_600, 2_410_000_000_000, 3_000_000_000_000_000)
    for size, took in zip(summary["sizes"], hours, strict=True):
        size["hours"] = took
    for one, last in zip(summary["training_losses"], tokens, strict=True):
        one["tokens"] = [last // 40 * step for step in range(1, 40)] + [last]
    for result in summary["tasks"][0]["results"]:
        result["seconds"] = 0
    file = tmp_path / "report.html"
    page.render(synthetic.typed(summary), synthetic.STUDY, file)
    with Visit(browser, file) as visit:
        tips = visit.page.eval_on_selector_all(
            "#front .point, [data-chart-losses] .point",
            "all => all.map(one => one.getAttribute('aria-label'))",
        )
    for took in hours:
        assert any(one.endswith(f"\ncomputing time {duration(took).text}") for one in tips), took
    for last in tokens:
        assert any(one.endswith(f" after {formatting.compact(last)} tokens") for one in tips), last


def test_figures_are_in_the_language_of_the_page(browser: Any, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    page.render(
        synthetic.typed(synthetic.shown(synthetic.summary(tasks=1), "ndb")), synthetic.STUDY, file, "ja"
    )
    with Visit(browser, file) as visit:
        visit.page.select_option("select[name=metric]", "calibration")
        said = visit.page.evaluate(
            "[...document.querySelectorAll('.interactive :is(svg text, [aria-label]), .legend li, option')]"
            ".map(one => one.getAttribute('aria-label') ?? one.textContent)"
        )
        assert len(said) > 200
        assert {one for one in said if english.is_english(one, ("question-1",))} == set()


@pytest.mark.parametrize("language", ["en", "ja"])
def test_hostile_labels_run_nothing(browser: Any, tmp_path: Path, language: str) -> None:
    labels = synthetic.hostile_labels(50)
    summary = synthetic.summary(tasks=3, hospitals=labels, codes=labels, names=labels[:3])
    summary["name"] = labels[3]
    simulated = finding("limitation.simulated")
    summary["notes"] = [
        finding("limitation.of_cell", cell=label, finding=simulated).model_dump() for label in labels[:20]
    ]
    summary["checks"][0]["title"] = labels[4]
    summary["dataset"]["quality"]["quarantined"] = dict.fromkeys(labels[:10], 100)
    summary["provenance"]["versions"][labels[5]] = labels[6]
    file = tmp_path / "report.html"
    page.render(
        synthetic.typed(synthetic.shown(summary)),
        synthetic.STUDY.model_copy(update={"runs_dir": "</pre><script>window.hit=1</script>"}),
        file,
        language,
    )
    with Visit(browser, file) as visit:
        for place in range(3):
            visit.page.select_option("select[name=task]", str(place))
            for point in visit.page.locator("section.task:not(.aside) [data-chart=subgroups] .point").all()[
                ::40
            ]:
                point.focus()
        visit.page.evaluate(OPEN_ALL)
        visit.page.wait_for_timeout(300)
        assert visit.page.evaluate("window.hit") is None
        assert visit.said == [] and visit.network == []
        assert visit.page.locator("script").count() == 2
        assert visit.page.locator("iframe, form[action], base, img, video, math, object, embed").count() == 0
        text = visit.page.evaluate("document.body.textContent")
        assert all(label in text for label in labels[:20]), "labels are shown as they are"


def test_a_script_that_slipped_in_would_not_run(browser: Any, tmp_path: Path) -> None:
    """The content security policy is the second lock: it holds though the first is picked."""
    text = page.html(synthetic.typed(synthetic.shown(synthetic.summary(tasks=1))), synthetic.STUDY)
    text = text.replace("</main>", "<script>window.hit=1</script><img src=x onerror='window.hit=2'>"
                        "<img src='https://example.org/x.png'></main>")  # fmt: skip
    file = tmp_path / "report.html"
    file.write_text(text, "utf-8")
    with Visit(browser, file) as visit:
        visit.page.wait_for_timeout(200)
        assert visit.page.evaluate("window.hit") is None
        assert any("Content Security Policy" in said for said in visit.said)


def test_it_prints_every_question(browser: Any, few: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    file, summary = few
    with Visit(browser, file) as visit:
        visit.page.emulate_media(media="print")
        visit.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        assert visit.page.locator("section.task:visible").count() == len(summary["tasks"])
        marks = visit.page.evaluate(
            "[...document.querySelectorAll('[data-chart=size]')].filter(one => one.innerHTML).length"
        )
        assert marks == len(summary["tasks"])
        assert not visit.page.is_visible("#controls")
        closed = visit.page.locator("details:not([open])")
        assert closed.count() == 0, "what is folded on the screen is printed"
        visit.page.evaluate("window.dispatchEvent(new Event('afterprint'))")
        assert closed.count() > len(summary["tasks"])
        assert visit.page.pdf()[:5] == b"%PDF-"


def test_a_partial_report_says_so(browser: Any, tmp_path: Path) -> None:
    summary = synthetic.shown(synthetic.summary(tasks=1)) | {"partial": {"done": 4, "total": 32}}
    file = tmp_path / "report.html"
    page.render(synthetic.typed(summary), synthetic.STUDY, file)
    with Visit(browser, file) as visit:
        assert "4 of 32" in visit.page.inner_text("[role=status]")


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source of axe-core: from a file the environment names, or fetched by npm."""
    if named := os.environ.get("CLAIMSCALE_AXE"):
        return Path(named).read_text("utf-8")
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed: axe-core was not run")
    folder = tmp_path_factory.mktemp("axe")
    fetched = subprocess.run(
        [npm, "install", "--prefix", str(folder), "--no-audit", "--no-fund", "--silent", AXE],
        capture_output=True,
    )
    if fetched.returncode:
        pytest.skip("npm cannot reach its registry: axe-core was not run")
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text("utf-8")


@pytest.mark.parametrize(("width", "scheme"), [(400, "dark"), (1280, "light")])
def test_axe_finds_no_serious_violation(
    browser: Any, tmp_path: Path, axe: str, width: int, scheme: str
) -> None:
    file = tmp_path / "report.html"
    page.render(synthetic.typed(synthetic.shown(synthetic.summary(tasks=2), "ndb")), synthetic.STUDY, file)
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True
    )
    tab = context.new_page()
    tab.goto(file.as_uri())
    tab.evaluate(OPEN_ALL)
    tab.add_script_tag(content=axe)
    found = tab.evaluate("axe.run(document, {resultTypes: ['violations']})")
    context.close()
    serious = [
        (one["id"], one["impact"], [node["html"][:120] for node in one["nodes"][:3]])
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []
