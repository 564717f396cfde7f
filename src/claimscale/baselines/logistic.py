"""Elastic-net logistic regression on `features.linear_features`: an interpretable baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
import optuna

from claimscale.baselines.elastic_net import ElasticNet
from claimscale.baselines.fitted_models import LinearModel
from claimscale.baselines.search import Attempt, BaselineJob, Fitted, Matrix, Screened, log_loss

FIRST = {"mix": 0.5, "penalty": 0.3}
"""The first trial: half lasso, three tenths of the least penalty with no coefficient."""


def baseline(job: BaselineJob) -> tuple[Attempt, Sequence[Mapping[str, float]]]:
    """Trials over the columns, the mix of lasso and ridge, and the penalty."""
    screened = Screened(job.train)

    @cache
    def data(min_support: int, count: int) -> tuple[np.ndarray, ElasticNet, Matrix]:
        columns = screened.columns(min_support, count)
        net = ElasticNet(job.train.features[:, columns], job.train.outcome)
        return columns, net, job.tuning.features[:, columns]

    def attempt(trial: optuna.Trial) -> Fitted:
        columns, net, tuning = data(*screened.suggest(trial))
        mix = trial.suggest_float("mix", 0.05, 1.0)
        share = trial.suggest_float("penalty", 0.02, 1.0, log=True)
        fit = net.fit(share * net.largest_penalty(mix), mix)
        details = {"columns": len(columns), "nonzero": int(np.count_nonzero(fit.coefficient))}
        loss = log_loss(job.tuning.outcome, fit.predict(tuning))
        return Fitted(loss, LinearModel(columns, fit.coefficient, fit.intercept), details)

    return attempt, [FIRST | screened.few]
