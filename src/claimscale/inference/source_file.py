"""The source of patients to be scored, and on which dates: what the commands on packages have in common."""

from __future__ import annotations

import contextlib
import datetime as dt
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
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
from claimscale.events.table import day_number, usable_days
from claimscale.inference.package import ModelPackage
from claimscale.inference.patients import PatientShard, dates_at_visits, dates_on

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


def read_source(place: Path) -> SourceFile:
    """The source that a file names, or a folder of a MEDS dataset. Raises BadInput if it is neither."""
    if place.is_dir():
        if not any(place.glob("data/**/*.parquet")):
            raise BadInput(
                f"{place}: is no MEDS dataset (it has no data/*.parquet); for other claims give a YAML file "
                "with a source section, such as the study file"
            )
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


def parts_of(found: pa.Table, shard: PatientShard) -> Iterator[pa.Table]:
    """The index dates of the shard's patients in parts of at most MOST_AT_ONCE, by patient and day."""
    subjects = found["subject_id"].to_numpy()
    here = np.flatnonzero(np.isin(subjects, shard.store.subjects))
    for start in range(0, len(here), MOST_AT_ONCE):
        yield found.take(pa.array(here[start : start + MOST_AT_ONCE]))


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
    columns = {
        "subject_id": table["subject_id"].cast(pa.int64()),
        "split": pa.array([""] * len(table), pa.string()),
        "index_day": pa.array(usable_days(table["prediction_time"])),
    }
    return ibis.memtable(pa.table(columns)).distinct()
