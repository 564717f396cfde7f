"""A stretch of pretraining steps with checkpoints and a metrics file of its own, resumable at any moment."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from claimscale.errors import Interrupted
from claimscale.training import checkpoints, late, loop
from claimscale.training.masked_codes import PretrainingRun


class Stretch:
    """Trains `run` step by step and remembers how far it is.

    Checkpoints of the same `identity` in `folder` are resumed; without any it starts with what the run holds,
    where the stretch `after` is, or at step 0. `metrics` gets one line per step. Only the first rank writes.
    """

    def __init__(
        self,
        run: PretrainingRun,
        folder: Path,
        metrics: Path,
        identity: str,
        checkpoint_minutes: float,
        after: Stretch | None = None,
    ) -> None:
        self.run, self.folder, self.identity = run, folder, identity
        self.checkpoint_seconds = 60 * checkpoint_minutes
        self.done = self._resume() or (after.done if after else 0)
        self._metrics = loop.MetricsFile(metrics if run.ranks.leads else Path(os.devnull), self.done)
        last = self._metrics.last
        self.tokens, self.masked, self.seconds = (
            last.get(key, getattr(after, key, 0)) for key in ("tokens", "masked", "seconds")
        )
        self._pending: list[tuple[Tensor, dict[str, Any]]] = []
        self._saved = time.monotonic()

    def advance(self, stop: int, progress: Callable[[int], None]) -> None:
        """Train all steps before `stop`; `progress` is told how many steps are done."""
        started, before = time.monotonic(), self.seconds
        for step in range(self.done, stop):
            loss, tokens, masked = self.run.step(step)
            self.tokens, self.masked, self.done = self.tokens + tokens, self.masked + masked, step + 1
            self.seconds = before + time.monotonic() - started
            self._record(step, loss)
            if self.run.ranks.leads and time.monotonic() - self._saved >= self.checkpoint_seconds:
                self.save()
            progress(self.done)
        self._read()
        self.seconds = before + time.monotonic() - started

    def save(self) -> None:
        """A checkpoint of where it is, never of a step whose loss has not been seen to be finite."""
        self._read()
        if self.run.ranks.leads:
            run = self.run
            checkpoints.save_checkpoint(self.folder, self.done, self.identity, run.model, run.optimizer)
        self._saved = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._metrics.close()

    def _resume(self) -> int:
        """The step resumed, the first rank before all others, lest two repair the same folder."""
        run, step = self.run, 0
        for turn in (run.ranks.leads, not run.ranks.leads):
            if turn:
                step = checkpoints.resume(self.folder, self.identity, run.model, run.optimizer)
            run.ranks.wait()
        if step != (expected := int(run.ranks.leaders(step))):
            raise Interrupted(
                f"{self.folder}: rank {run.ranks.rank} finds step {step} there, the first rank {expected}; "
                "all nodes must see the same run directory"
            )
        return step

    def _record(self, step: int, loss: float | Tensor) -> None:
        line = {
            "step": step,
            "loss": None,
            "lr": self.run.schedule.rate(step) * self.run.settings.learning_rate,
            "tokens": self.tokens,
            "masked": self.masked,
            "seconds": round(self.seconds, 3),
        }
        if not isinstance(loss, Tensor):
            self._metrics.write(**{**line, "loss": loss})
            return
        self._pending.append((loss, line))
        if len(self._pending) >= late.READ_EVERY:
            self._read()

    def _read(self) -> None:
        """Write the lines of steps whose losses are still on the GPU; Diverged if one is not finite."""
        if not self._pending:
            return
        readings, lines = [loss for loss, _ in self._pending], [line for _, line in self._pending]
        self._pending = []
        for loss, line in zip(late.read(readings, lines[0]["step"]), lines, strict=True):
            self._metrics.write(**{**line, "loss": loss})
