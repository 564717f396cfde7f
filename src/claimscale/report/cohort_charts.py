"""The cohort as charts: age by sex, sequence length, observation time, patients per hospital.

A count that the privacy profile hides ('<10', or null) breaks a line, or leaves a grey place among the
bars, and the caption says so: a gap would be read as zero patients.
"""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from claimscale.report.chart_theme import FAINT, HEIGHT, Chart, styled
from claimscale.summary.dataset_schema import DescriptionEntry, HistogramEntry, SexHistogramEntry

FEMALE, MALE, ANY = "var(--scratch)", "var(--pretrained)", "var(--lightgbm)"
SEX_NAMES = {"F": "Women", "M": "Men", "U": "Sex unknown"}
SEX_COLOURS = {"F": FEMALE, "M": MALE, "U": FAINT}
BROKEN_LINE = "Some counts are suppressed: the line is interrupted there."
GREY_PLACE = "Some counts are suppressed: their bars are grey."
Counts = Sequence[int | str | None]
Bar = dict[str, float | None]


def cohort_charts(description: DescriptionEntry) -> dict[str, Chart | None]:
    """Charts of a description as `summary.json` holds it, by name; null where no count is known."""
    histograms = description.histograms
    return {
        "cohort/age": _ages(histograms.age_by_sex),
        "cohort/sequence_length": _histogram(histograms.sequence_length, "Codes per sequence"),
        "cohort/observation": _histogram(histograms.observation_years, "Years from first to last contact"),
        "cohort/hospitals": _hospitals(histograms.patients_per_hospital),
    }


def hidden_notes(description: DescriptionEntry) -> dict[str, str]:
    """What the captions of the charts that do not show every count must say, by the chart's name."""
    histograms = description.histograms
    ages = [count for counts in histograms.age_by_sex.counts.values() for count in counts]
    found = {
        "cohort/age": (BROKEN_LINE, ages),
        "cohort/sequence_length": (GREY_PLACE, histograms.sequence_length.counts),
        "cohort/observation": (GREY_PLACE, histograms.observation_years.counts),
        "cohort/hospitals": (GREY_PLACE, histograms.patients_per_hospital),
    }
    return {
        name: note
        for name, (note, counts) in found.items()
        if not all(isinstance(count, int) for count in counts)
    }


def _ages(ages: SexHistogramEntry) -> Chart | None:
    """Patients per band of age, a step line for each sex that breaks where a count is hidden."""
    edges = ages.edges
    known = {
        sex: counts for sex, counts in ages.counts.items() if any(isinstance(count, int) for count in counts)
    }
    rows = [
        {**point, "sex": SEX_NAMES[sex]} for sex, counts in known.items() for point in _steps(edges, counts)
    ]
    if not rows:
        return None
    present = [sex for sex in SEX_NAMES if sex in known]
    colour = alt.Color("sex:N", title=None).scale(
        domain=[SEX_NAMES[sex] for sex in present], range=[SEX_COLOURS[sex] for sex in present]
    )
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("from:Q", title="Age at the landmark (years)")
        .scale(domain=[edges[0], edges[-1]], nice=False)
        .axis(grid=False, tickCount=6),
        y=_patients(rows),
        color=colour,
    )
    return styled([base.mark_line(strokeWidth=2)])


def _steps(edges: Sequence[float | None], counts: Counts) -> list[Bar]:
    """Both ends of every band, so that a band is seen beside a gap too."""
    points: list[Bar] = []
    for low, high, count in zip(edges, edges[1:], counts, strict=False):
        known = isinstance(count, int)
        points += [{"from": edge, "patients": count if known else None} for edge in (low, high)[: 1 + known]]
    # Where the last band is known, nobody is older: the line goes down to zero.
    return [*points, {"from": edges[-1], "patients": 0}] if isinstance(counts[-1], int) else points


def _histogram(found: HistogramEntry, title: str) -> Chart | None:
    edges = found.edges
    bars = [
        {"from": low, "to": high, "patients": count if isinstance(count, int) else None}
        for low, high, count in zip(edges, edges[1:], found.counts, strict=False)
    ]
    x = alt.X("from:Q", title=title).scale(domain=[edges[0], edges[-1]], nice=False)
    return _bars(bars, x.axis(grid=False, tickCount=6), MALE)


def _hospitals(counts: Counts) -> Chart | None:
    bars = [
        {"from": place - 0.4, "to": place + 0.4, "patients": count if isinstance(count, int) else None}
        for place, count in enumerate(counts, start=1)
    ]
    ticks = sorted({1, (len(counts) + 1) // 2, len(counts)})
    x = alt.X("from:Q", title="Hospitals, in descending order").scale(
        domain=[0.5, len(counts) + 0.5], nice=False
    )
    return _bars(bars, x.axis(grid=False, values=ticks, format="d"), ANY)


def _bars(bars: Sequence[Bar], x: alt.X, colour: str) -> Chart | None:
    """Bars of known height, over grey places for the others."""
    known, hidden = (
        [bar for bar in bars if (bar["patients"] is None) == unknown] for unknown in (False, True)
    )
    if not known:
        return None
    base = alt.Chart(alt.Data(values=known)).encode(x=x, x2="to:Q", y=_patients(known), y2=alt.datum(0))
    layers = [base.mark_rect(fill=colour, opacity=0.8)]
    if hidden:
        grey = alt.Chart(alt.Data(values=hidden)).encode(x=x, x2="to:Q", y=alt.value(0), y2=alt.value(HEIGHT))
        layers.insert(0, grey.mark_rect(fill=FAINT, opacity=0.18))
    return styled(layers)


def _patients(rows: Sequence[Bar]) -> alt.Y:
    most = max(row["patients"] or 0 for row in rows)
    return alt.Y("patients:Q", title="Patients").axis(tickCount=5, format="~s" if most >= 10_000 else ",d")
