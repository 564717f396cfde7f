"""A whole small study, run as users run it: in a process of its own, and repeated."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.special import logit

from claimscale import cli
from claimscale.config.comparison import Baseline

STUDY = """
name: tiny
source: {{kind: simulated, patients: 3000, hospitals: 4, min_age: 75}}
cohort: {{landmark: 2020-10-01, splits: {{fractions: [0.5, 0.15, 0.35], held_out_hospitals: 1}}}}
tokens: {{max_length: 96, min_patients: 50, deduplicate: year}}
sizes: [80k, 100k]
pretrain: {{seeds: [1, 2], epochs: 1, batch_tokens: 4096, cooldown_fractions: [1]}}
tasks: [ckd, {{name: rare, kind: disease, outcome: {{ICD10: [C95]}}}}, pregabalin]
labels: scarce
phenome: {{min_cases: 15}}
finetune: {{labelled_patients: [400], seeds: [1, 2], epochs: 1, learning_rates: [0.001]}}
baselines: [{baselines}]
search: {{n_trials: 2}}
compare: {{bootstrap_replicates: 200}}
runs_dir: {runs}
"""
ARMS = {"pretrained", "scratch"}
BASELINES = get_args(Baseline)
CELLS = 2 * (2 * 2) + 2 * 2 * 2 * 2 + 2 * 2 * len(BASELINES)
COST = {
    "tokens", "flops", "wall_hours", "device_hours", "peak_memory", "peak_tflops", "mfu", "energy_kwh"
}  # fmt: skip
SUMMARY_KEYS = {"dataset", "sizes", "tasks", "task_size_interaction", "forecast", "limitations"}


def write_study(folder: Path) -> Path:
    file = folder / "study.yaml"
    file.write_text(STUDY.format(runs=folder / "runs", baselines=", ".join(BASELINES)), "utf-8")
    return file


def run_study(folder: Path) -> str:
    """Run the study to its end: what was printed."""
    command = [sys.executable, "-m", "claimscale", "study", str(write_study(folder))]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The run directory of the study, and what was printed."""
    folder = tmp_path_factory.mktemp("whole")
    out = run_study(folder)
    return folder / "runs" / "tiny", out


def test_it_prints_an_answer_per_task_and_the_reports_path(whole: tuple[Path, str]) -> None:
    run, out = whole
    summary = json.loads((run / "summary.json").read_text("utf-8"))
    assert len(summary["answers"]) == 3
    assert all(f"{answer['task']}: {answer['text']['text']}" in out for answer in summary["answers"])
    assert str(run / "report.html") in out
    assert f"{CELLS} cells run" in out


def test_a_task_with_too_few_cases_stops_no_other_task(whole: tuple[Path, str]) -> None:
    run, out = whole
    summary = json.loads((run / "summary.json").read_text("utf-8"))
    saturation = summary["tasks"][1]["saturation"]
    assert (saturation["verdict"], saturation["reason"]) == ("inconclusive", "not_trained_few_positives")
    more = saturation["additional_needed"]
    assert 0 < more["train"] <= 10 and 20 < more["held_out"] <= 30
    needed = f"At least {sum(more.values())} more patients with the outcome are needed"
    assert needed in out and needed in (run / "report.html").read_text("utf-8")
    assert not list((run / "cells").glob("*rare*"))


