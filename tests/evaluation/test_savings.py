"""Hours saved: as measured where both sizes were trained, estimated from operations where one was not."""

from typing import Any

import pytest

from claimscale.evaluation.savings import Cost, Saving, costs, saving
from claimscale.model import shapes

VOCABULARY, TOKENS, MASK = 600, 4_000_000, 0.3
RATE = 5e12
"""Operations per hour."""


def trained(parameters: int, rate: float = RATE) -> dict[str, Any]:
    flops = shapes.train_flops(shapes.solve(parameters, VOCABULARY), TOKENS, MASK * TOKENS)
    entry = {"name": str(parameters), "parameters": parameters, "tokens": TOKENS}
    return entry | {"train_flops": flops, "hours": flops / rate}


def left_out(parameters: int) -> dict[str, Any]:
    return {"name": str(parameters), "parameters": parameters, "hours": None}


def test_a_size_left_out_costs_what_it_would_have_at_the_same_rate() -> None:
    """Were it trained at the rate of the largest one that was, the estimate is exact."""
    found = costs([trained(100_000, RATE / 3), trained(200_000), left_out(800_000)], VOCABULARY, MASK)
    truth = trained(800_000)
    assert found["800000"].estimated and not found["200000"].estimated
    assert found["800000"].hours == pytest.approx(truth["hours"])
    assert found["800000"].flops == pytest.approx(truth["train_flops"])


def test_what_was_measured_stays_and_nothing_is_made_up() -> None:
    found = costs([trained(100_000), trained(200_000)], VOCABULARY, MASK)
    assert found["200000"] == Cost(trained(200_000)["hours"], trained(200_000)["train_flops"])
    assert costs([trained(100_000), left_out(200_000)], None, MASK)["200000"] == Cost(None, None)
    assert costs([left_out(100_000)], VOCABULARY, MASK)["100000"] == Cost(None, None)


def test_saving_is_the_difference_and_says_whether_it_is_an_estimate() -> None:
    cost = {"a": Cost(1.0, 10.0), "b": Cost(4.0, 40.0), "c": Cost(9.0, 90.0, True), "d": Cost(None, None)}
    assert saving(cost, "a", "b") == Saving("b", 3.0, 30.0, False)
    assert saving(cost, "a", "c") == Saving("c", 8.0, 80.0, True)
    assert saving(cost, "d", "d") == Saving("d", 0.0, 0.0, False)
    assert saving(cost, "a", "d") == Saving("d", None, None, False)
