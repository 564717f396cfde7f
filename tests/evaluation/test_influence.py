"""Influences are exact derivatives, and their squares sum to the variance over patients."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from claimscale.evaluation.influence import ranking_influences


def sample(seed: int, n: int = 400, decimals: int | None = 1) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = random.random(n) < 0.1
    labels[:2] = (True, False)
    scores = random.normal(size=n) + 1.2 * labels
    return labels, (scores if decimals is None else np.round(scores, decimals)).astype(np.float32)


@given(st.integers(0, 10**6))
def test_metrics_equal_those_of_scikit_learn_also_with_ties(seed: int) -> None:
    labels, scores = sample(seed)
    found = ranking_influences(labels, scores)
    assert found.auprc == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
    assert found.auroc == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


@pytest.mark.parametrize("decimals", [None, 1, 0])
def test_influences_are_derivatives_with_respect_to_weights(decimals: int | None) -> None:
    labels, scores = sample(1, decimals=decimals)
    found, step = ranking_influences(labels, scores), 1e-5
    for patient in (0, 1, 2, 57, 301):
        weights = np.ones(len(labels))
        weights[patient] += step
        auprc = average_precision_score(labels, scores, sample_weight=weights)
        auroc = roc_auc_score(labels, scores, sample_weight=weights)
        assert (auprc - found.auprc) / step == pytest.approx(found.of_auprc[patient], abs=1e-6)
        assert (auroc - found.auroc) / step == pytest.approx(found.of_auroc[patient], abs=1e-6)


def test_the_sum_of_squares_is_the_variance_over_samples_of_patients() -> None:
    random = np.random.default_rng(3)
    metrics, variances = [], []
    for _ in range(400):
        labels = random.random(4000) < 0.05
        scores = random.normal(size=4000) + 1.5 * labels
        found = ranking_influences(labels, scores)
        metrics.append((found.auprc, found.auroc))
        variances.append([np.sum(found.of_auprc**2), np.sum(found.of_auroc**2)])
    assert np.mean(variances, axis=0) == pytest.approx(np.var(metrics, axis=0, ddof=1), rel=0.2)
