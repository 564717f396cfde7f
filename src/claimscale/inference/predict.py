"""Risks and vectors of the patients of any source, by a model package.

Patients are read shard by shard, and written as they are scored, so that memory does not grow with their
number. `prediction_time` is the last day whose records a score may use: the day before the date on which
patients are assessed.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from claimscale import artifacts
from claimscale.engine import Engine
from claimscale.errors import BadInput
from claimscale.events.source_ids import read_source_ids
from claimscale.events.table import read_events, timestamps
from claimscale.inference.claims_end import claims_until
from claimscale.inference.package import ModelPackage
from claimscale.inference.patients import (
    CodeCounts,
    PatientShard,
    code_counts,
    eligible_dates,
    lookup_of,
    shards,
)
from claimscale.inference.reference import measures_of
from claimscale.inference.source_file import Dates, SourceFile, parts_of, prepared
from claimscale.progress import Display

PREDICTION = [
    ("subject_id", pa.int64()),
    ("prediction_time", pa.timestamp("us")),
    ("predicted_boolean_probability", pa.float64()),
    ("calibrated_probability", pa.float64()),
    ("low", pa.float64()),
    ("high", pa.float64()),
    ("unread_share", pa.float64()),
    ("outside", pa.string()),
    ("excluded", pa.string()),
]
"""The MEDS prediction schema without `boolean_value`, and more; docs/packages.md describes each column."""
LATE_DAYS = 92
"""Days from the last claim to the date of assessment from which they are said: claims come months late."""
TEXT_FORMATS = (".csv", ".tsv", ".txt", ".json", ".xlsx")
UNREAD_SYSTEM = 0.001
"""Share of the events from which an unknown code system is named."""
SOURCE_ID = ("source_id", pa.string())
"""A further column for sources whose patients have text ids."""


@dataclass
class Counts:
    """How many patients of a source were scored, marked or left out."""

    scored: int = 0
    outside: Counter[str] = field(default_factory=Counter)
    excluded: Counter[str] = field(default_factory=Counter)
    patients: int = 0
    too_few_events: int = 0
    codes: CodeCounts | None = None
    unread_share: float = 0.0
    claims_until: dt.date | None = None
    last_on: dt.date | None = None


def predict(package: ModelPackage, source: SourceFile, dates: Dates, out: Path, display: Display) -> Counts:
    """Score the patients of a source and write `out`, a Parquet file with the columns PREDICTION.

    Raises BadInput for a source that cannot be read, or if nobody is left to score.
    """
    return _write(package, source, dates, out, pa.schema(PREDICTION), _risks_of(package), display)


def predict_dates(package: ModelPackage, shard: PatientShard, dates: pa.Table) -> pa.Table:
    """The scores of the shard's patients on `dates`, as of `eligible_dates`: the columns PREDICTION."""
    columns, schema = _scored(package, shard, dates, _risks_of(package)), pa.schema(PREDICTION)
    return pa.table({name: columns[name] for name in schema.names}, schema)


def _risks_of(package: ModelPackage) -> Score:
    def score(shard: PatientShard, rows: np.ndarray, days: np.ndarray) -> dict[str, pa.Array]:
        risks = package.risks(shard.store, rows, days)
        low, high = package.calibration.interval(risks)
        return {
            "predicted_boolean_probability": pa.array(risks),
            "calibrated_probability": pa.array(package.calibration.calibrated(risks)),
            "low": pa.array(low, from_pandas=True),
            "high": pa.array(high, from_pandas=True),
        }

    return score


def embed(package: ModelPackage, source: SourceFile, dates: Dates, out: Path, display: Display) -> Counts:
    """Write `out`, a Parquet file with a vector (`embedding`, float32) per patient and date."""
    width = 3 * package.encoder.shape.width
    columns = [*PREDICTION[:2], ("embedding", pa.list_(pa.float32(), width)), *PREDICTION[6:]]

    def score(shard: PatientShard, rows: np.ndarray, days: np.ndarray) -> dict[str, pa.Array]:
        vectors = package.embed(shard.store, rows, days)
        return {"embedding": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), width)}

    return _write(package, source, dates, out, pa.schema(columns), score, display)


Score = Callable[[PatientShard, np.ndarray, np.ndarray], dict[str, pa.Array]]


