"""A trainer of pretraining steps with checkpoints and a metrics file of its own, resumable at any moment."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from claimscale.errors import Interrupted
from claimscale.training import async_step, checkpoints, loop
from claimscale.training.checkpoints import Checkpoint, Checkpoints
from claimscale.training.cost import CostMeter
from claimscale.training.pretraining_run import PretrainingRun


class Trainer:
    """Trains `run` step by step and remembers how far it is.

    Checkpoints of the same `identity` in `folder` are resumed; without any it starts with what the run holds,
    where the trainer `after` is, or at step 0. `metrics` gets one line per step. Only the first rank writes.
    """

    def __init__(
        self,
        run: PretrainingRun,
        folder: Path,
        metrics: Path,
        identity: str,
        checkpoint_minutes: float,
        after: Trainer | None = None,
    ) -> None:
        self.run, self.after, self.identity = run, after, identity
        self.saver = Checkpoints(folder, identity, checkpoint_minutes)
        found = self._resume()
        self.done = found.step or (after.done if after else 0)
        self._metrics = loop.MetricsFile(metrics if run.ranks.is_main else Path(os.devnull), self.done)
        self.tokens, self.masked = (
            found.state.get(key, getattr(after, key, 0)) for key in ("tokens", "masked")
        )
        self.meter = after.meter if after and not found.step else self._ledger(found)
        self._pending: list[tuple[Tensor, dict[str, Any]]] = []

    def advance(self, stop: int, progress: Callable[[int], None]) -> None:
        """Train all steps before `stop`; `progress` is told how many steps are done."""
        for step in range(self.done, stop):
            loss, tokens, masked = self.run.step(step)
            self.tokens, self.masked, self.done = self.tokens + tokens, self.masked + masked, step + 1
            self.meter.count(tokens, self.run.flops(tokens, masked))
            self._record(step, loss)
            if self.run.ranks.is_main and self.saver.due():
                self.save()
            progress(self.done)
        self._read()

    def save(self) -> None:
        """A checkpoint of where it is, never of a step whose loss has not been seen to be finite."""
        self._read()
        if self.run.ranks.is_main:
            tensors = checkpoints.training_tensors(self.run.model, self.run.optimizer)
            state = {"cost": self.meter.state(), "tokens": self.tokens, "masked": self.masked}
            self.saver.save(self.done, tensors, state)

    def has_spent(self, state: Mapping[str, Any]) -> None:
        """Take over the meter's state after a part that an earlier process finished, if it is ahead."""
        if self.meter.flops < state["flops"]:
            self.meter = CostMeter(self.run.device, state, self.meter.usage(), self._devices)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._metrics.close()
        if self.after is not None:  # one account and one list of notes for all that a cell does
            self.after.meter = self.meter
            self.after.saver.notes += self.saver.notes

    def _ledger(self, found: Checkpoint) -> CostMeter:
        return CostMeter(self.run.device, found.state.get("cost"), self._metrics.spent, self._devices)

    @property
    def _devices(self) -> int:
        """GPUs, or threads on a CPU, of all ranks."""
        of_rank = torch.get_num_threads() if self.run.device.type == "cpu" else 1
        return self.run.ranks.count * of_rank

    def _resume(self) -> Checkpoint:
        """What all ranks go on from; it must be the same step."""
        found, ranks = self.saver.resume(), self.run.ranks
        if found.step:
            checkpoints.restore(found.tensors, found.step, self.run.model, self.run.optimizer)
        if found.step != (expected := int(ranks.broadcast(found.step))):
            raise Interrupted(
                f"{self.saver.folder}: rank {ranks.rank} finds step {found.step} there, the first rank "
                f"{expected}; all nodes must see the same run directory"
            )
        return found

    def _record(self, step: int, loss: float | Tensor) -> None:
        line = {
            "step": step,
            "loss": None,
            "lr": self.run.schedule.rate(step) * self.run.settings.learning_rate,
            "masked": self.masked,
            **self.meter.usage(),
            "tokens": self.tokens,
        }
        if not isinstance(loss, Tensor):
            self._metrics.write(**{**line, "loss": loss})
            return
        self._pending.append((loss, line))
        if len(self._pending) >= async_step.READ_EVERY:
            self._read()

    def _read(self) -> None:
        """Write the lines of steps whose losses are still on the GPU; Diverged if one is not finite."""
        if not self._pending:
            return
        readings, lines = [loss for loss, _ in self._pending], [line for _, line in self._pending]
        self._pending = []
        for loss, line in zip(
            async_step.read(readings, lines[0]["step"], self.run.batch_name), lines, strict=True
        ):
            self._metrics.write(**{**line, "loss": loss})
