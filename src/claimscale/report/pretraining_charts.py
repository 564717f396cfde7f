"""Pretraining as charts: its loss over size and over tokens, with the law that was fitted, and its cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from claimscale.report.chart_theme import FONT_SIZE, INK, PRETRAINED, Chart, padded, size_axis, styled
from claimscale.summary.pretraining_schema import (
    LossFitEntry,
    LossOverSizeEntry,
    LossOverTokensEntry,
    SizeEntry,
)

SIZE_STYLES = (
    ("var(--embeddings)", "circle"),
    ("var(--lightgbm)", "square"),
    ("var(--pretrained)", "diamond"),
    ("var(--both)", "triangle-up"),
    ("var(--logistic)", "cross"),
    ("var(--scratch)", "triangle-down"),
)
"""Colour and shape of each size in turn; the page's script gives sizes the same colours."""
BAND_OPACITY = 0.16
NEAR = 0.1
LOSS = "Validation loss (nats)"
Row = Mapping[str, Any]
"""One point of a chart."""


def pretraining_charts(sizes: Sequence[SizeEntry], fit: LossFitEntry) -> dict[str, Chart | None]:
    """`pretraining` and `pretraining_tokens` (loss over size, over tokens), and `cost`; null without data.

    `sizes` and `fit` are the entries `sizes` and `loss_fit` of the summary.
    """
    return {
        "pretraining": loss_by_size(sizes, fit),
        "pretraining_tokens": loss_by_tokens(fit),
        "cost": cost_by_size(sizes),
    }


def loss_by_size(sizes: Sequence[SizeEntry], fit: LossFitEntry) -> Chart | None:
    """Validation loss against parameters: a point for each seed, and the fitted law with its band.

    Without a law, which takes four sizes, the line goes through the means.
    """
    trained = [size for size in sizes if size.validation_loss is not None]
    if not trained:
        return None
    runs = [
        {"parameters": size.parameters, "loss": loss}
        for size in trained
        for loss in size.validation_loss_by_seed
        if loss is not None
    ]
    fitted = _rows(fit.over_size, fit.over_size.parameters, "parameters") if fit.over_size else []
    means = [{"parameters": size.parameters, "loss": size.validation_loss} for size in trained]
    x = size_axis({size.parameters: size.name for size in trained})
    y = _loss_axis([*runs, *means, *fitted])
    line = alt.Chart(alt.Data(values=fitted or means)).mark_line(stroke=PRETRAINED, strokeWidth=2)
    points = alt.Chart(alt.Data(values=runs)).mark_point(filled=True, size=36, fill=PRETRAINED, opacity=0.75)
    layers = [line.encode(x=x, y=y), points.encode(x=x, y=y)]
    if fitted:
        band = alt.Chart(alt.Data(values=fitted)).mark_area(fill=PRETRAINED, opacity=BAND_OPACITY)
        low = _loss_axis([*runs, *means, *fitted], "low")
        layers.insert(0, band.encode(x=x, y=low, y2=alt.Y2("high:Q")))
    return styled(layers)


def loss_by_tokens(fit: LossFitEntry) -> Chart | None:
    """Validation loss against training tokens: a point per seed and budget, and the fitted curve per size.

    None where pretraining has one token budget only.
    """
    ends = fit.points
    scored = distinct([end.tokens for end in ends if end.size == ends[-1].size])
    if len(scored) < 2:
        return None
    points = [{"size": end.size, "tokens": end.tokens, "loss": end.loss} for end in ends]
    fitted = [
        {"size": curve.size, **row}
        for curve in fit.over_tokens
        for row in _rows(curve, curve.tokens, "tokens")
    ]
    names = list(dict.fromkeys(end.size for end in ends))
    styles = [SIZE_STYLES[place % len(SIZE_STYLES)] for place in range(len(names))]
    colour = alt.Color("size:N", title=None).scale(domain=names, range=[colour for colour, _ in styles])
    shape = alt.Shape("size:N", title=None).scale(domain=names, range=[shape for _, shape in styles])
    places = sorted(end.tokens for end in ends)
    x = alt.X("tokens:Q", title="Tokens").scale(type="log", nice=False, domain=padded(places))
    x = x.axis(values=scored, format=".3~s", labelOverlap="greedy", grid=False)
    y = _loss_axis([*points, *fitted])
    layers = [
        alt.Chart(alt.Data(values=points))
        .mark_point(filled=True, size=48, opacity=1)
        .encode(x=x, y=y, color=colour, shape=shape)
    ]
    if fitted:
        base = alt.Chart(alt.Data(values=fitted))
        band = base.mark_area(opacity=BAND_OPACITY).encode(
            x=x, y=_loss_axis([*points, *fitted], "low"), y2=alt.Y2("high:Q"), color=colour
        )
        layers = [band, base.mark_line(strokeWidth=1.8).encode(x=x, y=y, color=colour), *layers]
    return styled(layers)


def distinct(tokens: Sequence[float]) -> list[float]:
    """Numbers of tokens, ascending, without those that differ from the one before by less than a tenth.

    Seeds sample other histories, so that the same budget is a slightly different number of tokens.
    """
    found = list[float]()
    for number in sorted(tokens):
        if not found or number >= (1 + NEAR) * found[-1]:
            found.append(number)
    return found


def cost_by_size(sizes: Sequence[SizeEntry]) -> Chart | None:
    """Hours of pretraining per seed against parameters."""
    hours = {size.parameters: size.hours for size in sizes if size.hours}
    if not hours:
        return None
    unit, factor = next(
        (unit, factor)
        for unit, factor in (("Hours", 1), ("Minutes", 60), ("Seconds", 3600))
        if max(hours.values()) * factor >= 1 or unit == "Seconds"
    )
    points = [{"parameters": size, "time": time * factor} for size, time in hours.items()]
    x = size_axis({size.parameters: size.name for size in sizes if size.parameters in hours})
    y = alt.Y("time:Q", title=f"{unit} of pretraining, one seed").axis(tickCount=5)
    y = y.scale(zero=True, nice=False, domain=[0, 1.12 * max(point["time"] for point in points)])
    base = alt.Chart(alt.Data(values=points)).encode(x=x, y=y)
    label = alt.Text("time:Q", format=".2~r")
    return styled(
        [
            base.mark_line(stroke=PRETRAINED, strokeWidth=2),
            base.mark_point(filled=True, size=48, fill=PRETRAINED, opacity=1),
            base.mark_text(dx=4, dy=-10, align="right", fontSize=FONT_SIZE - 1, fill=INK).encode(text=label),
        ]
    )


def _rows(
    curve: LossOverSizeEntry | LossOverTokensEntry, places: Sequence[float | None], along: str
) -> list[Row]:
    """A curve of the summary as rows."""
    columns = zip(places, curve.loss, curve.low, curve.high, strict=True)
    return [{along: at, "loss": loss, "low": low, "high": high} for at, loss, low, high in columns]


def _loss_axis(rows: Sequence[Row], field: str = "loss") -> alt.Y:
    """The axis of losses, which has room for the bands too."""
    ends = [row[name] for row in rows for name in ("loss", "low", "high") if name in row]
    room = 0.06 * (max(ends) - min(ends)) or 0.05
    scale = alt.Scale(zero=False, nice=False, domain=[min(ends) - room, max(ends) + room])
    return alt.Y(f"{field}:Q", title=LOSS).scale(scale).axis(tickCount=5)
