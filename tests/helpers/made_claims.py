"""Made-up claims, validated and written as the stages expect them."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterable
from pathlib import Path

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ibis import _

from claimscale.config.execution import EngineSettings
from claimscale.config.study import Study
from claimscale.engine import Engine
from claimscale.events.build import write_events_folder
from claimscale.events.table import day_number
from claimscale.meds_metadata import codes_table
from claimscale.sources import raw as sources
from claimscale.sources.raw import EVENT_SCHEMA, RawEvents

LANDMARK = dt.date(2010, 1, 1)
LANDMARK_DAY = day_number(LANDMARK)


@dataclasses.dataclass(frozen=True)
class Event:
    """One event by day numbers; it is available on its own day unless `available_day` is given."""

    subject_id: int | None
    day: int | None
    code: str | None
    available_day: int | None = None
    hospital_id: str | None = None
    suspected: bool = False

    @property
    def known_day(self) -> int | None:
        return self.available_day if self.available_day is not None else self.day

    def row(self) -> dict[str, object]:
        return {
            "subject_id": self.subject_id,
            "time": _midnight(self.day),
            "code": self.code,
            "numeric_value": None,
            "hospital_id": self.hospital_id,
            "visit_id": None,
            "available_at": _midnight(self.known_day),
            "suspected": self.suspected,
        }


def _midnight(day: int | None) -> dt.datetime | None:
    return None if day is None else dt.datetime(1970, 1, 1) + dt.timedelta(days=day)


def born(subject_id: int, sex: str = "F", day: int = -10_000) -> list[Event]:
    return [Event(subject_id, day, "MEDS_BIRTH"), Event(subject_id, day, f"SEX//{sex}")]


def raw_events(rows: Iterable[Event]) -> RawEvents:
    table = pa.Table.from_pylist([event.row() for event in rows], schema=EVENT_SCHEMA.to_pyarrow())
    details = {name: _[name] for name in EVENT_SCHEMA if name != "subject_id"}
    table = ibis.memtable(table).rename(patient="subject_id")
    return RawEvents(sources.raw_events(table, source_table=ibis.literal("made up"), **details))


def random_events(patients: int, seed: int, since: int = LANDMARK_DAY - 900, until: int = LANDMARK_DAY + 500):
    """Patients of three hospitals with some 60 events of 40 codes each, some available only a month later."""
    random = np.random.default_rng(seed)
    codes = [f"ICD10//A{number:03d}" for number in range(25)]
    codes += [f"ATC//B{number:02d}AA01" for number in range(10)] + ["KUBUN//J038", "LAB//X", "ICD10//N18"]
    rows: list[Event] = []
    for subject in range(1, patients + 1):
        rows += born(subject, sex="FM"[subject % 2])
        for day in random.integers(since, until, size=random.integers(20, 100)).tolist():
            late = int(random.integers(0, 31))
            code = codes[int(random.integers(len(codes)) * random.random())]
            hospital = f"H{1 + (subject + (random.random() < 0.2)) % 3}"
            rows.append(Event(subject, day, code, day + late, hospital, bool(random.random() < 0.2)))
    return rows


def other_futures(rows: list[Event]) -> dict[str, list[Event]]:
    """The same events until the landmark, with changed events after it."""
    past = [row for row in rows if row.known_day < LANDMARK_DAY]
    future = [row for row in rows if row.known_day >= LANDMARK_DAY]
    moved = [dataclasses.replace(row, day=LANDMARK_DAY + 3, available_day=None) for row in future]
    # Some of what is added happened before the landmark, and became known after it.
    added = [
        Event(row.subject_id, row.day, code, LANDMARK_DAY + 7, "H1")
        for row in past
        for code in ("ICD10//N18", "ICD10//NEW", "ATC//B00AA01")
        if not row.code.startswith(("MEDS", "SEX"))
    ]
    return {"removed": past, "moved": past + moved, "added": rows + added}


@dataclasses.dataclass(frozen=True)
class Claims:
    """How the tests make events: see the functions of this module."""

    event = Event
    born = staticmethod(born)
    raw = staticmethod(raw_events)
    random = staticmethod(random_events)
    other_futures = staticmethod(other_futures)
    landmark = LANDMARK
    landmark_day = LANDMARK_DAY


@pytest.fixture(scope="session")
def claims() -> Claims:
    return Claims()


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory):
    with Engine(EngineSettings(memory="500MB"), tmp_path_factory.mktemp("engine")) as engine:
        yield engine


@pytest.fixture
def study() -> Study:
    """A study of one task, `ckd`, with a landmark between the made-up events."""
    return Study.model_validate(
        {
            "name": "made-up",
            "source": {"kind": "simulated"},
            "cohort": {"landmark": LANDMARK, "min_events": 3, "splits": {"fractions": [0.5, 0.2, 0.3]}},
            "tokens": {"min_patients": 2},
            "sizes": ["80k"],
            "tasks": ["ckd"],
        }
    )


@pytest.fixture
def write_events(engine: Engine, tmp_path: Path):
    """Validate events and write them as an events folder."""

    def write(rows: Iterable[Event], name: str = "events", shard_rows: int = 1000) -> Path:
        folder = tmp_path / name
        write_events_folder(raw_events(rows), engine, tmp_path / f"{name}.scratch", folder, shard_rows)
        (folder / "metadata").mkdir()
        codes = engine.to_arrow(engine.read_parquet(folder / "data" / "*.parquet").select("code"))
        pq.write_table(codes_table(codes["code"].to_pylist()), folder / "metadata" / "codes.parquet")
        return folder

    return write
