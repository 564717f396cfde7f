"""A database of unknown age: only `ingest` reads it again; a report needs neither it nor its password."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pytest

from claimscale import artifacts, pipeline
from claimscale.config import loading
from claimscale.progress import Silent
from claimscale.simulator.population import Population, simulate
from claimscale.sources import omop, omop_tables

STUDY = """
name: read
source: {kind: omop, path: "duckdb://${CDM_FOLDER}/cdm.duckdb"}
cohort: {landmark: 2020-10-01, splits: {fractions: [0.6, 0.2, 0.2]}}
tokens: {max_length: 64, min_patients: 20}
sizes: [80k]
tasks: [{name: analgesics, kind: medication, outcome: {ATC: [M01]}, washout_days: 365}]
finetune: {seeds: [1], initialization: []}
baselines: [outcome_history]
search: {n_trials: 1}
compare: {bootstrap_replicates: 100}
compute: {device: cpu, workers: 1}
"""


def test_only_ingest_reads_a_database_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    simulate(tmp_path / "cdm", Population(700, 2, 3, 70), "omop")
    with duckdb.connect(str(tmp_path / "cdm.duckdb")) as database:
        for folder in (tmp_path / "cdm").iterdir():
            database.sql(f"CREATE TABLE {folder.name} AS FROM '{folder}/*.parquet'")
    monkeypatch.setenv("CDM_FOLDER", str(tmp_path))
    for module in (omop, omop_tables):  # as for a server: nothing shows a change
        monkeypatch.setattr(module, "other_inputs", lambda source: None)
    (tmp_path / "study.yaml").write_text(STUDY, "utf-8")
    study = loading.load(tmp_path / "study.yaml", [f"runs_dir={tmp_path / 'runs'}"])
    events = study.run_directory / "events"

    def rows() -> int:
        return json.loads((events / "quality.json").read_text("utf-8"))["rows_in"]

    run = pipeline.run_study(study, Silent())
    assert run.cells_run == 1
    first, digest = rows(), artifacts.manifest_digest(events)
    pipeline.prepare(study, read_again=True)
    assert artifacts.manifest_digest(events) == digest
    assert pipeline.run_study(study, Silent()).cells_run == 0, (
        "the same rows are read again to the same events"
    )
    with duckdb.connect(str(tmp_path / "cdm.duckdb")) as database:
        database.sql("DELETE FROM drug_exposure WHERE drug_exposure_id % 2 = 0")
    pipeline.prepare(study)
    assert rows() == first, "a run does not look at the database"
    pipeline.prepare(study, read_again=True)
    assert rows() < first
    pipeline.run_study(study, Silent())
    monkeypatch.delenv("CDM_FOLDER")
    (tmp_path / "cdm.duckdb").unlink()
    (study.run_directory / "report.html").unlink()
    path, done, total = pipeline.report_again(study, Silent())
    assert path.is_file() and (done, total) == (1, 1)
