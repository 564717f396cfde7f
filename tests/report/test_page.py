"""One file, no network, no script but its own; every figure present, every input escaped."""

import copy
import re
from collections.abc import Callable
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, get_args

import pytest
import synthetic
import vl_convert

from claimscale.config.comparison import Baseline
from claimscale.report import cohort_charts, figures, page, page_data, tables
from claimscale.report.pretraining_charts import loss_by_tokens
from claimscale.summary.dataset_schema import DescriptionEntry
from claimscale.summary.pretraining_schema import LossFitEntry
from claimscale.summary.result_schema import SkippedSubsetsEntry

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
    return page.html(synthetic.typed(summary), run.study)


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
        assert html.index(answer["text"]["text"]) < first_figure
    for limitation in summary["limitations"]:  # once for all tasks that share it
        text = limitation["parameters"].get("finding", limitation)["text"]
        assert html.index(escape(text)) < first_figure


def test_every_chart_is_drawn(html: str, demo: Any) -> None:
    _, summary = demo
    cohort = ("age", "sequence_length", "observation", "hospitals")
    names = {"pretraining", "cost", *(f"cohort/{name}" for name in cohort)}
    assert set(figures.charts(synthetic.typed(summary))) == names
    assert html.count("<figure>") == html.count("<svg") == len(names)


def test_colours_are_left_to_the_page(html: str) -> None:
    """Every colour of a chart is a variable that both colour schemes define."""
    for svg in re.findall(r"<svg.*?</svg>", html, flags=re.S):
        assert set(re.findall(r'(?:fill|stroke)="#([0-9a-fA-F]+)"', svg)) <= {"ddd"}
    used = set(re.findall(r"var\((--[a-z]+)\)", html)) - {"--c"}  # that of a series, set by its class
    light, dark = html.split("@media (prefers-color-scheme: dark)", 1)
    for variable in used:
        assert f"{variable}:" in light and f"{variable}:" in dark.split("* {")[0], variable


def test_numbers_come_from_the_summary(demo: Any) -> None:
    run, summary = demo
    changed = {**summary, "dataset": {**summary["dataset"], "patients": 98_765_432}}
    assert "98,765,432" in page.html(synthetic.typed(changed), run.study)
    assert "98,765,432" not in page.html(synthetic.typed(summary), run.study)


def test_what_users_write_is_escaped(demo: Any) -> None:
    run, summary = demo
    study = run.study.model_copy(update={"runs_dir": "<script>alert(1)</script>"})
    shown = page.html(synthetic.typed({**summary, "name": "<b>me</b>"}), study)
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
    page.render(synthetic.typed(run.summarise()), run.study, target)
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
    run = without(fake_run(tmp_path, **sizes), "ckd")
    summary = run.summarise()
    ckd, pregabalin = summary["tasks"]
    assert ckd["saturation"]["additional_needed"] == {"train": 8, "held_out": 28}
    assert pregabalin["results"] == alone["tasks"][1]["results"], "the other task is as it would be"
    words = (
        "Inconclusive: no model was trained. The outcome was found at 2 of 900 index dates for training "
        "and 2 of 900 for testing. At least 36 more patients with the outcome are needed (8 for training, "
        "28 for testing)."
    )
    assert summary["answers"][0]["text"]["text"] == words
    assert any(one["text"].startswith("ckd: No model was trained") for one in summary["limitations"])
    shown = page.html(synthetic.typed(summary), run.study)
    Checker().feed(shown)
    assert words in shown and "None" not in shown


