"""Numbers on the page are those of the summary: other numbers give another page, and no old one stays."""

from __future__ import annotations

import copy
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from html import unescape
from typing import Any

import numpy as np
import pytest
import synthetic

from claimscale import formatting
from claimscale.findings import duration
from claimscale.report import page, page_data
from claimscale.report.i18n import Texts

NUMBER = re.compile(r"[−-]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:e-?\d+)?")
FIXED = re.compile(r'<ol class="references">.*?</ol>|<(script|style|svg|pre)\b.*?</\1>', re.S)
"""Parts of the page that are no text on the results."""
GROUPS = 6
"""Numbers of one group are changed together."""


def body(text: str) -> str:
    """The visible text of the page, without figures and settings."""
    text = FIXED.sub(" ", text[text.index("<body") :])
    return unescape(re.sub(r"<[^>]*>", "\n", text))


def numbers(text: str) -> Counter[str]:
    return Counter(NUMBER.findall(body(text)))


def leaves(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], float]]:
    """Every number of a summary with its path."""
    if isinstance(content, dict | list):
        inner = content.items() if isinstance(content, dict) else enumerate(content)
        for key, value in inner:
            yield from leaves(value, (*path, key))
    elif isinstance(content, int | float) and not isinstance(content, bool):
        yield path, content