def test_the_run_directory_holds_what_the_contract_says(whole: tuple[Path, str]) -> None:
    run, _ = whole
    for name in ("study.yaml", "results.parquet", "summary.json", "report.html", "audit.jsonl"):
        assert (run / name).stat().st_size > 0
    assert len(list(run.glob("cells/*/DONE"))) == CELLS
    for cell in (run / "cells").iterdir():
        kept = {file.name for file in cell.iterdir()}
        assert {"cell.json", "manifest.json", "DONE"} <= kept
        assert cell.name.startswith(("pretrain", "phenome")) == ("predictions.parquet" not in kept)
        assert "checkpoints" not in kept
        cost = json.loads((cell / "cell.json").read_text("utf-8"))["result"]["cost"]
        assert set(cost) == COST and cost["wall_hours"] > 0 and cost["device_hours"] > 0
        assert all((cost[key] is None) == (cost["flops"] is None) for key in ("mfu", "peak_tflops"))
        trained = cell.name.startswith(("pretrain", "finetune"))
        assert (cost["tokens"] is not None) == trained
        embeds = cell.name.startswith(("phenome", "lightgbm_embeddings", "lightgbm_counts_and_embeddings"))
        assert (cost["flops"] is not None) == (trained or embeds), (
            "an encoder's pass costs, whoever asks for it"
        )
    assert not list(run.rglob("*.partial")) and not list(run.glob("scratch-*"))
    summary = json.loads((run / "summary.json").read_text("utf-8"))
    assert summary.keys() >= SUMMARY_KEYS
    assert [size["name"] for size in summary["sizes"]] == ["80k", "100k"]
    for task in (task for task in summary["tasks"] if task["results"]):
        assert task["oracle"]["auprc"]["estimate"] > task["prevalence"]
        assert {result["arm"] for result in task["results"]} == ARMS | set(BASELINES)
        assert all((result["size"] is None) == (result["arm"] in BASELINES) for result in task["results"])
        assert task["saturation"]["verdict"] in {"saturated", "not_saturated", "inconclusive"}


def test_the_phenome_has_every_outcome_with_enough_cases_and_none_that_is_withheld(
    whole: tuple[Path, str],
) -> None:
    run, out = whole
    summary = json.loads((run / "summary.json").read_text("utf-8"))
    outcomes = summary["phenome"]["outcomes"]
    assert len(outcomes) > 20 and all(one["cases"] >= 15 for one in outcomes)
    assert not any(one["code"].startswith(("ICD10//N18", "ATC//N02BF")) for one in outcomes)
    assert all(len(one["auprc"]) == 2 and 0 < min(one["auroc"]) < 1 for one in outcomes)
    assert (run / "tables" / "outcomes.csv").read_text("utf-8").count("\n") == len(outcomes) + 1
    for answer in summary["family_answers"]:
        assert f"{answer['name']['text']}: {answer['text']['text']}" in out


def test_every_row_is_accounted_for(whole: tuple[Path, str]) -> None:
    quality = json.loads((whole[0] / "events" / "quality.json").read_text("utf-8"))
    assert quality["rows_in"] == quality["used"] + sum((quality["quarantined"] | quality["dropped"]).values())


def test_all_arms_predict_the_same_untrained_patients(whole: tuple[Path, str]) -> None:
    run, _ = whole
    patients = pq.read_table(run / "cohort" / "patients.parquet", columns=["subject_id", "split"]).to_pandas()
    training = set(patients.loc[patients["split"] == "train", "subject_id"])
    seen = {
        (cell.parent.name.split("-")[1], tuple(pq.read_table(cell)["subject_id"].to_pylist()))
        for cell in run.glob("cells/*/predictions.parquet")
    }
    assert len(seen) == 2, "one list of patients per task"
    assert all(not training & set(subjects) for _, subjects in seen)


def test_the_average_is_that_of_the_largest_ensemble(whole: tuple[Path, str]) -> None:
    cells = ("ensemble-ckd-100k", "finetune-ckd-100k-pretrained", "lightgbm-ckd")
    files = [whole[0] / "cells" / f"{cell}-n400-s2" / "predictions.parquet" for cell in cells]
    tables = [pq.read_table(file).to_pandas() for file in files]
    average, *parts = (logit(table["predicted_boolean_probability"]) for table in tables)
    np.testing.assert_allclose(average, np.mean(parts, axis=0), atol=1e-9)
    assert (np.abs(parts[0] - parts[1]) > 0.1).any(), "the two differ"
    columns = ["subject_id", "prediction_time", "split", "boolean_value"]
    assert all(table[columns].equals(tables[0][columns]) for table in tables)


