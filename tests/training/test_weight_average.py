from __future__ import annotations

import pytest
import torch

from claimscale.training.weight_average import WeightAverage


@pytest.fixture
def model() -> torch.nn.Linear:
    return torch.nn.Linear(3, 2)


def _set(model: torch.nn.Linear, value: float) -> None:
    with torch.no_grad():
        for weight in model.parameters():
            weight.fill_(value)


def test_the_average_spans_the_given_number_of_steps(model) -> None:
    _set(model, 0.0)
    average = WeightAverage(model, 4)
    _set(model, 1.0)
    for _ in range(4):
        average.update()
    with average.swapped_in():
        torch.testing.assert_close(model.weight, torch.full((2, 3), 1 - 0.75**4))
    torch.testing.assert_close(model.weight, torch.ones(2, 3), atol=0, rtol=0)


def test_an_average_over_one_step_is_the_weights(model) -> None:
    average = WeightAverage(model, 1)
    _set(model, 0.1)
    average.update()
    with average.swapped_in():
        assert (model.weight == torch.tensor(0.1)).all()


def test_weights_return_after_an_error(model) -> None:
    average = WeightAverage(model, 2)
    before = model.weight.detach().clone()
    _set(model, 5.0)
    with pytest.raises(RuntimeError), average.swapped_in():
        assert torch.equal(model.weight, before)
        raise RuntimeError
    assert (model.weight == 5).all()


def test_the_average_resumes_without_frozen_weights(model) -> None:
    model.bias.requires_grad_(False)
    first = WeightAverage(model, 3)
    _set(model, 2.0)
    first.update()
    kept = {name: tensor.clone() for name, tensor in first.tensors().items()}
    assert set(kept) == {"average.weight"}
    second = WeightAverage(model, 3)
    second.restore(kept | {"model.weight": model.weight})
    for one in (first, second):
        one.update()
    assert torch.equal(first.tensors()["average.weight"], second.tensors()["average.weight"])
