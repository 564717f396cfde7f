"""LightGBM with early stopping on the tuning split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import lightgbm
import numpy as np
import optuna

from claimscale.baselines.fitted_models import TreeModel
from claimscale.baselines.search import Attempt, BaselineJob, Fitted, Screened

ROUNDS = 2000
PATIENCE = 30
FIXED: dict[str, str | float] = {
    "objective": "binary",
    "metric": "binary_logloss",
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "deterministic": True,
    # Histograms are cheaper by column with thousands of columns and few patients.
    "force_col_wise": True,
    # Counts have few distinct values, and embeddings do not improve with more bins.
    "max_bin": 63,
    # Quantised gradients lower the AUPRC of rare outcomes.
    "use_quantized_grad": False,
    # Trials share the binned data, so columns must not be dropped for one trial's smallest leaf.
    "feature_pre_filter": False,
    "verbosity": -1,
}
FIRST = {
    "learning_rate": 0.05,
    "num_leaves": 15,
    "min_data_in_leaf": 20,
    "lambda_l2": 5.0,
    "feature_fraction": 0.5,
}
"""The first trial."""
CAUTIOUS = {**FIRST, "num_leaves": 5, "min_data_in_leaf": 50, "lambda_l2": 30.0}
"""For few cases and many columns."""


def baseline(job: BaselineJob) -> tuple[Attempt, Sequence[Mapping[str, float]]]:
    """Trials over the columns and LightGBM's parameters."""
    screened = Screened(job.train)
    fixed = {**FIXED, "seed": job.seed, "num_threads": job.threads}

    @lru_cache(maxsize=2)  # the binned data of all choices of a nation would not fit
    def data(min_support: int, count: int) -> tuple[np.ndarray, lightgbm.Dataset, lightgbm.Dataset]:
        columns = screened.columns(min_support, count)
        train, tuning = (
            lightgbm.Dataset(part.features[:, columns], label=part.outcome, params=fixed)
            for part in (job.train, job.tuning)
        )
        return columns, train, tuning.set_reference(train)

    def attempt(trial: optuna.Trial) -> Fitted:
        columns, train, tuning = data(*screened.suggest(trial))
        booster = lightgbm.train(
            {**fixed, **_suggested(trial)},
            train,
            num_boost_round=ROUNDS,
            valid_sets=[tuning],
            valid_names=["tuning"],
            callbacks=[lightgbm.early_stopping(PATIENCE, verbose=False)],
        )
        loss = float(booster.best_score["tuning"]["binary_logloss"])
        model = TreeModel(columns, booster, job.threads)
        return Fitted(loss, model, {"rounds": booster.best_iteration, "columns": len(columns)})

    starts = FIRST | screened.few, FIRST | screened.many, CAUTIOUS | screened.many
    return attempt, starts


def _suggested(trial: optuna.Trial) -> dict[str, float]:
    return {
        "learning_rate": trial.suggest_float("learning_rate", 0.03, 0.15, log=True),
        "num_leaves": trial.suggest_int("num_leaves", 3, 63, log=True),
        "min_data_in_leaf": trial.suggest_int("min_data_in_leaf", 5, 100, log=True),
        "lambda_l2": trial.suggest_float("lambda_l2", 0.1, 100.0, log=True),
        "feature_fraction": trial.suggest_float("feature_fraction", 0.1, 0.8, log=True),
    }
