"""Parts that are computed side by side."""

import pytest
import torch

from claimscale.config.training import Pretrain
from claimscale.tokens.pretraining_inputs import static
from claimscale.training import gradients
from claimscale.training.pretraining_run import PretrainingRun

CPU = torch.device("cpu")


@pytest.fixture
def with_threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_weights_have_the_same_bits_whatever_the_threads(corpus, shape, token_metadata, with_threads) -> None:
    def trained(threads: int) -> tuple[list[float], dict[str, torch.Tensor]]:
        with_threads(threads)
        settings = Pretrain(batch_tokens=1500)
        run = PretrainingRun(
            static(corpus(200, 0)[0]), token_metadata, shape, settings, 1, torch.device("cpu")
        )
        run.batches.microbatch_tokens = 200
        assert len(run.batches.microbatches(0)) > 4
        losses = [float(run.step(step)[0]) for step in range(4)]
        assert torch.get_num_threads() == threads
        return losses, run.model.state_dict()

    losses, weights = trained(1)
    for threads in (2, 3):
        others, other_weights = trained(threads)
        assert others == losses
        assert all(torch.equal(weights[name], weight) for name, weight in other_weights.items())


def test_no_more_parts_are_begun_than_there_are_threads(with_threads) -> None:
    """Each holds activations and a copy of the gradients."""
    model, begun, freed = torch.nn.Linear(2, 1), [], []

    def part(n: int) -> torch.Tensor:
        begun.append(n)
        return model(torch.full((1, 2), float(n))).sum()

    def parts():
        for n in range(9):
            yield lambda n=n: part(n)
            freed.append(n)  # asked for the next one
            assert n - len(begun) <= 2

    with_threads(2)
    total = gradients.accumulate(model, parts())
    assert sorted(begun) == list(range(9)) and len(freed) == 9
    with torch.no_grad():
        expected = sum(float(model(torch.full((1, 2), float(n)))) for n in range(9))
    assert float(total) == pytest.approx(expected, rel=1e-6)
    assert model.weight.grad is not None and model.weight.grad.tolist() == [[36.0, 36.0]]


def test_what_goes_wrong_in_a_part_is_raised_and_threads_are_as_before(with_threads) -> None:
    def wrong() -> torch.Tensor:
        raise ValueError("a part")

    with_threads(2)
    with pytest.raises(ValueError, match="a part"):
        gradients.accumulate(torch.nn.Linear(2, 1), [wrong, wrong])
    assert torch.get_num_threads() == 2