@pytest.mark.parametrize("profile", ["none", "ndb"])
@pytest.mark.parametrize(
    ("have", "words"),
    [
        (
            {"tuning": 0},
            "Too few tuning patients have the outcome to select models. More patients with the outcome",
        ),
        ({}, "In every requested subset, too few patients have the outcome. More labelled patients"),
    ],
)
def test_an_untrained_task_does_not_reveal_small_counts(
    fake_run: Callable[..., Any], tmp_path: Path, have: dict[str, int], words: str, profile: str
) -> None:
    sizes = {"sizes": ("100k", "400k"), "labelled": ("all",), "splits": ("held_out",)}
    run = without(fake_run(tmp_path, **sizes, privacy={"profile": profile}), "ckd")
    run.insufficient_data["ckd"] = {"label": "positive", "observed": have, "required": 1}
    run.dataset = {name: value for name, value in run.dataset.items() if name != "description"}
    summary = run.summarise()
    sentence = f"Inconclusive: no model was trained. {words} are needed."
    assert summary["answers"][0]["text"]["text"] == sentence
    assert summary["tasks"][0]["saturation"]["additional_needed"] is None
    assert sentence in page.html(synthetic.typed(summary), run.study)
    assert "学習を行っていない" in page.html(synthetic.typed(summary), run.study, "ja")


def test_a_subset_that_was_left_out_is_warned_of_once_per_task(
    fake_run: Callable[..., Any], tmp_path: Path
) -> None:
    sizes = {"sizes": ("100k", "400k"), "labelled": ("all",), "splits": ("held_out",)}
    run = fake_run(tmp_path, **sizes, privacy={"profile": "ndb"})
    run.dataset = {name: value for name, value in run.dataset.items() if name != "description"}
    run.skipped_subsets = {"ckd": SkippedSubsetsEntry(label="positive", labelled_patients=(600, 2000))}
    summary = run.summarise()
    said = "Subsets of 600, 2,000 labelled patients were skipped for every model: too few of these patients"
    (warning,) = (one["text"] for one in summary["limitations"] if "skipped" in one["text"])
    assert warning.startswith(f"ckd: {said}")
    assert [task["skipped_labelled_patients"] for task in summary["tasks"]] == [
        {"label": "positive", "labelled_patients": [600, 2000]},
        None,
    ]
    assert said in page.html(synthetic.typed(summary), run.study)
    assert "ckd：ラベル付き患者 600、2,000 人の部分集合は" in page.html(
        synthetic.typed(summary), run.study, "ja"
    )


def test_a_study_of_which_nothing_was_trained_has_a_report(
    fake_run: Callable[..., Any], tmp_path: Path
) -> None:
    run = without(fake_run(tmp_path, sizes=("100k",), labelled=("all",)), "ckd", "pregabalin")
    run.pretraining = []
    summary = run.summarise()
    assert [answer["verdict"] for answer in summary["answers"]] == ["inconclusive", "inconclusive"]
    Checker().feed(page.html(synthetic.typed(summary), run.study))


def test_intervals_in_tables_stay_on_their_scale(demo: Any) -> None:
    _, summary = demo
    rows = tables.forest(synthetic.task(summary["tasks"][0]))
    assert [row.result.arm for row in rows].count("oracle") == 1
    places = [place for row in rows for place in row.places.values()]
    assert min(places) == 0 and max(places) == 100


def test_checks_are_listed_and_those_that_warn_come_first(html: str, demo: Any) -> None:
    _, summary = demo
    warned = "ckd: 33 % of patients leave before the window ends"
    found = [one["text"] for one in summary["limitations"]]
    assert any(text.startswith(warned) for text in found) and not any("stable" in text for text in found)
    assert html.index(warned) < html.index("<figure")
    assert "1 of 2 passed" in html and "The distribution of codes is stable" in html


