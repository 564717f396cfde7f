"""Lines, texts and steps of an axis, for pictures that are written as SVG."""

from __future__ import annotations

import math

from markupsafe import Markup


def line(ends: tuple[float, float, float, float], colour: str, dashed: bool = False) -> Markup:
    dashes = Markup(' stroke-dasharray="6 4"') if dashed else ""
    return Markup('<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" stroke="{}"{}/>').format(
        *ends, colour, dashes
    )


def text(x: float, y: float, text: str, colour: str = "var(--ink)", rotated: bool = False) -> Markup:
    """Text that ends at a place."""
    turn = Markup(' transform="rotate(-60 {:.1f} {:.1f})"').format(x, y) if rotated else ""
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="end" style="fill: {}"{}>{}</text>').format(
        x, y, colour, turn, text
    )


def nice(step: float) -> float:
    """The step rounded up to 1, 2 or 5 times a power of ten."""
    power = 10 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * 0.999)
