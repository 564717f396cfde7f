"""All results of a run as one plain dictionary, `summary.json`, and as a long table, `results.parquet`.

This module assembles; the statistics are in `evaluation`, the words in `verdict_text`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import claimscale
from claimscale import artifacts
from claimscale.config.study import Study
from claimscale.errors import naming
from claimscale.evaluation.forecast import ForecastRecord
from claimscale.evaluation.predictions import CellResult, load_predictions
from claimscale.evaluation.pretrained_sizes import LearningRateTrial, pretrained_sizes
from claimscale.evaluation.savings import pretraining_costs
from claimscale.evaluation.study_evaluation import evaluate_across_tasks, study_convergence
from claimscale.evaluation.task_evaluation import EvaluationInputs, evaluate_tasks, score_study
from claimscale.findings import Finding
from claimscale.privacy import gate
from claimscale.summary.curve_entries import cross_task_entries
from claimscale.summary.limitations import limitations
from claimscale.summary.provenance import provenance
from claimscale.summary.results import plain, training_losses, write_results
from claimscale.summary.task_entry import not_trained_entry, task_entry
from claimscale.summary.verdict_text import answer

__all__ = ["CellResult", "summarise"]


def summarise(
    study: Study,
    run_directory: Path,
    *,
    cells: Sequence[CellResult],
    pretraining: Sequence[Mapping[str, Any]],
    dataset: Mapping[str, Any],
    label_counts: Mapping[str, Mapping[str, Mapping[str, int]]],
    oracle: Mapping[str, Path] | None = None,
    insufficient_data: Mapping[str, Mapping[str, Any]] | None = None,
    left_out: Mapping[str, Mapping[str, Any]] | None = None,
    checks: Sequence[Mapping[str, Any]] = (),
    lr_sweeps: Mapping[str, Sequence[LearningRateTrial]] | None = None,
    notes: Sequence[Finding] = (),
    forecasts: Sequence[ForecastRecord] = (),
) -> dict[str, Any]:
    """Score all cells, judge every task, write `results.parquet` and `summary.json`; return the summary.

    Args:
        study: the settings that were run.
        run_directory: where both files go.
        cells: one entry per fine-tuned or baseline cell.
        pretraining: one mapping per (size, seed) with the fields of the pretraining result.
        dataset: patients, hospitals, events, tokens, vocabulary, span, quality.
        label_counts: task -> split -> {"patients", "positives"} and, where patients have several
            "index_dates", as the labels were made.
        insufficient_data: task -> what it lacked, for tasks of which nothing was trained.
        left_out: task -> subsets too small, `patients`, and of whom: `label`, positive or negative.
        oracle: task -> Parquet with subject_id, prediction_time, split, risk (simulated data only).
        lr_sweeps: size -> validation loss at each learning rate tried, null where training diverged.
        notes: what cells had to say of themselves, a sentence each; they become warnings.
        checks: validity checks, each task (null: the study), title, status (passed, warned), sentence.
        forecasts: those that were written down before larger sizes were trained (forecasts.json).

    Raises BadInput if predictions are missing, unreadable or not about the same patients.
    """
    predictions, insufficient_data = load_predictions(cells), insufficient_data or {}
    trained = [task.name for task in study.tasks if task.name not in insufficient_data]
    with naming(str(run_directory)):
        scores = score_study(study, predictions, trained)
    sizes = pretrained_sizes(study, pretraining, lr_sweeps or {})
    guards = study_convergence(scores.curves, sizes)
    evaluations = evaluate_tasks(
        study,
        scores,
        guards,
        EvaluationInputs(
            patients_file=run_directory / "cohort" / "patients.parquet",
            oracle=oracle or {},
            costs=pretraining_costs(
                sizes,
                dataset.get("vocabulary"),
                study.pretrain.mask_probability,
                dataset.get("code_groups", 0),
            ),
            stopped={record.task for record in forecasts if record.stop},
        ),
    )
    parameters = {size.name: size.parameters for size in sizes}
    tasks = []
    for task in study.tasks:
        counts = label_counts.get(task.name, {})
        if task.name in insufficient_data:
            entry = not_trained_entry(task, study, counts, insufficient_data[task.name])
        else:
            entry = task_entry(task, study, evaluations[task.name], scores, predictions, counts, parameters)
        skipped = (left_out or {}).get(task.name)
        skipped = skipped and {"label": skipped["label"], "labelled_patients": skipped["patients"]}
        tasks.append({**entry, "skipped_labelled_patients": skipped})
    summary = {
        "name": study.name,
        "version": claimscale.__version__,
        "answers": [],
        "dataset": dict(dataset),
        "sizes": [dataclasses.asdict(size) for size in sizes],
        "tasks": tasks,
        **cross_task_entries(evaluate_across_tasks(study, scores.curves, sizes, forecasts), guards),
        "checks": list(checks),
        "warnings": [],
        "training_losses": training_losses(pretraining),
        "provenance": provenance(run_directory),
    }
    return _written(study, run_directory, summary, notes)


def _written(
    study: Study, run_directory: Path, summary: Mapping[str, Any], notes: Sequence[Finding]
) -> dict[str, Any]:
    """The summary after the privacy gate, with its sentences, which are made of what has passed; written."""
    shown = gate.suppress(plain(summary), study.privacy.profile)
    shown["answers"] = [answer(entry) for entry in shown["tasks"]]
    shown["warnings"] = [*limitations(study, shown), *notes]
    shown = plain(shown)
    write_results(run_directory / "results.parquet", shown)
    artifacts.write_json(run_directory / "summary.json", shown)
    return shown
