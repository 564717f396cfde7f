"""Microbatches on several threads."""

from pathlib import Path

import numpy as np
import pytest
import torch

from claimscale.config.training import Pretrain
from claimscale.tokens.pretraining_inputs import static
from claimscale.training import device
from claimscale.training.optimizer_step import accumulate_gradients
from claimscale.training.validation import validate

CPU = torch.device("cpu")


@pytest.fixture
def with_threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_weights_do_not_depend_on_the_number_of_threads(corpus, run_of, with_threads) -> None:
    def trained(threads: int) -> tuple[list[float], dict[str, torch.Tensor]]:
        with_threads(threads)
        settings = Pretrain(batch_tokens=1500)
        run = run_of(static(corpus(200, 0)[0]), settings)
        run.batches.microbatch_tokens = 200
        assert len(run.batches.microbatches(0)) > 4
        losses = [float(run.step(step)[0]) for step in range(4)]
        assert torch.get_num_threads() == threads
        return losses, run.model.state_dict()

    losses, weights = trained(1)
    for threads in (2, 3, 8):
        others, other_weights = trained(threads)
        assert others == losses
        assert all(torch.equal(weights[name], weight) for name, weight in other_weights.items())


def test_predictions_do_not_depend_on_the_number_of_threads(
    corpus, samples_of, validation_of, run_of, tune, tmp_path: Path, with_threads, monkeypatch
) -> None:
    """Also for so many threads that PyTorch's own operations would be faster."""
    monkeypatch.setattr(device, "MICROBATCH_TOKENS", 200)
    monkeypatch.setattr(device, "SMALLEST_CPU_MICROBATCH", 100)
    (train, topic), (tuning, tuning_topic), (test, _) = corpus(60, 0), corpus(40, 1), corpus(80, 2)
    run = run_of(samples_of(60, 0, True), Pretrain(batch_tokens=400))

    def outputs(threads: int) -> tuple[dict, np.ndarray]:
        with_threads(threads)
        labelled = (train, topic == 0), (tuning, tuning_topic == 0)
        folder = tmp_path / str(threads)
        _, probability = tune(folder, *labelled, {"test": test}, epochs=1, learning_rates=[1e-3])
        return validate(run.model, validation_of(60, 1, True), CPU), probability["test"]

    scores, probability = outputs(1)
    for threads in (2, 8):
        other_scores, other_probability = outputs(threads)
        assert other_scores == scores
        np.testing.assert_array_equal(other_probability, probability)


def test_no_more_microbatches_run_than_there_are_threads(with_threads) -> None:
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
    total = accumulate_gradients(model, parts())
    assert sorted(begun) == list(range(9)) and len(freed) == 9
    with torch.no_grad():
        expected = sum(float(model(torch.full((1, 2), float(n)))) for n in range(9))
    assert float(total) == pytest.approx(expected, rel=1e-6)
    assert model.weight.grad is not None and model.weight.grad.tolist() == [[36.0, 36.0]]


def test_an_error_in_a_microbatch_is_raised_and_threads_are_restored(with_threads) -> None:
    def wrong() -> torch.Tensor:
        raise ValueError("a part")

    with_threads(2)
    with pytest.raises(ValueError, match="a part"):
        accumulate_gradients(torch.nn.Linear(2, 1), [wrong, wrong])
    assert torch.get_num_threads() == 2
