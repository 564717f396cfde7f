"""One stable run with cooldowns at several budgets; in `make test-faults` also without incident codes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, strategies as st
from safetensors.torch import load_file

from claimscale.config.training import Pretrain
from claimscale.tokens.pretraining_inputs import static
from claimscale.training.checkpoints import training_tensors
from claimscale.training.lr_schedule import Cooldown, LrSchedule, cooldowns_of
from claimscale.training.pretraining import PretrainingJob

SHARES = [0.25, 0.5, 1.0]
SETTINGS = {"cooldown_fractions": SHARES, "batch_tokens": 200, "epochs": 3}


def _assert_same(one: Path, other: Path) -> None:
    weights, others = load_file(one), load_file(other)
    assert weights.keys() == others.keys()
    assert all(torch.equal(weights[name], others[name]) for name in weights)


@given(st.integers(1, 3000), st.floats(0.01, 0.99))
def test_a_cooldown_forks_where_its_rate_first_differs(steps: int, share: float) -> None:
    stable = LrSchedule.of(steps)
    (cooldown,) = cooldowns_of([share, 1.0], stable)
    assert 1 <= cooldown.fork <= cooldown.schedule.steps <= steps and cooldown.own_steps >= 0
    before = range(cooldown.fork)
    assert [cooldown.schedule.multiplier(step) for step in before] == [
        stable.multiplier(step) for step in before
    ]
    if cooldown.own_steps and cooldown.schedule.steps < steps:
        assert cooldown.schedule.multiplier(cooldown.fork) < stable.multiplier(cooldown.fork)
    assert cooldown.own_steps <= 0.2 * cooldown.schedule.steps


KINDS = ["incident", *(["masked"] if "CLAIMSCALE_KILLS" in os.environ else [])]


@pytest.fixture(scope="module", params=[kind == "incident" for kind in KINDS], ids=KINDS)
def incident(request: pytest.FixtureRequest) -> bool:
    """Whether incident codes are predicted too, at another date in each epoch."""
    return request.param


@pytest.fixture(scope="module")
def cooled(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest, incident: bool
) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("cooled")
    shares: list[float] = []
    pretrain = request.getfixturevalue("pretrain_with_checkpoints")
    result = pretrain(folder, shares.append, incident=incident, **SETTINGS)
    assert shares == sorted(shares) and shares[-1] == 1
    return folder, result


def test_the_stable_run_is_the_same_without_cooldowns(
    cooled, tmp_path: Path, pretrain_with_checkpoints, incident: bool
) -> None:
    folder, result = cooled
    expected = pretrain_with_checkpoints(
        tmp_path, lambda share: None, incident=incident, batch_tokens=200, epochs=3
    )
    _assert_same(folder / "model.safetensors", tmp_path / "model.safetensors")
    for key in ("tokens", "train_flops", "validation_loss"):
        assert result[key] == expected[key]
    steps = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(len(steps))), "the stable run is trained once"


def test_a_cooldown_equals_a_shorter_run(cooled, samples_of, run_of, incident) -> None:
    folder, result = cooled
    assert [entry["share"] for entry in result["cooldowns"]] == SHARES
    tokens = [entry["tokens"] for entry in result["cooldowns"]]
    assert tokens == sorted(tokens) and tokens[-1] == result["tokens"]
    assert result["cooldowns"][-1]["validation_loss"] == result["validation_loss"]
    settings = Pretrain(epochs=3, batch_tokens=200)
    samples = samples_of(120, 0, incident)
    run = run_of(samples, settings, 7)
    run.schedule = Cooldown(0.5, LrSchedule(round(0.5 * run.steps), run.schedule.warmup)).schedule
    tokens = sum(run.step(step)[1] for step in range(run.steps))
    weights = load_file(folder / "cooldown-0.5.safetensors")
    assert all(torch.equal(weights[name], weight) for name, weight in run.model.state_dict().items())
    entry = result["cooldowns"][1]
    assert entry["steps"] == run.steps and entry["tokens"] == tokens
    assert not torch.equal(
        weights["final_norm.gain"], load_file(folder / "model.safetensors")["final_norm.gain"]
    )


@pytest.mark.parametrize("share", [0.46, 0.6])
def test_a_killed_run_or_cooldown_resumes_to_the_same_weights(
    cooled, tmp_path: Path, pretrain_with_checkpoints, incident: bool, share: float
) -> None:
    folder, expected = cooled
    script, settings = Path(__file__).with_name("killed_at.py"), {**SETTINGS, "incident": incident}
    died = subprocess.run([sys.executable, script, tmp_path, str(share), json.dumps(settings)], check=False)
    assert died.returncode == -signal.SIGKILL
    in_branch = (tmp_path / "checkpoints" / "cooldown-0.5").exists()
    assert in_branch == (share == 0.46)
    shares: list[float] = []
    result = pretrain_with_checkpoints(tmp_path, shares.append, **settings)
    assert shares[0] >= share, "it does not restart"
    for name in ("model", "cooldown-0.25", "cooldown-0.5"):
        _assert_same(tmp_path / f"{name}.safetensors", folder / f"{name}.safetensors")
    assert result["cooldowns"] == expected["cooldowns"]
    for key in ("tokens", "flops"):
        assert result["cost"][key] == expected["cost"][key]
    assert not (tmp_path / "checkpoints" / "cooldown-0.5").exists()
    resumed, whole = (
        [json.loads(line)["loss"] for line in (place / "cooldown-0.5.jsonl").read_text().splitlines()]
        for place in (tmp_path, folder)
    )
    assert resumed == whole


@pytest.mark.parametrize(
    "damaged", ["checkpoints/cooldown-0.5.json", "cooldown-0.25.safetensors", "cooldown-0.5.jsonl"]
)
def test_a_damaged_cooldown_is_made_again_from_its_fork(
    cooled, tmp_path: Path, pretrain_with_checkpoints, incident: bool, damaged: str
) -> None:
    """Killed past the forks: the weights of the stable run are not those that the cooldown starts from."""
    folder, expected = cooled
    script, settings = Path(__file__).with_name("killed_at.py"), {**SETTINGS, "incident": incident}
    subprocess.run([sys.executable, script, tmp_path, "0.8", json.dumps(settings)], check=False)
    content = bytearray((tmp_path / damaged).read_bytes())
    place = max(place for place, byte in enumerate(content) if 48 <= byte <= 57)
    content[place] ^= 1
    (tmp_path / damaged).write_bytes(content)
    result = pretrain_with_checkpoints(tmp_path, lambda share: None, **settings)
    for name in ("model", "cooldown-0.25", "cooldown-0.5"):
        _assert_same(tmp_path / f"{name}.safetensors", folder / f"{name}.safetensors")
    assert result["cooldowns"] == expected["cooldowns"]


class Stopped(Exception):
    pass


@pytest.mark.parametrize("minutes", [1e-6, 1e6])
@pytest.mark.parametrize("kept", ["record", "nothing"])
def test_a_finished_cooldown_is_not_repeated(
    cooled, tmp_path: Path, pretrain_with_checkpoints, monkeypatch, incident, minutes: float, kept: str
) -> None:
    """Stopped just after, or just before, the second cooldown is on record."""
    record, settings = (
        PretrainingJob.finish_part,
        {**SETTINGS, "incident": incident, "checkpoint_minutes": minutes},
    )

    def stop(self, name: str, identity: str, entry: dict) -> None:
        if name == "cooldown-0.25" or kept == "record":
            record(self, name, identity, entry)
        if name == "cooldown-0.5":
            raise Stopped

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(PretrainingJob, "finish_part", stop)
        pretrain_with_checkpoints(tmp_path, lambda share: None, **settings)
    result = pretrain_with_checkpoints(tmp_path, lambda share: None, **settings)
    folder, expected = cooled
    for name in ("model", "cooldown-0.25", "cooldown-0.5"):
        _assert_same(tmp_path / f"{name}.safetensors", folder / f"{name}.safetensors")
    assert result["cooldowns"] == expected["cooldowns"]
    for key in ("tokens", "flops"):
        assert result["cost"][key] == expected["cost"][key]


def test_the_cost_includes_cooldowns_and_validation(cooled, validation_of, incident: bool) -> None:
    _, result = cooled
    validation = validation_of(50, 1, incident)
    own = sum(entry["tokens"] for entry in result["cooldowns"]) - result["tokens"]
    assert result["tokens"] < result["cost"]["tokens"] < result["tokens"] + own
    per_token = result["train_flops"] / result["tokens"]
    scored = len(validation.tuning.sequences.token)  # three times, forward only
    scored *= 1 + incident  # each objective scores the sequences once
    trained = per_token * result["cost"]["tokens"]
    most = per_token * (result["cost"]["tokens"] + scored)
    assert trained < result["cost"]["flops"] <= 1.02 * most
    if not incident:
        assert result["cost"]["flops"] == pytest.approx(most, rel=0.02)


def test_a_restored_state_is_exact(corpus, run_of) -> None:
    run = run_of(static(corpus(60, 0)[0]), Pretrain(batch_tokens=300))
    for step in range(3):
        run.step(step)
    state = run.state()
    before = {name: tensor.clone() for name, tensor in training_tensors(run.model, run.optimizer).items()}
    losses = [run.step(step)[0] for step in (3, 4)]
    run.restore(state)
    after = training_tensors(run.model, run.optimizer)
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    assert [run.step(step)[0] for step in (3, 4)] == losses
