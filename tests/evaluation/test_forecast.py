"""Forecasts from smaller sizes, on curves whose next step is known."""

import numpy as np
import pytest

from claimscale.evaluation.forecast import forecast_gain, forecast_residual
from claimscale.evaluation.intervals import Scores

PARAMETERS = {"1M": 1e6, "3M": 3e6, "9M": 9e6, "27M": 27e6}


def curve(
    values: list[float], noise: float = 1e-4, seeds: int = 3, positives: int = 500
) -> dict[str, Scores]:
    """Sizes of the given metric, each blurred alike by patients and by seeds."""
    generator = np.random.default_rng(0)
    found = {}
    for name, value in zip(PARAMETERS, values, strict=False):
        runs = value + noise * generator.normal(size=seeds)
        replicates = runs[:, None] + noise * generator.normal(size=(seeds, 300))
        found[name] = Scores(tuple(range(seeds)), runs, replicates, positives)
    return found


def test_a_straight_line_is_extrapolated() -> None:
    made = forecast_gain(curve([0.30, 0.31, 0.32]), PARAMETERS, "27M", 0.02)
    assert made is not None and (made.last_trained_size, made.target) == ("9M", "27M")
    assert made.gain.estimate == pytest.approx(0.01, abs=3e-4)
    assert made.margin == pytest.approx(0.0064, rel=0.01) and not made.futile()


def test_a_flat_curve_is_futile() -> None:
    made = forecast_gain(curve([0.32, 0.32, 0.32]), PARAMETERS, "27M", 0.02)
    assert made is not None and made.futile()


@pytest.mark.parametrize(
    "values",
    [
        pytest.param([0.32, 0.32, 0.327], id="the last step rises"),
        pytest.param([0.310, 0.320, 0.322], id="flattening, but steep before"),
    ],
)
def test_a_curve_that_may_rise_is_not_futile(values: list[float]) -> None:
    made = forecast_gain(curve(values), PARAMETERS, "27M", 0.02)
    assert made is not None and not made.futile()


def test_an_uncertain_forecast_does_not_stop() -> None:
    noisy = forecast_gain(curve([0.32, 0.32, 0.32], noise=0.02), PARAMETERS, "27M", 0.02)
    assert noisy is not None and not noisy.futile()
    assert forecast_gain(curve([0.32, 0.32]), PARAMETERS, "27M", 0.02) is None
    assert forecast_gain(curve([0.32] * 3, seeds=1), PARAMETERS, "27M", 0.02) is None
    assert forecast_gain(curve([0.32] * 3, positives=10), PARAMETERS, "27M", 0.02) is None


@pytest.mark.parametrize(("last", "held"), [(0.33, True), (0.36, False)])
def test_residual_interval_contains_zero_if_the_forecast_held(last: float, held: bool) -> None:
    sizes = curve([0.30, 0.31, 0.32, last])
    seen = dict(list(sizes.items())[:3])
    made = forecast_gain(seen, PARAMETERS, "27M", 0.02)
    assert made is not None
    missed = forecast_residual(made.weights, made.last_trained_size, sizes, sizes["27M"])
    assert missed is not None
    assert missed.estimate == pytest.approx(last - 0.33, abs=1e-3)
    low, high = missed.two_sided()
    assert (low <= 0 <= high) == held
