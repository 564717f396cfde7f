"""Checkpoints, complete or absent: a file of tensors, then a JSON file with its checksum.

Files are written atomically: temporary file, fsync, rename. An interruption leaves the previous checkpoint or
the new one. A checkpoint whose bytes have changed fails its checksum, and the previous one is used.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from claimscale import artifacts
from claimscale.findings import Finding, finding

FOLDER = artifacts.CHECKPOINTS
"""In a cell's folder; removed when the cell is sealed."""
KEPT = 2
MOMENTS = ("exp_avg", "exp_avg_sq")
LONGEST_SHARE = 0.1
"""The maximum fraction of the time that saving at the ends of epochs takes."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """The state after `step` steps; `state` is JSON. Step 0 without tensors: the beginning."""

    step: int = 0
    tensors: dict[str, Tensor] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)


class Checkpoints:
    """The checkpoints of one training.

    `identity` is a fingerprint of all inputs of the training; checkpoints with another one are ignored.
    `notes` are findings (as JSON) on damaged checkpoints, over all interruptions.
    """

    def __init__(self, folder: Path, identity: str, minutes: float) -> None:
        self.folder, self.identity, self.minutes = folder, identity, minutes
        self.notes: list[dict[str, object]] = []
        self._saved_at, self._save_seconds = time.monotonic(), 0.0

    def resume(self, latest: int | None = None) -> Checkpoint:
        """The newest valid checkpoint, up to the step `latest`. Newer damaged ones are noted and logged."""
        damaged: list[Finding] = []
        marks = sorted(self.folder.glob("step-*.json"), reverse=True)
        for mark in marks if latest is None else [one for one in marks if one <= self._mark(latest)]:
            try:
                entry, tensors = self._read(mark)
            except _Damaged as error:
                step = int(mark.stem.removeprefix("step-"))
                damaged.append(finding("training.damaged_step", step=step, reason=error.reason))
                continue
            if entry["identity"] != self.identity:
                continue
            self.notes = entry["notes"]
            if damaged:
                self._note(finding("training.checkpoint_resumed", damage=damaged, step=entry["step"]))
            return Checkpoint(entry["step"], tensors, entry["state"])
        self.notes = []
        if damaged:
            self._note(finding("training.checkpoint_restarted", damage=damaged))
        return Checkpoint()

    def due(self, natural: bool = False) -> bool:
        """Whether to save now; at a `natural` point (the end of an epoch) if saving is cheap enough."""
        waited = time.monotonic() - self._saved_at
        return waited >= 60 * self.minutes or (natural and waited * LONGEST_SHARE >= self._save_seconds)

    def save(self, step: int, tensors: dict[str, Tensor], state: Mapping[str, object]) -> None:
        """Write a checkpoint."""
        started = time.monotonic()
        artifacts.make_folder(self.folder)
        digest = save_tensors(self._file(step), tensors)
        entry = {
            "step": step, "identity": self.identity, "sha256": digest, "state": state, "notes": self.notes
        }  # fmt: skip
        # The JSON file is written last: tensors without it, or with another digest, are ignored.
        artifacts.write_json(self._mark(step), {**entry, "seal": artifacts.fingerprint(**entry)})
        self._drop_old(step)
        self._saved_at = time.monotonic()
        self._save_seconds = self._saved_at - started

    def _drop_old(self, step: int) -> None:
        """Keep the newest two up to this step; later ones are damaged, files without JSON incomplete."""
        marks = sorted(self.folder.glob("step-*.json"))
        kept = [mark for mark in marks if mark <= self._mark(step)][-KEPT:]
        for file in sorted(self.folder.glob("step-*"), key=lambda file: file.suffix != ".json"):
            if file.with_suffix(".json") not in kept:
                file.unlink(missing_ok=True)

    def _read(self, mark: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
        try:
            entry = artifacts.read_json(mark)
            seal = entry.pop("seal")
            if seal != artifacts.fingerprint(**entry):
                raise _Damaged(finding("training.json_changed"))
            content = mark.with_suffix(".safetensors").read_bytes()
            if hashlib.sha256(content).hexdigest() != entry["sha256"]:
                raise _Damaged(finding("training.wrong_checksum"))
            return entry, load(content)
        except FileNotFoundError:
            raise _Damaged(finding("training.tensors_missing")) from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError):
            raise _Damaged(finding("training.unreadable")) from None

    def _note(self, note: Finding) -> None:
        self.notes = [*self.notes, note.model_dump()]
        log.warning("%s: %s", self.folder, note.text)

    def _file(self, step: int) -> Path:
        return self.folder / f"step-{step:09d}.safetensors"

    def _mark(self, step: int) -> Path:
        return self.folder / f"step-{step:09d}.json"


class _Damaged(Exception):
    """A checkpoint that cannot be used, with the reason."""

    def __init__(self, reason: Finding) -> None:
        super().__init__(reason.text)
        self.reason = reason


def save_tensors(file: Path, tensors: dict[str, Tensor]) -> str:
    """Write a safetensors file atomically and return its SHA-256."""
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    artifacts.write_bytes(file, content)
    return hashlib.sha256(content).hexdigest()


def training_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The trainable weights and their moments in the optimizer, as `restore` takes them."""
    tensors = {}
    for name, weight in trainable_weights(model).items():
        tensors[f"model.{name}"] = weight
        moments = optimizer.state.get(weight, {})  # empty for weights without a gradient so far
        tensors |= {f"{moment}.{name}": moments[moment] for moment in MOMENTS if moment in moments}
    return tensors


def restore(
    tensors: dict[str, Tensor], step: int, model: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """Set model and optimizer to their state after `step` optimizer steps."""
    with torch.no_grad():
        for name, weight in trainable_weights(model).items():
            weight.copy_(tensors[f"model.{name}"])
            if f"{MOMENTS[0]}.{name}" in tensors:
                moments = {moment: tensors[f"{moment}.{name}"].to(weight.device) for moment in MOMENTS}
                optimizer.state[weight] = {
                    "step": torch.tensor(float(step), device=weight.device), **moments
                }  # fmt: skip


def trainable_weights(model: nn.Module) -> dict[str, Tensor]:
    """The weights that training changes, by name."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def remove(folder: Path) -> None:
    """Delete the checkpoints of a cell whose result is written."""
    shutil.rmtree(folder, ignore_errors=True)
