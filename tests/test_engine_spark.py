"""DuckDB and Spark give the same events, tokens and labels, row for row, from every kind of source.

Events and cohort of tables by default; every stage of every kind with CLAIMSCALE_SPARK_KINDS=all, as in
`make test-faults`.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from claimscale.artifacts import read_json, write_json
from claimscale.cohort import selection as cohort
from claimscale.config.execution import EngineSettings
from claimscale.config.study import Study
from claimscale.engine import Engine
from claimscale.errors import BadInput
from claimscale.events.build import build
from claimscale.simulator import population
from claimscale.tasks.labels import build_labels
from claimscale.tokens import store as tokens
from claimscale.validity import checks

pytestmark = pytest.mark.skipif(
    shutil.which("java") is None or importlib.util.find_spec("pyspark") is None,
    reason="Spark needs Java 17 and claimscale[spark]",
)

EVERY_KIND = "CLAIMSCALE_SPARK_KINDS" in os.environ
PATIENTS, HOSPITALS, SEED = 150 if EVERY_KIND else 60, 3, 5
SPLITS = {"fractions": [0.5, 0.2, 0.3], "temporal_date": "2021-06-01"}
KINDS = ("tables", "omop", "receipt", "csv", "dpc", "meds", "simulated")


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """The same patients as a source of every kind."""
    root = tmp_path_factory.mktemp("sources")
    formats = {
        "tables": "tables",
        "csv": "tables",
        "receipt": "uke",
        "dpc": "dpc",
        "omop": "omop",
        "meds": "meds",
    }
    found: dict[str, dict] = {
        "simulated": {"kind": "simulated", "patients": PATIENTS, "hospitals": HOSPITALS, "min_age": 60}
    }
    for kind, form in formats.items():
        if not EVERY_KIND and kind != KINDS[0]:
            continue
        options = population.WriterOptions(csv=kind == "csv")
        patients = population.Population(PATIENTS, HOSPITALS, SEED, 60)
        population.simulate(root / kind, patients, form, options=options)
        found[kind] = {"kind": "tables" if kind == "csv" else kind, "path": str(root / kind)}
        if form in ("uke", "dpc"):
            masters = root / kind / "masters"
            crosswalk = {
                "source": "YJ",
                "target": "ATC",
                "file": str(masters / "atc.csv"),
                "columns": ["price_code", "atc"],
            }
            found[kind] |= {"masters": str(masters), "crosswalks": [crosswalk]}
    return found


def study_of(source: dict) -> Study:
    return Study.model_validate(
        {
            "name": "two-engines",
            "source": source,
            "cohort": {"landmark": "2020-10-01", "min_events": 3, "splits": SPLITS},
            "tokens": {"min_patients": 2},
            "sizes": ["80k"],
            # Common enough to have both answers in every split of so few patients.
            "tasks": [
                {
                    "name": "hypertension",
                    "kind": "disease",
                    "outcome": {"ICD10": ["I10"]},
                    "washout_days": 60,
                },
                {
                    "name": "at_every_visit",
                    "kind": "disease",
                    "outcome": {"ICD10": ["I10"]},
                    "exclude": [
                        {"codes": {"ICD10": ["E11"]}, "look_back_days": 200, "window_end_days": -20},
                        {"codes": {"ICD10": ["C"]}},
                    ],
                    "washout_days": 60,
                    "gap_days": 0,
                    "index": "every_visit",
                    "first_index_date": "2018-06-01",
                },
            ],
        },
        strict=False,
    )


def made(study: Study, kind: str, target: Path) -> Path:
    """All data stages on an engine and the validity checks of them, or the first two stages."""
    for name in ("events", "cohort", "tokens", "labels"):
        (target / name).mkdir(parents=True)
    with Engine(EngineSettings(kind=kind, memory="1GB"), target.parent / "scratch") as engine:
        build(study, engine, target / "events")
        cohort.build(study, engine, target / "events", target / "cohort")
        if not EVERY_KIND:
            return target
        tokens.build(study, engine, target / "events", target / "cohort", target / "tokens")
        build_labels(study, engine, target / "events", target / "cohort", target / "labels")
    on_engine = study.model_copy(update={"engine": EngineSettings(kind=kind, memory="1GB")})
    write_json(target / "validity.json", [one.plain() for one in checks.check(on_engine, target, print)])
    return target


@pytest.mark.parametrize("kind", KINDS if EVERY_KIND else KINDS[:1])
def test_both_engines_make_the_same_files(kind: str, sources, tmp_path: Path) -> None:
    study = study_of(sources[kind])
    duck, spark = made(study, "duckdb", tmp_path / "duck"), made(study, "spark", tmp_path / "spark")
    names = sorted(file.relative_to(duck) for file in duck.rglob("*.*") if file.is_file())
    assert names == sorted(file.relative_to(spark) for file in spark.rglob("*.*") if file.is_file())
    for name in names:
        one, other = duck / name, spark / name
        if name.suffix == ".parquet":
            assert pq.read_table(one).equals(pq.read_table(other)), name
        elif name.suffix == ".npy":
            assert np.array_equal(np.load(one), np.load(other)), name
        else:
            assert read_json(one) == read_json(other), name
    assert len(pq.read_table(duck / "events/data")) > 500


def test_spark_refuses_files_that_cannot_be_read(tmp_path: Path) -> None:
    with Engine(EngineSettings(kind="spark"), tmp_path) as engine:
        with pytest.raises(BadInput, match=r"absent\.parquet: cannot be read"):
            engine.read_parquet(tmp_path / "absent.parquet")
        (tmp_path / "a.csv").write_text("patient,code\nP1,0123\nP2\n", "utf-8")
        with pytest.raises(BadInput, match=r"a\.csv, line 3: 1 cell instead of 2") as caught:
            engine.to_arrow(engine.read_csv([tmp_path / "a.csv"]))
        assert "P2" not in str(caught.value)
