"""Short runs at several learning rates."""

import json
from pathlib import Path

import pytest
import torch

from claimscale.config.training import Pretrain
from claimscale.tokens.pretraining_inputs import PretrainingSample, static
from claimscale.training import cost, energy
from claimscale.training.optimizer_step import Diverged
from claimscale.training.pretraining import PretrainingJob, sweep_learning_rates
from claimscale.training.pretraining_run import PretrainingRun
from claimscale.training.validation import Validation

SETTINGS = Pretrain(
    epochs=5, batch_tokens=400, checkpoint_minutes=1e-3, lr_sweep=[1e-5, 4e-3, 3.0], lr_sweep_fraction=0.5
)


@pytest.fixture
def sweep(corpus, job_of):
    def run(folder: Path, progress=lambda share: None, settings: Pretrain = SETTINGS) -> dict:
        job = job_of(
            folder, static(corpus(200, 0)[0]), Validation(PretrainingSample(corpus(60, 1)[0])), settings
        )
        return sweep_learning_rates(job, progress)

    return run


def test_the_best_rate_is_neither_too_low_nor_too_high(sweep, tmp_path: Path) -> None:
    shares: list[float] = []
    result = sweep(tmp_path, shares.append)
    assert shares == sorted(shares) and shares[-1] == 1
    rates = [tried["learning_rate"] for tried in result["lr_sweep"]]
    losses = [tried["validation_loss"] for tried in result["lr_sweep"]]
    assert rates == SETTINGS.lr_sweep
    assert losses[1] < losses[0] - 0.1 and losses[1] < losses[2] - 0.1
    assert result["tokens"] == pytest.approx(3 * 0.5 * 5 * 2800, rel=0.1), "three short runs"
    assert not list(tmp_path.glob("*.safetensors"))


class Stop(Exception):
    pass


def test_a_stopped_sweep_resumes(sweep, tmp_path: Path, monkeypatch) -> None:
    expected = sweep(tmp_path / "whole")["lr_sweep"]

    def stop(share: float) -> None:
        if share > 0.5:
            raise Stop

    with pytest.raises(Stop):
        sweep(tmp_path / "stopped", stop)
    shares: list[float] = []
    assert sweep(tmp_path / "stopped", shares.append)["lr_sweep"] == expected
    assert shares[0] > 0.34, "the first rate was not run again, nor the second from its start"


def test_a_diverging_rate_has_no_loss_and_stops_no_other(sweep, tmp_path: Path, monkeypatch) -> None:
    step = PretrainingRun.step

    def diverge(run, number: int):
        if run.setup.settings.learning_rate > 1 and number == 4:
            raise Diverged("training diverged")
        return step(run, number)

    monkeypatch.setattr(PretrainingJob, "score", lambda self, run: {"validation_loss": 1.5})
    monkeypatch.setattr(PretrainingRun, "step", diverge)
    result = sweep(tmp_path)
    assert [tried["validation_loss"] for tried in result["lr_sweep"]] == [1.5, 1.5, None]


def test_costs_of_a_sweep_add_up_over_an_interruption(sweep, tmp_path: Path, monkeypatch) -> None:
    joules = [0.0]
    peaks = iter([900, 700, 500])
    monkeypatch.setattr(
        cost, "meter_for", lambda device: energy.EnergyMeter(lambda: list(joules), [float("inf")])
    )
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(cost, "peak_memory", lambda device: 100)
    monkeypatch.setattr(cost, "reset_peak_memory", lambda device: None)
    score = PretrainingJob.score

    def scored(self, run):
        joules[0] += 50.0
        peak = next(peaks)
        monkeypatch.setattr(cost, "peak_memory", lambda device: peak)
        return score(self, run)

    monkeypatch.setattr(PretrainingJob, "score", scored)

    def stop(share: float) -> None:
        if share > 0.5:
            raise Stop

    with pytest.raises(Stop):
        sweep(tmp_path, stop)
    result = sweep(tmp_path)
    spent, lines = result["cost"], [file.read_text().splitlines() for file in tmp_path.glob("rate-*.jsonl")]
    assert spent["device_hours"] == pytest.approx(2 * spent["wall_hours"], rel=1e-3)
    assert spent["peak_memory"] == 900
    assert result["seconds"] == pytest.approx(3600 * spent["wall_hours"], rel=1e-3)
    assert spent["energy_kwh"] == pytest.approx(150 / cost.JOULES_PER_KWH)
    assert spent["wall_hours"] * 3600 >= sum(json.loads(part[-1])["seconds"] for part in lines)
    assert spent["tokens"] == result["tokens"]
    assert spent["flops"] > 1.02 * result["train_flops"], "scoring takes operations too"
