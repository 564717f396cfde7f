"""What is done on a GPU, tried on a CPU: parts and late readings never change the result."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, strategies as st

from claimscale.config.training import Pretrain
from claimscale.tokens.pretraining_inputs import static
from claimscale.training import memory, trainer as trainers
from claimscale.training.optimizer_step import Diverged, optimizer_step_async, read_losses
from claimscale.training.pretraining_run import PretrainingRun
from claimscale.training.trainer import Trainer

CPU = torch.device("cpu")


@pytest.fixture
def make_run(corpus, run_of):
    def make(**settings) -> PretrainingRun:
        chosen = {"epochs": 2, "batch_tokens": 800, "checkpoint_minutes": 1e9, **settings}
        return run_of(static(corpus(150, 0)[0]), Pretrain(**chosen))

    return make


def _weights(run: PretrainingRun) -> torch.Tensor:
    return torch.cat([weight.detach().flatten().clone() for weight in run.model.parameters()])


@given(st.floats(1e6, 1e12), st.floats(1e3, 1e11), st.integers(1, 1 << 20))
def test_a_microbatch_fits_and_one_of_twice_its_size_does_not(
    free: float, peak: float, positions: int
) -> None:
    part = memory.microbatch_for(free, peak, positions)
    assert memory.SMALLEST_MICROBATCH <= part <= memory.LARGEST_MICROBATCH
    if part > memory.SMALLEST_MICROBATCH:
        assert part * peak / positions <= 0.8 * free
    if part < memory.LARGEST_MICROBATCH:
        assert 2 * part * peak / positions > 0.8 * free


def test_out_of_memory_repeats_the_step_in_smaller_microbatches(make_run, monkeypatch) -> None:
    usual, tight = make_run(), make_run()
    loss_of, sizes = tight._loss, []

    def scarce(work, batch, mask):
        sizes.append(len(batch.token))
        if len(batch.token) > 300:
            raise torch.OutOfMemoryError("no room")
        return loss_of(work, batch, mask)

    monkeypatch.setattr(tight, "_loss", scarce)
    monkeypatch.setattr(memory, "SMALLEST_MICROBATCH", 64)
    for step in range(4):
        loss, tokens, masked = tight.step(step)
        expected = usual.step(step)
        assert loss == pytest.approx(expected[0], abs=1e-5)
        assert (tokens, masked) == expected[1:]
    assert max(sizes) > 300 and tight.batches.microbatch_tokens < usual.batches.microbatch_tokens
    torch.testing.assert_close(_weights(tight), _weights(usual), atol=1e-4, rtol=0)


def test_out_of_memory_at_the_smallest_microbatch_is_an_error(make_run, monkeypatch) -> None:
    def fail(*given):
        raise torch.OutOfMemoryError("no room")

    run = make_run()
    monkeypatch.setattr(run, "_loss", fail)
    with pytest.raises(torch.OutOfMemoryError):
        run.step(0)
    assert run.batches.microbatch_tokens <= memory.SMALLEST_MICROBATCH
    run = make_run()
    before = run.batches.microbatch_tokens
    monkeypatch.setattr(run.optimizer, "step", fail)
    with pytest.raises(torch.OutOfMemoryError):
        run.step(0)
    assert run.batches.microbatch_tokens == before, "a half-made update is not made again"


def test_a_step_in_which_nothing_is_hidden_is_harmless(make_run) -> None:
    run = make_run(mask_probability=1e-12)
    loss, tokens, masked = run.step(0)
    assert (loss, masked) == (0.0, 0) and tokens > 0
    assert run.step(1)[0] == 0.0 and torch.isfinite(_weights(run)).all()


def test_masking_by_code_trains_on_other_codes_than_by_position(make_run) -> None:
    by_code, by_position = make_run(mask_unit="code"), make_run()
    (loss, *_), (other, *_) = by_code.step(0), by_position.step(0)
    assert 0 < loss < 10 and loss != other


def _late_update(run: PretrainingRun, work, step: int):
    return optimizer_step_async(run.model, run.optimizer, run._losses(work), run.schedule.multiplier(step))


def test_asynchronous_steps_equal_synchronous_ones(make_run, monkeypatch, tmp_path: Path) -> None:
    at_once, later = make_run(), make_run()
    with Trainer(at_once, tmp_path / "a", tmp_path / "a.jsonl", "") as trainer:
        trainer.advance(at_once.steps, lambda done: None)
    monkeypatch.setattr(PretrainingRun, "_update", _late_update)
    monkeypatch.setattr(trainers, "READ_EVERY", 3)
    with Trainer(later, tmp_path / "b", tmp_path / "b.jsonl", "") as trainer:
        trainer.advance(later.steps, lambda done: None)
    lines = [
        [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]
        for name in ("a.jsonl", "b.jsonl")
    ]
    assert [line["step"] for line in lines[1]] == list(range(later.steps))
    for key in ("loss", "lr", "tokens", "masked"):
        assert [line[key] for line in lines[1]] == pytest.approx([line[key] for line in lines[0]], rel=1e-6)
    torch.testing.assert_close(_weights(later), _weights(at_once), atol=1e-6, rtol=0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_no_weight_changes_after_a_loss_that_is_not_finite(make_run, monkeypatch, bad: float) -> None:
    run = make_run()
    monkeypatch.setattr(PretrainingRun, "_update", _late_update)
    readings = [run.step(step)[0] for step in range(2)]
    before, state = _weights(run), run.state()
    whole = PretrainingRun._loss
    monkeypatch.setattr(PretrainingRun, "_loss", lambda self, *part: bad * whole(self, *part))
    readings.append(run.step(2)[0])
    monkeypatch.setattr(PretrainingRun, "_loss", whole)
    readings += [run.step(step)[0] for step in (3, 4)]
    assert torch.equal(_weights(run), before)
    assert all(torch.equal(value, state[name]) for name, value in run.state().items()), "nor a moment"
    assert len(read_losses(readings[:2], 0, run.batch_name)) == 2
    with pytest.raises(Diverged, match=r"diverged at step 2, batch .*lower learning_rate"):
        read_losses(readings, 0, run.batch_name)


def test_no_checkpoint_is_written_of_steps_that_diverged(make_run, monkeypatch, tmp_path: Path) -> None:
    run = make_run()
    monkeypatch.setattr(PretrainingRun, "_update", _late_update)
    whole = PretrainingRun._loss
    with Trainer(run, tmp_path / "checkpoints", tmp_path / "metrics.jsonl", "") as trainer:
        trainer.advance(2, lambda done: None)
        trainer.save()
        monkeypatch.setattr(PretrainingRun, "_loss", lambda self, *part: float("nan") * whole(self, *part))
        with pytest.raises(Diverged, match="step 2"):
            trainer.advance(4, lambda done: None)
    assert [file.name for file in sorted((tmp_path / "checkpoints").glob("*.json"))] == [
        "step-000000002.json"
    ]


def test_the_microbatch_is_measured_and_reduced_on_a_gpu(monkeypatch) -> None:
    """Of 10 GiB free 2 are held for the optimizer; a position takes 64 KiB, and 16,384 of them do not fit."""
    tried = []

    def train_part(positions: int) -> int:
        tried.append(positions)
        if positions > 9000:
            raise torch.OutOfMemoryError("no room")
        return positions - 100

    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 1 << 30)
    monkeypatch.setattr(
        torch.cuda, "max_memory_allocated", lambda device: (1 << 30) + (tried[-1] - 100) * (1 << 16)
    )
    monkeypatch.setattr(memory, "free_memory", lambda device: 10 << 30)
    part = memory.measured_microbatch(train_part, 2 << 30, CPU)
    assert tried == [16_384, 8_192]
    assert part == 65_536, "the power of two below 0.8 of 8 GiB at 64 KiB each"
