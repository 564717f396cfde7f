"""Entries of the summary about one task, from its evaluation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

import numpy as np

from claimscale.config.study import Study
from claimscale.config.tasks import Task
from claimscale.evaluation.intervals import Interval, Scores, interval
from claimscale.evaluation.model_diagnostics import ModelDiagnostics
from claimscale.evaluation.predictions import HELD_OUT, SplitPredictions
from claimscale.evaluation.scoring import Model, ModelScores
from claimscale.evaluation.selection import LIGHTGBM, largest_labelled_set
from claimscale.evaluation.size_decision import MIN_POSITIVES
from claimscale.evaluation.task_evaluation import Predictions, SizeContrast, StudyScores, TaskEvaluation
from claimscale.experiments.workspace import InsufficientData
from claimscale.summary.decision_entries import (
    RANGES,
    difference_fields,
    ensemble_entry,
    recommendation_entry,
    seed_ensemble_entry,
    trained_models_entry,
)
from claimscale.summary.decision_schema import (
    ClusterIntervalEntry,
    ClusterVerdictEntry,
    ComparisonEntry,
    NeededEntry,
    RelativeGainEntry,
    SaturationEntry,
)
from claimscale.summary.entries import AurocDifferenceEntry, EstimateEntry
from claimscale.summary.result_schema import (
    CalibrationEntry,
    CalibrationPointEntry,
    CrossoverEntry,
    ModelDiagnosticsEntry,
    ModelResultEntry,
    OracleEntry,
    PretrainingGainEntry,
    SplitCountsEntry,
    TopDecileEntry,
)
from claimscale.summary.task_schema import TaskEntry

MIN_RANKED_POSITIVES = 10
"""On a further test set with fewer positives AUPRC and AUROC are left to chance, and not shown."""
SplitCounts = Mapping[str, SplitCountsEntry]


def split_counts(patients: int, index_dates: int, positives: int) -> SplitCountsEntry:
    prevalence = positives / index_dates if index_dates else None
    return SplitCountsEntry(
        patients=patients, index_dates=index_dates, positives=positives, prevalence=prevalence
    )


def task_entry(
    study: Study,
    task: Task,
    evaluation: TaskEvaluation,
    scored: StudyScores,
    predictions: Predictions,
    counts: SplitCounts,
    parameters: Mapping[str, int],
) -> TaskEntry:
    """The entry of a task with models. `counts` are its labels by split, `parameters` those of each size."""
    tested = {split: rows for (name, split), rows in predictions.items() if name == task.name}
    splits = {**counts, **{split: _tested_counts(rows) for split, rows in tested.items()}}
    labelled = largest_labelled_set(scored.by_split[HELD_OUT][task.name])
    metric = study.compare.metric
    return _described(task, splits, splits[HELD_OUT])(
        results=tuple(
            _result(
                model,
                scores,
                split,
                len(tested[split].labels),
                parameters.get(model.size or ""),
                with_curve=split == HELD_OUT and model.labelled_patients == labelled,
            )
            for split, tasks in scored.by_split.items()
            for model, scores in tasks.get(task.name, {}).items()
        ),
        pretraining_gain=tuple(
            PretrainingGainEntry(
                size=found.size,
                n_labelled=found.n_labelled,
                metric=metric,
                **difference_fields(found.gain),
                p=found.gain.p_differs(),
                n_seeds=found.gain.seeds,
                auroc=_auroc(auroc),
            )
            for found, auroc in evaluation.pretraining_gains
        ),
        crossover=tuple(
            CrossoverEntry(size=size, comparator=LIGHTGBM, metric=metric, **vars(found))
            for size, found in evaluation.crossovers.items()
        ),
        oracle=_oracle(evaluation.oracle) if evaluation.oracle else None,
        saturation=_saturation(study, evaluation),
        recommendation=recommendation_entry(evaluation.recommendation),
        ensemble=evaluation.ensemble and ensemble_entry(evaluation.ensemble),
        seed_ensembles=tuple(seed_ensemble_entry(found) for found in evaluation.seed_ensembles),
        per_model=tuple(_diagnostics(found) for found in evaluation.diagnostics),
    )


def not_trained_entry(study: Study, task: Task, counts: SplitCounts, lacking: InsufficientData) -> TaskEntry:
    """The entry of a task with too few positives, or too few negatives, for any model.

    The additional patients are a lower bound: as many to train as a task needs, and as many to test as a
    verdict needs. They are null where training and testing have enough.
    """
    observed, required = lacking["observed"], {"train": lacking["required"], HELD_OUT: MIN_POSITIVES}
    where = "" if observed.keys() == required.keys() else "tuning_" if observed else "subsets_"
    additional = None
    if not where:
        additional = NeededEntry(**{split: max(0, n - observed[split]) for split, n in required.items()})
    return _described(task, counts, counts.get(HELD_OUT, split_counts(0, 0, 0)))(
        results=(),
        pretraining_gain=(),
        oracle=None,
        saturation=SaturationEntry.model_validate(
            {
                "verdict": "inconclusive",
                "reason": f"not_trained_{where}few_{lacking['label']}s",
                "metric": study.compare.metric,
                "relative_margin": study.compare.relative_margin,
                "positives_needed": None if where else MIN_POSITIVES,
                "additional_needed": additional,
            }
        ),
    )


def _described(task: Task, splits: SplitCounts, held_out: SplitCountsEntry) -> partial[TaskEntry]:
    """The entry of a task as far as its labels say: all but its results."""
    return partial(
        TaskEntry,
        name=task.name,
        kind=task.kind,
        source=task.source,
        has_outcome_codes=task.labels is None,
        outcome_codes=tuple(
            f"{system} {' '.join(prefixes)}".strip() for system, prefixes in task.outcome.items() if prefixes
        ),
        n_train=splits["train"].patients if "train" in splits else None,
        n_test=held_out.index_dates,
        positives=held_out.positives,
        prevalence=held_out.prevalence,
        splits=dict(splits),
    )


def _tested_counts(rows: SplitPredictions) -> SplitCountsEntry:
    return split_counts(len(np.unique(rows.subject)), len(rows.labels), int(rows.labels.sum()))


def _result(
    model: Model, scores: ModelScores, split: str, n_test: int, parameters: int | None, with_curve: bool
) -> ModelResultEntry:
    estimates = {metric: _estimate(found, metric) for metric, found in scores.by_metric.items()}
    if split != HELD_OUT and scores.by_metric["auprc"].positives < MIN_RANKED_POSITIVES:
        estimates |= dict.fromkeys(("auprc", "auroc"), EstimateEntry(estimate=None, low=None, high=None))
    slope = estimates["calibration_slope"]
    return ModelResultEntry.model_validate(
        {
            "arm": model.arm,
            "size": model.size,
            "parameters": parameters,
            "split": split,
            "n_labelled": scores.n_labelled,
            "labelled_patients": model.labelled_patients,
            "n_seeds": len(scores.by_metric["auprc"].seeds),
            "n_test": n_test,
            "positives": scores.by_metric["auprc"].positives,
            "seconds": scores.seconds,
            **{metric: estimates[metric] for metric in RANGES},
            "calibration": CalibrationEntry(
                estimate=slope.estimate,
                low=slope.low,
                high=slope.high,
                intercept=estimates["calibration_intercept"],
                expected_error=scores.expected_calibration_error,
                curve=tuple(map(CalibrationPointEntry.model_validate, scores.curve)) if with_curve else None,
            ),
        }
    )


def _oracle(scores: Mapping[str, Scores]) -> OracleEntry:
    return OracleEntry(auprc=_estimate(scores["auprc"], "auprc"), auroc=_estimate(scores["auroc"], "auroc"))


def _saturation(study: Study, evaluation: TaskEvaluation) -> SaturationEntry:
    verdict, saved, clustered = evaluation.verdict, evaluation.saving, evaluation.clustered
    additional = evaluation.additional_needed
    if saved is None:
        return SaturationEntry(
            verdict=verdict.verdict,
            metric=study.compare.metric,
            relative_margin=study.compare.relative_margin,
            reason=verdict.reason,
        )
    return SaturationEntry(
        verdict=verdict.verdict,
        smallest_sufficient=verdict.smallest_sufficient,
        metric=study.compare.metric,
        margin=verdict.margin,
        relative_margin=study.compare.relative_margin,
        alpha=verdict.alpha,
        reason=verdict.reason,
        positives_needed=verdict.positives_needed,
        seeds_needed=verdict.seeds_needed,
        additional_needed=None if additional is None else NeededEntry(train=0, held_out=additional),
        hours_saved=saved.hours,
        hours_saved_estimated=saved.estimated,
        flops_saved=saved.flops,
        reference_size=saved.reference_size,
        comparisons=tuple(_comparison(one, verdict.alpha, evaluation) for one in evaluation.contrasts),
        trained_models=trained_models_entry(evaluation.as_trained),
        cluster_bootstrap=clustered
        and ClusterVerdictEntry(
            verdict=clustered.verdict.verdict,
            smallest_sufficient=clustered.verdict.smallest_sufficient,
            hospitals=clustered.hospitals,
        ),
        convergence_status=evaluation.convergence.status,
    )


def _comparison(one: SizeContrast, alpha: float, evaluation: TaskEvaluation) -> ComparisonEntry:
    pair, relative, clustered = one.comparison, one.relative, None
    if one.clustered and evaluation.clustered:
        low, high = one.clustered.gain.two_sided()
        upper = one.clustered.upper(1 - evaluation.clustered.verdict.alpha)
        clustered = ClusterIntervalEntry(low=low, high=high, upper_at_alpha=upper)
    return ComparisonEntry(
        smaller=pair.smaller,
        larger=pair.larger,
        **difference_fields(pair.gain),
        upper_95=pair.upper(0.95),
        upper_at_alpha=pair.upper(1 - alpha),
        margin=pair.margin,
        n_seeds=pair.gain.seeds,
        relative=relative
        and RelativeGainEntry(
            gain=relative.estimate,
            standard_error=relative.standard_error,
            degrees_of_freedom=relative.degrees,
        ),
        auroc=_auroc(one.auroc),
        cluster_bootstrap=clustered,
    )


def _diagnostics(found: ModelDiagnostics) -> ModelDiagnosticsEntry:
    computed = vars(found.diagnostics) if found.diagnostics else {}
    return ModelDiagnosticsEntry(
        arm=found.arm,
        size=found.size,
        highlighted=found.highlighted,
        cells=tuple(found.cells),
        top_decile=TopDecileEntry(**found.top_decile._asdict()),
        **computed,
    )


def _estimate(scores: Scores, metric: str) -> EstimateEntry:
    found = interval(scores).bounded(*RANGES.get(metric, (-math.inf, math.inf)))
    return EstimateEntry.model_validate(found)


def _auroc(found: Interval | None) -> AurocDifferenceEntry | None:
    return found and AurocDifferenceEntry(**difference_fields(found), p=found.p_differs())
