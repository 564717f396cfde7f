"""Discrimination, calibration and net benefit of risks on labelled patients, with intervals over patients."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from claimscale.evaluation import metrics
from claimscale.evaluation.bootstrap import Resamples, replicate_means
from claimscale.evaluation.intervals import Scores, interval
from claimscale.evaluation.model_diagnostics import net_benefit
from claimscale.evaluation.scoring import score_runs
from claimscale.inference.calibration import recalibrate
from claimscale.inference.validation_schema import BenefitPoint, CurvePoint, Estimate, Performance, Version
from claimscale.privacy.suppression import Rule

REPLICATES, SEED = 1000, 0
FOLDS = 10
BINS = 10
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


def performance(
    version: Version, labels: Flags, risks: Floats, patient: NDArray[np.int64], rule: Rule | None
) -> Performance:
    """The performance of risks (n) on labels (n); `patient` (n) numbers the patients from 0.

    Where a patient has several dates, patients are resampled and not dates. Under a rule, curve and net
    benefit show no bin with a small count.
    """
    areas = score_runs(labels, risks[None], REPLICATES, SEED, patient)
    fitted = metrics.calibration(labels, risks)
    means = _means(
        np.column_stack([
            metrics.log_losses(labels, risks), fitted.intercept_values, fitted.slope_values,
            labels.astype(np.float64), risks,
        ]),
        patient,
    )  # fmt: skip
    positives = int(labels.sum())

    def of_mean(row: int, value: float) -> Estimate:
        return _estimate(Scores((0,), np.array([value]), means.replicates[row : row + 1], positives))

    return Performance(
        version=version,
        auroc=_estimate(areas["auroc"], 0.0, 1.0),
        auprc=_estimate(areas["auprc"], 0.0, 1.0),
        log_loss=of_mean(0, float(means.values[0])),
        observed_expected=_ratio(means, 3, positives),
        intercept=of_mean(1, fitted.intercept),
        slope=of_mean(2, fitted.slope),
        curve=_curve(labels, risks, rule),
        net_benefit=_net_benefit(labels, risks, rule),
    )


def auroc(labels: Flags, risks: Floats, patient: NDArray[np.int64]) -> Estimate:
    """Area under the ROC curve; null unless both outcomes occur."""
    if labels.all() or not labels.any():
        return Estimate(estimate=None)
    areas = score_runs(labels, risks[None], REPLICATES, SEED, _numbered(patient))
    return _estimate(areas["auroc"], 0.0, 1.0)


def observed_expected(labels: Flags, risks: Floats, patient: NDArray[np.int64]) -> Estimate:
    """Observed per expected outcome; null unless both outcomes occur."""
    if labels.all() or not labels.any():
        return Estimate(estimate=None)
    means = _means(np.column_stack([labels.astype(np.float64), risks]), _numbered(patient))
    return _ratio(means, 0, int(labels.sum()))


def _numbered(patient: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.unique(patient, return_inverse=True)[1].astype(np.int64)


def cross_fitted(labels: Flags, log_odds: Floats, patient: NDArray[np.int64]) -> Floats:
    """Risks recalibrated by a line that was fitted on other patients, float64 [n]."""
    fold = np.random.default_rng(SEED).permutation(int(patient.max(initial=0)) + 1)[patient] % FOLDS
    found = np.empty(len(labels))
    for number in range(FOLDS):
        own = fold == number
        intercept, slope = recalibrate(labels[~own], 1 / (1 + np.exp(-log_odds[~own])))
        found[own] = 1 / (1 + np.exp(-(intercept + slope * log_odds[own])))
    return found


class _Means:
    """Means of columns, and their bootstrap replicates (columns, B)."""

    def __init__(self, values: Floats, replicates: Floats) -> None:
        self.values, self.replicates = values, replicates


def _means(columns: Floats, patient: NDArray[np.int64]) -> _Means:
    resamples = Resamples(int(patient.max(initial=-1)) + 1, REPLICATES, SEED)
    return _Means(columns.mean(axis=0), replicate_means(resamples, columns, patient))


def _ratio(means: _Means, row: int, positives: int) -> Estimate:
    """The mean of a column divided by that of the next."""
    values, replicates = means.values, means.replicates
    ratio, of_replicates = values[row] / values[row + 1], replicates[row] / replicates[row + 1]
    return _estimate(Scores((0,), np.array([ratio]), of_replicates[None], positives), 0.0)


def _estimate(scores: Scores, least: float = -np.inf, most: float = np.inf) -> Estimate:
    found = interval(scores).bounded(least, most)
    if not np.isfinite(found.estimate):
        return Estimate(estimate=None)
    ends = [float(end) if np.isfinite(end) else None for end in (found.low, found.high)]
    return Estimate(estimate=float(found.estimate), low=ends[0], high=ends[1])


def _curve(labels: Flags, risks: Floats, rule: Rule | None) -> list[CurvePoint]:
    """Bins of about equal numbers, neighbours joined until no count of either outcome is small."""
    least = 1 if rule is None else rule.least
    order = np.argsort(risks, kind="stable")
    points, waiting = [], np.zeros(0, np.int64)
    for part in np.array_split(order, BINS):
        waiting = np.concatenate([waiting, part])
        positives = int(labels[waiting].sum())
        if rule is None or min(positives, len(waiting) - positives) >= least:
            points.append(waiting)
            waiting = np.zeros(0, np.int64)
    if len(waiting) and points:  # the rest joins the last bin
        points[-1] = np.concatenate([points[-1], waiting])
    return [
        CurvePoint(predicted=float(risks[rows].mean()), observed=float(labels[rows].mean()))
        for rows in points
        if len(rows)
    ]


def _net_benefit(labels: Flags, risks: Floats, rule: Rule | None) -> list[BenefitPoint]:
    return [
        BenefitPoint(threshold=one.threshold, net_benefit=one.net_benefit, treat_all=one.treat_all)
        for one in net_benefit(labels, risks[None])
        if rule is None or min(one.true_positives, one.false_positives) >= rule.least
    ]
