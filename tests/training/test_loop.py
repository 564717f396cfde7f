import itertools
import json

import pytest
import torch

from claimscale.errors import BadInput
from claimscale.training import loop


def test_schedule_rises_holds_and_decays_to_nothing():
    rates = [loop.rate_multiplier(step, 100, 5) for step in range(100)]
    assert rates[0] == pytest.approx(1 / 6)
    assert all(a < b for a, b in itertools.pairwise(rates[:6]))
    assert set(rates[5:81]) == {1.0}
    assert all(a > b for a, b in itertools.pairwise(rates[80:]))
    assert 0 < rates[-1] < 0.05
    assert rates[85] == pytest.approx(1 - (5 / 20) ** 0.5)


def test_schedule_of_a_single_step_trains():
    assert loop.rate_multiplier(0, 1, 1) > 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_divergence_stops_before_any_weight_changes(bad: float):
    model = torch.nn.Linear(3, 1)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    optimizer = torch.optim.AdamW([{"params": list(model.parameters()), "base_rate": 0.1}])
    loss = model(torch.ones(1, 3)).sum() * bad
    with pytest.raises(loop.Diverged, match="step 17") as caught:
        loop.update(model, optimizer, [loss], 1.0, 17)
    assert isinstance(caught.value, BadInput)
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(weight, before[name])


def test_parts_of_a_batch_add_up():
    def trained(parts: int) -> torch.Tensor:
        torch.manual_seed(0)
        model = torch.nn.Linear(4, 1)
        optimizer = torch.optim.AdamW([{"params": list(model.parameters()), "base_rate": 0.1}])
        rows = torch.arange(32.0).view(8, 4) / 32
        losses = (model(chunk).square().sum() / 8 for chunk in rows.chunk(parts))
        assert loop.update(model, optimizer, losses, 1.0, 0) > 0
        return model.weight.detach()

    torch.testing.assert_close(trained(1), trained(4))


def test_metrics_file_drops_what_a_killed_run_left_after_the_checkpoint(tmp_path):
    file = tmp_path / "metrics.jsonl"
    file.write_text("".join(json.dumps({"step": step}) + "\n" for step in range(5)) + '{"step": 5, "lo')
    metrics = loop.MetricsFile(file, 3)
    assert metrics.last == {"step": 2}
    metrics.write(step=3, loss=1.5)
    metrics.close()
    assert [json.loads(line)["step"] for line in file.read_text().splitlines()] == [0, 1, 2, 3]
