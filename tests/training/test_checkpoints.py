from pathlib import Path

import torch
from torch import nn

from claimscale.training import checkpoints


def _trained(steps: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    for _ in range(steps):
        _step(model, optimizer)
    return model, optimizer


def _step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    model(torch.ones(1, 3)).square().sum().backward()
    optimizer.step()


def test_resumed_training_goes_on_bit_by_bit(tmp_path: Path):
    model, optimizer = _trained(3)
    checkpoints.save_checkpoint(tmp_path, 3, "same", model, optimizer)
    resumed, fresh = _trained(0)
    assert checkpoints.resume(tmp_path, "same", resumed, fresh) == 3
    for pair in ((model, optimizer), (resumed, fresh)):
        _step(*pair)
    assert isinstance(model, nn.Linear) and isinstance(resumed, nn.Linear)
    assert torch.equal(model.weight, resumed.weight)


def test_only_the_newest_two_are_kept(tmp_path: Path):
    for step in range(1, 5):
        checkpoints.save_checkpoint(tmp_path, step, "same", *_trained(1))
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        f"step-00000000{step}.{ending}" for step in (3, 4) for ending in ("json", "safetensors")
    ]


def test_a_single_damaged_byte_is_noticed(tmp_path: Path):
    for step in (1, 2):
        checkpoints.save_checkpoint(tmp_path, step, "same", *_trained(step))
    newest = tmp_path / "step-000000002.safetensors"
    content = bytearray(newest.read_bytes())
    content[-1] ^= 1
    newest.write_bytes(content)
    assert checkpoints.resume(tmp_path, "same", *_trained(0)) == 1


def test_checkpoints_of_other_work_or_without_their_mark_do_not_count(tmp_path: Path):
    assert checkpoints.resume(tmp_path / "absent", "same", *_trained(0)) == 0
    checkpoints.save_checkpoint(tmp_path, 1, "same", *_trained(1))
    checkpoints.save_checkpoint(tmp_path, 2, "same", *_trained(2))
    assert checkpoints.resume(tmp_path, "other", *_trained(0)) == 0
    (tmp_path / "step-000000002.json").write_text("{")
    assert checkpoints.resume(tmp_path, "same", *_trained(0)) == 1
