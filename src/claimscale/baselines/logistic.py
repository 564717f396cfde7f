"""Elastic-net logistic regression on the same counted codes: the model a reader can look into."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import optuna

from claimscale.baselines.elastic_net import ElasticNet, LogisticFit
from claimscale.baselines.search import (
    Labelled,
    Matrix,
    Progress,
    Supported,
    check_outcomes,
    log_loss,
    search,
)

FIRST = {"mix": 0.5, "penalty": 0.3}
"""What the search starts from: half lasso, at three tenths of the penalty that leaves nothing."""


def fit_predict(
    train: Labelled,
    tuning: Labelled,
    predict: Mapping[str, Matrix],
    *,
    trials: int,
    seed: int,
    progress: Progress,
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Search support threshold, mix and penalty, fit on the training patients, predict.

    Features are those of `features.linear_features`. Returns probabilities per name, float64 [n], and
    {seconds, tuning_log_loss, chosen, columns, nonzero}. Raises BadInput if all training outcomes are equal
    or nobody is there to tune on.
    """
    check_outcomes("logistic", train, tuning)
    started = time.perf_counter()
    supported = Supported(train.features)

    @cache
    def data(least: int) -> tuple[ElasticNet, Matrix]:
        columns = supported.columns(least)
        return ElasticNet(train.features[:, columns], train.outcome), tuning.features[:, columns]

    def attempt(trial: optuna.Trial) -> tuple[LogisticFit, float]:
        least = trial.suggest_categorical("support", supported.choices)
        mix = trial.suggest_float("mix", 0.05, 1.0)
        share = trial.suggest_float("penalty", 0.02, 1.0, log=True)
        net, watched = data(least)
        fit = net.fit(share * net.largest_penalty(mix), mix)
        return fit, log_loss(tuning.outcome, fit.predict(watched))

    first = {**FIRST, "support": supported.choices[-1] if len(supported.choices) < 3 else 10}
    best = search(attempt, first, trials, seed, progress)
    columns = supported.columns(best.settings["support"])
    probabilities = {name: best.model.predict(matrix[:, columns]) for name, matrix in predict.items()}
    progress(1.0)
    return probabilities, {
        "seconds": time.perf_counter() - started,
        "tuning_log_loss": best.loss,
        "chosen": dict(best.settings),
        "columns": len(columns),
        "nonzero": int(np.count_nonzero(best.model.coefficient)),
    }
