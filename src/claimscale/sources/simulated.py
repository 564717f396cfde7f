"""The embedded simulator as a source of events."""

from __future__ import annotations

import shutil
from pathlib import Path

from ibis import _

from claimscale.config.sources import SimulatedSource
from claimscale.engine import Engine
from claimscale.simulator.population import Population, simulate
from claimscale.sources.raw import EVENT_SCHEMA, RawEvents, raw_events


def read(source: SimulatedSource, seed: int, engine: Engine, scratch: Path) -> RawEvents:
    """The events of the simulated patients. `scratch/simulated` holds them, so it must outlive the table.

    Raises BadInput if they cannot be written.
    """
    folder = scratch / "simulated"
    shutil.rmtree(folder, ignore_errors=True)  # a stopped run may have left other shards
    simulate(folder, Population(source.patients, source.hospitals, seed, source.min_age))
    table = engine.read_parquet(folder / "events" / "*.parquet")
    details = {name: _[name] for name in EVENT_SCHEMA if name != "subject_id"}
    events = raw_events(table.rename(patient="subject_id"), source_table="events", **details)
    return RawEvents(events)