def _write(
    package: ModelPackage,
    source: SourceFile,
    dates: Dates,
    out: Path,
    schema: pa.Schema,
    score: Score,
    display: Display,
) -> Counts:
    artifacts.refuse_existing(out)
    if out.suffix.lower() in TEXT_FORMATS:
        raise BadInput(f"{out}: is written as Parquet; name it {out.with_suffix('.parquet').name}")
    artifacts.make_folder(out.absolute().parent)
    landmark = max(dates.on, default=package.config.landmark)
    display.update(0.0, 60, "preparing claims")
    with prepared(package, source, landmark) as (events, engine):
        table = read_events(engine, events)
        found = eligible_dates(events, engine, package.config, dates.table(table))
        lookup = lookup_of(events, engine, package.config, package.vocabulary)
        counts = _counts_before(package, engine, table, found)
        if dates.on:
            counts.claims_until, counts.last_on = claims_until(events, engine), max(dates.on)
        counts.codes = code_counts(events, engine, package.vocabulary, lookup)
        ids = read_source_ids(events)
        if ids is not None:
            schema = schema.append(pa.field(*SOURCE_ID))
        with artifacts.atomic_file(out) as partial, pq.ParquetWriter(partial, schema) as writer:
            for shard in shards(events, package.vocabulary, lookup):
                for part in parts_of(found, shard):
                    columns = _scored(package, shard, part, score)
                    if ids is not None:
                        columns["source_id"] = _text_ids(ids, columns["subject_id"])
                    writer.write_table(pa.table({name: columns[name] for name in schema.names}, schema))
                    _count(counts, columns)
                    display.update(counts.scored / len(found), 10, f"{counts.scored:,} scored")
    return counts


def _text_ids(ids: pa.Table, subjects: pa.Array) -> pa.Array:
    place = np.searchsorted(ids["subject_id"].to_numpy(), subjects.to_numpy())
    return ids["source_id"].combine_chunks().take(pa.array(place))


def _scored(package: ModelPackage, shard: PatientShard, part: pa.Table, score: Score) -> dict[str, pa.Array]:
    """The columns of index dates of patients of the shard."""
    rows = np.searchsorted(shard.store.subjects, part["subject_id"].to_numpy())
    days = part["index_day"].to_numpy().astype(np.int64)
    measures = measures_of(shard, rows, days)
    return score(shard, rows, days) | {
        "subject_id": part["subject_id"].combine_chunks().cast(pa.int64()),
        "prediction_time": timestamps(days),
        "unread_share": pa.array(measures["unread_share"]),
        "outside": pa.array(package.reference.outside(measures), pa.string()),
        "excluded": part["excluded"].combine_chunks().cast(pa.string()),
    }


def _counts_before(package: ModelPackage, engine: Engine, table: ir.Table, found: pa.Table) -> Counts:
    """The counts before scoring. Raises BadInput if nobody is left."""
    patients = engine.to_arrow(table.aggregate(n=table.subject_id.nunique()))["n"][0].as_py()
    with_dates = len(np.unique(found["subject_id"].to_numpy()))
    if not len(found):
        raise BadInput(
            f"none of {patients:,} patients has {package.config.min_events} known events on the dates given"
        )
    return Counts(patients=patients, too_few_events=patients - with_dates)


def _count(counts: Counts, columns: dict[str, pa.Array]) -> None:
    unread = columns["unread_share"].to_numpy()
    counts.unread_share = (counts.unread_share * counts.scored + float(unread.sum())) / (
        counts.scored + len(unread)
    )
    counts.scored += len(unread)
    counts.excluded.update(reason for reason in columns["excluded"].to_pylist() if reason)
    counts.outside.update(name for text in columns["outside"].to_pylist() if text for name in text.split())


def counts_text(counts: Counts, scored: str = "scored") -> Sequence[str]:
    """What the command says: one line per finding."""
    lines = [f"{counts.scored:,} {scored}: {counts.patients - counts.too_few_events:,} patients"]
    if counts.excluded:
        about = counts.scored - counts.excluded.total()
        lines[0] += f"; the question is about {about:,} of these scores"
        lines += ["No score answers it: look at the dates"] * (about == 0)
    if counts.claims_until and counts.last_on and (counts.last_on - counts.claims_until).days > LATE_DAYS:
        lines.append(
            f"The claims end on {counts.claims_until}: scores on {counts.last_on} know nothing of the "
            f"{(counts.last_on - counts.claims_until).days:,} days between"
        )
    if counts.too_few_events:
        lines.append(f"Patients left out, too few known events on these dates: {counts.too_few_events:,}")
    if counts.codes is not None:
        total = counts.codes.read + counts.codes.unread
        lines.append(
            f"Codes: {counts.codes.read / max(total, 1):.1%} of {total:,} events are read "
            f"({counts.codes.of_ancestor:,} by a shorter code); the commonest unread: "
            + (", ".join(f"{code} ({n:,})" for code, n in counts.codes.unread_codes[:5]) or "none")
        )
        for system, events in counts.codes.unread_systems.items():
            if events > UNREAD_SYSTEM * total:
                lines.append(
                    f"{system}: {events / total:.1%} of the events have codes of this system, of which the "
                    "package knows none; source.crosswalks can translate them"
                )
    for reason, count in counts.excluded.most_common():
        lines.append(f"{count:,} marked excluded: {reason.replace('_', ' ')}")
    for name, count in counts.outside.most_common():
        lines.append(f"{count:,} marked outside: {name} is beyond 99 % of the training patients")
    return lines