def at(content: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        content = content[key]
    return content


FORMATS: tuple[Callable[[float], str], ...] = (
    *page.FILTERS.values(), formatting.rounded, formatting.rough_percent, formatting.rate,
    lambda value: formatting.figure(value, 2), lambda value: duration(value).text,
)  # fmt: skip


def shown_as(value: float) -> set[str]:
    """The numbers in every text that a value may be shown as."""
    return {number for form in FORMATS for number in NUMBER.findall(form(value))}


@pytest.fixture(scope="module")
def summary() -> dict[str, Any]:
    return synthetic.shown(synthetic.summary(tasks=2, seed=4))


def test_every_number_in_a_table_is_of_the_summary(summary: dict[str, Any]) -> None:
    """Every number in a numeric cell is a formatted value of the summary, or a share of two."""
    text = page.html(synthetic.typed(summary), synthetic.STUDY)
    known = {number for _, value in leaves(summary) for number in shown_as(value)}
    for group in summary["dataset"]["description"]["groups"].values():
        known |= {number for n in group["sex"].values() for number in shown_as(n / group["patients"])}
    cells = re.findall(r'<(?:td|span) class="(?:n|range)">(.*?)</(?:td|span)>', text, re.S)
    found = [number for cell in cells for number in NUMBER.findall(re.sub(r"<[^>]*>", " ", cell))]
    assert len(found) > 500
    assert [number for number in found if number not in known] == []


@pytest.mark.parametrize("language", ["en", "ja"])
def test_changed_numbers_change_the_page_and_nothing_else(
    summary: dict[str, Any], language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each kind of number one is changed: the page loses old ones and gains new ones, no others."""
    monkeypatch.setattr(page.figures, "charts", lambda summary: {})  # they are slow, and no text
    before = numbers(page.html(synthetic.typed(summary), synthetic.STUDY, language))
    random = np.random.default_rng(3)
    paths = kinds(summary)
    for group in range(GROUPS):
        changed, allowed = copy.deepcopy(summary), set[str]()
        for path in paths[group::GROUPS]:
            place, old = at(changed, path[:-1]), at(changed, path)
            new = old + 7 + int(random.integers(90)) if isinstance(old, int) else old * 1.25 + 0.0137
            place[path[-1]] = new
            allowed |= shown_as(new) | shown_as(old) | derived(summary, path, old, new)
        after = numbers(page.html(synthetic.typed(changed), synthetic.STUDY, language))
        gained, lost = after - before, before - after
        assert set(gained) | set(lost) <= allowed
        assert gained.total() >= len(paths) / GROUPS / 3, "many of these numbers are on the page"


def derived(summary: dict[str, Any], path: tuple[Any, ...], old: float, new: float) -> set[str]:
    """Shares of the sexes, which the page makes of two numbers."""
    if path[:3] != ("dataset", "description", "groups"):
        return set()
    group = summary["dataset"]["description"]["groups"][path[3]]
    parts = [old, new] if path[4] == "sex" else list(group["sex"].values())
    wholes = [group["patients"]] if path[4] == "sex" else [old, new]
    return {number for part in parts for whole in wholes for number in shown_as(part / whole)}


def kinds(summary: dict[str, Any]) -> list[tuple[Any, ...]]:
    """One path for each kind of number on the page: all places in a list are the same kind."""
    found: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for path, _ in leaves(summary):
        if path[0] in ("schema_version", "answers", "limitations", "checks", "loss_fit", "training_losses"):
            continue  # findings carry numbers of their own; the others are in figures
        if "histograms" in path or "curve" in path or "net_benefit" in path or "risk_distribution" in path:
            continue
        kind = tuple("*" if isinstance(key, int) else key for key in path)
        found.setdefault(kind, path)
    return list(found.values())


def test_figures_show_the_numbers_of_the_summary() -> None:
    """Each row for the script is a result, number by number; and there is one for each."""
    summary = synthetic.shown(synthetic.summary(tasks=2), "ndb")
    shown = json.loads(page_data.embedded(page_data.view(synthetic.typed(summary), Texts("en"), "")))
    names = [arm["key"] for arm in shown["arms"]]
    for task, embedded in zip(summary["tasks"], shown["tasks"], strict=True):
        assert len(embedded["rows"]) == len(task["results"])
        for row, result in zip(embedded["rows"], task["results"], strict=True):
            assert names[row[0]] == result["arm"] and shown["splits"][row[2]] == result["split"]
            size = None if row[1] == -1 else shown["sizes"][row[1]]["name"]
            assert size == result["size"]
            assert row[3:6] == [result["n_labelled"], result["n_seeds"], result["seconds"]]
            assert row[6:] == [
                result[metric][bound]
                for metric in ("auprc", "auroc", "log_loss", "calibration")
                for bound in ("estimate", "low", "high")
            ]
        for split, counts in embedded["splits"].items():
            found = task["splits"][split]
            assert counts == [found["index_dates"], found["positives"], found["prevalence"]]
        highlighted = [one for one in task["per_model"] if one["highlighted"]]
        for detail, entry in zip(embedded["per_model"], highlighted, strict=True):
            assert detail == {
                name: value for name, value in entry.items() if name not in ("cells", "top_decile")
            }


@pytest.mark.parametrize(("p", "text"), [(0.0004, "p < 0.001"), (0.0, "p < 0.001"), (0.001, "p = 0.001")])
@pytest.mark.parametrize("language", ["en", "ja"])
def test_no_p_value_is_shown_as_zero(summary: dict[str, Any], p: float, text: str, language: str) -> None:
    changed = copy.deepcopy(summary)
    changed["task_size_interaction"]["p"] = p
    changed["phenome"]["interaction"] = None
    shown = page.html(synthetic.typed(changed), synthetic.STUDY, language)
    assert re.findall(r"p [=<] [\d.]+", body(shown)) == [text]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (999.4, "999"),
        (999.6, "1k"),
        (999_600, "1M"),
        (999_400, "999k"),
        (2.5e21, "2,500E"),
        (-1.6e6, "-1.6M"),
    ],
)
def test_what_rounds_to_a_thousand_takes_the_next_unit(value: float, text: str) -> None:
    assert formatting.compact(value) == text


@pytest.mark.parametrize(
    ("hours", "text"), [(0.004, "14 seconds"), (178.2, "178 hours"), (1e5, "100,000 hours")]
)
def test_long_durations_are_no_powers_of_ten(hours: float, text: str) -> None:
    assert duration(hours).text == text
    assert duration(hours).render("ja").split()[0] == text.split()[0]


@pytest.mark.parametrize("p", [0.0004, 0.03])
def test_the_interaction_of_the_phenome_has_its_p_value(summary: dict[str, Any], p: float) -> None:
    changed = copy.deepcopy(summary)
    changed["task_size_interaction"]["estimate"] = None
    changed["phenome"]["interaction_p"] = p
    shown = page.html(synthetic.typed(changed), synthetic.STUDY, "en")
    assert re.findall(r"p [=<] \d\.\d+", body(shown)) == ["p < 0.001" if p < 0.001 else "p = 0.030"]
