"""Two processes that share a pretraining end where one would."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from claimscale.errors import BadInput
from claimscale.training import distributed


def _metrics(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("together")
    for name in ("whole", "incident", "few", "stopped", "stopped-incident"):
        (folder / name).mkdir()
    script = Path(__file__).with_name("run_together.py")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launcher, script, folder], check=False, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def reports(together: Path) -> list[dict]:
    return [json.loads((together / f"rank{rank}.json").read_text()) for rank in range(2)]


def test_every_rank_sees_the_same_sums(reports: list[dict]) -> None:
    for report in reports:
        assert report["sums"] == [[3, 1.0], 10]
        assert report["gradients"] == [[0, 3, 6], [[1, 1], [1, 1]]], "one without a gradient adds nothing"


def test_no_thread_of_the_process_group_remains(reports: list[dict]) -> None:
    """One that is left aborts the process now and then, after all is done."""
    for report in reports:
        assert not [name for name in report["threads"] if "gloo" in name]


@pytest.mark.parametrize("name", ["whole", "incident"])
def test_losses_of_two_ranks_are_those_of_one(
    tmp_path: Path, together: Path, reports: list[dict], pretrain_with_checkpoints, name: str
) -> None:
    expected = pretrain_with_checkpoints(tmp_path, lambda share: None, incident=name == "incident")
    alone, shared = _metrics(tmp_path), _metrics(together / name)
    assert [line["loss"] for line in shared] == pytest.approx([line["loss"] for line in alone], abs=1e-5)
    for key in ("step", "tokens", "masked", "lr"):
        assert [line[key] for line in shared] == [line[key] for line in alone], "not approximately: the same"
    for report in reports:
        result = report[name]
        assert result["ranks"] == 2 and expected["ranks"] == 1
        scores = {key for key in expected if key.startswith("validation_loss")}
        assert len(scores) == 3 + (name == "incident")
        for key in scores:
            assert result[key] == pytest.approx(expected[key], abs=1e-5)
        assert result["tokens"] == expected["tokens"] and result["train_flops"] == expected["train_flops"]
    mine, theirs = (load_file(folder / "model.safetensors") for folder in (tmp_path, together / name))
    for weight_name, weight in mine.items():
        # a step of AdamW is as large as the rate however small the gradient, and its rounding, were
        torch.testing.assert_close(theirs[weight_name], weight, atol=4e-3, rtol=0)


def test_a_rank_without_sequences_waits_for_the_others(
    tmp_path: Path, reports: list[dict], pretrain_with_checkpoints
) -> None:
    expected = pretrain_with_checkpoints(tmp_path, lambda share: None, patients=3)
    assert reports[0]["few"]["validation_loss"] == reports[1]["few"]["validation_loss"]
    assert reports[0]["few"]["validation_loss"] == pytest.approx(expected["validation_loss"], abs=1e-5)


@pytest.mark.parametrize("name", ["stopped", "stopped-incident"])
def test_one_rank_resumes_the_run_of_two(
    tmp_path: Path, together: Path, pretrain_with_checkpoints, name: str
) -> None:
    incident = name == "stopped-incident"
    expected = pretrain_with_checkpoints(tmp_path, lambda share: None, incident=incident)
    shares: list[float] = []
    result = pretrain_with_checkpoints(together / name, shares.append, incident=incident)
    assert shares[0] > 0.5, "it did not start again"
    assert result["validation_loss"] == pytest.approx(expected["validation_loss"], abs=1e-5)
    losses = [[line["loss"] for line in _metrics(folder)] for folder in (together / name, tmp_path)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_a_single_rank_waits_for_nothing() -> None:
    weight = torch.zeros(3, requires_grad=True)
    distributed.current().all_reduce_gradients([weight])
    assert weight.grad is None
    assert distributed.current().sum(2, 0.5) == [2, 0.5] and distributed.current().is_main
    distributed.current().barrier()


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with (
        pytest.raises(BadInput, match="3 processes on this machine are more than its 2 GPUs"),
        distributed.joined("auto"),
    ):
        pass