def test_a_second_run_recomputes_nothing(whole: tuple[Path, str]) -> None:
    run, _ = whole
    before = {file: file.stat().st_mtime_ns for file in run.rglob("*") if file.is_file()}
    assert "nothing had to be recomputed" in run_study(run.parents[1])
    untouched = {file: file.stat().st_mtime_ns for file in before}
    changed = {file.name for file in before if before[file] != untouched[file]}
    assert changed <= {"study.yaml", ".lock"}


def test_torchrun_shares_a_pretraining_and_leaves_what_is_done(
    whole: tuple[Path, str], tmp_path: Path
) -> None:
    run = tmp_path / "runs" / "tiny"
    shutil.copytree(whole[0], run)
    cell = run / "cells" / "pretrain-80k-s1"
    expected = json.loads((cell / "cell.json").read_text("utf-8"))["result"]
    shutil.rmtree(cell)
    file = write_study(tmp_path)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launcher, "-m", "claimscale", "pretrain", str(file)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"1 cells run, 3 were there already: {run / 'cells'}\n", "one prints, one is silent"
    result = json.loads((cell / "cell.json").read_text("utf-8"))["result"]
    assert result["ranks"] == 2 and result["tokens"] == expected["tokens"]
    assert abs(result["validation_loss"] - expected["validation_loss"]) < 1e-4
    assert (cell / "DONE").exists() and (cell / "model.safetensors").exists()


def test_no_log_or_report_shows_a_patient(whole: tuple[Path, str]) -> None:
    run, _ = whole
    for name in ("report.html", "summary.json", "audit.jsonl"):
        assert "subject_id" not in (run / name).read_text("utf-8")


def test_the_report_is_made_again_without_computing(whole: tuple[Path, str]) -> None:
    """In another language too; the summary and every cell stay as they are."""
    run, _ = whole
    file = run.parent.parent / "study.yaml"
    before = {path: path.stat().st_mtime_ns for path in [run / "summary.json", *run.glob("cells/*/DONE")]}
    assert cli.call(["report", str(file), "--set", "report.language=ja"]) == 0
    assert '<html lang="ja">' in (run / "report.html").read_text("utf-8")
    assert cli.call(["report", str(file)]) == 0
    assert '<html lang="en">' in (run / "report.html").read_text("utf-8")
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert list((run / "figures").glob("*.svg")) and (run / "tables" / "results.csv").exists()


def test_an_unfinished_study_has_a_partial_report(
    whole: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """With some cells of pregabalin missing; its summary is not taken for the real one."""
    run, _ = whole
    file = run.parent.parent / "study.yaml"
    summary = (run / "summary.json").read_bytes()
    marks = [*run.glob("cells/finetune-pregabalin-100k-*/DONE"), *run.glob("cells/lightgbm-*/DONE")]
    try:
        for mark in marks:
            mark.rename(mark.with_name("NOT_DONE"))
        assert cli.call(["report", str(file)]) == 0
        done = f"{CELLS - len(marks)} of {CELLS}"
        assert f"partial: {done} cells" in capsys.readouterr().out
        text = (run / "report.html").read_text("utf-8")
        assert f"{done} cells are complete" in text
        assert 'http-equiv="refresh"' not in text, "nothing runs that would renew the page"
        assert (run / "summary.json").read_bytes() == summary
        for mark in run.glob("cells/*/DONE"):
            mark.rename(mark.with_name("NOT_DONE"))
        assert cli.call(["report", str(file)]) == 2, "nothing to report"
        assert "cells are missing" in capsys.readouterr().err
    finally:
        for mark in run.glob("cells/*/NOT_DONE"):
            mark.rename(mark.with_name("DONE"))
    assert cli.call(["report", str(file)]) == 0
    assert "Partial results" not in (run / "report.html").read_text("utf-8")
    assert not (run / "partial").exists()
