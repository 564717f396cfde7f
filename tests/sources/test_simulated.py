from __future__ import annotations

from claimscale.config import sources as source_settings
from claimscale.config.execution import EngineSettings
from claimscale.engine import Engine
from claimscale.simulator import population
from claimscale.simulator.parameters import build_country
from claimscale.sources import simulated
from claimscale.sources.raw import EVENT_SCHEMA


def test_shards_of_an_earlier_run_are_removed(tmp_path):
    population.simulate(tmp_path / "simulated", population.Population(40, 2, 1), shard_patients=5)
    source = source_settings.SimulatedSource(kind="simulated", patients=10, hospitals=3, min_age=40)
    with Engine(EngineSettings(), tmp_path / "scratch") as engine:
        table = simulated.read(source, 3, engine, tmp_path).table.rename(subject_id="patient")
        table = table.select(*EVENT_SCHEMA).order_by("subject_id", "time", "code", "suspected")
        rows = engine.to_arrow(table)
    expected = population.events(build_country(3, 3, 40), 3, 1, 10)
    assert rows.cast(expected.schema).equals(expected)
