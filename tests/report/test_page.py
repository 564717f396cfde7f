"""One file, no network, no script but its own; every figure drawn, every input escaped."""

import copy
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, get_args

import pytest
import vl_convert

from claimscale.config import loading
from claimscale.config.comparison import Baseline
from claimscale.report import charts as plots, cohort_charts as cohort_plots, page

VOID = {"meta", "br", "img", "link", "hr", "input"}


class Checker(HTMLParser):
    """Collects ids and visible text; fails where tags do not nest."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.attributes: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        self.ids += [value or "" for name, value in attrs if name == "id"]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def html(demo: Any) -> str:
    run, summary = demo
    return page.html(summary, loading.dump(run.study))


def test_is_well_formed_and_self_contained(html: str) -> None:
    checker = Checker()
    checker.feed(html)
    assert checker.open == []
    assert len(set(checker.ids)) == len(checker.ids)
    assert html.count("<script") == 2, "the data and the page's own script"
    for name, value in checker.attributes:
        if name in ("src", "href", "xlink:href", "srcset"):
            assert value.startswith(("#", "data:", "cells/")), "nothing is fetched"
        for target in re.findall(r"url\(#([^)]+)\)", value):
            assert target in checker.ids
    assert "@import" not in html and "url(http" not in html


def test_answers_come_first_and_warnings_are_there(html: str, demo: Any) -> None:
    _, summary = demo
    first_figure = html.index("<figure")
    for answer in summary["answers"]:
        assert html.index(answer["text"]) < first_figure
    for warning in summary["warnings"]:  # told once for all questions that share it
        told = re.sub(r"^(ckd|pregabalin): ", "", warning)
        assert html.index(told) < first_figure


def test_every_chart_is_drawn(html: str, demo: Any) -> None:
    _, summary = demo
    names = set(plots.charts(summary))
    assert names == {
        "ckd/size", "ckd/patients", "ckd/calibration",
        "pregabalin/size", "pregabalin/patients", "pregabalin/calibration", "pretraining", "cost",
        "cohort/age", "cohort/sequence_length", "cohort/observation", "cohort/hospitals",
    }  # fmt: skip
    drawn_here = {name for name in names if "/" not in name or name.startswith("cohort/")}
    assert html.count("<figure>") == html.count("<svg") == len(drawn_here) == 6


def test_colours_are_left_to_the_page(html: str) -> None:
    """Every colour of a chart is a variable that both colour schemes define."""
    for drawn in re.findall(r"<svg.*?</svg>", html, flags=re.S):
        assert set(re.findall(r'(?:fill|stroke)="#([0-9a-fA-F]+)"', drawn)) <= {"ddd"}
    used = set(re.findall(r"var\((--[a-z]+)\)", html)) - {"--c"}  # that of a series, set by its class
    light, dark = html.split("@media (prefers-color-scheme: dark)", 1)
    for variable in used:
        assert f"{variable}:" in light and f"{variable}:" in dark.split("* {")[0], variable


def test_numbers_come_from_the_summary(demo: Any) -> None:
    _, summary = demo
    changed = {**summary, "dataset": {**summary["dataset"], "patients": 98_765_432}}
    assert "98,765,432" in page.html(changed, "")
    assert "98,765,432" not in page.html(summary, "")


def test_what_users_write_is_escaped(demo: Any) -> None:
    _, summary = demo
    shown = page.html({**summary, "name": "<b>me</b>"}, "<script>alert(1)</script>")
    assert "<b>me</b>" not in shown and shown.count("<script") == 2
    assert "&lt;script&gt;" in shown


def test_a_bare_summary_renders(fake_run: Callable[..., Any], tmp_path: Path) -> None:
    """No pretraining, no oracle, one size, one seed, few patients, optional facts missing."""
    run = fake_run(
        tmp_path, seeds=(42,), sizes=("100k",), labelled=("all",), patients=8, splits=("held_out",),
        oracle=False,
    )  # fmt: skip
    run.pretraining, run.dataset = [], {"patients": 8, "hospitals": None, "span": None}
    target = tmp_path / "report.html"
    page.render(run.summarise(), "name: demo", target)
    shown = target.read_text("utf-8")
    Checker().feed(shown)
    assert "only one size was trained" in shown
    assert "NaN" not in shown and "None" not in shown and "nan " not in shown


def without(run: Any, *tasks: str) -> Any:
    """The run as if nothing of these tasks could be trained."""
    run.cells = [cell for cell in run.cells if cell.task not in tasks]
    for task in tasks:
        found = {"patients": 900, "index_dates": 900, "positives": 2}
        run.label_counts[task] = {"train": found, "tuning": found, "held_out": found}
        run.insufficient_data[task] = {
            "label": "positive",
            "observed": {"train": 2, "held_out": 2},
            "required": 10,
        }
    return run


def test_a_task_of_which_nothing_was_trained_says_what_it_lacks(
    fake_run: Callable[..., Any], tmp_path: Path
) -> None:
    sizes = {"sizes": ("100k", "400k"), "labelled": ("all",), "splits": ("held_out",)}
    alone = fake_run(tmp_path, **sizes).summarise()
    summary = without(fake_run(tmp_path, **sizes), "ckd").summarise()
    ckd, pregabalin = summary["tasks"]
    assert ckd["saturation"]["additional_needed"] == {"train": 8, "held_out": 28}
    assert pregabalin["results"] == alone["tasks"][1]["results"], "the other task is as it would be"
    words = (
        "Undecided, nothing was trained: too few to learn from or to test on, as the outcome came to "
        "2 of 900 in training and 2 of 900 in testing; "
        "at least 36 more positives needed (8 to train, 28 to test)."
    )
    assert summary["answers"][0]["text"] == words
    assert any(warning.startswith("ckd: nothing was trained") for warning in summary["warnings"])
    shown = page.html(summary, "name: demo")
    Checker().feed(shown)
    assert words in shown and "None" not in shown


@pytest.mark.parametrize("profile", ["none", "ndb"])
@pytest.mark.parametrize(
    ("have", "words"),
    [
        ({"tuning": 0}, "too few tuning patients have the outcome to choose models by; more positives"),
        ({}, "in every subset asked for too few patients have the outcome; more labelled patients"),
    ],
)
def test_a_task_without_enough_to_tune_on_or_in_any_subset_says_so_and_not_how_few(
    fake_run: Callable[..., Any], tmp_path: Path, have: dict[str, int], words: str, profile: str
) -> None:
    sizes = {"sizes": ("100k", "400k"), "labelled": ("all",), "splits": ("held_out",)}
    run = without(fake_run(tmp_path, **sizes, privacy={"profile": profile}), "ckd")
    run.insufficient_data["ckd"] = {"label": "positive", "observed": have, "required": 1}
    run.dataset = {name: told for name, told in run.dataset.items() if name != "description"}
    summary = run.summarise()
    sentence = f"Undecided, nothing was trained: {words} are needed."
    assert summary["answers"][0]["text"] == sentence
    assert summary["tasks"][0]["saturation"]["additional_needed"] is None
    assert sentence in page.html(summary, "name: demo")
    assert "学習なし" in page.html(summary, "name: demo", "ja")


def test_a_subset_that_was_left_out_is_warned_of_once_per_task(
    fake_run: Callable[..., Any], tmp_path: Path
) -> None:
    sizes = {"sizes": ("100k", "400k"), "labelled": ("all",), "splits": ("held_out",)}
    run = fake_run(tmp_path, **sizes, privacy={"profile": "ndb"})
    run.dataset = {name: told for name, told in run.dataset.items() if name != "description"}
    run.left_out = {"ckd": {"label": "positive", "patients": [600, 2000]}}
    summary = run.summarise()
    said = "subsets of 600, 2,000 labelled patients were left out for every model: too few of them"
    (warning,) = (told for told in summary["warnings"] if "left out" in told)
    assert warning.startswith(f"ckd: {said}")
    assert [task["skipped_labelled_patients"] for task in summary["tasks"]] == [
        {"label": "positive", "labelled_patients": [600, 2000]},
        None,
    ]
    assert said in page.html(summary, "name: demo")
    assert "ckd：ラベル付き患者 600, 2,000 人の部分集合は" in page.html(summary, "name: demo", "ja")


def test_a_study_of_which_nothing_was_trained_has_a_report(
    fake_run: Callable[..., Any], tmp_path: Path
) -> None:
    run = without(fake_run(tmp_path, sizes=("100k",), labelled=("all",)), "ckd", "pregabalin")
    run.pretraining = []
    summary = run.summarise()
    assert [answer["verdict"] for answer in summary["answers"]] == ["inconclusive", "inconclusive"]
    Checker().feed(page.html(summary, "name: demo"))


def test_intervals_in_tables_stay_on_their_scale(demo: Any) -> None:
    _, summary = demo
    rows = page.forest(summary["tasks"][0])
    assert [row["result"]["arm"] for row in rows].count("oracle") == 1
    places = [place for row in rows for place in row["places"].values()]
    assert min(places) == 0 and max(places) == 100


def test_rules_far_below_do_not_squash_the_chart(demo: Any) -> None:
    """The prevalence lies far below every model: the scale stays with the models."""
    _, summary = demo
    task = summary["tasks"][0]
    chart = plots.metric_by_size(task)
    assert chart is not None
    domains = re.findall(r"'domain': \[([0-9.]+), ([0-9.]+)\]", str(chart.to_dict()))
    assert min(float(low) for low, high in domains if float(high) <= 1) > task["prevalence"]
    words = re.findall(r"'text': '([^']+)'", str(chart.to_dict()))
    assert words[words.index("prevalence") - 1] == "↓"


def test_checks_are_listed_and_those_that_warn_come_first(html: str, demo: Any) -> None:
    _, summary = demo
    assert "ckd: A third leave early." in summary["warnings"]
    assert not any("used alike" in warning for warning in summary["warnings"])
    assert html.index("ckd: A third leave early.") < html.index("<figure")
    assert "1 of 2 passed" in html and "Codes are used alike." in html


def test_the_cohort_is_described_and_small_cells_stay_hidden(
    fake_run: Callable[..., Any], tmp_path: Path
) -> None:
    """Of the held-out hospitals six patients are men: neither that is shown nor what it would follow from."""
    tables = {}
    for profile in ("none", "ndb"):
        run = fake_run(
            tmp_path, privacy={"profile": profile}, sizes=("100k",), labelled=("all",), patients=300
        )
        text = page.html(run.summarise(), loading.dump(run.study))
        table = text[text.index("The cohort, as known at the landmark") :]
        table = table[table.index("<table>") : table.index("</table>")]
        rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S) for row in table.split("<tr>")]
        tables[profile] = {
            row[0]: [re.sub(r"<.*", "", cell).strip() for cell in row[1:]] for row in rows if row
        }
    all_shown, hidden = tables["none"], tables["ndb"]
    assert all_shown["Patients"] == ["5,991", "4,000", "1,954", "37"]
    assert all_shown["Men"] == ["2,957", "1,900", "1,051", "6"]
    assert all_shown["Age (years), range"] == ["39–94.3"] * 4
    for shown in (all_shown, hidden):
        assert next(iter(shown.values())) == ["All", "Training", "Held-out", "Held-out hospitals"]
        assert shown["Age (years), mean (SD)"] == ["70.8 (14.4)"] * 4
        assert shown["Age (years), median (quartiles)"] == ["73.1 (59.3–82.3)"] * 4
    assert hidden["Men"][3] == "&lt;10" and hidden["Patients"][:2] == ["5,991", "4,000"]
    assert "–" in (hidden["Patients"][3], hidden["Women"][3]), "or the difference would tell"
    assert "–" in hidden["Men"][:3], "or the sum over the splits would tell"
    assert hidden["Age (years), range"] == ["–"] * 4


def test_what_is_hidden_is_no_zero(demo: Any) -> None:
    """A hidden count leaves a grey place and a word of it; a chart of which nothing is known is left out."""
    _, summary = demo
    hidden = copy.deepcopy(summary)
    histograms = hidden["dataset"]["description"]["histograms"]
    histograms["age_by_sex"]["counts"] = {"F": [None] * 3, "M": [None, "<10", None]}
    histograms["patients_per_hospital"] = [4000, 1200, 754, None, "<10"]
    drawn = plots.page_charts(hidden)
    assert "cohort/age" in plots.page_charts(summary) and "cohort/age" not in drawn
    grey, bars = (layer["data"]["values"] for layer in drawn["cohort/hospitals"].to_dict()["layer"])
    assert [row["patients"] for row in bars] == [4000, 1200, 754]
    assert [(row["from"] + row["to"]) / 2 for row in grey] == [4, 5]
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", page.html(hidden, "name: demo"))
    told = [caption for caption in captions if "Some counts are hidden" in caption]
    assert len(told) == 1 and told[0].startswith("Patients of each hospital")
    assert "Some counts are hidden" not in page.html(summary, "name: demo")


def test_lines_break_at_hidden_counts() -> None:
    """A band beside a gap is drawn to both its ends, and no line leads through the gap or down to it."""
    alone = {"edges": [0, 1], "counts": [100]}
    counts = {"F": [20, "<10", 30], "M": [None, 15, None], "U": [None] * 3}
    description = {
        "histograms": {
            "age_by_sex": {"edges": [30, 35, 40, 45], "counts": counts},
            "sequence_length": alone,
            "observation_years": alone,
            "patients_per_hospital": [100],
        }
    }
    chart = cohort_plots.cohort_charts(description)["cohort/age"]
    assert chart is not None
    drawn = vl_convert.vegalite_to_svg(chart.to_dict())
    assert "Women" in drawn and "Men" in drawn and "Sex unknown" not in drawn
    paths = [
        path
        for path in re.findall(r'aria-roledescription="line mark"[^>]* d="([^"]+)"', drawn)
        if "L" in path
    ]
    heights = [sorted(re.findall(r"[ML][\d.]+,([\d.]+)", path), key=float) for path in paths]
    assert [path.count("M") for path in paths] == [2, 1], "women in two pieces, men in one"
    assert [len(set(found)) for found in heights] == [3, 1], "to zero only where nobody is older"
    assert cohort_plots.hidden_notes(description) == {"cohort/age": cohort_plots.BROKEN_LINE}


def test_every_baseline_has_a_name_a_colour_and_a_row(fake_run: Callable[..., Any], tmp_path: Path) -> None:
    names = get_args(Baseline)
    run = fake_run(tmp_path, baselines=names, sizes=("100k", "400k"), labelled=(300, "all"), oracle=False)
    text = page.html(run.summarise(), loading.dump(run.study))
    css = text[text.index("<style") : text.index("</style>")]
    for name in names:
        shown, colour, _ = plots.ARMS[name]
        assert f'<tr class="{name}">' in text
        assert text.count(shown) >= 4, "in table and legend of both tasks"
        assert css.count(colour[4:-1] + ":") == 3, "for light, dark and print"
    assert "Embeddings are those of the largest" in text and "the mean log odds of the largest" in text
