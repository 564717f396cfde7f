"""The picture of published recipes: performance with its interval, and computing time, one row per model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from claimscale import formatting
from claimscale.findings import duration, interval
from claimscale.report.i18n import Texts
from claimscale.report.svg_parts import line, nice, text
from claimscale.summary.entries import METRIC_NAMES, EstimateEntry
from claimscale.summary.recipe_entries import TITLES
from claimscale.summary.schema import Summary
from claimscale.summary.task_schema import TaskEntry

WIDTH, LEFT, RIGHT, ROW, TOP, BOTTOM = 1080, 250, 170, 24, 26, 40
TICKS = 6
DOT = '<circle cx="{:.1f}" cy="{:.1f}" r="5" fill="{}"><title>{}</title></circle>'


@dataclass(frozen=True)
class _Row:
    """One model: its name, its size, its metric, and hours of one pretraining."""

    name: str
    size: str
    found: EstimateEntry
    hours: float | None
    is_own: bool


def recipes_svg(summary: Summary, task: TaskEntry, t: Texts) -> Markup:
    """The picture of one task as SVG; sizes ascend, and within a size models descend."""
    rows = sorted(_rows(summary, task, t), key=lambda row: _place(summary, row))
    known = [value for row in rows for value in (row.found.low, row.found.high, row.found.estimate)]
    values = [value for value in known if value is not None]
    low, high = max(0.0, min(values)), max(values)
    room = 0.05 * (high - low or 1.0)
    scale = _Scale(max(0.0, low - room), high + room)
    height = TOP + ROW * len(rows) + BOTTOM
    parts = [*scale.axis(len(rows), METRIC_NAMES[task.recipes[0].metric]), *_heads(t)]
    for number, row in enumerate(rows):
        parts += scale.row(row, TOP + ROW * (number + 0.5), t)
    label = t("Published recipes: performance and computing time")
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}" class="phenome">{}</svg>').format(
        WIDTH, height, label, Markup("").join(parts)
    )


def _rows(summary: Summary, task: TaskEntry, t: Texts) -> Iterator[_Row]:
    metric = task.recipes[0].metric
    for one in task.recipes:
        yield _Row(t.say(TITLES[one.recipe]), one.size, getattr(one, metric), one.pretraining_hours, False)
    hours = {size.name: size.hours for size in summary.sizes}
    sizes, labelled = {one.size for one in task.recipes}, task.recipes[0].n_labelled
    for result in task.results:
        is_shown = (result.split, result.arm, result.n_labelled) == ("held_out", "pretrained", labelled)
        if is_shown and result.size in sizes:
            yield _Row("claimscale", result.size, getattr(result, metric), hours[result.size], True)


def _place(summary: Summary, row: _Row) -> tuple[int, float]:
    sizes: Sequence[str] = [size.name for size in summary.sizes]
    return sizes.index(row.size), -(row.found.estimate or 0.0)


def _heads(t: Texts) -> Iterator[Markup]:
    yield text(WIDTH - 4, TOP - 10, t("Pretraining"), "var(--faint)")


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float

    def x(self, value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (value - self.low) / (self.high - self.low)

    def axis(self, rows: int, metric: str) -> Iterator[Markup]:
        step, bottom = nice((self.high - self.low) / TICKS), TOP + ROW * rows
        for number in range(int(self.low / step), int(self.high / step) + 1):
            value = number * step
            if self.low <= value <= self.high:
                x = self.x(value)
                yield line((x, TOP, x, bottom), "var(--grid)")
                yield text(x + 16, bottom + 18, formatting.figure(value))
        yield text(WIDTH - RIGHT, bottom + 36, metric, "var(--faint)")

    def row(self, row: _Row, y: float, t: Texts) -> Iterator[Markup]:
        colour = "var(--pretrained)" if row.is_own else "var(--lightgbm)"
        yield text(LEFT - 12, y + 4, f"{row.name}, {row.size}", colour if row.is_own else "var(--ink)")
        if row.found.low is not None and row.found.high is not None:
            yield line((self.x(row.found.low), y, self.x(row.found.high), y), colour)
        if row.found.estimate is not None:
            yield Markup(DOT).format(
                self.x(row.found.estimate), y, colour, t.say(interval(row.found.model_dump()))
            )
        if row.hours is not None:
            yield text(WIDTH - 4, y + 4, t.say(duration(row.hours)))
