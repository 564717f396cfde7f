"""Elastic-net logistic regression on sparse columns by coordinate descent.

Newton steps are solved one coordinate at a time, as in Friedman, Hastie and Tibshirani, J Stat Softw
2010;33(1); only coordinates that are not zero are visited again until the rest must be checked. Columns
are scaled to unit variance for the penalty without being centred, which would make them dense: since the
intercept is not penalised, centring would not change the solution. The intercept follows every move of a
coefficient at once, as if columns were centred, so that a column far from zero (age) converges as fast.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse
from numba import njit

TOLERANCE = 1e-5
"""A Newton step is solved when no coefficient moves by more, in units of the working response."""
NEWTON_STEPS, SWEEPS = 25, 100
LEAST_WEIGHT = 1e-5
HALVINGS = 12
CONVERGED = 1e-7
"""Newton steps end when one lowers the objective by a smaller share."""


@dataclass(frozen=True)
class LogisticFit:
    """`coefficient` float64 [p] on the columns as they came, `intercept`, and the Newton steps taken."""

    coefficient: np.ndarray
    intercept: float
    steps: int

    def predict(self, matrix: sparse.csr_matrix) -> np.ndarray:
        """Probabilities, float64 [n]."""
        return 1 / (1 + np.exp(-(matrix @ self.coefficient + self.intercept)))


class ElasticNet:
    """Training data as columns, ready to be fitted with any penalty. Constant columns get no coefficient."""

    def __init__(self, matrix: sparse.csr_matrix, outcome: np.ndarray) -> None:
        columns = sparse.csc_matrix(matrix, dtype=np.float64)
        rows = len(outcome)
        mean = np.asarray(columns.mean(axis=0)).ravel()
        square = np.asarray(columns.multiply(columns).mean(axis=0)).ravel()
        variance = square - mean**2
        self.scale = np.where(variance > 1e-9 * square, np.sqrt(np.maximum(variance, 0.0)), np.inf)
        columns.data /= np.repeat(self.scale, np.diff(columns.indptr))
        self.columns, self.outcome = columns, outcome.astype(np.float64)
        self.slope_at_zero = np.abs(columns.T @ (self.outcome - self.outcome.mean())) / rows

    def largest_penalty(self, mix: float) -> float:
        """The least penalty at which every coefficient is zero, for a mix above 0."""
        return float(self.slope_at_zero.max(initial=0.0)) / mix

    def fit(self, penalty: float, mix: float) -> LogisticFit:
        """Minimise mean log-loss + penalty * (mix * |b|_1 + (1 - mix) / 2 * |b|_2^2), b on scaled columns."""
        x = self.columns
        beta = np.zeros(len(self.scale))
        matrix = (x.data, x.indices, x.indptr)
        intercept, steps = _fit(*matrix, self.outcome, penalty * mix, penalty * (1 - mix), beta)
        return LogisticFit(beta / self.scale, intercept, steps)


@njit(cache=True)
def _fit(data, indices, indptr, outcome, lasso, ridge, beta):
    """Fill `beta`; returns the intercept and the Newton steps."""
    prevalence = outcome.mean()
    intercept = np.log(prevalence / (1 - prevalence))
    logit = np.full(outcome.size, intercept)
    weight, residual = np.empty(outcome.size), np.empty(outcome.size)
    before = _objective(logit, outcome, lasso, ridge, beta)
    for step in range(NEWTON_STEPS):
        for i in range(outcome.size):
            p = 1 / (1 + np.exp(-logit[i]))
            weight[i] = max(p * (1 - p), LEAST_WEIGHT)
            residual[i] = (outcome[i] - p) / weight[i]
        start, old_beta = residual.copy(), beta.copy()
        raised = _newton_step(data, indices, indptr, weight, residual, lasso, ridge, beta)
        new_beta, old_logit = beta.copy(), logit.copy()
        # A Newton step can overshoot where probabilities are extreme: halve it until the loss falls.
        share, after = 1.0, before
        for _ in range(HALVINGS):
            logit[:] = old_logit + share * (start - residual)
            beta[:] = old_beta + share * (new_beta - old_beta)
            after = _objective(logit, outcome, lasso, ridge, beta)
            if after <= before:
                break
            share /= 2
        intercept += share * raised
        if before - after < CONVERGED * abs(before):
            return intercept, step + 1
        before = after
    return intercept, NEWTON_STEPS


@njit(cache=True)
def _newton_step(data, indices, indptr, weight, residual, lasso, ridge, beta):
    """Solve the weighted least squares of one step; returns how far the intercept rose.

    `residual` is what is left of the working response; it becomes that of the solution.
    """
    columns, total = beta.size, weight.sum()
    curvature, lean = np.full(columns, -1.0), np.zeros(columns)
    active = np.empty(columns, np.int64)
    left = np.array([-(weight * residual).sum() / total])  # to be added to every residual
    matrix = (data, indices, indptr)
    for _ in range(SWEEPS):
        moved, count = 0.0, 0
        for j in range(columns):
            change = _move(j, *matrix, weight, total, residual, left, curvature, lean, lasso, ridge, beta)
            moved = max(moved, change)
            if beta[j] != 0:
                active[count] = j
                count += 1
        if moved < TOLERANCE:
            break
        for _ in range(SWEEPS):
            moved = 0.0
            for k in range(count):
                j = active[k]
                change = _move(j, *matrix, weight, total, residual, left, curvature, lean, lasso, ridge, beta)
                moved = max(moved, change)
            if moved < TOLERANCE:
                break
    residual += left[0]
    return -left[0]


@njit(cache=True)
def _move(
    j, data, indices, indptr, weight, total, residual, left, curvature, lean, lasso, ridge, beta
):  # fmt: skip
    """Minimise over one coefficient and the intercept; returns how far the coefficient moved.

    `curvature` and `lean`, weighted variance and sum of each column, are found on the first visit.
    """
    rows = weight.size
    if curvature[j] < 0:
        square = 0.0
        for at in range(indptr[j], indptr[j + 1]):
            lean[j] += weight[indices[at]] * data[at]
            square += weight[indices[at]] * data[at] * data[at]
        curvature[j] = max(square - lean[j] * lean[j] / total, 0.0) / rows
    slope = left[0] * lean[j]
    for at in range(indptr[j], indptr[j + 1]):
        slope += weight[indices[at]] * data[at] * residual[indices[at]]
    slope = slope / rows + curvature[j] * beta[j]
    new = 0.0
    if abs(slope) > lasso and curvature[j] > 0:
        new = (slope - np.sign(slope) * lasso) / (curvature[j] + ridge)
    change = new - beta[j]
    if change != 0:
        beta[j] = new
        left[0] += change * lean[j] / total
        for at in range(indptr[j], indptr[j + 1]):
            residual[indices[at]] -= data[at] * change
    return abs(change) * np.sqrt(curvature[j])


@njit(cache=True)
def _objective(logit, outcome, lasso, ridge, beta):
    loss = 0.0
    for i in range(logit.size):
        # log(1 + exp(z)) - y z without overflow
        z = logit[i]
        loss += max(z, 0.0) + np.log1p(np.exp(-abs(z))) - outcome[i] * z
    return loss / logit.size + (lasso * np.abs(beta) + ridge / 2 * beta * beta).sum()
