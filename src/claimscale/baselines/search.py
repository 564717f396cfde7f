"""The hyperparameter search of every baseline: a fixed number of trials, selected by the tuning log-loss."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import optuna
import scipy.sparse as sparse
from numba import njit

from claimscale.baselines import features
from claimscale.baselines.fitted_models import FittedModel
from claimscale.errors import BadInput

Matrix = sparse.csr_matrix

SUPPORTS = (1, 3, 10, 30, 100)
"""Candidates for the least number of training patients with an entry in a column."""
STRONGEST = (100, 300, 1000, 3000)
"""Candidates for the number of columns, those most correlated with the outcome first."""
MAX_SUPPORT_SHARE = 0.1
"""Larger thresholds, as a share of the training patients, are not tried: few columns would remain."""


@dataclass(frozen=True)
class LabelledFeatures:
    """Features float32 [n, p] of n patients, sparse, and their outcomes, bool [n]."""

    features: Matrix
    outcome: np.ndarray


@dataclass(frozen=True)
class BaselineJob:
    """Fit on `train`, select hyperparameters on `tuning`, predict `predict`.

    The same `seed` gives the same bits for any number of `threads`. `progress` receives the fraction done.
    Raises BadInput if all training outcomes are equal or there is no tuning patient.
    """

    kind: str
    train: LabelledFeatures
    tuning: LabelledFeatures
    predict: Mapping[str, Matrix]
    trials: int
    seed: int
    threads: int
    progress: Callable[[float], None]
    starts: int = 1
    """How many of the baseline's starting points are tried before the search."""

    def __post_init__(self) -> None:
        if self.train.outcome.all() or not self.train.outcome.any():
            raise BadInput(f"{self.kind}: all training patients have the same outcome")
        if not len(self.tuning.outcome):
            raise BadInput(f"{self.kind}: there is no tuning patient to select hyperparameters")


@dataclass(frozen=True)
class Fitted:
    """A trial's model, its tuning log-loss, and entries of `cell.json`."""

    loss: float
    model: FittedModel
    details: Mapping[str, int]


Attempt = Callable[[optuna.Trial], Fitted]
Baseline = Callable[[BaselineJob], tuple[Attempt, Sequence[Mapping[str, Any]]]]
"""How to fit one trial of a job, and the hyperparameters of starting points, the best guess first."""


class Predicted(NamedTuple):
    """The best trial's probabilities per name of `BaselineJob.predict`, float64 [n], result and model."""

    probabilities: dict[str, np.ndarray]
    result: dict[str, object]
    """For `cell.json`."""
    model: FittedModel


def fit_predict(baseline: Baseline, job: BaselineJob) -> Predicted:
    """Run `job.trials` trials by a tree-structured Parzen estimator and predict with the best one.

    The search starts from sensible hyperparameters, so its tuning loss is never worse than theirs. The result
    holds {seconds, tuning_log_loss, chosen} and the details of the best trial.
    """
    started = time.perf_counter()
    attempt, starts = baseline(job)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=job.seed))
    for start in starts[: job.starts]:
        study.enqueue_trial(dict(start))
    best: tuple[Fitted, dict[str, object]] | None = None
    for number in range(job.trials):
        trial = study.ask()
        fitted = attempt(trial)
        study.tell(trial, fitted.loss)
        if best is None or fitted.loss < best[0].loss:
            best = fitted, trial.params
        job.progress((number + 1) / (job.trials + 1))
    assert best is not None
    fitted, chosen = best
    probabilities = {name: fitted.model.predict(matrix) for name, matrix in job.predict.items()}
    job.progress(1.0)
    seconds = time.perf_counter() - started
    found = {"seconds": seconds, "tuning_log_loss": fitted.loss, "chosen": chosen, **fitted.details}
    return Predicted(probabilities, found, fitted.model)


class Screened:
    """Columns with enough training patients, of these the ones most correlated with the outcome.

    With some hundred positives and ten thousand columns, many spurious correlations are fitted by trees and
    penalised models. A few hundred columns predict better and cost a tenth. Only training patients are used;
    the tuning split selects the number of columns.
    """

    def __init__(self, train: LabelledFeatures) -> None:
        patients, width = train.features.get_shape()
        self._support = features.support(train.features)
        self._strength = np.abs(_correlation(train))
        self.supports = [k for k in SUPPORTS if k <= max(MAX_SUPPORT_SHARE * patients, SUPPORTS[0])]
        self.counts = sorted({min(count, width) for count in STRONGEST})

    def columns(self, min_support: int, count: int) -> np.ndarray:
        """The `count` strongest columns with at least `min_support` training patients: int64, ascending."""
        supported = np.flatnonzero(self._support >= min_support)
        order = np.argsort(-self._strength[supported], kind="stable")
        return np.sort(supported[order[:count]])

    def suggest(self, trial: optuna.Trial) -> tuple[int, int]:
        """The trial's arguments of `columns`."""
        min_support = trial.suggest_categorical("support", self.supports)
        return min_support, trial.suggest_categorical("strongest", self.counts)

    @property
    def few(self) -> dict[str, int]:
        """A few hundred columns: the arguments of the first trial."""
        return {"support": self.supports[:3][-1], "strongest": self.counts[:2][-1]}

    @property
    def many(self) -> dict[str, int]:
        """The most columns: better from about a thousand cases on."""
        return self.few | {"strongest": self.counts[-1]}


def _correlation(train: LabelledFeatures) -> np.ndarray:
    """Pearson correlation of each column with the outcome, float64 [p]; 0 for constant columns."""
    x, y = train.features, train.outcome - train.outcome.mean()
    rows, width = x.get_shape()
    total, square, product = (np.zeros(width) for _ in range(3))
    _add_moments(x.indptr, x.indices, x.data, y, total, square, product)
    variance = square / rows - (total / rows) ** 2
    spread = np.sqrt(np.maximum(variance, 0.0))
    constant = variance <= 1e-9 * square / rows
    return np.where(constant, 0.0, product / rows / np.where(constant, 1.0, spread * y.std()))


@njit(cache=True)
def _add_moments(offsets, columns, values, y, total, square, product):
    """Per column the sums of x, x squared and x y, without copies of a matrix that may be large."""
    for row in range(offsets.size - 1):
        for place in range(offsets[row], offsets[row + 1]):
            column, value = columns[place], np.float64(values[place])
            total[column] += value
            square[column] += value * value
            product[column] += value * y[row]


def log_loss(outcome: np.ndarray, probability: np.ndarray) -> float:
    """Mean negative log-likelihood in nats; probabilities are clipped to [1e-6, 1 - 1e-6]."""
    bounded = np.clip(probability, 1e-6, 1 - 1e-6)
    return float(-np.log(np.where(outcome, bounded, 1 - bounded)).mean())
