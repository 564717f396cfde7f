"""Hours saved: as measured where both sizes were trained, estimated from operations where one was not."""

import pytest

from claimscale.evaluation.pretrained_sizes import PretrainedSize
from claimscale.evaluation.savings import PretrainingCost, Saving, pretraining_costs, saving
from claimscale.model import shapes

VOCABULARY, TOKENS, MASK = 600, 4_000_000, 0.3
RATE = 5e12
"""Operations per hour."""


def trained(parameters: int, rate: float = RATE, groups: int = 0) -> PretrainedSize:
    shape = shapes.solve(parameters, VOCABULARY, groups)
    flops = shapes.pretraining_flops(shape, TOKENS, MASK * TOKENS)
    return PretrainedSize(str(parameters), parameters, tokens=TOKENS, train_flops=flops, hours=flops / rate)


def not_trained(parameters: int) -> PretrainedSize:
    return PretrainedSize(str(parameters), parameters)


def test_cost_of_an_untrained_size_at_the_same_rate_is_exact() -> None:
    """Were it trained at the rate of the largest one that was, the estimate is exact."""
    found = pretraining_costs(
        [trained(100_000, RATE / 3), trained(200_000), not_trained(800_000)], VOCABULARY, MASK
    )
    truth = trained(800_000)
    assert found["800000"].estimated and not found["200000"].estimated
    assert found["800000"].hours == pytest.approx(truth.hours)
    assert found["800000"].flops == pytest.approx(truth.train_flops)


def test_measured_costs_stay_and_unknown_ones_are_none() -> None:
    found = pretraining_costs([trained(100_000), trained(200_000)], VOCABULARY, MASK)
    assert found["200000"] == PretrainingCost(trained(200_000).hours, trained(200_000).train_flops)
    assert pretraining_costs([trained(100_000), not_trained(200_000)], None, MASK)[
        "200000"
    ] == PretrainingCost(None, None)
    assert pretraining_costs([not_trained(100_000)], VOCABULARY, MASK)["100000"] == PretrainingCost(
        None, None
    )


def test_saving_is_the_difference_and_marks_estimates() -> None:
    cost = {
        "a": PretrainingCost(1.0, 10.0),
        "b": PretrainingCost(4.0, 40.0),
        "c": PretrainingCost(9.0, 90.0, True),
        "d": PretrainingCost(None, None),
    }
    assert saving(cost, "a", "b") == Saving("b", 3.0, 30.0, False)
    assert saving(cost, "a", "c") == Saving("c", 8.0, 80.0, True)
    assert saving(cost, "d", "d") == Saving("d", 0.0, 0.0, False)
    assert saving(cost, "a", "d") == Saving("d", None, None, False)


def test_groups_of_codes_are_part_of_the_shape() -> None:
    """With hierarchical embeddings the same number of parameters gives another shape, and other costs."""
    groups = 300
    sizes = [trained(100_000, groups=groups), trained(200_000, groups=groups), not_trained(800_000)]
    estimated = pretraining_costs(sizes, VOCABULARY, MASK, groups)["800000"]
    truth = trained(800_000, groups=groups)
    assert estimated.flops == pytest.approx(truth.train_flops)
    assert trained(800_000).train_flops != pytest.approx(truth.train_flops, rel=1e-3)
