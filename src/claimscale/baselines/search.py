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
LEAST_SHARE = 0.1
"""A threshold above this share of the training patients would leave little to learn from."""


@dataclass(frozen=True)
class Labelled:
    """Features float32 [n, p] of n patients, sparse, and their outcomes, bool [n]."""

    features: Matrix
    outcome: np.ndarray


@dataclass(frozen=True)
class Best(Generic[Model]):
    """The trial with the lowest tuning log-loss."""

    model: Model
    loss: float
    settings: Mapping[str, Any]


def check_outcomes(arm: str, train: Labelled, tuning: Labelled) -> None:
    """Raises BadInput if there is nothing to learn from, or nobody to choose by."""
    if train.outcome.all() or not train.outcome.any():
        raise BadInput(f"{arm}: all training patients have the same outcome")
    if not len(tuning.outcome):
        raise BadInput(f"{arm}: there is no tuning patient to choose settings by")


def search(
    attempt: Callable[[optuna.Trial], tuple[Model, float]],
    first: Mapping[str, Any],
    trials: int,
    seed: int,
    progress: Progress,
) -> Best[Model]:
    """Try `trials` settings, the first of them `first`, the others by a tree-structured Parzen estimator.

    `attempt` asks the trial for settings and returns a model and its tuning log-loss. The same seed gives
    the same trials. Starting from sensible settings, no search ends worse on the tuning split than those.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    study.enqueue_trial(dict(first))
    best: Best[Model] | None = None
    for number in range(trials):
        trial = study.ask()
        model, loss = attempt(trial)
        study.tell(trial, loss)
        if best is None or loss < best.loss:
            best = Best(model, loss, trial.params)
        progress((number + 1) / (trials + 1))
    assert best is not None
    return best


class Supported:
    """The columns of training features that enough patients have, for each threshold worth trying."""

    def __init__(self, train: Matrix) -> None:
        self._support = features.support(train)
        most = max(LEAST_SHARE * train.get_shape()[0], SUPPORTS[0])
        self.choices = [k for k in SUPPORTS if k <= most]

    def columns(self, least: int) -> np.ndarray:
        """Columns that at least so many training patients have something in: int64, ascending."""
        return np.flatnonzero(self._support >= least)


def log_loss(outcome: np.ndarray, probability: np.ndarray) -> float:
    """Mean negative log-likelihood in nats; certainty is capped at one in a million."""
    bounded = np.clip(probability, 1e-6, 1 - 1e-6)
    return float(-np.log(np.where(outcome, bounded, 1 - bounded)).mean())
