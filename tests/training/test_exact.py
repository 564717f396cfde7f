"""The same bits every time: run to run, after an interruption, and nearly those of the stored losses."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from claimscale.config.training import Finetune, Pretrain
from claimscale.training.finetune import finetune
from claimscale.training.pretrain import pretrain
from claimscale.training.pretraining_job import Job

CPU = torch.device("cpu")
GOLDEN = Path(__file__).with_name("golden_losses.json")
OBJECTIVES = pytest.mark.parametrize("incident", [False, True], ids=["masked", "incident"])
"""Masked codes of the same sequences in each epoch; as by default, incident codes of dated ones too."""
SCORES = {"validation_loss", "validation_loss_incident"}


class Stopped(Exception):
    pass


def _stop_at(share: float):
    def progress(done: float) -> None:
        if done >= share:
            raise Stopped

    return progress


def _losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def _weights(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def _folder(place: Path, name: str) -> Path:
    folder = place / name
    folder.mkdir()
    return folder


def _damage_newest(folder: Path) -> None:
    newest = max((folder / "checkpoints").glob("*.safetensors"))
    newest.write_bytes(newest.read_bytes()[:-5])  # as if the disk had lost its end: the one before counts


@OBJECTIVES
def test_twenty_steps_of_pretraining_give_the_stored_losses(
    tmp_path, views_of, validation_of, shape, token_metadata, incident: bool
):
    """`CLAIMSCALE_GOLDEN=write pytest tests/training/test_exact.py`, after a wanted change, stores anew."""
    views, validation = views_of(120, 0, incident), validation_of(20, 1, incident)
    batch_tokens = round(views(0).sequences.lengths.sum() / 4)
    job = Job(views, validation, token_metadata, shape, 42, tmp_path, CPU)
    pretrain(job, Pretrain(epochs=5, batch_tokens=batch_tokens), lambda share: None)
    losses, objective = _losses(tmp_path), "incident" if incident else "masked"
    stored = json.loads(GOLDEN.read_text())
    if os.environ.get("CLAIMSCALE_GOLDEN") == "write":
        stored[objective] = losses
        GOLDEN.write_text(json.dumps(stored, indent=1) + "\n")
    assert len(losses) == 20
    assert losses == pytest.approx(stored[objective], rel=1e-4)


@OBJECTIVES
def test_the_same_seed_gives_the_same_pretraining_bit_by_bit(
    tmp_path, pretrain_with_checkpoints, incident: bool
):
    folders = {name: _folder(tmp_path, name) for name in "abc"}
    results = {
        name: pretrain_with_checkpoints(folders[name], lambda share: None, seed, incident=incident)
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    }
    assert _weights(folders["a"]) == _weights(folders["b"]) != _weights(folders["c"])
    assert _losses(folders["a"]) == _losses(folders["b"]) != _losses(folders["c"])
    assert ("validation_loss_incident" in results["a"]) == incident
    for key in SCORES & results["a"].keys():
        assert results["a"][key] == results["b"][key] != results["c"][key]


@OBJECTIVES
def test_a_stopped_pretraining_with_a_damaged_checkpoint_ends_the_same_and_says_so(
    tmp_path, pretrain_with_checkpoints, incident: bool
):
    whole, stopped = _folder(tmp_path, "whole"), _folder(tmp_path, "stopped")
    expected = pretrain_with_checkpoints(whole, lambda share: None, incident=incident)
    with pytest.raises(Stopped):
        pretrain_with_checkpoints(stopped, _stop_at(0.6), incident=incident)
    _damage_newest(stopped)
    shares: list[float] = []
    result = pretrain_with_checkpoints(stopped, shares.append, incident=incident)
    assert shares[0] > 0.3  # it did not start again
    assert _weights(stopped) == _weights(whole) and _losses(stopped) == _losses(whole)
    for key in (SCORES & expected.keys()) | {"tokens", "train_flops"}:
        assert result[key] == expected[key]
    assert result["cost"]["flops"] == expected["cost"]["flops"]
    assert (
        expected["notes"] == []
        and len(result["notes"]) == 1
        and "damaged" in result["notes"][0]["text"]["text"]
    )


@pytest.fixture
def tune(corpus, shape, token_metadata):
    """A fine-tuning that saves after every step, always the same."""

    def run(folder: Path, progress=lambda share: None, minutes=1e-6, **settings):
        train, tuning = corpus(120, 0), corpus(50, 1)
        return finetune(
            train=train[0], train_outcome=train[1] == 0, tuning=tuning[0], tuning_outcome=tuning[1] == 0,
            predict={"test": corpus(40, 2)[0]}, token_metadata=token_metadata, shape=shape,
            settings=Finetune(
                initialization=["pretrained"], epochs=3, checkpoint_minutes=minutes, **settings
            ), seed=3, start=None, folder=folder, device=CPU, progress=progress,
        )  # fmt: skip

    return run


@pytest.mark.parametrize(
    ("stop", "settings"),
    [
        (0.05, {}),
        (0.45, {}),
        (0.95, {}),  # between training and prediction
        (0.70, {"method": "lora", "learning_rates": [1e-3, 5e-3], "layerwise_lr_decay": 0.8}),
        (0.30, {"method": "linear_probe", "learning_rates": [1e-2, 1e-3]}),
    ],
)  # fmt: skip
def test_a_stopped_fine_tuning_goes_on_to_the_same_bits(tmp_path, tune, stop, settings):
    whole, stopped = _folder(tmp_path, "whole"), _folder(tmp_path, "stopped")
    expected, probability = tune(whole, **settings)
    with pytest.raises(Stopped):
        tune(stopped, _stop_at(stop), **settings)
    shares: list[float] = []
    result, again = tune(stopped, shares.append, **settings)
    assert shares[0] >= stop and len(shares) >= 1
    assert _weights(stopped) == _weights(whole) and _losses(stopped) == _losses(whole)
    np.testing.assert_array_equal(again["test"], probability["test"])
    for key in ("learning_rate", "best_epoch", "tuning_loss", "trials"):
        assert result[key] == expected[key]
    for key in ("tokens", "flops"):
        assert result["cost"][key] == expected["cost"][key]


def test_a_fine_tuning_whose_newest_checkpoint_is_damaged_says_so(tmp_path, tune):
    whole, stopped = _folder(tmp_path, "whole"), _folder(tmp_path, "stopped")
    tune(whole)
    with pytest.raises(Stopped):
        tune(stopped, _stop_at(0.5))
    _damage_newest(stopped)
    result, _ = tune(stopped)
    assert _weights(stopped) == _weights(whole)
    assert len(result["notes"]) == 1 and "damaged" in result["notes"][0]["text"]["text"]


def test_fine_tuning_saves_at_the_end_of_epochs(tmp_path, tune):
    with pytest.raises(Stopped):
        tune(tmp_path, _stop_at(0.9 * 0.4), minutes=1e9, learning_rates=[2e-3])
    steps = [int(mark.stem.removeprefix("step-")) for mark in (tmp_path / "checkpoints").glob("*.json")]
    per_epoch = steps[0]
    assert steps == [per_epoch]
    shares: list[float] = []
    tune(tmp_path, shares.append, minutes=1e9, learning_rates=[2e-3])
    assert shares[0] == pytest.approx(0.9 * (per_epoch + 1) / (3 * per_epoch))


def test_a_fine_tuning_with_other_settings_does_not_go_on_from_the_checkpoint(tmp_path, tune):
    whole, stopped = _folder(tmp_path, "whole"), _folder(tmp_path, "stopped")
    tune(whole, learning_rates=[1e-3])
    with pytest.raises(Stopped):
        tune(stopped, _stop_at(0.5))
    shares: list[float] = []
    tune(stopped, shares.append, learning_rates=[1e-3])
    assert shares[0] < 0.1 and _weights(stopped) == _weights(whole)
