"""XGBoost as meds-tab 0.2.0 tunes it, for `baselines.py`, which runs this where meds-tab is installed.

Reads `train.npz`, `tuning.npz`, `held_out.npz` (sparse counts) and the outcomes and events per column beside
them from a folder, and writes `predictions.npy`. Search space, objective (AUROC of the tuning split) and
number of rounds are those of its `xgboost.yaml`: `meds_tab_recipe.py FOLDER TRIALS SEED`.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import optuna
import scipy.sparse as sparse
import xgboost
from sklearn.metrics import roc_auc_score


def main(folder: Path, trials: int, seed: int) -> None:
    matrices = {
        name: sparse.load_npz(folder / f"{name}.npz").tocsc() for name in ("train", "tuning", "held_out")
    }
    outcome = {name: np.load(folder / f"{name}-outcome.npy") for name in ("train", "tuning")}
    events = np.load(folder / "events.npy")
    best: tuple[float, np.ndarray] = (-1.0, np.zeros(0))

    def attempt(trial: optuna.Trial) -> float:
        nonlocal best
        columns = np.flatnonzero(
            events >= trial.suggest_int("min_code_inclusion_count", 10, 1_000_000, log=True)
        )
        data = {
            name: xgboost.DMatrix(matrix[:, columns].tocsr(), label=outcome.get(name))
            for name, matrix in matrices.items()
        }
        settings = {
            "objective": "binary:logistic", "booster": "gbtree", "tree_method": "hist",
            "nthread": 1, "seed": seed,
            "eta": trial.suggest_float("eta", 0.001, 1.0, log=True),
            "lambda": trial.suggest_float("lambda", 0.001, 1.0, log=True),
            "alpha": trial.suggest_float("alpha", 0.001, 1.0, log=True),
            "subsample": trial.suggest_float("subsample", 0.5, 1.0),
            "min_child_weight": trial.suggest_float("min_child_weight", 0.01, 100.0),
            "max_depth": trial.suggest_int("max_depth", 2, 16),
        }  # fmt: skip
        booster = xgboost.train(
            settings, data["train"], trial.suggest_int("num_boost_round", 100, 1000),
            evals=[(data["train"], "train"), (data["tuning"], "tuning")],
            early_stopping_rounds=trial.suggest_int("early_stopping_rounds", 1, 10), verbose_eval=False,
        )  # fmt: skip
        score = float(roc_auc_score(outcome["tuning"], booster.predict(data["tuning"])))
        if score > best[0]:
            best = score, booster.predict(data["held_out"])
        return score

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    study.optimize(attempt, n_trials=trials)
    np.save(folder / "predictions.npy", best[1].astype(np.float64))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
