"""Simulated claims in every format, and how what is read compares with what was simulated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from claimscale import sources
from claimscale.config.execution import EngineSettings
from claimscale.config.study import Study
from claimscale.engine import Engine
from claimscale.events.build import write_events_folder
from claimscale.simulator import population
from claimscale.simulator.parameters import build_country
from claimscale.sources.raw import RawEvents

PATIENTS, HOSPITALS, SEED = 300, 5, 11
POPULATION = population.Population(PATIENTS, HOSPITALS, SEED)


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory):
    with Engine(EngineSettings(memory="500MB"), tmp_path_factory.mktemp("engine")) as engine:
        yield engine


@pytest.fixture(scope="session")
def simulated() -> pa.Table:
    """The simulator's own events."""
    return population.events(build_country(HOSPITALS, SEED), SEED, 1, PATIENTS)


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A folder with the same patients as `simulated`, in a format."""
    made: dict[tuple, Path] = {}

    def write(kind: str, options: population.WriterOptions | None = None) -> Path:
        key = (kind, options)
        if key not in made:
            made[key] = tmp_path_factory.mktemp(kind) / "claims"
            population.simulate(made[key], POPULATION, kind, options=options, shard_patients=120)
        return made[key]

    return write


@pytest.fixture
def validated(engine: Engine, tmp_path: Path):
    """Validate raw events; returns the events, with the source's own ids, and the quality."""

    def passed(raw: RawEvents) -> tuple[pa.Table, dict]:
        target = tmp_path / "events"
        quality = write_events_folder(raw, engine, tmp_path / "shards", target)
        events = engine.read_parquet(target / "data" / "*.parquet")
        if (target / "subjects.parquet").exists():
            ids = engine.read_parquet(target / "subjects.parquet")
            events = events.inner_join(ids, "subject_id")
        return engine.to_arrow(events), quality

    return passed


@pytest.fixture
def ingest(engine: Engine, validated, tmp_path: Path):
    """Read the files of a source; returns the events and the quality.

    `files`: name to text, bytes or a table, which is written as Parquet. A mapping is written beside them.
    """

    def run(
        files: Mapping[str, str | bytes | pa.Table], mapping: str | None = None, **settings: Any
    ) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        folder = tmp_path / "claims"
        folder.mkdir()
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, pa.Table):
                pq.write_table(content, folder / name)
            else:
                (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
        source = {"kind": "tables", "path": str(folder)} | settings
        if mapping is not None:
            (tmp_path / "mapping.yaml").write_text(mapping, "utf-8")
            source["mapping"] = str(tmp_path / "mapping.yaml")
        study = {"name": "x", "source": source, "cohort": {"landmark": "2021-01-01"}, "sizes": ["80k"]}
        (tmp_path / "raw").mkdir()
        valid = Study.model_validate(study | {"tasks": ["ckd"]}, strict=False)
        events, quality = validated(sources.read(valid, engine, tmp_path / "raw"))
        return events.to_pylist(), quality

    return run