def test_the_cohort_is_described_and_small_cells_stay_hidden(
    fake_run: Callable[..., Any], tmp_path: Path
) -> None:
    """Of the held-out hospitals six patients are men: neither that is shown nor what it would follow from."""
    tables = {}
    for profile in ("none", "ndb"):
        run = fake_run(
            tmp_path, privacy={"profile": profile}, sizes=("100k",), labelled=("all",), patients=300
        )
        text = page.html(synthetic.typed(run.summarise()), run.study)
        table = text[text.index("Cohort at the landmark") :]
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
    run, summary = demo
    hidden = copy.deepcopy(summary)
    histograms = hidden["dataset"]["description"]["histograms"]
    histograms["age_by_sex"]["counts"] = {"F": [None] * 3, "M": [None, "<10", None]}
    histograms["patients_per_hospital"] = [4000, 1200, 754, None, "<10"]
    svg = figures.charts(synthetic.typed(hidden))
    assert "cohort/age" in figures.charts(synthetic.typed(summary)) and "cohort/age" not in svg
    grey, bars = (layer["data"]["values"] for layer in svg["cohort/hospitals"].to_dict()["layer"])
    assert [row["patients"] for row in bars] == [4000, 1200, 754]
    assert [(row["from"] + row["to"]) / 2 for row in grey] == [4, 5]
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", page.html(synthetic.typed(hidden), run.study))
    noted = [caption for caption in captions if "Some counts are suppressed" in caption]
    assert len(noted) == 1 and noted[0].startswith("Patients per hospital")
    assert "Some counts are suppressed" not in page.html(synthetic.typed(summary), run.study)


def test_lines_break_at_hidden_counts() -> None:
    """A band beside a gap reaches both its ends, and no line leads through the gap or down to it."""
    alone = {"edges": [0, 1], "counts": [100]}
    counts = {"F": [20, "<10", 30], "M": [None, 15, None], "U": [None] * 3}
    histograms = {
        "age_by_sex": {"edges": [30, 35, 40, 45], "counts": counts},
        "sequence_length": alone,
        "observation_years": alone,
        "patients_per_hospital": [100],
    }
    description = DescriptionEntry.model_validate({"groups": {}, "histograms": histograms})
    chart = cohort_charts.cohort_charts(description)["cohort/age"]
    assert chart is not None
    svg = vl_convert.vegalite_to_svg(chart.to_dict())
    assert "Women" in svg and "Men" in svg and "Sex unknown" not in svg
    paths = [
        path for path in re.findall(r'aria-roledescription="line mark"[^>]* d="([^"]+)"', svg) if "L" in path
    ]
    heights = [sorted(re.findall(r"[ML][\d.]+,([\d.]+)", path), key=float) for path in paths]
    assert [path.count("M") for path in paths] == [2, 1], "women in two pieces, men in one"
    assert [len(set(found)) for found in heights] == [3, 1], "to zero only where nobody is older"
    assert cohort_charts.hidden_notes(description) == {"cohort/age": cohort_charts.BROKEN_LINE}


def test_every_baseline_has_a_name_a_colour_and_a_row(fake_run: Callable[..., Any], tmp_path: Path) -> None:
    names = get_args(Baseline)
    run = fake_run(tmp_path, baselines=names, sizes=("100k", "400k"), labelled=(300, "all"), oracle=False)
    text = page.html(synthetic.typed(run.summarise()), run.study)
    css = text[text.index("<style") : text.index("</style>")]
    for name in names:
        shown, _ = page_data.ARMS[name]
        assert f'<tr class="{name}">' in text
        assert text.count(shown) >= 4, "in table and legend of both tasks"
        (colour,) = re.findall(rf"\.c-{name} {{ --c: var\((--[a-z-]+)\)", css)
        assert css.count(f"{colour}:") == 3, "for light, dark and print"
    assert "Embeddings are those of the largest" in text and "the mean log odds of the largest" in text


def test_near_equal_token_budgets_are_one_budget() -> None:
    """Seeds sample other histories, so one budget is a slightly different number of tokens for each."""
    point = {"size": "1M", "parameters": 10**6, "tokens_per_epoch": 1e6, "loss": 2.0}
    one = [point | {"tokens": tokens} for tokens in (1_848_348, 1_850_880)]
    two = [*one, point | {"tokens": 925_000, "loss": 2.3}]
    fits = [
        LossFitEntry.model_validate({"points": points, "over_size": None, "over_tokens": []}, strict=False)
        for points in (one, two)
    ]
    assert loss_by_tokens(fits[0]) is None
    chart = loss_by_tokens(fits[1])
    assert chart is not None
    (axis,) = {str(layer["encoding"]["x"]["axis"]["values"]) for layer in chart.to_dict()["layer"]}
    assert [round(float(value)) for value in axis.strip("[]").split(",")] == [925_000, 1_848_348]
