"""LightGBM: settings searched on the tuning split, each trial stopped early there, the best model kept."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cache
from typing import Any

import lightgbm
import numpy as np
import optuna

from claimscale.baselines.search import BaselineJob, Predicted, Screened, search

ROUNDS = 2000
PATIENCE = 30
FIXED: dict[str, Any] = {
    "objective": "binary",
    "metric": "binary_logloss",
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "deterministic": True,
    # Thousands of columns, often fewer patients: histograms are cheaper by column.
    "force_col_wise": True,
    # Counts have few values; embeddings gain nothing from more bins and cost in proportion.
    "max_bin": 63,
    # Quantised gradients ruin the AUPRC of rare outcomes.
    "use_quantized_grad": False,
    # Trials share their binned data; columns must not be dropped for one trial's smallest leaf.
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
"""What the search starts from."""


def fit_predict(job: BaselineJob) -> Predicted:
    """Search columns and settings, fit on the training patients, predict each matrix of `job.predict`.

    Says {seconds, rounds, tuning_log_loss, chosen, columns}.
    """
    started = time.perf_counter()
    screened = Screened(job.train)
    fixed = {**FIXED, "seed": job.seed, "num_threads": job.threads}

    @cache
    def data(least: int, count: int) -> tuple[lightgbm.Dataset, lightgbm.Dataset]:
        columns = screened.columns(least, count)
        binned = lightgbm.Dataset(
            job.train.features[:, columns], label=job.train.outcome, params=fixed, free_raw_data=False
        )
        watched = lightgbm.Dataset(
            job.tuning.features[:, columns], label=job.tuning.outcome, reference=binned, free_raw_data=False
        )
        return binned, watched

    def attempt(trial: optuna.Trial) -> tuple[lightgbm.Booster, float]:
        booster = _fit(*data(*screened.suggest(trial)), {**fixed, **_suggested(trial)})
        return booster, float(booster.best_score["tuning"]["binary_logloss"])

    best = search(attempt, {**FIRST, **screened.first}, job)
    columns = screened.chosen(best)
    probabilities = {
        name: np.asarray(best.model.predict(matrix[:, columns], num_threads=job.threads))
        for name, matrix in job.predict.items()
    }
    job.progress(1.0)
    return probabilities, {
        "seconds": time.perf_counter() - started,
        "rounds": best.model.best_iteration,
        "tuning_log_loss": best.loss,
        "chosen": dict(best.settings),
        "columns": len(columns),
    }


def _suggested(trial: optuna.Trial) -> dict[str, Any]:
    return {
        "learning_rate": trial.suggest_float("learning_rate", 0.03, 0.15, log=True),
        "num_leaves": trial.suggest_int("num_leaves", 3, 63, log=True),
        "min_data_in_leaf": trial.suggest_int("min_data_in_leaf", 5, 100, log=True),
        "lambda_l2": trial.suggest_float("lambda_l2", 0.1, 100.0, log=True),
        "feature_fraction": trial.suggest_float("feature_fraction", 0.1, 0.8, log=True),
    }


def _fit(data: lightgbm.Dataset, watched: lightgbm.Dataset, settings: Mapping[str, Any]) -> lightgbm.Booster:
    return lightgbm.train(
        dict(settings),
        data,
        num_boost_round=ROUNDS,
        valid_sets=[watched],
        valid_names=["tuning"],
        callbacks=[lightgbm.early_stopping(PATIENCE, verbose=False)],
    )
