"""The phenome on the page: its answers first, a dot for every outcome, nothing unescaped."""

from __future__ import annotations

import re

import synthetic

from claimscale.report import page
from claimscale.report.break_even_picture import break_even_svg
from claimscale.report.i18n import Texts
from claimscale.report.phenome_picture import phenome_svg
from claimscale.summary.break_even_entries import break_even_text
from claimscale.summary.phenome_schema import PhenomeEntry


def test_answers_of_families_stand_before_those_of_tasks() -> None:
    summary = synthetic.typed(synthetic.shown(synthetic.summary(tasks=1)))
    shown = page.html(summary, synthetic.STUDY)
    first = shown.index("All diseases")
    assert first < shown.index("All medications") < shown.index("question-1")
    verdicts = [answer.verdict for answer in summary.family_answers if "tasks" not in answer.family]
    assert verdicts == [
        "not_saturated",
        "under_trained",
        "under_trained",
    ]
    assert "Diseases gain more from model size than medications" in shown


def test_every_outcome_is_a_dot_inside_the_picture() -> None:
    phenome = synthetic.typed(synthetic.summary(tasks=1)).phenome
    assert phenome is not None
    svg = phenome_svg(phenome, Texts("en"))
    dots = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', svg)
    assert len(dots) == len(phenome.outcomes)
    width, height = map(float, re.findall(r'viewBox="0 0 (\d+) (\d+)"', svg)[0])
    assert all(0 < float(x) < width and 0 < float(y) < height for x, y in dots)
    places = [float(x) for x, _ in dots]
    assert places == sorted(set(places))


def test_a_gain_stands_higher_than_a_loss() -> None:
    phenome = synthetic.typed(synthetic.summary(tasks=1)).phenome
    assert phenome is not None
    heights = [
        float(y) for y in re.findall(r'<circle cx="[\d.]+" cy="([\d.]+)"', phenome_svg(phenome, Texts("en")))
    ]
    gains = [outcome.shrunk_gain or 0.0 for outcome in phenome.outcomes]
    highest, lowest = gains.index(max(gains)), gains.index(min(gains))
    assert heights[highest] < heights[lowest]


def test_codes_cannot_become_markup() -> None:
    phenome = synthetic.typed(synthetic.summary(tasks=1, codes=synthetic.hostile_labels())).phenome
    assert phenome is not None
    svg = phenome_svg(phenome, Texts("en"))
    assert not re.search(r"<(script|img|iframe|b|/title><script)", svg)
    assert set(re.findall(r"<(\w+)", svg)) == {"svg", "line", "text", "circle", "title"}


def with_gain(low: float, high: float) -> PhenomeEntry:
    """A phenome whose largest size has no break-even, and this gain over LightGBM."""
    phenome = synthetic.typed(synthetic.summary(tasks=1)).phenome
    assert phenome is not None
    *others, largest = phenome.against_lightgbm
    gain = largest.gain.model_copy(update={"difference": (low + high) / 2, "low": low, "high": high})
    changed = largest.model_copy(update={"break_even": None, "gain": gain})
    return phenome.model_copy(update={"against_lightgbm": (*others, changed)})


def test_the_answer_says_who_is_ahead_only_where_it_is_shown() -> None:
    phenome = synthetic.typed(synthetic.summary(tasks=1)).phenome
    assert phenome is not None
    found = [with_gain(0.01, 0.1), with_gain(-0.1, -0.01), with_gain(-0.1, 0.1)]
    codes = [text.code for text in map(break_even_text, (phenome, *found)) if text]
    assert codes == ["break_even.at", "break_even.encoder", "break_even.lightgbm", "break_even.open"]
    assert break_even_text(phenome.model_copy(update={"against_lightgbm": ()})) is None


def test_every_compared_outcome_is_a_dot_and_more_cases_stand_to_the_right() -> None:
    phenome = synthetic.typed(synthetic.summary(tasks=1)).phenome
    assert phenome is not None
    svg = break_even_svg(phenome, Texts("en"))
    dots = [(float(x), float(y)) for x, y in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', svg)]
    assert len(dots) == len(phenome.lightgbm)
    assert dots == sorted(dots)  # fewer cases have larger gains here, which stand higher
    width, height = map(float, re.findall(r'viewBox="0 0 (\d+) (\d+)"', svg)[0])
    assert all(0 < x < width and 0 < y < height for x, y in dots)
    (crossing,) = re.findall(r'<line x1="([\d.]+)"[^>]*stroke-dasharray', svg)
    cases = [one.training_cases for one in phenome.lightgbm]
    left = [x for (x, _), n in zip(dots, cases, strict=True) if isinstance(n, int) and n < 850]
    assert max(left) < float(crossing) < min(x for x, _ in dots[len(left) :])
