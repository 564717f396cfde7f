"""LightGBM on counted codes: a small search, early stopping on the tuning split, the best model kept."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np
import scipy.sparse as sparse

Progress = Callable[[float], None]

SEARCH: tuple[dict[str, Any], ...] = (
    {"num_leaves": 7, "min_data_in_leaf": 20, "lambda_l2": 1.0},
    {"num_leaves": 15, "min_data_in_leaf": 10, "lambda_l2": 5.0},
    {"num_leaves": 31, "min_data_in_leaf": 40, "lambda_l2": 10.0},
)
"""Tree sizes from cautious to rich; the tuning split decides."""

ROUNDS = 2000
PATIENCE = 60


def fit_predict(
    train: tuple[sparse.csr_matrix, np.ndarray],
    tuning: tuple[sparse.csr_matrix, np.ndarray],
    predict: dict[str, sparse.csr_matrix],
    seed: int,
    threads: int,
    progress: Progress,
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Fit on (features [n, p], labels [n]) and predict each matrix of `predict`.

    Returns probabilities per name and {seconds, rounds, tuning_log_loss, chosen}.
    Gradients are never quantised: that ruins the AUPRC of rare outcomes.
    """
    started = time.perf_counter()
    best: tuple[float, lightgbm.Booster, dict[str, Any]] | None = None
    for number, choice in enumerate(SEARCH):
        booster = _fit(train, tuning, choice, seed, threads)
        loss = booster.best_score["tuning"]["binary_logloss"]
        if best is None or loss < best[0]:
            best = (loss, booster, choice)
        progress((number + 1) / (len(SEARCH) + 1))
    assert best is not None
    loss, booster, choice = best
    probabilities = {
        name: np.asarray(booster.predict(matrix, num_threads=threads)) for name, matrix in predict.items()
    }
    progress(1.0)
    result = {
        "seconds": time.perf_counter() - started,
        "rounds": booster.best_iteration,
        "tuning_log_loss": loss,
        "chosen": choice,
    }
    return probabilities, result


def _fit(
    train: tuple[sparse.csr_matrix, np.ndarray],
    tuning: tuple[sparse.csr_matrix, np.ndarray],
    choice: dict[str, Any],
    seed: int,
    threads: int,
) -> lightgbm.Booster:
    settings = {
        "objective": "binary",
        "metric": "binary_logloss",
        "learning_rate": 0.05,
        "feature_fraction": 0.5,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "seed": seed,
        "num_threads": threads,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
        **choice,
    }
    data = lightgbm.Dataset(train[0], label=train[1], params={"verbosity": -1})
    watch = lightgbm.Dataset(tuning[0], label=tuning[1], reference=data)
    return lightgbm.train(
        settings,
        data,
        num_boost_round=ROUNDS,
        valid_sets=[watch],
        valid_names=["tuning"],
        callbacks=[lightgbm.early_stopping(PATIENCE, verbose=False)],
    )
