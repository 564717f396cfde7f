"""The part of the summary that describes the data: source rows, cohort, distributions, frequent codes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from claimscale.summary.entries import Count, Entry, Real, Whole


class SpreadEntry(Entry):
    """Distribution of one number per patient."""

    mean: Real
    """Mean over patients."""
    sd: Real
    """Sample standard deviation."""
    median: Real
    """Median."""
    q1: Real
    """First quartile."""
    q3: Real
    """Third quartile."""
    min: Real
    """Smallest value; null under a privacy profile."""
    max: Real
    """Largest value; null under a privacy profile."""


class GroupEntry(Entry):
    """Patients of a split, or of the whole cohort, as known before the landmark."""

    patients: Count
    """Patients of the group."""
    hospitals: Count
    """Hospitals with patients of the group."""
    sex: dict[str, Count]
    """Patients by sex: F, M, U (unknown)."""
    age: SpreadEntry
    """Age in years at the landmark."""
    visits: SpreadEntry
    """Days with a contact."""
    sequence_length: SpreadEntry
    """Codes in the input sequence."""
    observation_days: SpreadEntry
    """Days from the first to the last contact."""
    codes: dict[str, SpreadEntry]
    """Codes by type."""


class HistogramEntry(Entry):
    """Patients in consecutive bands; the last band is open above."""

    edges: tuple[Real, ...]
    """Edges of the bands, one more than there are bands."""
    counts: tuple[Count, ...]
    """Patients per band."""


class SexHistogramEntry(Entry):
    """Patients in consecutive bands, by sex."""

    edges: tuple[Real, ...]
    """Edges of the bands, one more than there are bands."""
    counts: dict[str, tuple[Count, ...]]
    """Patients per band, by sex."""


class HistogramsEntry(Entry):
    """Distributions over the whole cohort."""

    age_by_sex: SexHistogramEntry
    """Age in years at the landmark."""
    sequence_length: HistogramEntry
    """Codes in the input sequence."""
    observation_years: HistogramEntry
    """Years from the first to the last contact."""
    patients_per_hospital: tuple[Count, ...]
    """Patients of each hospital, largest first; empty where they are suppressed."""


class DescriptionEntry(Entry):
    """Description of the cohort, overall and by split."""

    groups: dict[str, GroupEntry]
    """`all` and every split."""
    histograms: HistogramsEntry
    """Distributions over the whole cohort."""


class CohortFlowEntry(Entry):
    """Patients after each step of the cohort selection."""

    patients: Count
    """Patients in the source."""
    seen_before_landmark: Count
    """Patients with a contact before the landmark."""
    hospitals: Count
    """Hospitals in the source."""
    sampled_hospitals: Count
    """Hospitals in the sample."""
    in_sampled_hospitals: Count
    """Patients of the sampled hospitals."""
    with_enough_events: Count
    """Patients with the minimum number of events."""
    included: Count
    """Patients of the study."""
    splits: dict[str, Count]
    """Patients by split."""


class SourceRowsEntry(Entry):
    """Rows of one source table."""

    rows: Count
    """Rows read."""
    events: Count
    """Events made from them."""
    without_event: dict[str, Count] = Field(default_factory=dict)
    """Rows that made no event, by reason."""


class QualityEntry(Entry):
    """Reconciliation of rows: rows_in = used + quarantined + dropped."""

    source_rows: dict[str, SourceRowsEntry] = Field(default_factory=dict)
    """Rows by source table."""
    rows_in: Count
    """Events made from the source."""
    used: Count
    """Events used."""
    quarantined: dict[str, Count]
    """Invalid events, by issue."""
    dropped: dict[str, Count]
    """Redundant events, by reason."""
    repaired: dict[str, Count]
    """Events used after a repair, by repair."""
    warnings: dict[str, Count]
    """Events used as they are, by what is unusual."""


class FrequentCodeEntry(Entry):
    """One of the most frequent codes before the landmark."""

    code: str
    """The code, as SYSTEM//CODE."""
    type: str
    """Type of the code, such as diagnosis or drug."""
    patients: Count
    """Training patients with the code."""


class DatasetEntry(Entry):
    """The data of the study."""

    source: Literal["simulated", "synpuf", "tables", "receipt", "dpc", "omop", "meds"] | None = None
    """Format of the source."""
    patients: Count
    """Patients of the study."""
    hospitals: Count
    """Hospitals in the sample; null where the source has none."""
    events: Count = None
    """Events used."""
    tokens: Whole | None = None
    """Tokens in all sequences."""
    vocabulary: Whole | None = None
    """Tokens in the vocabulary."""
    code_groups: Whole = 0
    """Code groups with an embedding of their own."""
    span: tuple[str, str] | None = None
    """First and last date of the events."""
    cohort: CohortFlowEntry | None = None
    """Patients after each step of the cohort selection."""
    description: DescriptionEntry | None = None
    """Description of the cohort."""
    codes: tuple[FrequentCodeEntry, ...] = ()
    """The most frequent codes."""
    quality: QualityEntry | None = None
    """Reconciliation of rows."""
