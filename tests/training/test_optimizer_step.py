import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from claimscale.errors import BadInput
from claimscale.tokens.batches import Batch, microbatches
from claimscale.tokens.sequences import Sequences
from claimscale.training.lr_schedule import lr_multiplier
from claimscale.training.optimizer_step import Diverged, Losses, batch_hash, finite_loss, optimizer_step


@pytest.fixture
def sequences(corpus) -> Sequences:
    return corpus(30, 0)[0]


def _update(model: torch.nn.Module, optimizer: torch.optim.Optimizer, losses: Losses, step: int = 0) -> float:
    return finite_loss(*optimizer_step(model, optimizer, losses, 1.0), step, lambda step: f"hash{step}")


def _parts(sequences: Sequences, positions: int = 1 << 20, patients: int = 20) -> list[Batch]:
    return list(microbatches(sequences, np.arange(patients), positions))


def test_schedule_rises_holds_and_decays_to_nothing():
    rates = [lr_multiplier(step, 100, 5) for step in range(100)]
    assert rates[0] == pytest.approx(1 / 6)
    assert all(a < b for a, b in itertools.pairwise(rates[:6]))
    assert set(rates[5:81]) == {1.0}
    assert all(a > b for a, b in itertools.pairwise(rates[80:]))
    assert 0 < rates[-1] < 0.05
    assert rates[85] == pytest.approx(1 - (5 / 20) ** 0.5)


def test_schedule_of_a_single_step_trains():
    assert lr_multiplier(0, 1, 1) > 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_divergence_changes_nothing_and_names_the_batch(bad: float, sequences):
    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.AdamW([{"params": list(model.parameters()), "base_rate": 0.1}])
    _update(model, optimizer, [lambda: model(torch.ones(1, 3)).sum()])

    def state() -> list[torch.Tensor]:
        moments = [tensor for entry in optimizer.state.values() for tensor in entry.values()]
        return [tensor.clone() for tensor in (*model.state_dict().values(), *moments)]

    def good() -> torch.Tensor:
        return model(torch.ones(1, 3)).sum()

    before = state()
    with pytest.raises(Diverged, match="step 17") as caught:
        _update(model, optimizer, [good, lambda: good() * bad], 17)
    assert isinstance(caught.value, BadInput) and "\n" not in str(caught.value)
    assert "batch hash17:" in str(caught.value)
    assert all(torch.equal(old, new) for old, new in zip(before, state(), strict=True))
    assert all(weight.grad is None for weight in model.parameters())


def test_a_gradient_that_is_not_finite_stops_as_well(sequences):
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(model.weight)
    optimizer = torch.optim.AdamW([{"params": list(model.parameters()), "base_rate": 0.1}])
    with pytest.raises(Diverged, match=r"loss 0\.0, gradient norm (inf|nan)"):
        _update(model, optimizer, [lambda: model(torch.ones(1)).sqrt().sum()])
    assert model.weight.item() == 0.0


def test_the_name_of_a_batch_ignores_its_division(sequences):
    name = batch_hash(_parts(sequences))
    assert len(name) == 12 and int(name, 16) >= 0
    assert len(_parts(sequences, 100)) > 2 and batch_hash(_parts(sequences, 100)) == name
    assert batch_hash(_parts(sequences, patients=19)) != name
    (batch,) = _parts(sequences)
    token = batch.token.copy()
    token[5] += 1
    assert batch_hash([replace(batch, token=token)]) != name


def test_parts_of_a_batch_add_up(sequences):
    def trained(parts: int) -> torch.Tensor:
        torch.manual_seed(0)
        model = torch.nn.Linear(4, 1)
        optimizer = torch.optim.AdamW([{"params": list(model.parameters()), "base_rate": 0.1}])
        rows = torch.arange(32.0).view(8, 4) / 32
        losses = (lambda c=chunk: model(c).square().sum() / 8 for chunk in rows.chunk(parts))
        assert _update(model, optimizer, losses) > 0
        return model.weight.detach()

    torch.testing.assert_close(trained(1), trained(4))
