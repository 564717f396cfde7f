"""One task's entry in the summary: who was tested, every model's results, what the verdict rests on."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from claimscale.config.study import Study
from claimscale.config.tasks import Task
from claimscale.evaluation.intervals import Interval, Scores, interval
from claimscale.evaluation.model_diagnostics import ModelDiagnostics
from claimscale.evaluation.predictions import HELD_OUT
from claimscale.evaluation.recommendation import EnsembleGain
from claimscale.evaluation.scoring import Model, ModelScores
from claimscale.evaluation.selection import LIGHTGBM, largest_labelled_set
from claimscale.evaluation.size_decision import MIN_POSITIVES
from claimscale.evaluation.task_evaluation import Predictions, StudyScores, TaskEvaluation

RANGES = {"auprc": (0.0, 1.0), "auroc": (0.0, 1.0), "log_loss": (0.0, math.inf)}
"""What a metric can be at most; bounds of intervals are cut there."""

Counts = Mapping[str, Mapping[str, int]]


def task_entry(
    task: Task,
    study: Study,
    evaluation: TaskEvaluation,
    scored: StudyScores,
    predictions: Predictions,
    counts: Counts,
    parameters: Mapping[str, int],
) -> dict[str, Any]:
    labels = predictions[task.name, HELD_OUT].labels
    splits = _with_prevalence(counts)
    for split in scored.by_split:
        if (task.name, split) in predictions:
            tested = predictions[task.name, split].labels
            splits[split] = {
                "patients": len(np.unique(predictions[task.name, split].subject)),
                "index_dates": len(tested),
                "positives": int(tested.sum()),
                "prevalence": float(tested.mean()),
            }
    results = [
        _result(model, scores, split, len(predictions[task.name, split].labels), parameters)
        for split, tasks in scored.by_split.items()
        for model, scores in tasks.get(task.name, {}).items()
    ]
    largest = largest_labelled_set(scored.by_split[HELD_OUT][task.name])
    for result in results:
        if result["split"] != HELD_OUT or result["labelled_patients"] != largest:
            del result["calibration"]["curve"]
    oracle, recommendation = evaluation.oracle, evaluation.recommendation
    return {
        "name": task.name,
        "kind": task.kind,
        "source": task.source,
        "n_train": counts.get("train", {}).get("patients"),
        "n_test": len(labels),
        "positives": int(labels.sum()),
        "prevalence": float(labels.mean()),
        "splits": splits,
        "results": results,
        "pretraining_gain": _pretraining_gain(study, evaluation),
        "crossover": [
            {
                "size": size,
                "comparator": LIGHTGBM,
                "metric": study.compare.metric,
                **dataclasses.asdict(found),
            }
            for size, found in evaluation.crossovers.items()
        ],
        "oracle": oracle and {metric: estimate(scores, metric) for metric, scores in oracle.items()},
        "saturation": _saturation(study, evaluation),
        "per_model": [_diagnostics(found) for found in evaluation.diagnostics],
        "recommendation": dataclasses.asdict(recommendation),
        "ensemble": evaluation.ensemble and _ensemble(evaluation.ensemble),
    }


def not_trained_entry(
    task: Task, study: Study, counts: Counts, shortage: Mapping[str, Any]
) -> dict[str, Any]:
    """The entry of a task with too few cases, or too few others, for anything to be trained.

    How many more are needed can only be a least number here: as many to train as a task needs at all, and as
    many to test as a verdict may rest on. It is null where training and testing have enough.
    """
    splits = _with_prevalence(counts)
    tested = splits.get(HELD_OUT, {"index_dates": 0, "positives": 0})
    have, least = shortage["observed"], {"train": shortage["required"], HELD_OUT: MIN_POSITIVES}
    where = "" if have.keys() == least.keys() else "tuning_" if have else "subsets_"
    return {
        "name": task.name,
        "kind": task.kind,
        "source": task.source,
        "n_train": counts.get("train", {}).get("patients"),
        "n_test": tested["index_dates"],
        "positives": tested["positives"],
        "prevalence": tested.get("prevalence"),
        "splits": splits,
        "results": [],
        "pretraining_gain": [],
        "oracle": None,
        "saturation": {
            "verdict": "inconclusive",
            "smallest_sufficient": None,
            "metric": study.compare.metric,
            "margin": None,
            "relative_margin": study.compare.margin,
            "alpha": None,
            "reason": f"not_trained_{where}few_{shortage['label']}s",
            "positives_needed": None if where else least[HELD_OUT],
            "additional_needed": None
            if where
            else {split: max(0, least[split] - have[split]) for split in least},
            "hours_saved": None,
            "hours_saved_estimated": False,
            "flops_saved": None,
            "reference_size": None,
            "comparisons": [],
            "cluster_bootstrap": None,
            "convergence_status": "unknown",
        },
        "recommendation": {"verdict": "inconclusive", "size": None, "baseline": None},
        "ensemble": None,
    }


def _with_prevalence(counts: Counts) -> dict[str, dict[str, Any]]:
    splits: dict[str, dict[str, Any]] = {split: dict(found) for split, found in counts.items()}
    for found in splits.values():
        index_dates = found.setdefault("index_dates", found["patients"])
        found["prevalence"] = found["positives"] / index_dates if index_dates else None
    return splits


def _result(
    model: Model, scores: ModelScores, split: str, patients: int, parameters: Mapping[str, int]
) -> dict[str, Any]:
    estimates = {metric: estimate(found, metric) for metric, found in scores.by_metric.items()}
    return {
        "arm": model.arm,
        "size": model.size,
        "parameters": parameters[model.size] if model.size else None,
        "split": split,
        "n_labelled": scores.n_labelled,
        "labelled_patients": model.labelled_patients,
        "n_seeds": len(scores.by_metric["auprc"].seeds),
        "n_test": patients,
        "positives": scores.by_metric["auprc"].positives,
        "seconds": scores.seconds,
        "auprc": estimates["auprc"],
        "auroc": estimates["auroc"],
        "log_loss": estimates["log_loss"],
        "calibration": {
            **estimates["calibration_slope"],
            "intercept": estimates["calibration_intercept"],
            "expected_error": scores.expected_calibration_error,
            "curve": [dataclasses.asdict(point) for point in scores.curve],
        },
    }


def _pretraining_gain(study: Study, evaluation: TaskEvaluation) -> list[dict[str, Any]]:
    return [
        {
            "size": found.size,
            "n_labelled": found.n_labelled,
            "metric": study.compare.metric,
            "difference": found.gain.estimate,
            **bounds(found.gain),
            "p": found.gain.p_differs(),
            "n_seeds": found.gain.seeds,
            "auroc": _auroc_gain(auroc),
        }
        for found, auroc in evaluation.pretraining_gains
    ]


def _saturation(study: Study, evaluation: TaskEvaluation) -> dict[str, Any]:
    """The verdict with its comparisons and what it saves."""
    verdict, saved, clustered = evaluation.verdict, evaluation.saving, evaluation.clustered
    needed = evaluation.additional_needed
    return {
        "verdict": verdict.verdict,
        "smallest_sufficient": verdict.smallest_sufficient,
        "metric": study.compare.metric,
        "margin": verdict.margin,
        "relative_margin": study.compare.margin,
        "alpha": verdict.alpha,
        "reason": verdict.reason,
        "positives_needed": verdict.positives_needed,
        "additional_needed": None if needed is None else {"train": 0, HELD_OUT: needed},
        "hours_saved": saved.hours,
        "hours_saved_estimated": saved.estimated,
        "flops_saved": saved.flops,
        "reference_size": saved.reference_size,
        "comparisons": [
            {
                "smaller": one.comparison.smaller,
                "larger": one.comparison.larger,
                "difference": one.comparison.gain.estimate,
                **bounds(one.comparison.gain),
                "upper_95": one.comparison.upper(0.95),
                "upper_at_alpha": one.comparison.upper(1 - verdict.alpha),
                "margin": one.comparison.margin,
                "n_seeds": one.comparison.gain.seeds,
                "relative": one.relative
                and {
                    "gain": one.relative.estimate,
                    "standard_error": one.relative.standard_error,
                    "degrees_of_freedom": one.relative.degrees,
                },
                "cluster_bootstrap": {
                    **bounds(one.clustered.gain),
                    "upper_at_alpha": one.clustered.upper(1 - clustered.verdict.alpha),
                }
                if one.clustered and clustered
                else None,
                "auroc": _auroc_gain(one.auroc),
            }
            for one in evaluation.contrasts
        ],
        "cluster_bootstrap": clustered
        and {
            "verdict": clustered.verdict.verdict,
            "smallest_sufficient": clustered.verdict.smallest_sufficient,
            "hospitals": clustered.hospitals,
        },
        "convergence_status": evaluation.convergence.status,
    }


def _diagnostics(found: ModelDiagnostics) -> dict[str, Any]:
    computed = dataclasses.asdict(found.diagnostics) if found.diagnostics else {}
    return {
        "arm": found.arm,
        "size": found.size,
        "highlighted": found.highlighted,
        "cells": found.cells,
        **computed,
    }


def _ensemble(found: EnsembleGain) -> dict[str, Any]:
    return {
        "encoder_size": found.encoder_size,
        "estimate": found.estimate,
        "gain": {"estimate": found.gain.estimate, **bounds(found.gain)},
        "over_arm": found.over_arm,
        "over_size": found.over_size,
    }


def _auroc_gain(found: Interval | None) -> dict[str, float] | None:
    return found and {"difference": found.estimate, **bounds(found), "p": found.p_differs()}


def estimate(scores: Scores, metric: str) -> dict[str, float]:
    return dataclasses.asdict(interval(scores).bounded(*RANGES.get(metric, (-math.inf, math.inf))))


def bounds(found: Interval) -> dict[str, float]:
    low, high = found.two_sided()
    return {"low": low, "high": high}
