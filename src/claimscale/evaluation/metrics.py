"""Metrics of predicted risks: discrimination, log-loss, calibration.

These are the point estimates. Intervals use replicates over patients: `bootstrap` for the ranking metrics,
weighted means of the per-patient values computed here for the others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit

SMALLEST_RISK = 1e-7
"""Risks are clipped this far from 0 and 1 before a logarithm."""

MIN_RISK = 1e-12
"""Predicted risks are clipped to [MIN_RISK, 1 - MIN_RISK] before their log odds are averaged."""

Floats = NDArray[np.float64]


def auroc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve; NaN if only one class is present. Source: scikit-learn."""
    from sklearn.metrics import roc_auc_score  # takes most of a second, which scoring new patients can save

    labels = np.asarray(labels, dtype=bool)
    return float(roc_auc_score(labels, scores)) if _has_both_classes(labels) else float("nan")


def auprc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Average precision, the step-wise area under the precision-recall curve; NaN if only one class.

    Source: scikit-learn. Its chance level is the prevalence.
    """
    from sklearn.metrics import average_precision_score

    labels = np.asarray(labels, dtype=bool)
    return float(average_precision_score(labels, scores)) if _has_both_classes(labels) else float("nan")


def mean_log_odds(risks: Floats) -> Floats:
    """The risks (n) whose log odds are the mean of those of several models or runs, `risks` (k, n)."""
    return expit(np.mean(logit(risks.clip(MIN_RISK, 1 - MIN_RISK)), axis=0))


def log_losses(labels: ArrayLike, risks: ArrayLike) -> Floats:
    """Negative log-likelihood of each patient in nats, shape of `risks`; its mean is the log-loss."""
    labels, risks = np.asarray(labels, dtype=bool), _inside(risks)
    return -np.where(labels, np.log(risks), np.log1p(-risks))


@dataclass(frozen=True)
class Calibration:
    """Agreement between predicted risks and observed shares.

    `slope` and `intercept` come from logistic regressions on the logit of the risk; 1 and 0 are ideal. The
    intercept is calibration in the large: its model fixes the slope at 1 (Van Calster 2019, doi
    10.1186/s12916-019-1466-7). `slope_values` and `intercept_values` are per-patient pseudo-values (n): their
    mean is the estimate, their weighted mean the one-step bootstrap replicate. All are NaN where the
    regression cannot be fitted.
    """

    slope: float
    intercept: float
    slope_values: Floats
    intercept_values: Floats


def calibration(labels: ArrayLike, risks: ArrayLike) -> Calibration:
    """Calibration slope and intercept of `risks` (n, probabilities) against boolean `labels` (n)."""
    outcome = np.asarray(labels, dtype=np.float64)
    risks = _inside(risks)
    logits = np.log(risks) - np.log1p(-risks)
    no_values = np.full(len(outcome), np.nan)
    intercept, intercept_values = float("nan"), no_values
    slope, slope_values = float("nan"), no_values
    if _has_both_classes(outcome > 0):
        ones = np.ones((len(outcome), 1))
        coefficients, values = _logistic_regression(ones, outcome, offset=logits)
        intercept, intercept_values = float(coefficients[0]), values[:, 0]
        if np.ptp(logits) > 1e-9:
            design = np.column_stack([ones, logits])
            coefficients, values = _logistic_regression(design, outcome, offset=np.zeros_like(logits))
            slope, slope_values = float(coefficients[1]), values[:, 1]
    return Calibration(slope, intercept, slope_values, intercept_values)


@dataclass(frozen=True)
class CurvePoint:
    """One bin of the calibration curve: mean predicted risk, share with the outcome, number of
    predictions."""

    predicted: float
    observed: float
    predictions: int


def calibration_curve(labels: ArrayLike, risks: ArrayLike, bins: int = 10) -> list[CurvePoint]:
    """Bins of nearly equal numbers of patients by ascending risk; equal risks are in one bin."""
    labels, risks = np.asarray(labels, dtype=np.float64), np.asarray(risks, dtype=np.float64)
    inner_edges = np.unique(np.quantile(risks, np.linspace(0, 1, bins + 1)[1:-1]))
    bin_of = np.searchsorted(inner_edges, risks, side="left")
    points = []
    for index in np.unique(bin_of):
        members = bin_of == index
        points.append(
            CurvePoint(float(risks[members].mean()), float(labels[members].mean()), int(members.sum()))
        )
    return points


def expected_calibration_error(curve: list[CurvePoint]) -> float:
    """Mean distance between predicted and observed risk over the bins, weighted by their predictions."""
    predictions = sum(point.predictions for point in curve)
    return sum(point.predictions * abs(point.predicted - point.observed) for point in curve) / predictions


def _logistic_regression(design: Floats, outcome: Floats, offset: Floats) -> tuple[Floats, Floats]:
    """Unpenalised maximum likelihood by Newton's method: coefficients (p) and pseudo-values (n, p).

    A pseudo-value is the coefficient plus n times the patient's influence on it. All NaN where the likelihood
    has no maximum (separated classes).
    """
    patients, columns = design.shape
    coefficients = np.zeros(columns)
    for _ in range(50):
        # tanh instead of exp: no overflow for extreme predictions
        risks = 0.5 * (1 + np.tanh(0.5 * (offset + design @ coefficients)))
        information = (design * (risks * (1 - risks))[:, None]).T @ design
        residuals = design * (outcome - risks)[:, None]
        try:
            step = np.linalg.solve(information, residuals.sum(axis=0))
        except np.linalg.LinAlgError:
            break
        coefficients = coefficients + np.clip(step, -5, 5)
        if np.abs(step).max() < 1e-10:
            influence = np.linalg.solve(information, residuals.T).T
            return coefficients, coefficients + patients * influence
    return np.full(columns, np.nan), np.full((patients, columns), np.nan)


def _inside(risks: ArrayLike) -> Floats:
    return np.clip(np.asarray(risks, dtype=np.float64), SMALLEST_RISK, 1 - SMALLEST_RISK)


def _has_both_classes(labels: NDArray[np.bool_]) -> bool:
    return bool(labels.any() and not labels.all())
