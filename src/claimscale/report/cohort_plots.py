"""The cohort as charts: age by sex, sequence length, observation time, patients per hospital.

A count that the privacy profile hides ('<10', or null) is drawn as nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from claimscale.report.styling import FAINT, Chart, styled

FEMALE, MALE, ANY = "var(--scratch)", "var(--pretrained)", "var(--lightgbm)"
SEX_NAMES = {"F": "Women", "M": "Men", "U": "Sex unknown"}
SEX_COLOURS = {"F": FEMALE, "M": MALE, "U": FAINT}


def cohort_charts(description: Mapping[str, Any]) -> dict[str, Chart | None]:
    """Charts of a description as `summary.json` holds it, by name."""
    histograms = description["histograms"]
    return {
        "cohort/age": _ages(histograms["age_by_sex"]),
        "cohort/sequence_length": _histogram(histograms["sequence_length"], "Codes in a patient's sequence"),
        "cohort/observation": _histogram(histograms["observation_years"], "Years from first to last contact"),
        "cohort/hospitals": _hospitals(histograms["patients_per_hospital"]),
    }


def _ages(ages: Mapping[str, Any]) -> Chart:
    """Patients per band of age, a step line for each sex."""
    edges = ages["edges"]
    # The line goes back to zero at the upper edge of the last band, or that band would not be seen.
    rows = [
        {"from": edge, "patients": _drawn(count), "sex": SEX_NAMES[sex]}
        for sex, counts in ages["counts"].items()
        for edge, count in zip(edges, [*counts, 0], strict=True)
    ]
    present = [sex for sex in SEX_NAMES if sex in ages["counts"]]
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
    return styled([base.mark_line(interpolate="step-after", strokeWidth=2)])


def _histogram(found: Mapping[str, Any], title: str) -> Chart:
    edges = found["edges"]
    rows = [
        {"from": low, "to": high, "patients": _drawn(count)}
        for low, high, count in zip(edges, edges[1:], found["counts"], strict=False)
    ]
    x = alt.X("from:Q", title=title).scale(domain=[edges[0], edges[-1]], nice=False)
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=x.axis(grid=False, tickCount=6), x2="to:Q", y=_patients(rows), y2=alt.datum(0)
    )
    return styled([base.mark_rect(fill=MALE, opacity=0.8)])


def _hospitals(counts: Sequence[int | str | None]) -> Chart | None:
    if not counts:
        return None
    rows = [{"place": place, "patients": _drawn(count)} for place, count in enumerate(counts, start=1)]
    ticks = sorted({1, (len(counts) + 1) // 2, len(counts)})
    x = alt.X("low:Q", title="Hospitals, largest first").scale(domain=[0.5, len(counts) + 0.5], nice=False)
    bars = [{**row, "low": row["place"] - 0.4, "high": row["place"] + 0.4} for row in rows]
    base = alt.Chart(alt.Data(values=bars)).encode(
        x=x.axis(grid=False, values=ticks, format="d"), x2="high:Q", y=_patients(rows), y2=alt.datum(0)
    )
    return styled([base.mark_rect(fill=ANY, opacity=0.8)])


def _patients(rows: Sequence[Mapping[str, Any]]) -> alt.Y:
    most = max(row["patients"] for row in rows)
    return alt.Y("patients:Q", title="Patients").axis(tickCount=5, format="~s" if most >= 10_000 else ",d")


def _drawn(count: int | str | None) -> int:
    return count if isinstance(count, int) else 0
