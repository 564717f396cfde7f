"""Calibration recovers a known distortion of known risks; degenerate input gives NaN, never a crash."""

import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from claimscale.evaluation import metrics


@pytest.fixture(scope="module")
def simulated() -> tuple[np.ndarray, np.ndarray]:
    """Outcomes (n) sampled from known logits (n)."""
    generator = np.random.default_rng(3)
    logits = generator.normal(-1.5, 1.2, size=20_000)
    return generator.random(len(logits)) < sigmoid(logits), logits


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


def test_true_risks_are_calibrated(simulated: tuple[np.ndarray, np.ndarray]) -> None:
    labels, logits = simulated
    found = metrics.calibration(labels, sigmoid(logits))
    assert found.slope == pytest.approx(1, abs=0.05)
    assert found.intercept == pytest.approx(0, abs=0.05)
    assert metrics.expected_calibration_error(metrics.calibration_curve(labels, sigmoid(logits))) < 0.01


def test_distorted_risks_show_their_slope_and_intercept(simulated: tuple[np.ndarray, np.ndarray]) -> None:
    labels, logits = simulated
    assert metrics.calibration(labels, sigmoid(2 * logits)).slope == pytest.approx(0.5, abs=0.03)
    assert metrics.calibration(labels, sigmoid(logits + 0.7)).intercept == pytest.approx(-0.7, abs=0.05)
    curve = metrics.calibration_curve(labels, sigmoid(logits + 0.7))
    assert metrics.expected_calibration_error(curve) > 0.05
    assert all(point.observed < point.predicted for point in curve)


def test_slope_is_the_unpenalised_logistic_regression(simulated: tuple[np.ndarray, np.ndarray]) -> None:
    labels, logits = simulated[0][:500], 1.7 * simulated[1][:500]
    reference = LogisticRegression(C=np.inf, tol=1e-10).fit(logits[:, None], labels)
    assert metrics.calibration(labels, sigmoid(logits)).slope == pytest.approx(
        reference.coef_[0, 0], abs=1e-4
    )


def test_pseudo_values_give_estimate_and_standard_error(simulated: tuple[np.ndarray, np.ndarray]) -> None:
    """Their mean is the slope; their spread is that of slopes over fresh samples."""
    labels, logits = simulated
    pieces = np.split(np.arange(len(labels)), 40)
    found = [metrics.calibration(labels[piece], sigmoid(logits[piece])) for piece in pieces]
    assert found[0].slope_values.mean() == pytest.approx(found[0].slope, abs=1e-8)
    claimed = np.mean([np.sqrt(one.slope_values.var() / len(pieces[0])) for one in found])
    assert claimed == pytest.approx(np.std([one.slope for one in found], ddof=1), rel=0.35)


def test_curve_covers_every_patient_and_keeps_equal_risks_together() -> None:
    risks = np.array([0.1] * 30 + [0.2] * 5 + [0.9] * 15)
    curve = metrics.calibration_curve(risks > 0.5, risks)
    assert sum(point.predictions for point in curve) == 50
    assert [point.predicted for point in curve] == sorted(point.predicted for point in curve)
    assert 30 in {point.predictions for point in curve}


@pytest.mark.parametrize("labels", [np.zeros(20, dtype=bool), np.ones(20, dtype=bool)])
def test_one_class_has_no_ranking_and_no_calibration(labels: np.ndarray) -> None:
    risks = np.linspace(0.01, 0.9, 20)
    assert math.isnan(metrics.auroc(labels, risks))
    assert math.isnan(metrics.auprc(labels, risks))
    assert math.isnan(metrics.calibration(labels, risks).slope)
    assert np.isfinite(metrics.log_losses(labels, risks)).all()


def test_constant_risks_have_no_slope() -> None:
    labels = np.arange(40) >= 20
    constant = metrics.calibration(labels, np.full(40, 0.3))
    assert math.isnan(constant.slope) and math.isfinite(constant.intercept)
    assert math.isnan(metrics.calibration(labels, np.linspace(0.01, 0.99, 40)).slope)


def test_certain_risks_cost_a_finite_log_loss() -> None:
    losses = metrics.log_losses(np.array([True, False]), np.array([0.0, 0.0]))
    assert losses[0] == pytest.approx(-math.log(metrics.SMALLEST_RISK))
    assert losses[1] < 1e-6
