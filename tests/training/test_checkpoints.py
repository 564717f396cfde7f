import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from claimscale.training import checkpoints
from claimscale.training.checkpoints import Checkpoints

NOW, NEVER = 0.0, 1e9


def _trained(steps: int) -> tuple[nn.Linear, torch.optim.Optimizer]:
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


def _of(folder: Path, identity: str = "same") -> Checkpoints:
    return Checkpoints(folder, identity, NOW)


def _save(folder: Path, *steps: int, identity: str = "same") -> None:
    saver = _of(folder, identity)
    for step in steps:
        saver.save(step, checkpoints.training_tensors(*_trained(step)), {"tokens": 10 * step})


def _flip(file: Path, place: int = -1) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-5])


def test_resumed_training_goes_on_bit_by_bit(tmp_path: Path):
    _save(tmp_path, 3)
    found, saver = _of(tmp_path).resume(), _of(tmp_path)
    (model, optimizer), (resumed, fresh) = _trained(3), _trained(0)
    checkpoints.restore(found.tensors, found.step, resumed, fresh)
    for pair in ((model, optimizer), (resumed, fresh)):
        _step(*pair)
    assert torch.equal(model.weight, resumed.weight) and torch.equal(model.bias, resumed.bias)
    assert (found.step, found.state, saver.notes) == (3, {"tokens": 30}, [])


def test_weights_that_are_not_trained_are_not_saved():
    model, optimizer = _trained(1)
    model.bias.requires_grad_(False)
    assert set(checkpoints.training_tensors(model, optimizer)) == {
        "model.weight", "exp_avg.weight", "exp_avg_sq.weight"
    }  # fmt: skip


def test_only_the_newest_two_are_kept(tmp_path: Path):
    (tmp_path / "step-000000001.safetensors.partial").write_text("left by a kill")
    _save(tmp_path, 1, 2, 3, 4)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        f"step-00000000{step}.{ending}" for step in (3, 4) for ending in ("json", "safetensors")
    ]


@pytest.mark.parametrize(
    ("damage", "ending", "words"),
    [
        (_flip, "safetensors", "do not match their checksum"),
        (_cut, "safetensors", "do not match their checksum"),
        (lambda file: file.write_bytes(b""), "safetensors", "do not match their checksum"),
        (Path.unlink, "safetensors", "are missing"),
        (_cut, "json", "cannot be read"),
        (lambda file: file.write_text("[]"), "json", "cannot be read"),
        (lambda file: file.write_bytes(b"\xff\xfe"), "json", "cannot be read"),
        (lambda file: file.write_text(file.read_text().replace("20", "30")), "json", "was changed"),
    ],
)  # fmt: skip
def test_a_damaged_checkpoint_is_replaced_by_the_one_before(
    tmp_path: Path, caplog, damage: Callable[[Path], object], ending: str, words: str
):
    _save(tmp_path, 1, 2)
    damage(tmp_path / f"step-000000002.{ending}")
    saver = _of(tmp_path)
    with caplog.at_level(logging.WARNING):
        found = saver.resume()
    assert found.step == 1 and found.state == {"tokens": 10}
    torch.testing.assert_close(found.tensors["model.weight"], _trained(1)[0].weight.detach())
    (note,) = saver.notes
    text = str(note["text"])
    assert "step 2" in text and words in text and "resumed from step 1" in text
    assert text in caplog.text


def test_every_single_flipped_byte_is_noticed(tmp_path: Path):
    _save(tmp_path, 1)
    for ending in ("json", "safetensors"):
        file = tmp_path / f"step-000000001.{ending}"
        sound = file.read_bytes()
        for place in range(len(sound)):
            _flip(file, place)
            found = _of(tmp_path).resume()
            # JSON may say the same in other bytes; then it is the same checkpoint
            assert found.step == 0 or (ending == "json" and found.state == {"tokens": 10}), place
            file.write_bytes(sound)
    assert _of(tmp_path).resume().step == 1


def test_training_restarts_if_all_checkpoints_are_damaged(tmp_path: Path, caplog):
    _save(tmp_path, 1, 2)
    for file in tmp_path.glob("*.safetensors"):
        _flip(file)
    saver = _of(tmp_path)
    assert saver.resume() == checkpoints.Checkpoint()
    (note,) = saver.notes
    text = str(note["text"])
    assert "step 1" in text and "step 2" in text and "from the beginning" in text


def test_damage_is_noted_and_removes_no_valid_checkpoint(tmp_path: Path):
    _save(tmp_path, 10, 20)
    _flip(tmp_path / "step-000000020.safetensors")
    saver = _of(tmp_path)
    saver.resume()
    saver.save(11, {}, {})
    again = _of(tmp_path)
    assert again.resume().step == 11
    assert again.notes == saver.notes and len(again.notes) == 1
    assert sorted(int(mark.stem[5:]) for mark in tmp_path.glob("*.json")) == [10, 11]


def test_an_unfinished_save_is_no_damage(tmp_path: Path):
    _save(tmp_path, 1, 2)
    (tmp_path / "step-000000002.json").unlink()
    saver = _of(tmp_path)
    assert saver.resume().step == 1 and saver.notes == []


def test_checkpoints_of_other_work_do_not_count(tmp_path: Path):
    assert _of(tmp_path / "absent").resume().step == 0
    _save(tmp_path, 1)
    saver = _of(tmp_path, "other")
    assert saver.resume().step == 0 and saver.notes == []


def test_a_mark_holds_nothing_but_what_it_vouches_for(tmp_path: Path):
    _save(tmp_path, 1)
    entry = json.loads((tmp_path / "step-000000001.json").read_text())
    assert set(entry) == {"step", "identity", "sha256", "state", "notes", "seal"}


def test_saving_is_due_after_its_minutes_or_when_cheap(tmp_path: Path):
    assert Checkpoints(tmp_path, "", NOW).due()
    patient = Checkpoints(tmp_path, "", NEVER)
    assert not patient.due() and patient.due(natural=True)
    patient.save(1, {}, {})
    patient._save_seconds = 1e6  # as if it had taken days
    assert not patient.due(natural=True)
