"""The picture of encoders against LightGBM: one dot per outcome, its gain by the number of training cases."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from markupsafe import Markup

from claimscale import formatting
from claimscale.report.i18n import Texts
from claimscale.report.phenome_picture import COLOURS
from claimscale.report.svg_parts import line, text
from claimscale.summary.phenome_schema import AgainstLightgbmEntry, LightgbmOutcomeEntry, PhenomeEntry

WIDTH, TOP, PLOT, BOTTOM, LEFT, RIGHT = 1080, 18, 300, 44, 58, 16
TICKS = (-0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
FINE_TICKS = (-0.1, -0.05, 0.0, 0.05, 0.1)
"""Gains at the axis; the fine ones where fewer than three of the others are inside."""
FACTORS = (1, 3)
"""The axis of cases has ticks at these multiples of powers of ten."""
DOT = '<circle cx="{:.1f}" cy="{:.1f}" r="3.5" fill="{}" fill-opacity="0.7"><title>{}</title></circle>'


def break_even_svg(phenome: PhenomeEntry, t: Texts) -> Markup:
    """The picture as SVG, for the largest size. It takes the page's colours; each dot has a title."""
    largest = phenome.against_lightgbm[-1]
    picture = _Picture.of(phenome.lightgbm, largest)
    parts = [*picture.axes(t), *picture.result(largest), *picture.dots(phenome.lightgbm, largest, t)]
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}" class="phenome">{}</svg>').format(
        WIDTH, TOP + PLOT + BOTTOM, t("Gain over LightGBM by training cases"), Markup("").join(parts)
    )


@dataclass(frozen=True)
class _Picture:
    """Ranges of the axes: logarithms (base 10) of training cases, and logarithms of the ratio of AUPRC."""

    fewest: float
    most: float
    low: float
    high: float

    @classmethod
    def of(cls, outcomes: tuple[LightgbmOutcomeEntry, ...], shown: AgainstLightgbmEntry) -> _Picture:
        cases = [_tens(one) for one in outcomes]
        gains = [_log_gain(one) for one in outcomes] + [0.0]
        room = 0.06 * (max(gains) - min(gains) or 1.0)
        return cls(min(cases) - 0.05, max(cases) + 0.05, min(gains) - room, max(gains) + room)

    def x(self, tens: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (tens - self.fewest) / (self.most - self.fewest)

    def y(self, log_gain: float) -> float:
        return TOP + PLOT * (self.high - log_gain) / (self.high - self.low)

    def axes(self, t: Texts) -> Iterator[Markup]:
        inside = [gain for gain in TICKS if self.low <= math.log1p(gain) <= self.high]
        if len(inside) < 3:
            inside = [gain for gain in FINE_TICKS if self.low <= math.log1p(gain) <= self.high]
        for gain in inside:
            y = self.y(math.log1p(gain))
            yield line((LEFT, y, WIDTH - RIGHT, y), "var(--grid)" if gain else "var(--faint)")
            yield text(LEFT - 8, y + 4, formatting.percent(gain))
        for power in range(math.floor(self.fewest), math.ceil(self.most) + 1):
            for factor in FACTORS:
                tens = power + math.log10(factor)
                if self.fewest <= tens <= self.most:
                    label = formatting.count(factor * 10**power)
                    yield text(self.x(tens) + 4 * len(label) / 2, TOP + PLOT + 16, label)
        yield text(WIDTH - RIGHT, TOP + PLOT + 36, t("Training cases"), "var(--faint)")

    def result(self, shown: AgainstLightgbmEntry) -> Iterator[Markup]:
        """The line over the outcomes, and where it crosses zero."""
        if shown.line is not None:
            ends = (self.fewest + 0.05, self.most - 0.05)
            (x1, x2), (y1, y2) = map(self.x, ends), map(self.y, shown.line)
            yield line((x1, y1, x2, y2), "var(--ink)")
        if shown.break_even is not None and shown.break_even.estimate:
            x = self.x(math.log10(shown.break_even.estimate))
            yield line((x, TOP, x, TOP + PLOT), "var(--open)", dashed=True)

    def dots(
        self, outcomes: tuple[LightgbmOutcomeEntry, ...], shown: AgainstLightgbmEntry, t: Texts
    ) -> Iterator[Markup]:
        for one in outcomes:
            title = t(
                "{code}: {cases} training cases. AUPRC of LightGBM {auprc}; {size} differs by {gain}",
                code=one.code,
                cases=formatting.count(one.training_cases),
                auprc=formatting.figure(one.auprc),
                size=shown.size,
                gain=formatting.percent(one.gains[-1] and round(one.gains[-1], 3)),
            )
            place = self.x(_tens(one)), self.y(_log_gain(one))
            yield Markup(DOT).format(*place, COLOURS[one.kind], title)


def _tens(outcome: LightgbmOutcomeEntry) -> float:
    return math.log10(outcome.training_cases) if isinstance(outcome.training_cases, int) else 0.0


def _log_gain(outcome: LightgbmOutcomeEntry) -> float:
    return math.log1p(outcome.gains[-1] or 0.0)
