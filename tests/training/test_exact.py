"""The same bits in every run and after an interruption; golden outputs of both trainings."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden_outputs import check_golden

from claimscale.config.training import Pretrain
from claimscale.training.pretraining import pretrain, sweep_learning_rates

GOLDEN = Path(__file__).with_name("golden_outputs.json")
OBJECTIVES = pytest.mark.parametrize("incident", [False, True], ids=["masked", "incident"])
"""Masked codes alone, or as by default incident codes too."""
SCORES = {"validation_loss", "validation_loss_incident"}


def ignore(fraction: float) -> None:
    """Progress that nobody watches."""


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
    newest.write_bytes(newest.read_bytes()[:-5])  # the end is lost: the previous checkpoint is used


@OBJECTIVES
def test_pretraining_gives_the_golden_output(
    tmp_path: Path, samples_of: Any, validation_of: Any, job_of: Any, incident: bool
) -> None:
    samples, validation = samples_of(120, 0, incident), validation_of(20, 1, incident)
    batch_tokens = round(samples(0).sequences.lengths.sum() / 4)
    settings = Pretrain(epochs=5, batch_tokens=batch_tokens, cooldown_fractions=[0.5, 1.0])
    result = pretrain(job_of(tmp_path, samples, validation, settings, 42), ignore)
    losses = _losses(tmp_path)
    assert len(losses) == 20
    check_golden(
        GOLDEN, "pretrain", "incident" if incident else "masked", {**reproducible(result), "losses": losses}
    )


def test_a_sweep_gives_the_golden_output(
    tmp_path: Path, samples_of: Any, validation_of: Any, job_of: Any
) -> None:
    settings = Pretrain(epochs=2, batch_tokens=800, lr_sweep=[1e-3, 4e-3, 1e-2], lr_sweep_fraction=0.5)
    job = job_of(tmp_path, samples_of(120, 0, True), validation_of(20, 1, True), settings, 42)
    check_golden(GOLDEN, "sweep", "incident", reproducible(sweep_learning_rates(job, ignore)))


@pytest.mark.parametrize("method", ["full", "lora"])
def test_fine_tuning_gives_the_golden_output(tmp_path: Path, tune_with_checkpoints: Any, method: str) -> None:
    result, probability = tune_with_checkpoints(tmp_path, method=method)
    output = {
        **reproducible(result),
        "losses": _losses(tmp_path),
        "probability": probability["test"].tolist(),
    }
    check_golden(GOLDEN, "finetune", method, output)


def reproducible(result: dict[str, Any]) -> dict[str, Any]:
    """The result without what differs from run to run, which stays as its keys."""
    cost = {key: result["cost"][key] for key in ("tokens", "flops")}
    measured = dict.fromkeys(result["cost"].keys() - cost)
    changing = {"seconds", "tokens_per_second"} & result.keys()
    return {**result, **dict.fromkeys(changing), "cost": {**cost, **measured}}


@OBJECTIVES
def test_the_same_seed_gives_the_same_bits(tmp_path, pretrain_with_checkpoints, incident: bool):
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
def test_a_pretraining_resumes_despite_a_damaged_checkpoint(
    tmp_path, pretrain_with_checkpoints, incident: bool
):
    whole, stopped = _folder(tmp_path, "whole"), _folder(tmp_path, "stopped")
    expected = pretrain_with_checkpoints(whole, lambda share: None, incident=incident)
    with pytest.raises(Stopped):
        pretrain_with_checkpoints(stopped, _stop_at(0.6), incident=incident)
    _damage_newest(stopped)
    shares: list[float] = []
    result = pretrain_with_checkpoints(stopped, shares.append, incident=incident)
    assert shares[0] > 0.3  # it does not restart
    assert _weights(stopped) == _weights(whole) and _losses(stopped) == _losses(whole)
    for key in (SCORES & expected.keys()) | {"tokens", "train_flops"}:
        assert result[key] == expected[key]
    assert result["cost"]["flops"] == expected["cost"]["flops"]
    assert expected["notes"] == [] and len(result["notes"]) == 1 and "damaged" in result["notes"][0]["text"]


@pytest.fixture
def tune_with_checkpoints(corpus: Any, tune: Any) -> Any:
    """A fine-tuning with a checkpoint after every step, always the same."""

    def run(folder: Path, progress: Any = ignore, minutes: float = 1e-6, **settings: Any) -> Any:
        train, tuning = ((sequences, topic == 0) for sequences, topic in (corpus(120, 0), corpus(50, 1)))
        settings = {"epochs": 3, "checkpoint_minutes": minutes, **settings}
        return tune(folder, train, tuning, {"test": corpus(40, 2)[0]}, seed=3, progress=progress, **settings)

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
def test_a_stopped_fine_tuning_resumes_to_the_same_bits(tmp_path, tune_with_checkpoints, stop, settings):
    whole, stopped = _folder(tmp_path, "whole"), _folder(tmp_path, "stopped")
    expected, probability = tune_with_checkpoints(whole, **settings)
    with pytest.raises(Stopped):
        tune_with_checkpoints(stopped, _stop_at(stop), **settings)
    shares: list[float] = []
    result, again = tune_with_checkpoints(stopped, shares.append, **settings)
    assert shares[0] >= stop and len(shares) >= 1
    assert _weights(stopped) == _weights(whole) and _losses(stopped) == _losses(whole)
    np.testing.assert_array_equal(again["test"], probability["test"])
    for key in ("learning_rate", "best_epoch", "tuning_loss", "trials"):
        assert result[key] == expected[key]
    for key in ("tokens", "flops"):
        assert result["cost"][key] == expected["cost"][key]


def test_a_fine_tuning_notes_a_damaged_checkpoint(tmp_path, tune_with_checkpoints):
    whole, stopped = _folder(tmp_path, "whole"), _folder(tmp_path, "stopped")
    tune_with_checkpoints(whole)
    with pytest.raises(Stopped):
        tune_with_checkpoints(stopped, _stop_at(0.5))
    _damage_newest(stopped)
    result, _ = tune_with_checkpoints(stopped)
    assert _weights(stopped) == _weights(whole)
    assert len(result["notes"]) == 1 and "damaged" in result["notes"][0]["text"]


def test_fine_tuning_saves_at_the_end_of_epochs(tmp_path, tune_with_checkpoints):
    with pytest.raises(Stopped):
        tune_with_checkpoints(tmp_path, _stop_at(0.9 * 0.4), minutes=1e9, learning_rates=[2e-3])
    steps = [int(mark.stem.removeprefix("step-")) for mark in (tmp_path / "checkpoints").glob("*.json")]
    per_epoch = steps[0]
    assert steps == [per_epoch]
    shares: list[float] = []
    tune_with_checkpoints(tmp_path, shares.append, minutes=1e9, learning_rates=[2e-3])
    assert shares[0] == pytest.approx(0.9 * (per_epoch + 1) / (3 * per_epoch))


def test_other_settings_do_not_resume_from_the_checkpoint(tmp_path, tune_with_checkpoints):
    whole, stopped = _folder(tmp_path, "whole"), _folder(tmp_path, "stopped")
    tune_with_checkpoints(whole, learning_rates=[1e-3])
    with pytest.raises(Stopped):
        tune_with_checkpoints(stopped, _stop_at(0.5))
    shares: list[float] = []
    tune_with_checkpoints(stopped, shares.append, learning_rates=[1e-3])
    assert shares[0] < 0.1 and _weights(stopped) == _weights(whole)


def test_an_output_that_changes_without_a_version_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "golden.json"
    before, after = {"losses": [1.0, 2.0], "seconds": None}, {"losses": [1.0, 2.001], "seconds": None}
    monkeypatch.setenv("CLAIMSCALE_GOLDEN", "write")
    check_golden(file, "pretrain", "x", before, {"pretrain": 1})
    with pytest.raises(pytest.fail.Exception, match="raise its number"):
        check_golden(file, "pretrain", "x", after, {"pretrain": 1})
    monkeypatch.delenv("CLAIMSCALE_GOLDEN")
    check_golden(file, "pretrain", "x", before, {"pretrain": 1})
    for other in (after, {**before, "new": 1}, {**before, "losses": [1.0]}):
        with pytest.raises(pytest.fail.Exception, match=r"changed .*raise its number in versions\.py"):
            check_golden(file, "pretrain", "x", other, {"pretrain": 1})
    with pytest.raises(pytest.fail.Exception, match="at version 2"):
        check_golden(file, "pretrain", "x", after, {"pretrain": 2})
    monkeypatch.setenv("CLAIMSCALE_GOLDEN", "write")
    check_golden(file, "pretrain", "x", after, {"pretrain": 2})
    monkeypatch.delenv("CLAIMSCALE_GOLDEN")
    check_golden(file, "pretrain", "x", after, {"pretrain": 2})
