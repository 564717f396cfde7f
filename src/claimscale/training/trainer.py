"""The training loop of pretraining: steps, one line of metrics per step, checkpoints, resumption."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self, cast

import torch
from torch import Tensor

from claimscale import artifacts
from claimscale.errors import Interrupted
from claimscale.training import checkpoints
from claimscale.training.checkpoints import Checkpoint, Checkpoints
from claimscale.training.cost import CostMeter, MeterState, Usage
from claimscale.training.optimizer_step import READ_EVERY, read_losses
from claimscale.training.pretraining_run import PretrainingRun


class StepLine(Usage):
    """A line of `metrics.jsonl`: a step of pretraining."""

    step: int
    loss: float | None
    lr: float
    masked: int


class Trainer:
    """Trains `run` step by step and saves its progress.

    It resumes the newest checkpoint in `folder` with the same `identity`; without one it starts from the
    state of the run, at the step of the trainer `parent` or at step 0. A checkpoint after the step `latest`
    is not resumed. `metrics` has one line per step. Only the main rank writes.
    """

    def __init__(
        self,
        run: PretrainingRun,
        folder: Path,
        metrics: Path,
        identity: str,
        parent: Trainer | None = None,
        latest: int | None = None,
    ) -> None:
        self.run, self.parent, self.identity = run, parent, identity
        self.group = run.setup.group
        self.saver = Checkpoints(folder, identity, run.setup.settings.checkpoint_minutes)
        found = self._resume(latest)
        self.done = found.step or (parent.done if parent else 0)
        self._metrics = MetricsFile(metrics if self.group.is_main else Path(os.devnull), self.done)
        self.tokens, self.masked = (
            found.state.get(key, getattr(parent, key, 0)) for key in ("tokens", "masked")
        )
        self.meter = parent.meter if parent and not found.step else self._new_meter(found)
        self._pending: list[tuple[Tensor, StepLine]] = []

    def advance(self, stop: int, progress: Callable[[int], None]) -> None:
        """Train all steps before `stop`; `progress` receives the number of steps done."""
        for step in range(self.done, stop):
            loss, tokens, masked = self.run.step(step)
            self.tokens, self.masked, self.done = self.tokens + tokens, self.masked + masked, step + 1
            self.meter.count(tokens, self.run.flops(tokens, masked))
            self._record(step, loss)
            if self.group.is_main and self.saver.due():
                self.save()
            progress(self.done)
        self._read()

    def save(self) -> None:
        """Write a checkpoint, once the losses of all steps are known to be finite."""
        self._read()
        if self.group.is_main:
            tensors = checkpoints.training_tensors(self.run.model, self.run.optimizer)
            state = {"cost": self.meter.state(), "tokens": self.tokens, "masked": self.masked}
            self.saver.save(self.done, tensors, state)

    def add_usage(self, state: MeterState) -> None:
        """Take over the meter's state after work that an earlier process finished, if it is ahead."""
        if self.meter.flops < state["flops"]:
            self.meter = CostMeter(self.run.setup.device, state, self.meter.usage(), self._devices)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._metrics.close()
        if self.parent is not None:  # a cell has one meter and one list of notes
            self.parent.meter = self.meter
            self.parent.saver.notes += self.saver.notes

    def _new_meter(self, found: Checkpoint) -> CostMeter:
        return CostMeter(self.run.setup.device, found.state.get("cost"), self._metrics.usage, self._devices)

    @property
    def _devices(self) -> int:
        """GPUs, or threads on a CPU, of all ranks."""
        of_rank = torch.get_num_threads() if self.run.setup.device.type == "cpu" else 1
        return self.group.count * of_rank

    def _resume(self, latest: int | None) -> Checkpoint:
        """The newest checkpoint up to the step `latest`, restored; it must be the same for all ranks."""
        found = self.saver.resume(latest)
        if found.step:
            checkpoints.restore(found.tensors, found.step, self.run.model, self.run.optimizer)
        if found.step != (expected := int(self.group.broadcast(found.step))):
            raise Interrupted(
                f"{self.saver.folder}: rank {self.group.rank} finds step {found.step} there, the main rank "
                f"{expected}; all nodes must see the same run directory"
            )
        return found

    def _record(self, step: int, loss: float | Tensor) -> None:
        line: StepLine = {
            "step": step,
            "loss": None,
            "lr": self.run.schedule.multiplier(step) * self.run.setup.settings.learning_rate,
            "masked": self.masked,
            **self.meter.usage(),
            "tokens": self.tokens,
        }
        if not isinstance(loss, Tensor):
            self._metrics.write(**{**line, "loss": loss})
            return
        self._pending.append((loss, line))
        if len(self._pending) >= READ_EVERY:
            self._read()

    def _read(self) -> None:
        """Write the lines of steps whose losses are still on the GPU; Diverged if one is not finite."""
        if not self._pending:
            return
        readings, lines = [loss for loss, _ in self._pending], [line for _, line in self._pending]
        self._pending = []
        losses = read_losses(readings, lines[0]["step"], self.run.batch_name)
        for loss, line in zip(losses, lines, strict=True):
            self._metrics.write(**{**line, "loss": loss})


class MetricsFile:
    """`metrics.jsonl`, one line per step. Opening it at a step drops the lines of later steps.

    `last` is the last line kept, `usage` the last line written before an interruption.
    """

    def __init__(self, file: Path, step: int = 0) -> None:
        content = file.read_bytes() if file.exists() else b""
        lines = list(_whole_lines(content))
        kept = [line for line in lines if line["step"] < step]
        self.last: Mapping[str, Any] = kept[-1] if kept else {}
        self.usage = cast(Usage, lines[-1]) if lines else None
        text = "".join(json.dumps(line) + "\n" for line in kept)
        if text.encode() != content:  # an equal file is not written again: it may be /dev/null
            artifacts.write_text(file, text)
        self._stream = file.open("a", encoding="utf-8")

    def write(self, **values: Any) -> None:
        self._stream.write(json.dumps(values) + "\n")
        self._stream.flush()

    def close(self) -> None:
        self._stream.close()


def _whole_lines(content: bytes) -> Iterator[Mapping[str, Any]]:
    """Lines before the first that an interruption has truncated."""
    for line in content.splitlines():
        try:
            values = json.loads(line)
        except ValueError:
            return
        if not isinstance(values, dict) or "step" not in values:
            return
        yield values
