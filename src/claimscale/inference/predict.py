"""Risks and vectors of the patients of any source, by a model package.

Patients are read shard by shard, and written as they are scored, so that memory does not grow with their
number. `prediction_time` is the last day whose records a score may use: the day before the date on which
patients are assessed.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from claimscale import artifacts
from claimscale.config.base import Settings
from claimscale.config.cohort import CohortSettings
from claimscale.config.execution import EngineSettings
from claimscale.config.loading import validated
from claimscale.config.sources import MedsSource, Source
from claimscale.config.study import Study
from claimscale.config.tasks import catalogue_task
from claimscale.config.yaml_files import read_mapping
from claimscale.engine import Engine
from claimscale.errors import BadInput
from claimscale.events import build as events_stage
from claimscale.events.table import day_number, read_events, timestamps
from claimscale.inference.package import ModelPackage
from claimscale.inference.patients import (
    CodeAccount,
    PatientShard,
    code_account,
    dates_at_visits,
    dates_on,
    eligible_dates,
    shards,
)
from claimscale.inference.reference import measures_of
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
"""The MEDS prediction schema without `boolean_value`, and more; docs/predict.md describes each column."""
MOST_AT_ONCE = 50_000
"""Index dates that are scored together."""


class SourceFile(Settings):
    """A file that names a source of patients; a study file is one, whose other sections are not read."""

    source: Source
    """Format and place of the claims."""
    engine: EngineSettings = EngineSettings()
    """Engine of table operations."""


@dataclass(frozen=True)
class Dates:
    """When patients are assessed: on calendar dates, at every visit, or on the dates of a file."""

    on: tuple[dt.date, ...] = ()
    visits: bool = False
    file: Path | None = None

    def __post_init__(self) -> None:
        if sum((bool(self.on), self.visits, self.file is not None)) != 1:
            raise BadInput("give one of --on DATE, --visits and --dates FILE")

    def table(self, events: ir.Table) -> ir.Table:
        """The patients and index days: `index_dates.DATES`."""
        if self.visits:
            return dates_at_visits(events)
        if self.on:
            return dates_on(events, [day_number(date) - 1 for date in self.on])
        assert self.file is not None
        return _dates_of(self.file)


@dataclass
class Account:
    """What became of the patients of a source: counts that `predict` says."""

    scored: int = 0
    outside: Counter[str] = field(default_factory=Counter)
    excluded: Counter[str] = field(default_factory=Counter)
    patients: int = 0
    too_few_events: int = 0
    codes: CodeAccount | None = None
    unread_share: float = 0.0


def read_source(place: Path) -> SourceFile:
    """The source that a file names, or a folder of a MEDS dataset. Raises BadInput if it is neither."""
    if place.is_dir():
        return SourceFile(source=MedsSource(kind="meds", path=str(place)))
    data = read_mapping(place)
    if "source" not in data and "kind" in data:
        data = {"source": data}
    known = {name: data[name] for name in ("source", "engine") if name in data}
    return validated(SourceFile, known, str(place))


@contextlib.contextmanager
def prepared(package: ModelPackage, source: SourceFile, landmark: dt.date) -> Iterator[tuple[Path, Engine]]:
    """The events folder of the source, valid and in MEDS, and the engine; both are gone afterwards."""
    config = package.config
    study = Study(
        name=config.name,
        source=source.source,
        engine=source.engine,
        cohort=CohortSettings(landmark=landmark, min_events=config.min_events),
        tokens=config.tokens,
        sizes=["1M"],
        tasks=[config.task or catalogue_task("ckd")],
    )
    with tempfile.TemporaryDirectory(prefix="claimscale-") as scratch, Engine(source.engine) as engine:
        events = Path(scratch) / "events"
        artifacts.make_folder(events)
        events_stage.build(study, engine, events)
        yield events, engine


def predict(package: ModelPackage, source: SourceFile, dates: Dates, out: Path, display: Display) -> Account:
    """Score the patients of a source and write `out`, a Parquet file with the columns PREDICTION.

    Raises BadInput for a source that cannot be read, or if nobody is left to score.
    """
    return _write(package, source, dates, out, pa.schema(PREDICTION), _risks_of(package), display)


def predict_dates(package: ModelPackage, shard: PatientShard, dates: pa.Table) -> pa.Table:
    """The scores of the shard's patients on `dates`, as of `eligible_dates`: the columns PREDICTION."""
    return _scored(package, shard, dates, pa.schema(PREDICTION), _risks_of(package))


def _risks_of(package: ModelPackage) -> Score:
    def score(shard: PatientShard, rows: np.ndarray, days: np.ndarray) -> dict[str, pa.Array]:
        risks = package.risks(shard.store, rows, days)
        calibration = package.calibration
        columns = (risks, calibration.calibrated(risks), *calibration.interval(risks))
        names = [name for name, _kind in PREDICTION[2:6]]
        return {name: pa.array(column, from_pandas=True) for name, column in zip(names, columns, strict=True)}

    return score


