"""Laws and shapes are found again in numbers that were made from them."""

import numpy as np
import pytest

from claimscale.evaluation.curves import LossPoint, loss_curve, pareto_front, shapes, worth

SIZES = [1e6, 2e6, 5e6, 1e7, 3e7, 1e8]


def law(parameters: float, tokens: float, epoch: float) -> float:
    return 1.5 + 40 * parameters**-0.3 + 300 * worth(tokens, epoch) ** -0.35


def points(noise: float, seed: int = 0, epoch: float = 1e9) -> list[LossPoint]:
    generator = np.random.default_rng(seed)
    return [
        LossPoint(size, tokens, epoch, law(size, tokens, epoch) + noise * generator.normal())
        for size in SIZES
        for tokens in (1e8, 3e8, 1e9)
    ]


def test_the_law_is_found_and_foretells_a_larger_size() -> None:
    found = loss_curve(points(noise=1e-5))
    assert found is not None
    assert found.values["a"] == pytest.approx(0.3, abs=0.03) and found.values["b"] == pytest.approx(
        0.35, abs=0.03
    )
    assert found.loss(5e8, 2e9) == pytest.approx(law(5e8, 2e9, epoch=1e10), abs=2e-3)


def test_intervals_hold_the_truth_and_widen_with_noise() -> None:
    clear, blurred = loss_curve(points(noise=2e-4)), loss_curve(points(noise=4e-3))
    assert clear is not None and blurred is not None
    assert clear.low["a"] <= 0.3 <= clear.high["a"]
    assert blurred.high["a"] - blurred.low["a"] > clear.high["a"] - clear.low["a"]
    narrow, wide = clear.band(1e7, 1e9), blurred.band(1e7, 1e9)
    assert narrow[0] <= clear.loss(1e7, 1e9) <= narrow[1]
    assert wide[1] - wide[0] > narrow[1] - narrow[0]


def test_one_budget_of_tokens_leaves_the_term_in_tokens_out() -> None:
    single = [LossPoint(size, 1e8, 1e8, 1.5 + 40 * size**-0.3) for size in SIZES]
    found = loss_curve(single)
    assert found is not None and list(found.values) == ["floor", "A", "a"]
    assert found.values["floor"] == pytest.approx(1.5, abs=0.02)
    assert loss_curve(single[:3]) is None


def test_tokens_seen_again_are_worth_less() -> None:
    assert worth(50, 100) == 50
    gained = np.diff([worth(epochs * 100, 100) for epochs in range(1, 40)])
    assert (gained < 100).all() and (np.diff(gained) < 0).all() and (gained > 0).all()


@pytest.mark.parametrize(
    ("best", "curve"),
    [
        ("constant", [0.30] * 6),
        ("power_law", [0.40 - 8 * size**-0.3 for size in SIZES]),
        ("sigmoid", [0.1, 0.105, 0.16, 0.34, 0.395, 0.4]),
    ],
)
def test_the_shape_that_made_the_numbers_is_preferred(best: str, curve: list[float]) -> None:
    generator = np.random.default_rng(1)
    runs = [value + 0.002 * generator.normal(size=3) for value in curve]
    losses = [3.0, 2.8, 2.6, 2.4, 2.2, 2.0]
    found = shapes(SIZES, runs, losses)
    assert found[0].name == best
    assert sum(shape.weight for shape in found) == pytest.approx(1)
    assert [shape.aicc for shape in found] == sorted(shape.aicc for shape in found)


def test_without_losses_no_curve_through_them_and_three_sizes_say_nothing() -> None:
    runs = [np.array([0.3, 0.31])] * 6
    assert {shape.name for shape in shapes(SIZES, runs, [2.0, None, 2.0, 2.0, 2.0, 2.0])} == {
        "constant",
        "power_law",
    }
    assert shapes(SIZES[:3], runs[:3], [2.0] * 3) == []


def test_the_front_leaves_out_what_is_dearer_and_no_better() -> None:
    values = {"a": 0.2, "b": 0.4, "c": 0.4, "d": 0.5, "e": 0.1}
    assert pareto_front({"a": 1, "b": 2, "c": 3, "d": 4, "e": 1}, values) == ["a", "b", "d"]
