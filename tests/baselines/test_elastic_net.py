from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sparse
from sklearn.linear_model import LogisticRegression

from claimscale.baselines.elastic_net import ElasticNet


def data(patients: int = 500, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Counts, an age far from zero, and a constant column; the first three determine the risk."""
    random = np.random.default_rng(seed)
    x = random.poisson(0.4, size=(patients, 12)).astype(np.float64)
    x[:, 0], x[:, 11] = random.normal(80, 5, size=patients), 3.0
    logit = -2 + 0.08 * (x[:, 0] - 80) + 0.9 * x[:, 1] - 0.7 * x[:, 2]
    return x, random.random(patients) < 1 / (1 + np.exp(-logit))


@pytest.mark.parametrize(("penalty", "mix"), [(0.02, 1.0), (0.005, 0.5), (0.05, 0.0)])
def test_it_finds_the_same_optimum_as_scikit_learn(penalty: float, mix: float) -> None:
    x, outcome = data()
    fit = ElasticNet(sparse.csr_matrix(x), outcome).fit(penalty, mix)
    scaled = (x[:, :11] - x[:, :11].mean(axis=0)) / x[:, :11].std(axis=0)
    reference = LogisticRegression(
        solver="saga", C=1 / (penalty * len(x)), l1_ratio=mix, max_iter=20_000, tol=1e-9, random_state=0
    ).fit(scaled, outcome)
    np.testing.assert_allclose(fit.coefficient[:11] * x[:, :11].std(axis=0), reference.coef_[0], atol=2e-4)
    np.testing.assert_allclose(
        fit.predict(sparse.csr_matrix(x)), reference.predict_proba(scaled)[:, 1], atol=2e-4
    )


def test_a_constant_column_has_no_coefficient() -> None:
    x, outcome = data()
    for mix in (0.0, 1.0):
        assert ElasticNet(sparse.csr_matrix(x), outcome).fit(1e-3, mix).coefficient[11] == 0


def test_all_coefficients_vanish_at_the_largest_penalty_only() -> None:
    x, outcome = data()
    net = ElasticNet(sparse.csr_matrix(x), outcome)
    for mix in (0.3, 1.0):
        most = net.largest_penalty(mix)
        nothing, something = net.fit(most * 1.001, mix), net.fit(most * 0.95, mix)
        assert not nothing.coefficient.any() and something.coefficient.any()
        assert nothing.predict(sparse.csr_matrix(x)) == pytest.approx(outcome.mean())


def test_mean_prediction_is_prevalence_and_separable_data_converge() -> None:
    x, outcome = data()
    fit = ElasticNet(sparse.csr_matrix(x), outcome).fit(0.01, 0.5)
    assert fit.predict(sparse.csr_matrix(x)).mean() == pytest.approx(outcome.mean(), abs=1e-5)
    perfect = np.c_[x, outcome * 2.0]
    fit = ElasticNet(sparse.csr_matrix(perfect), outcome).fit(1e-4, 0.5)
    found = fit.predict(sparse.csr_matrix(perfect))
    assert np.isfinite(found).all() and found[outcome].min() > found[~outcome].max()
