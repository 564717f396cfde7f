"""All results of a run as one plain dictionary, `summary.json`, and as a long table, `results.parquet`.

This module assembles; the statistics are in `evaluation`, the words in `answers`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import claimscale
from claimscale import artifacts
from claimscale.config.study import Study
from claimscale.errors import BadInput
from claimscale.evaluation.contrasts import task_size_interaction
from claimscale.evaluation.convergence import Convergence, convergence
from claimscale.evaluation.hospitals import by_hospital, hospitals_of
from claimscale.evaluation.model_diagnostics import details
from claimscale.evaluation.predictions import (
    TEST_SPLITS,
    CellResult,
    SplitPredictions,
    aligned_values,
    load_predictions,
)
from claimscale.evaluation.savings import costs
from claimscale.evaluation.scoring import Model, score_models, score_ranking
from claimscale.evaluation.size_decision import Curve, judge
from claimscale.privacy import gate
from claimscale.summary import limitations as cautions, verdict_text as answers
from claimscale.summary.auroc_gains import add_auroc_gains
from claimscale.summary.curve_entries import fitted_loss, forecast_entry, loss_ends, loss_fit_entry
from claimscale.summary.provenance import provenance
from claimscale.summary.results import plain, training_losses, write_results
from claimscale.summary.size_entries import size_entries
from claimscale.summary.task_entry import (
    TaskScores,
    add_hospitals,
    bounds,
    estimate,
    not_trained_entry,
    saturation_entry,
    task_entry,
)

__all__ = ["CellResult", "summarise"]

Scored = Mapping[str, TaskScores]
"""By task, the scores of its models on one split."""


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
    lr_sweeps: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    notes: Sequence[str] = (),
    forecasts: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Score all cells, judge every task, write `results.parquet` and `summary.json`; return the summary.

    Args:
        study: the settings that were run.
        run_directory: where both files go.
        cells: one entry per fine-tuned or baseline cell.
        pretraining: one mapping per (size, seed) with the fields of the pretraining result.
        dataset: patients, hospitals, events, tokens, vocabulary, span, quality.
        label_counts: task -> split -> {"patients", "positives"} and, where patients are asked more than
            once, "index_dates", as the labels were made.
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
    scored, curves = _scored(study, run_directory, predictions, insufficient_data)
    sizes = size_entries(study, pretraining, lr_sweeps or {})
    cost = costs(sizes, dataset.get("vocabulary"), study.pretrain.mask_probability)
    stopped = {record["task"] for record in forecasts if record["stop"]}
    tasks = _task_entries(
        study, run_directory, predictions, scored, curves, sizes, cost, stopped, label_counts,
        insufficient_data,
        oracle or {},
    )  # fmt: skip
    for entry in tasks:
        skipped = (left_out or {}).get(entry["name"])
        entry["skipped_labelled_patients"] = skipped and {
            "label": skipped["label"],
            "labelled_patients": skipped["patients"],
        }
    summary = {
        "name": study.name,
        "version": claimscale.__version__,
        "answers": [],
        "dataset": dict(dataset),
        "sizes": sizes,
        "tasks": tasks,
        **_of_curves(study, curves, sizes, forecasts),
        "checks": list(checks),
        "warnings": [],
        "training_losses": training_losses(pretraining),
        "provenance": provenance(run_directory),
    }
    return _written(study, run_directory, summary, scored["held_out"], notes)


def _scored(
    study: Study,
    run_directory: Path,
    predictions: Mapping[tuple[str, str], SplitPredictions],
    insufficient_data: Mapping[str, Any],
) -> tuple[Mapping[str, Scored], Mapping[str, Curve]]:
    """All scores by split and task; and by task the curve over sizes that its verdict rests on."""
    trained = [task for task in study.tasks if task.name not in insufficient_data]
    for task in trained:
        if (task.name, "held_out") not in predictions:
            raise BadInput(f"{run_directory}: task {task.name} has no predictions for held-out patients")
    scored = {
        split: score_models(predictions, split, study.compare.bootstrap_replicates, study.seed)
        for split in TEST_SPLITS
    }
    curves = {
        task.name: size_curve(study, scored["held_out"][task.name], predictions[task.name, "held_out"])
        for task in trained
    }
    return scored, curves


def _task_entries(
    study: Study,
    run_directory: Path,
    predictions: Mapping[tuple[str, str], SplitPredictions],
    scored: Mapping[str, Scored],
    curves: Mapping[str, Curve],
    sizes: Sequence[Mapping[str, Any]],
    cost: Mapping[str, Any],
    stopped: Collection[str],
    label_counts: Mapping[str, Mapping[str, Mapping[str, int]]],
    insufficient_data: Mapping[str, Mapping[str, Any]],
    oracle: Mapping[str, Path],
) -> list[dict[str, Any]]:
    """One entry per task, judged together."""
    verdicts = judge(curves, study.compare.margin)
    trained = [task for task in study.tasks if task.name in curves]
    redrawn = by_hospital(
        curves,
        {task.name: predictions[task.name, "held_out"] for task in trained},
        {task.name: compared_models(study, scored["held_out"][task.name]) for task in trained},
        hospitals_of(run_directory / "cohort" / "patients.parquet"),
        study.compare,
        study.seed,
    )
    status = _converged(curves, sizes).status
    parameters = {entry["name"]: entry["parameters"] for entry in sizes}
    tasks = []
    for task in study.tasks:
        counts = label_counts.get(task.name, {})
        if task.name in insufficient_data:
            tasks.append(not_trained_entry(task, study, counts, insufficient_data[task.name]))
            continue
        entry = task_entry(task, study, scored, predictions, counts, parameters)
        rows, models = predictions[task.name, "held_out"], scored["held_out"][task.name]
        entry["oracle"] = _oracle(study, task.name, rows, oracle)
        entry["saturation"] = saturation_entry(
            study, verdicts[task.name], curves[task.name], cost, task.name in stopped
        )
        add_hospitals(entry["saturation"], redrawn.get(task.name))
        add_auroc_gains(entry, rows, models, answers.largest_sample(models))
        entry["per_model"] = details(
            rows,
            models,
            answers.largest_sample(models),
            run_directory / "cohort" / "patients.parquet",
            study.compare.bootstrap_replicates,
            study.seed,
        )
        entry["saturation"]["convergence_status"] = status
        tasks.append(entry)
    return tasks


def _of_curves(
    study: Study,
    curves: Mapping[str, Curve],
    sizes: Sequence[Mapping[str, Any]],
    forecasts: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """What all tasks, and all sizes, say together."""
    ends = loss_ends(study, sizes)
    fitted = fitted_loss(study, ends)
    return {
        "task_size_interaction": _dependence(study, curves),
        "convergence": _convergence_entry(_converged(curves, sizes)),
        "forecast": forecast_entry(study, curves, forecasts, sizes, fitted),
        "loss_fit": loss_fit_entry(ends, fitted),
    }


def _convergence_entry(found: Convergence) -> dict[str, Any]:
    return {
        "status": found.status,
        "loss_drop_last_doubling": found.from_doubling,
        "learning_rates": found.learning_rates,
        "generalization_gap": found.gap,
        "failed": list(found.failed),
        "not_measured": list(found.unmeasured),
    }


def _converged(curves: Mapping[str, Curve], sizes: Sequence[Mapping[str, Any]]) -> Convergence:
    """The guards of the sizes that any task was tried with."""
    return convergence([size for size in sizes if any(size["name"] in one.scores for one in curves.values())])


def _written(
    study: Study,
    run_directory: Path,
    summary: Mapping[str, Any],
    held_out: Scored,
    notes: Sequence[str],
) -> dict[str, Any]:
    """The summary after the privacy gate, with its sentences, which are made of what has passed; written."""
    shown = gate.passed(plain(summary), study.privacy.profile)
    shown["answers"] = [
        answers.answer(study, entry, held_out.get(entry["name"], {}) if entry["results"] else {})
        for entry in shown["tasks"]
    ]
    shown["warnings"] = [*cautions.warnings(study, shown), *notes]
    shown = plain(shown)
    write_results(run_directory / "results.parquet", shown)
    artifacts.write_json(run_directory / "summary.json", shown)
    return shown


def compared_models(study: Study, scores: TaskScores) -> dict[str, Model]:
    """The models that the verdict compares: all sizes at the largest number of labelled patients."""
    arm = answers.judged_arm(scores)
    models = {size: Model(arm, size, answers.largest_sample(scores)) for size in study.sizes}
    return {size: model for size, model in models.items() if model in scores}


def size_curve(study: Study, scores: TaskScores, rows: SplitPredictions) -> Curve:
    """The metric of those models by size."""
    metric = study.compare.metric
    by_size = {
        size: scores[model].by_metric[metric] for size, model in compared_models(study, scores).items()
    }
    if not by_size:
        raise BadInput(f"{study.run_directory}: no encoder was fine-tuned for {rows.cells[0].task}")
    chance = float(rows.labels.mean()) if metric == "auprc" else 0.5
    return Curve(by_size, chance, int(rows.labels.sum()))


def _oracle(
    study: Study, task: str, rows: SplitPredictions, oracle: Mapping[str, Path]
) -> dict[str, Any] | None:
    """What a model that knew every true risk would reach on these patients."""
    if task not in oracle:
        return None
    risks = aligned_values(rows, oracle[task], "held_out", "risk")
    found = score_ranking(rows.labels, risks, study.compare.bootstrap_replicates, study.seed)
    return {metric: estimate(scores, metric) for metric, scores in found.items()}


def _dependence(study: Study, curves: Mapping[str, Curve]) -> dict[str, Any]:
    kinds: dict[Literal["disease", "medication"], list[Curve]] = {"disease": [], "medication": []}
    for task in study.tasks:
        if task.name in curves:
            kinds[task.kind].append(curves[task.name])
    found = task_size_interaction(kinds["disease"], kinds["medication"])
    if found is None or math.isnan(found.difference.standard_error):
        return dict.fromkeys(("smallest", "largest", "estimate", "low", "high", "p"))
    gain = found.difference
    sizes = {"smallest": found.smallest, "largest": found.largest}
    return {**sizes, "estimate": gain.estimate, **bounds(gain), "p": gain.p_differs()}