def embed(package: ModelPackage, source: SourceFile, dates: Dates, out: Path, display: Display) -> Account:
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
) -> Account:
    artifacts.make_folder(out.absolute().parent)
    landmark = max(dates.on, default=package.config.landmark)
    display.update(0.0, 60, "preparing claims")
    with prepared(package, source, landmark) as (events, engine):
        table = read_events(engine, events)
        found = eligible_dates(events, engine, package.config, dates.table(table))
        account = _account(package, events, engine, table, found)
        with artifacts.atomic_file(out) as partial, pq.ParquetWriter(partial, schema) as writer:
            for shard in shards(events, engine, package.config, package.vocabulary):
                for part in _parts(found, shard):
                    scored = _scored(package, shard, part, schema, score)
                    writer.write_table(scored)
                    _count(account, scored)
                    display.update(account.scored / len(found), 10, f"{account.scored:,} scored")
    return account


def _parts(found: pa.Table, shard: PatientShard) -> Iterator[pa.Table]:
    """The index dates of the shard's patients, at most MOST_AT_ONCE at a time; sorted by patient and day."""
    subjects = found["subject_id"].to_numpy()
    here = np.flatnonzero(np.isin(subjects, shard.store.subjects))
    for start in range(0, len(here), MOST_AT_ONCE):
        yield found.take(pa.array(here[start : start + MOST_AT_ONCE]))


def _scored(
    package: ModelPackage, shard: PatientShard, part: pa.Table, schema: pa.Schema, score: Score
) -> pa.Table:
    """The index dates of patients of the shard, scored: a table of the schema."""
    rows = np.searchsorted(shard.store.subjects, part["subject_id"].to_numpy())
    days = part["index_day"].to_numpy().astype(np.int64)
    columns = score(shard, rows, days) | _columns(package, shard, part, rows, days)
    return pa.table({name: columns[name] for name in schema.names}, schema)


def _columns(
    package: ModelPackage, shard: PatientShard, part: pa.Table, rows: np.ndarray, days: np.ndarray
) -> dict[str, pa.Array]:
    measures = measures_of(shard, rows, days)
    return {
        "subject_id": part["subject_id"].combine_chunks().cast(pa.int64()),
        "prediction_time": timestamps(days),
        "unread_share": pa.array(measures["unread_share"]),
        "outside": pa.array(package.reference.outside(measures), pa.string()),
        "excluded": part["excluded"].combine_chunks().cast(pa.string()),
    }


def _account(
    package: ModelPackage, events: Path, engine: Engine, table: ir.Table, found: pa.Table
) -> Account:
    """The counts before scoring. Raises BadInput if nobody is left."""
    patients = engine.to_arrow(table.aggregate(n=table.subject_id.nunique()))["n"][0].as_py()
    codes = code_account(events, engine, package.config, package.vocabulary)
    with_dates = len(np.unique(found["subject_id"].to_numpy()))
    if not len(found):
        raise BadInput(
            f"none of {patients:,} patients has {package.config.min_events} known events on the dates given"
        )
    return Account(patients=patients, too_few_events=patients - with_dates, codes=codes)


def _count(account: Account, columns: pa.Table) -> None:
    unread = columns["unread_share"].to_numpy()
    account.unread_share = (account.unread_share * account.scored + float(unread.sum())) / (
        account.scored + len(unread)
    )
    account.scored += len(unread)
    account.excluded.update(reason for reason in columns["excluded"].to_pylist() if reason)
    account.outside.update(name for text in columns["outside"].to_pylist() if text for name in text.split())


def _dates_of(file: Path) -> ir.Table:
    """Patients and days of a Parquet file with subject_id and prediction_time.

    Raises BadInput if it has no such columns. A time of day becomes the day before, as in label files.
    """
    try:
        table = pq.read_table(file, columns=["subject_id", "prediction_time"])
    except (OSError, pa.ArrowException) as error:
        raise BadInput(f"{file}: cannot be read ({str(error).splitlines()[0]})") from None
    if len(table.column_names) < 2 or not pa.types.is_integer(table.schema.field("subject_id").type):
        raise BadInput(f"{file}: needs subject_id (whole numbers) and prediction_time")
    exact = table["prediction_time"].cast(pa.timestamp("us")).to_numpy().astype("datetime64[us]")
    day = exact.astype("datetime64[D]")
    days = (day.astype(np.int64) - (exact != day)).astype(np.int32)
    columns = {
        "subject_id": table["subject_id"].cast(pa.int64()),
        "split": pa.array([""] * len(table), pa.string()),
        "index_day": pa.array(days),
    }
    return ibis.memtable(pa.table(columns)).distinct()


def account_text(account: Account, scored: str = "scored") -> Sequence[str]:
    """What the command says: one line per finding."""
    lines = [f"{account.scored:,} {scored}: {account.patients - account.too_few_events:,} patients"]
    if account.too_few_events:
        lines.append(f"{account.too_few_events:,} patients left out: too few known events on these dates")
    if account.codes is not None:
        total = account.codes.read + account.codes.unread
        lines.append(
            f"Codes: {account.codes.read / max(total, 1):.1%} of {total:,} events are read "
            f"({account.codes.of_ancestor:,} by a shorter code); the commonest unread: "
            + (", ".join(f"{code} ({n:,})" for code, n in account.codes.unread_codes[:5]) or "none")
        )
    for reason, count in account.excluded.most_common():
        lines.append(f"{count:,} marked excluded: {reason} (the question is not about them)")
    for name, count in account.outside.most_common():
        lines.append(f"{count:,} marked outside: {name} is beyond 99 % of the training patients")
    return lines
