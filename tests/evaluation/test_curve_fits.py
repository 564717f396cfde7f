"""Curves of a metric over size, and the sizes that are efficient."""

import numpy as np
import pytest

from claimscale.evaluation.curve_fits import fit_curves, pareto_front

SIZES = [1e6, 2e6, 5e6, 1e7, 3e7, 1e8]


@pytest.mark.parametrize(
    ("best", "curve"),
    [
        ("constant", [0.30] * 6),
        ("power_law", [0.40 - 8 * size**-0.3 for size in SIZES]),
        ("sigmoid", [0.1, 0.105, 0.16, 0.34, 0.395, 0.4]),
    ],
)
def test_the_curve_that_made_the_numbers_is_preferred(best: str, curve: list[float]) -> None:
    generator = np.random.default_rng(1)
    runs = [value + 0.002 * generator.normal(size=3) for value in curve]
    losses = [3.0, 2.8, 2.6, 2.4, 2.2, 2.0]
    found = fit_curves(SIZES, runs, losses)
    assert found[0].name == best
    assert sum(fit.weight for fit in found) == pytest.approx(1)
    assert [fit.aicc for fit in found] == sorted(fit.aicc for fit in found)


def test_sigmoid_needs_losses_and_any_curve_four_sizes() -> None:
    runs = [np.array([0.3, 0.31])] * 6
    assert {fit.name for fit in fit_curves(SIZES, runs, [2.0, None, 2.0, 2.0, 2.0, 2.0])} == {
        "constant",
        "power_law",
    }
    assert fit_curves(SIZES[:3], runs[:3], [2.0] * 3) == []


def test_pareto_front_excludes_dominated_sizes() -> None:
    values = {"a": 0.2, "b": 0.4, "c": 0.4, "d": 0.5, "e": 0.1}
    assert pareto_front({"a": 1, "b": 2, "c": 3, "d": 4, "e": 1}, values) == ["a", "b", "d"]
