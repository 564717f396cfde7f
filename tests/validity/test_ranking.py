"""Rankings are honest: no score from noise, the textbook's area, the textbook's error."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sparse
from sklearn.metrics import roc_auc_score

from claimscale.validity.ranking import auroc, auroc_error, cross_fitted, presence_aurocs


def test_areas_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(1)
    outcome = random.random(500) < 0.2
    score = random.integers(0, 9, 500) + 2 * outcome
    assert auroc(score, outcome) == pytest.approx(roc_auc_score(outcome, score))
    present = sparse.csr_matrix((random.random((500, 7)) < 0.3).astype(float))
    expected = [roc_auc_score(outcome, present[:, [place]].toarray().ravel()) for place in range(7)]
    assert presence_aurocs(present, outcome) == pytest.approx(expected)


def test_many_codes_of_noise_do_not_rank_their_own_patients() -> None:
    random = np.random.default_rng(2)
    areas = []
    for _ in range(20):
        outcome = random.random(600) < 0.1
        present = sparse.csr_matrix((random.random((600, 400)) < 0.05).astype(float))
        areas.append(auroc(cross_fitted(present, outcome), outcome))
    assert np.mean(areas) == pytest.approx(0.5, abs=0.03)


def test_what_codes_know_is_found() -> None:
    random = np.random.default_rng(3)
    outcome = random.random(2000) < 0.1
    present = (random.random((2000, 50)) < 0.05).astype(float)
    for place in range(10):
        present[outcome, place] = random.random(outcome.sum()) < 0.2
    area = auroc(cross_fitted(sparse.csr_matrix(present), outcome), outcome)
    assert area > 0.75


def test_the_error_is_the_spread_of_areas() -> None:
    random = np.random.default_rng(4)
    areas = []
    for _ in range(400):
        score = np.concatenate([random.exponential(1.0, 60), random.exponential(0.4, 300)])
        areas.append(auroc(score, np.arange(360) < 60))
    assert auroc_error(float(np.mean(areas)), 60, 300) == pytest.approx(np.std(areas), rel=0.15)
