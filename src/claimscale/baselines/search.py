"""The search that all baselines share: so many trials, the tuning split's log-loss decides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import optuna
import scipy.sparse as sparse

from claimscale.baselines import features
from claimscale.errors import BadInput

Progress = Callable[[float], None]
Matrix = sparse.csr_matrix
Model = TypeVar("Model")

SUPPORTS = (1, 3, 10, 30, 100)
"""Numbers of training patients that a column must be seen in, to choose from."""
STRONGEST = (100, 300, 1000, 3000)
"""Numbers of columns to choose from, the most correlated with the outcome first."""
LEAST_SHARE = 0.1
"""A threshold above this share of the training patients would leave little to learn from."""


@dataclass(frozen=True)
class LabelledFeatures:
    """Features float32 [n, p] of n patients, sparse, and their outcomes, bool [n]."""

    features: Matrix
    outcome: np.ndarray


@dataclass(frozen=True)
class BaselineJob:
    """What a baseline is asked for: learn from `train`, choose settings by `tuning`, predict the others.

    `trials` settings are tried; the same `seed` gives the same bits, whatever the `threads`. `progress` gets
    the share done, ascending to 1. Raises BadInput if there is nothing to learn from, or nobody to choose by.
    """

    arm: str
    train: LabelledFeatures
    tuning: LabelledFeatures
    predict: Mapping[str, Matrix]
    trials: int
    seed: int
    threads: int
    progress: Progress

    def __post_init__(self) -> None:
        if self.train.outcome.all() or not self.train.outcome.any():
            raise BadInput(f"{self.arm}: all training patients have the same outcome")
        if not len(self.tuning.outcome):
            raise BadInput(f"{self.arm}: there is no tuning patient to choose settings by")


Predicted = tuple[dict[str, np.ndarray], dict[str, Any]]
"""Probabilities per name of `BaselineJob.predict`, float64 [n], and what `cell.json` says of the fit."""


@dataclass(frozen=True)
class Best(Generic[Model]):
    """The trial with the lowest tuning log-loss."""

    model: Model
    loss: float
    settings: Mapping[str, Any]


def search(
    attempt: Callable[[optuna.Trial], tuple[Model, float]], first: Mapping[str, Any], job: BaselineJob
) -> Best[Model]:
    """Try `job.trials` settings, the first of them `first`, the others by a tree-structured Parzen estimator.

    `attempt` asks the trial for settings and returns a model and its tuning log-loss. The same seed gives
    the same trials. Starting from sensible settings, no search ends worse on the tuning split than those.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=job.seed))
    study.enqueue_trial(dict(first))
    best: Best[Model] | None = None
    for number in range(job.trials):
        trial = study.ask()
        model, loss = attempt(trial)
        study.tell(trial, loss)
        if best is None or loss < best.loss:
            best = Best(model, loss, trial.params)
        job.progress((number + 1) / (job.trials + 1))
    assert best is not None
    return best


class Screened:
    """The columns of training features worth learning from: those that enough patients have, and of these
    the ones most correlated with the outcome.

    With some hundred positives and ten thousand columns, chance alone makes many columns look useful, and
    trees and penalties fit them: the strongest few hundred do better and cost a tenth. Only training
    patients are looked at; the tuning split judges how many columns help.
    """

    def __init__(self, train: LabelledFeatures) -> None:
        patients, width = train.features.get_shape()
        self._support = features.support(train.features)
        self._strength = np.abs(_correlation(train))
        self.supports = [k for k in SUPPORTS if k <= max(LEAST_SHARE * patients, SUPPORTS[0])]
        self.counts = sorted({min(count, width) for count in STRONGEST})

    def columns(self, least: int, count: int) -> np.ndarray:
        """The `count` strongest columns that at least `least` training patients have: int64, ascending."""
        supported = np.flatnonzero(self._support >= least)
        order = np.argsort(-self._strength[supported], kind="stable")
        return np.sort(supported[order[:count]])

    def chosen(self, best: Best[Any]) -> np.ndarray:
        """The columns of the best trial."""
        return self.columns(best.settings["support"], best.settings["strongest"])

    def suggest(self, trial: optuna.Trial) -> tuple[int, int]:
        """A threshold and a count for `columns`, chosen by the trial."""
        least = trial.suggest_categorical("support", self.supports)
        return least, trial.suggest_categorical("strongest", self.counts)

    @property
    def first(self) -> dict[str, int]:
        """What a search should start from."""
        return {"support": self.supports[:3][-1], "strongest": self.counts[:2][-1]}


def _correlation(train: LabelledFeatures) -> np.ndarray:
    """Pearson correlation of each column with the outcome, float64 [p]; 0 for constant columns."""
    x, y = train.features, train.outcome - train.outcome.mean()
    rows, width = x.get_shape()
    total = np.bincount(x.indices, weights=x.data, minlength=width)
    square = np.bincount(x.indices, weights=x.data.astype(np.float64) ** 2, minlength=width)
    variance = square / rows - (total / rows) ** 2
    spread = np.sqrt(np.maximum(variance, 0.0))
    constant = variance <= 1e-9 * square / rows
    return np.where(constant, 0.0, (x.T @ y) / rows / np.where(constant, 1.0, spread * y.std()))


def log_loss(outcome: np.ndarray, probability: np.ndarray) -> float:
    """Mean negative log-likelihood in nats; certainty is capped at one in a million."""
    bounded = np.clip(probability, 1e-6, 1 - 1e-6)
    return float(-np.log(np.where(outcome, bounded, 1 - bounded)).mean())
