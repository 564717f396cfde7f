"""From a prepared run to findings: what is read is what the run holds, and planted faults are seen."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from claimscale import cli, pipeline
from claimscale.config import loading
from claimscale.config.study import Study
from claimscale.findings import finding
from claimscale.tasks.labels import read_labels
from claimscale.validity import checks
from claimscale.validity.check_result import CheckResult

STUDY = """
name: checked
source: {{kind: simulated, patients: 1500, hospitals: 3, min_age: 70}}
cohort: {{landmark: 2020-10-01, splits: {{fractions: [0.5, 0.1, 0.4], temporal_date: 2021-01-01}}}}
tokens: {{min_patients: 20}}
sizes: [80k]
tasks: [ckd]
runs_dir: {runs}
"""
TRUE_OF_SIMULATED_PATIENTS = {"single_site_visibility", "censoring"}
"""Each is seen in one hospital only, and is last seen at the last contact."""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("checked")
    (folder / "study.yaml").write_text(STUDY.format(runs=folder), "utf-8")
    study = loading.load(folder / "study.yaml", [])
    pipeline.prepare(study)
    return study


@pytest.fixture
def run(prepared: Study, tmp_path: Path) -> Path:
    """A copy of the prepared run that a test may spoil."""
    copy = tmp_path / "run"
    shutil.copytree(prepared.run_directory, copy)
    return copy


def warned(study: Study, run: Path) -> set[str]:
    return {one.check for one in checks.check(study, run, lambda what: None) if one.warned}


def relabel(run: Path, change) -> None:
    """Write the labels again, with the split, after `change` has worked on their rows."""
    rows = [change(dict(row)) for row in read_labels(run / "labels", "ckd").to_pylist()]
    labels = pq.read_schema(run / "labels" / "ckd.parquet")
    index = pq.read_schema(run / "labels" / "index" / "ckd.parquet")
    pq.write_table(pa.Table.from_pylist(rows, labels), run / "labels" / "ckd.parquet")
    pq.write_table(pa.Table.from_pylist(rows, index), run / "labels" / "index" / "ckd.parquet")


def test_nothing_else_than_what_is_true_of_simulated_claims_warns(prepared: Study) -> None:
    assert warned(prepared, prepared.run_directory) <= TRUE_OF_SIMULATED_PATIENTS


def test_a_test_patient_among_the_training_labels_is_seen(prepared: Study, run: Path) -> None:
    subjects = read_labels(run / "labels", "ckd")
    held_out = [row["subject_id"] for row in subjects.to_pylist() if row["split"] == "held_out"]
    moved = set(held_out[:20])
    relabel(run, lambda row: row | ({"split": "train"} if row["subject_id"] in moved else {}))
    # The temporal split has the same patients.
    assert "split_overlap" in warned(prepared, run)


def test_pretraining_that_saw_test_patients_is_seen(prepared: Study, run: Path) -> None:
    relabel(run, lambda row: row | {"split": "held_out" if row["split"] == "tuning" else row["split"]})
    assert {"pretraining_overlap", "split_overlap"} <= warned(prepared, run)


def test_labels_without_outcome_codes_and_late_index_dates_are_seen(prepared: Study, run: Path) -> None:
    random = np.random.default_rng(1)

    def change(row: dict) -> dict:
        # Labels of elsewhere: a tenth made positive at random, index dates set a week on.
        later = row["prediction_time"] + np.timedelta64(7, "D").astype(object)
        return row | {"boolean_value": bool(random.random() < 0.1), "prediction_time": later}

    relabel(run, change)
    assert {"suspected_only", "immortal_time"} <= warned(prepared, run)


def test_only_those_followed_up_is_seen(prepared: Study, run: Path) -> None:
    labels = read_labels(run / "labels", "ckd").to_pylist()
    kept = {
        (row["subject_id"], row["prediction_time"])
        for row in labels
        if (row["observed_until"] - row["prediction_time"]).days >= 395 or row["boolean_value"]
    }
    for name in ("ckd.parquet", "index/ckd.parquet"):
        table = pq.read_table(run / "labels" / name)
        inside = [(row["subject_id"], row["prediction_time"]) in kept for row in table.to_pylist()]
        pq.write_table(table.filter(pa.array(inside)), run / "labels" / name)
    assert "immortal_time" in warned(prepared, run)


def test_findings_are_kept_until_something_changes(run: Path) -> None:
    evidence = {"naive_risk": 0.123456789, "km": float("nan")}
    found = [
        CheckResult("censoring", "warned", evidence, finding("validity.informative_censoring"), "ckd"),
        CheckResult("single_site_visibility", "passed", {}, finding("validity.several_sites")),
    ]
    checks.write(found, run, "inputs")
    kept = checks.read_current(run, "inputs")
    assert kept is not None and [one.finding for one in kept] == [one.finding for one in found]
    assert kept[0].evidence == {"naive_risk": 0.123457, "km": None} and kept[0].warned
    assert checks.read_current(run, "other inputs") is None
    (run / checks.FILE).write_text("{", "utf-8")
    assert checks.read_current(run, "inputs") is None


def test_the_command_prints_a_line_per_check_and_exits_0(prepared: Study, capsys) -> None:
    file = prepared.run_directory.parent / "study.yaml"
    assert cli.call(["check", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    content = json.loads((prepared.run_directory / "validity.json").read_text("utf-8"))["checks"]
    assert len([line for line in lines if line.startswith(("passed  ", "warned  "))]) == len(content) == 12
    assert {one["check"] for one in content} == set(checks.TITLES)
    subjects = pq.read_table(prepared.run_directory / "cohort/patients.parquet")["subject_id"].to_pylist()
    words = " ".join(lines).replace(".", " ").replace(",", " ").split()
    assert not {str(subject) for subject in subjects if subject > 10_000} & set(words)


def test_a_missing_file_is_bad_input(capsys) -> None:
    assert cli.call(["check", "/no/such/study.yaml"]) == 2
