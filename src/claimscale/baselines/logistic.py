"""Elastic-net logistic regression on the same counted codes: the model a reader can look into."""

from __future__ import annotations

import time
from functools import cache

import numpy as np
import optuna

from claimscale.baselines.elastic_net import ElasticNet, LogisticFit
from claimscale.baselines.search import BaselineJob, Matrix, Predicted, Screened, log_loss, search

FIRST = {"mix": 0.5, "penalty": 0.3}
"""What the search starts from: half lasso, at three tenths of the penalty that leaves nothing."""


def fit_predict(job: BaselineJob) -> Predicted:
    """Search columns, mix and penalty, fit on the training patients, predict.

    Features are those of `features.linear_features`. Says {seconds, tuning_log_loss, chosen, columns,
    nonzero}.
    """
    started = time.perf_counter()
    screened = Screened(job.train)

    @cache
    def data(least: int, count: int) -> tuple[ElasticNet, Matrix]:
        columns = screened.columns(least, count)
        net = ElasticNet(job.train.features[:, columns], job.train.outcome)
        return net, job.tuning.features[:, columns]

    def attempt(trial: optuna.Trial) -> tuple[LogisticFit, float]:
        net, watched = data(*screened.suggest(trial))
        mix = trial.suggest_float("mix", 0.05, 1.0)
        share = trial.suggest_float("penalty", 0.02, 1.0, log=True)
        fit = net.fit(share * net.largest_penalty(mix), mix)
        return fit, log_loss(job.tuning.outcome, fit.predict(watched))

    best = search(attempt, {**FIRST, **screened.first}, job)
    columns = screened.chosen(best)
    probabilities = {name: best.model.predict(matrix[:, columns]) for name, matrix in job.predict.items()}
    job.progress(1.0)
    return probabilities, {
        "seconds": time.perf_counter() - started,
        "tuning_log_loss": best.loss,
        "chosen": dict(best.settings),
        "columns": len(columns),
        "nonzero": int(np.count_nonzero(best.model.coefficient)),
    }
