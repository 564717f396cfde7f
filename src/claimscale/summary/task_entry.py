"""One task's entry in the summary: who was tested, every model's results, what the verdict rests on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from claimscale.config.study import Study
from claimscale.config.tasks import Task
from claimscale.evaluation.break_even import break_even
from claimscale.evaluation.contrasts import pretraining_gains
from claimscale.evaluation.hospitals import HospitalVerdict
from claimscale.evaluation.intervals import Interval, Scores, combine, interval
from claimscale.evaluation.predictions import SplitPredictions
from claimscale.evaluation.savings import Cost, saving
from claimscale.evaluation.scoring import Model, ModelScores
from claimscale.evaluation.size_decision import FEWEST_POSITIVES, Curve, Verdict
from claimscale.summary import verdict_text as answers

RANGES = {"auprc": (0.0, 1.0), "auroc": (0.0, 1.0), "log_loss": (0.0, math.inf)}
"""What a metric can be at most; bounds of intervals are cut there."""

TaskScores = Mapping[Model, ModelScores]


def task_entry(
    task: Task,
    study: Study,
    scored: Mapping[str, Mapping[str, TaskScores]],
    predictions: Mapping[tuple[str, str], SplitPredictions],
    counts: Mapping[str, Mapping[str, int]],
    parameters: Mapping[str, int],
) -> dict[str, Any]:
    labels = predictions[task.name, "held_out"].labels
    splits = _with_prevalence(counts)
    for split in scored:
        if (task.name, split) in predictions:
            tested = predictions[task.name, split].labels
            rows = predictions[task.name, split]
            splits[split] = {
                "patients": len(np.unique(rows.subject)),
                "index_dates": len(tested),
                "positives": int(tested.sum()),
                "prevalence": float(tested.mean()),
            }
    results = [
        _result(model, scores, split, len(predictions[task.name, split].labels), parameters)
        for split, tasks in scored.items()
        for model, scores in tasks.get(task.name, {}).items()
    ]
    largest = answers.largest_sample(scored["held_out"][task.name])
    for result in results:
        if result["split"] != "held_out" or result["labelled_patients"] != largest:
            del result["calibration"]["curve"]
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
        "pretraining_gain": _pretraining_gain(study, scored["held_out"][task.name]),
        "crossover": _crossovers(study, scored["held_out"][task.name]),
    }


def not_trained_entry(
    task: Task, study: Study, counts: Mapping[str, Mapping[str, int]], shortage: Mapping[str, Any]
) -> dict[str, Any]:
    """The entry of a task with too few cases, or too few others, for anything to be trained.

    How many more are needed can only be a least number here: as many to train as a task needs at all, and as
    many to test as a verdict may rest on. It is null where training and testing have enough.
    """
    splits = _with_prevalence(counts)
    tested = splits.get("held_out", {"index_dates": 0, "positives": 0})
    have, least = shortage["observed"], {"train": shortage["required"], "held_out": FEWEST_POSITIVES}
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
            "positives_needed": None if where else least["held_out"],
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
    }


def _with_prevalence(counts: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, Any]]:
    splits: dict[str, dict[str, Any]] = {split: dict(found) for split, found in counts.items()}
    for found in splits.values():
        dates = found.setdefault("index_dates", found["patients"])
        found["prevalence"] = found["positives"] / dates if dates else None
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
        "n_labelled": scores.patients,
        "labelled_patients": model.requested,
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
            "curve": [
                {"predicted": point.predicted, "observed": point.observed, "predictions": point.patients}
                for point in scores.curve
            ],
        },
    }


def _pretraining_gain(study: Study, scores: TaskScores) -> list[dict[str, Any]]:
    arms: dict[str, dict[tuple[str, int], Scores]] = {"pretrained": {}, "scratch": {}}
    for model, found in scores.items():
        if model.size is not None:
            arms[model.arm][model.size, found.patients] = found.by_metric[study.compare.metric]
    return [
        {
            "size": gain.size,
            "n_labelled": gain.patients,
            "metric": study.compare.metric,
            "difference": gain.gain.estimate,
            **bounds(gain.gain),
            "p": gain.gain.p_differs(),
            "n_seeds": gain.gain.seeds,
        }
        for gain in pretraining_gains(arms["pretrained"], arms["scratch"])
    ]


def _crossovers(study: Study, scores: TaskScores) -> list[dict[str, Any]]:
    """Labelled patients from which each pretrained model is ahead of LightGBM, the sizes ascending.

    A size is left out where too few numbers of patients, or too few seeds, are common to both.
    """
    metric, entries = study.compare.metric, []
    by_model: dict[tuple[str, str | None], dict[int, Scores]] = {}
    for model, found in scores.items():
        by_model.setdefault((model.arm, model.size), {})[found.patients] = found.by_metric[metric]
    rival = by_model.get(("lightgbm", None), {})
    for size in study.sizes:
        found = break_even(by_model.get(("pretrained", size), {}), rival, study.seed)
        if found is not None:
            entries.append(
                {
                    "size": size,
                    "comparator": "lightgbm",
                    "metric": metric,
                    "outcome": found.outcome,
                    "n_labelled": found.patients,
                    "low": found.low,
                    "high": found.high,
                    "prob_superior": found.ahead,
                    "tested_n_labelled": list(found.tested),
                }
            )
    return entries


def saturation_entry(
    study: Study, verdict: Verdict, curve: Curve, cost: Mapping[str, Cost], stopped: bool
) -> dict[str, Any]:
    """The verdict with its evidence and what it saves.

    Where a forecast `stopped` the task, that is against the largest size of the study, trained or not.
    """
    trained = list(curve.scores)
    used, against = verdict.smallest_sufficient or trained[-1], study.sizes[-1] if stopped else trained[-1]
    saved = saving(cost, used, against)
    evidence = [
        {
            "smaller": compared.smaller,
            "larger": compared.larger,
            "difference": compared.gain.estimate,
            **bounds(compared.gain),
            "upper_95": compared.upper(0.95),
            "upper_at_alpha": compared.upper(1 - verdict.level),
            "margin": compared.margin,
            "n_seeds": compared.gain.seeds,
            "relative": _relative(curve, compared.smaller, compared.larger),
        }
        for compared in verdict.evidence
    ]
    return {
        "verdict": verdict.verdict,
        "smallest_sufficient": verdict.smallest_sufficient,
        "metric": study.compare.metric,
        "margin": verdict.margin,
        "relative_margin": study.compare.margin,
        "alpha": verdict.level,
        "reason": verdict.reason,
        "positives_needed": verdict.positives_needed,
        "additional_needed": _additional_needed(verdict.positives_needed, curve.positives),
        "hours_saved": saved.hours,
        "hours_saved_estimated": saved.estimated,
        "flops_saved": saved.flops,
        "reference_size": saved.against,
        "comparisons": evidence,
    }


def add_hospitals(entry: dict[str, Any], found: HospitalVerdict | None) -> None:
    """Put what resampling whole hospitals gives beside a verdict and each of its comparisons; null where
    that was not done."""
    entry["cluster_bootstrap"] = found and {
        "verdict": found.verdict.verdict,
        "smallest_sufficient": found.verdict.smallest_sufficient,
        "hospitals": found.hospitals,
    }
    for place, pair in enumerate(entry["comparisons"]):
        compared = found.verdict.evidence[place] if found else None
        pair["cluster_bootstrap"] = (
            {**bounds(compared.gain), "upper_at_alpha": compared.upper(1 - found.verdict.level)}
            if found and compared
            else None
        )


def _relative(curve: Curve, smaller: str, larger: str) -> dict[str, float] | None:
    """The gain as a share of the larger one's metric, with what another run's is compared by."""
    gain = combine(lambda most, least: 1 - least / most, curve.scores[larger], curve.scores[smaller])
    if gain is None:
        return None
    found = interval(gain).cautious()
    return {
        "gain": found.estimate,
        "standard_error": found.standard_error,
        "degrees_of_freedom": found.degrees,
    }


def _additional_needed(needed: int | None, positives: int) -> dict[str, int] | None:
    """How many more test patients with the outcome would decide; null where their number does not."""
    return None if needed is None else {"train": 0, "held_out": max(0, needed - positives)}


def estimate(scores: Scores, metric: str) -> dict[str, float]:
    found = interval(scores)
    least, most = RANGES.get(metric, (-math.inf, math.inf))
    low, high = found.two_sided()
    return {"estimate": found.estimate, "low": max(low, least), "high": min(high, most)}


def bounds(found: Interval) -> dict[str, float]:
    low, high = found.two_sided()
    return {"low": low, "high": high}
