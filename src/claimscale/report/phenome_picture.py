"""The picture of the phenome: one dot per outcome, chapters side by side, what each gains from size."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from claimscale import formatting
from claimscale.report.i18n import Texts
from claimscale.report.svg_parts import line, nice, text
from claimscale.summary.phenome_schema import OutcomeEntry, PhenomeEntry

WIDTH, TOP, PLOT, BOTTOM, LEFT, RIGHT = 1080, 18, 300, 92, 58, 8
"""Pixels; the plot's height, and the margins around it."""
COLOURS = {"disease": "var(--pretrained)", "medication": "var(--lightgbm)", "procedure": "var(--logistic)"}
NAMES = {"disease": "Diseases", "medication": "Medications", "procedure": "Procedures"}
GAP = 1.5
"""Room between chapters, in outcomes."""
SHOWN_SHARE = 0.995
"""Share of the outcomes that the axis covers; the others stand at its ends."""
TICKS = 5
DOT = '<circle cx="{:.1f}" cy="{:.1f}" r="{:.1f}" fill="{}" fill-opacity="0.65"><title>{}</title></circle>'


def phenome_svg(phenome: PhenomeEntry, t: Texts) -> Markup:
    """The picture as SVG. It takes the page's colours; each dot has a title."""
    picture = _Picture.of(phenome)
    parts = [*picture.axis(phenome, t), *picture.chapters(phenome), *picture.dots(phenome, t)]
    height = TOP + PLOT + BOTTOM
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}" class="phenome">{}</svg>').format(
        WIDTH, height, t("Gain of each outcome from model size"), Markup("").join(parts)
    )


@dataclass(frozen=True)
class _Picture:
    """Places of outcomes along the axis, in pixels, and the range of gains."""

    places: Sequence[float]
    low: float
    high: float

    @classmethod
    def of(cls, phenome: PhenomeEntry) -> _Picture:
        outcomes, at, places = phenome.outcomes, 0.0, list[float]()
        for before, outcome in zip((None, *outcomes), outcomes, strict=False):
            at += GAP if before is not None and before.chapter != outcome.chapter else 1.0
            places.append(at)
        step = (WIDTH - LEFT - RIGHT) / (at + 1)
        gains = sorted(outcome.shrunk_gain or 0.0 for outcome in outcomes)
        cut = math.floor((1 - SHOWN_SHARE) / 2 * len(gains))
        ends = (gains[cut], gains[-1 - cut], 0.0, 1.5 * _margin(phenome))
        room = 0.06 * (max(ends) - min(ends))
        return cls([LEFT + step * place for place in places], min(ends) - room, max(ends) + room)

    def y(self, gain: float) -> float:
        inside = min(max(gain, self.low), self.high)
        return TOP + PLOT * (self.high - inside) / (self.high - self.low)

    def axis(self, phenome: PhenomeEntry, t: Texts) -> Iterator[Markup]:
        step = nice((self.high - self.low) / TICKS)
        for number in range(math.ceil(self.low / step), math.floor(self.high / step) + 1):
            gain = number * step
            colour = "var(--grid)" if number else "var(--faint)"
            yield line((LEFT, self.y(gain), WIDTH - RIGHT, self.y(gain)), colour)
            yield text(LEFT - 8, self.y(gain) + 4, formatting.percent(round(gain, 6)))
        margin = self.y(_margin(phenome))
        yield line((LEFT, margin, WIDTH - RIGHT, margin), "var(--open)", dashed=True)
        yield text(WIDTH - RIGHT, margin - 5, t("margin"), "var(--open)")

    def chapters(self, phenome: PhenomeEntry) -> Iterator[Markup]:
        """The name of each chapter, and the smallest sufficient size where one is shown."""
        verdicts = {family.name: family.recipe.smallest_sufficient for family in phenome.chapters}
        place = 0
        for chapter, own in itertools.groupby(phenome.outcomes, key=lambda outcome: outcome.chapter):
            count = len(list(own))
            middle = (self.places[place] + self.places[place + count - 1]) / 2
            size = verdicts.get(chapter)
            label = chapter.partition("//")[2] + (f" · {size}" if size else "")
            colour = "var(--good)" if size else "var(--faint)"
            yield text(middle + 4, TOP + PLOT + 14, label, colour, rotated=True)
            place += count

    def dots(self, phenome: PhenomeEntry, t: Texts) -> Iterator[Markup]:
        for x, outcome in zip(self.places, phenome.outcomes, strict=True):
            cases = outcome.cases if isinstance(outcome.cases, int) else phenome.min_cases
            yield Markup(DOT).format(
                x,
                self.y(outcome.shrunk_gain or 0.0),
                min(2.0 + math.sqrt(cases / phenome.min_cases) * 0.6, 8.0),
                COLOURS[outcome.kind],
                _title(outcome, phenome.sizes, t),
            )


def _margin(phenome: PhenomeEntry) -> float:
    return max((family.relative_margin or 0.0 for family in phenome.families), default=0.0)


def _title(outcome: OutcomeEntry, sizes: Sequence[str], t: Texts) -> str:
    by_size = ", ".join(
        f"{size} {formatting.figure(auprc)}" for size, auprc in zip(sizes, outcome.auprc, strict=True)
    )
    gain = outcome.gain
    return t(
        "{code}: {cases} cases. AUPRC {by_size}. Gain {gain} (95 % interval {low} to {high})",
        code=outcome.code,
        cases=formatting.count(outcome.cases),
        by_size=by_size,
        gain=formatting.percent(gain.difference),
        low=formatting.percent(gain.low),
        high=formatting.percent(gain.high),
    )
