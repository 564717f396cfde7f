"""A whole small study, one of whose subsets holds hardly anybody with the outcome."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from claimscale import cli

STUDY = """
name: small
source: {{kind: simulated, patients: 3000, hospitals: 3, min_age: 75}}
cohort: {{landmark: 2020-10-01, splits: {{fractions: [0.5, 0.15, 0.35]}}}}
tokens: {{max_length: 64, min_patients: 50, deduplicate: year}}
sizes: [80k]
pretrain: {{seeds: [1], epochs: 1, batch_tokens: 4096}}
tasks: [pregabalin]
labels: scarce
finetune: {{labelled_patients: [10, all], initialization: [scratch], seeds: [1], epochs: 1,
           learning_rates: [0.001]}}
baselines: [outcome_history]
search: {{n_trials: 1}}
compare: {{bootstrap_replicates: 100}}
compute: {{device: cpu, workers: 1}}
runs_dir: {runs}
"""
LEFT_OUT = "pregabalin: Subsets of 10 labelled patients were skipped for every model"


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """The study file, and the exit code of the study."""
    folder = tmp_path_factory.mktemp("small")
    file = folder / "study.yaml"
    file.write_text(STUDY.format(runs=folder / "runs"), "utf-8")
    return file, cli.call(["study", str(file)])


def test_the_study_ends_with_a_report_that_names_the_subset(ended: tuple[Path, int]) -> None:
    file, code = ended
    run = file.parent / "runs" / "small"
    assert code == 0
    assert {folder.name for folder in (run / "cells").iterdir()} == {
        "finetune-pregabalin-80k-scratch-nall-s1",
        "outcome_history-pregabalin-nall-s1",
    }
    summary = json.loads((run / "summary.json").read_text("utf-8"))
    assert summary["tasks"][0]["skipped_labelled_patients"] == {
        "label": "positive",
        "labelled_patients": [10],
    }
    (warning,) = (one["text"] for one in summary["limitations"] if "skipped" in one["text"])
    assert warning.startswith(LEFT_OUT) and warning.endswith("have the outcome.")
    assert LEFT_OUT in (run / "report.html").read_text("utf-8")


def test_plan_and_run_name_the_skipped_subsets(
    ended: tuple[Path, int], capsys: pytest.CaptureFixture[str]
) -> None:
    file, _ = ended
    assert cli.call(["plan", str(file)]) == 0
    text = capsys.readouterr().out
    assert "2 cells, of which 0 pretraining, 1 fine-tuning, 1 baselines" in text
    assert "Subsets left out, too few patients with or without the outcome: pregabalin 10\n" in text
    assert cli.call(["run", str(file), "outcome_history-pregabalin-n10-s1"]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("claimscale: ")]
    assert said == [
        "claimscale: outcome_history-pregabalin-n10-s1: is left out: too few of the 10 patients, or of those "
        "they are tuned on, have the outcome in pregabalin"
    ]


def test_where_no_subset_is_large_enough_nothing_is_trained(
    ended: tuple[Path, int], capsys: pytest.CaptureFixture[str]
) -> None:
    file, _ = ended
    only = ["--set", "finetune.labelled_patients=[10]"]
    assert cli.call(["study", str(file), *only]) == 0
    text = "In every requested subset, too few patients have the outcome. More labelled patients are needed."
    assert f"pregabalin: Inconclusive: no model was trained. {text}" in capsys.readouterr().out
    assert cli.call(["run", str(file), "outcome_history-pregabalin-n10-s1", *only]) == 2
    assert "for anything to be trained" in capsys.readouterr().err
