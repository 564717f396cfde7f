from __future__ import annotations

import numpy as np
import scipy.sparse as sparse
from sklearn.metrics import roc_auc_score

from claimscale.baselines import gradient_boosting


def cohort(patients: int, seed: int) -> tuple[sparse.csr_matrix, np.ndarray, np.ndarray]:
    """Counts of ten codes; the first two decide the known risk."""
    random = np.random.default_rng(seed)
    counts = random.poisson(0.7, size=(patients, 10)).astype(np.float32)
    risk = 1 / (1 + np.exp(2.5 - 1.5 * counts[:, 0] - 1.0 * counts[:, 1]))
    return sparse.csr_matrix(counts), random.random(patients) < risk, risk


def fit(seed: int) -> tuple[np.ndarray, dict, np.ndarray, np.ndarray]:
    train, tuning, test = cohort(1500, 1), cohort(500, 2), cohort(1500, 3)
    seen: list[float] = []
    probability, result = gradient_boosting.fit_predict(
        train[:2], tuning[:2], {"held_out": test[0]}, seed=seed, threads=1, progress=seen.append
    )
    assert seen == sorted(seen) and seen[-1] == 1
    return probability["held_out"], result, test[1], test[2]


def test_it_comes_near_the_known_risk_and_never_beyond_chance() -> None:
    probability, result, outcome, risk = fit(seed=42)
    reached, best = roc_auc_score(outcome, probability), roc_auc_score(outcome, risk)
    assert best - 0.05 < reached < best + 0.02
    assert abs(probability.mean() - outcome.mean()) < 0.05
    assert 0 < result["rounds"] < gradient_boosting.ROUNDS


def test_the_same_seed_gives_the_same_predictions() -> None:
    assert np.array_equal(fit(seed=1)[0], fit(seed=1)[0])
