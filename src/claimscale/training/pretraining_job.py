"""What every part of a pretraining works on, and its records of parts that are finished."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from claimscale import artifacts
from claimscale.config.training import NON_TRAINING_FIELDS, Pretrain
from claimscale.model import shapes
from claimscale.tokens.pretraining_inputs import EpochSamples
from claimscale.tokens.token_metadata import TokenMetadata
from claimscale.training import checkpoints
from claimscale.training.distributed import ProcessGroup, current
from claimscale.training.pretraining_run import PretrainingRun
from claimscale.training.validation import MASK, Scores, Validation, validate
from claimscale.versions import VERSIONS


@dataclass(frozen=True)
class Job:
    """What is pretrained on what, where, and by whom."""

    train: EpochSamples
    validation: Validation
    token_metadata: TokenMetadata
    shape: shapes.Shape
    seed: int
    folder: Path
    device: torch.device
    peak_tflops: float | None = None
    """See `CostMeter.entry`."""
    ranks: ProcessGroup = field(default_factory=current)

    @property
    def checkpoints(self) -> Path:
        return self.folder / checkpoints.FOLDER

    def run(self, settings: Pretrain, share: float = 1.0) -> PretrainingRun:
        return PretrainingRun(
            self.train, self.token_metadata, self.shape, settings, self.seed, self.device, share, self.ranks
        )

    def score(self, run: PretrainingRun) -> Scores:
        return validate(run.model, self.validation, self.device, self.ranks)

    def scoring_flops(self, run: PretrainingRun) -> float:
        """Floating-point operations of `score`: forward only, a third of what training takes."""
        tokens = int(self.validation.latest.lengths.sum())
        if self.validation.trained is not None:
            tokens += int(self.validation.trained.lengths.sum())
        if self.validation.dated is not None:
            tokens += int(self.validation.dated.sequences.lengths.sum())
        return run.flops(tokens, MASK * tokens) / 3

    def save(self, run: PretrainingRun, name: str) -> None:
        if self.ranks.is_main:
            checkpoints.save_tensors(self.folder / name, run.model.state_dict())

    def recorded(self, name: str, identity: str) -> dict[str, Any] | None:
        """What a part of the work that an earlier process finished came to."""
        try:
            record = artifacts.read_json(self.checkpoints / f"{name}.json")
            return record["entry"] if record["identity"] == identity else None
        except (OSError, ValueError, KeyError):
            return None

    def record(self, name: str, identity: str, entry: dict[str, Any]) -> None:
        if self.ranks.is_main:
            artifacts.make_folder(self.checkpoints)
            artifacts.write_json(self.checkpoints / f"{name}.json", {"identity": identity, "entry": entry})
            checkpoints.remove(self.checkpoints / name)

    def identity(self, settings: Pretrain) -> str:
        """What a checkpoint must have been made from to be resumed here, by any number of ranks."""
        first = self.train(0)
        return artifacts.fingerprint(
            shape=asdict(self.shape),
            settings=settings.model_dump(exclude=NON_TRAINING_FIELDS),
            seed=self.seed,
            patients=_digest(first.sequences.token, first.sequences.age_days, first.sequences.offsets),
            incident=None if first.incident is None else _digest(first.incident.new.token),
            token_metadata=_digest(self.token_metadata.types, self.token_metadata.groups),
            version=VERSIONS["pretrain"],
        )


def _digest(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
