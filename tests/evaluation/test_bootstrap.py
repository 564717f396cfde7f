"""The fast bootstrap equals scikit-learn, replicate by replicate."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from claimscale.evaluation.bootstrap import Ranking, Resamples, areas, replicate_means, replicate_rankings


def all_weights(resamples: Resamples) -> np.ndarray:
    return np.concatenate([resamples.weights(place) for place in resamples.places()], axis=1)


@settings(max_examples=60, deadline=None)
@given(
    patients=st.integers(2, 80),
    score_levels=st.integers(1, 30),
    share=st.floats(0.02, 0.98),
    seed=st.integers(0, 10_000),
)
def test_replicates_equal_scikit_learn(patients: int, score_levels: int, share: float, seed: int) -> None:
    """With ties within and across classes, rare and common outcomes, patients sampled zero times."""
    generator = np.random.default_rng(seed)
    labels = generator.random(patients) < share
    scores = generator.integers(score_levels, size=patients) / score_levels
    resamples = Resamples(patients, 10, seed)
    auprc, auroc = replicate_rankings(resamples, [Ranking.of(labels, scores, np.arange(patients))])
    for replicate, weights in enumerate(all_weights(resamples).T):
        if len(np.unique(labels[weights > 0])) < 2:
            assert np.isnan(auprc[0, replicate]) and np.isnan(auroc[0, replicate])
            continue
        expected = average_precision_score(labels, scores, sample_weight=weights)
        assert auprc[0, replicate] == pytest.approx(expected, abs=1e-12)
        expected = roc_auc_score(labels, scores, sample_weight=weights)
        assert auroc[0, replicate] == pytest.approx(expected, abs=1e-12)


def test_each_patient_is_sampled_once_on_average() -> None:
    resamples = Resamples(300, 600, seed=5)
    weights = all_weights(resamples)
    assert weights.shape == (300, 600)
    assert (weights.sum(axis=0) == 300).all()
    assert weights.var() == pytest.approx(1, abs=0.05)


def test_blocks_repeat_and_do_not_depend_on_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    resamples = Resamples(50, 100, seed=5)
    first = all_weights(resamples)
    assert np.array_equal(first, all_weights(resamples))
    monkeypatch.setattr("claimscale.evaluation.bootstrap.BLOCK_WEIGHTS", 50 * 11)
    assert np.array_equal(first, all_weights(resamples))
    assert not np.array_equal(first, all_weights(Resamples(50, 100, seed=6)))


def test_means_are_weighted_means_of_the_chosen_rows() -> None:
    resamples = Resamples(40, 30, seed=1)
    rows = np.arange(0, 40, 2)
    values = np.random.default_rng(0).normal(size=(20, 3))
    means = replicate_means(resamples, values, rows)
    for replicate, weights in enumerate(all_weights(resamples).T):
        expected = np.average(values, axis=0, weights=weights[rows])
        assert means[:, replicate] == pytest.approx(expected, abs=1e-12)


def test_no_patient_sampled_gives_nan_without_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        means = replicate_means(Resamples(3, 200, seed=1), np.ones((1, 1)), np.array([0]))
    assert np.isnan(means).any()
    assert set(means[np.isfinite(means)]) == {1.0}


def test_tasks_share_the_weights_of_a_patient() -> None:
    """A task on a subset of patients sees the weights those patients have in the whole population."""
    labels = np.arange(30) % 3 == 0
    scores = np.random.default_rng(2).random(30)
    resamples = Resamples(60, 20, seed=3)
    rows = np.arange(30, 60)
    auprc, _ = replicate_rankings(resamples, [Ranking.of(labels, scores, rows)])
    weights = all_weights(resamples)[rows, 7]
    expected = average_precision_score(labels, scores, sample_weight=weights)
    assert auprc[0, 7] == pytest.approx(expected, abs=1e-12)


def test_areas_without_resampling_equal_scikit_learn() -> None:
    generator = np.random.default_rng(4)
    labels, scores = generator.random(500) < 0.1, generator.integers(40, size=500) / 40
    found = areas(Ranking.of(labels, scores, np.arange(500)))
    expected = average_precision_score(labels, scores), roc_auc_score(labels, scores)
    assert found == pytest.approx(expected, abs=1e-12)


def test_patients_of_a_unit_are_sampled_together() -> None:
    unit = np.array([0, 0, 1, 2, 2, 2])
    weights = all_weights(Resamples(6, 400, seed=1, unit=unit))
    assert (weights[0] == weights[1]).all() and (weights[3] == weights[5]).all()
    assert (weights[[0, 2, 3]].sum(axis=0) == 3).all(), "as many units as there are"
