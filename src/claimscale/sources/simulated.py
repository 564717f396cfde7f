"""Patients of the embedded simulator as a source of events."""

from __future__ import annotations

import shutil
from pathlib import Path

import ibis.expr.types as ir

from claimscale.engine import Engine
from claimscale.simulator import population
from claimscale.study import SimulatedSource


def read(source: SimulatedSource, seed: int, engine: Engine, scratch: Path) -> ir.Table:
    """The events of the simulated patients, with the columns of `raw.EVENT_SCHEMA`.

    The shards are written to `scratch/simulated`, which must outlive the table.
    Raises BadInput if they cannot be.
    """
    folder = scratch / "simulated"
    shutil.rmtree(folder, ignore_errors=True)  # a stopped run may have left shards of another simulation
    population.simulate(folder, source.patients, source.hospitals, seed, youngest=source.youngest)
    return engine.read_parquet(folder / "events" / "*.parquet")
