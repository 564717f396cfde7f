"""Fine-tuning on labelled patients, and prediction; the same code for pretrained and scratch encoders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from claimscale import artifacts
from claimscale.config.training import Finetune
from claimscale.errors import BadInput
from claimscale.model import shapes
from claimscale.tokens.sequences import Sequences
from claimscale.training import checkpoints
from claimscale.training.checkpoints import Checkpoints
from claimscale.training.cost import CostMeter
from claimscale.training.finetune_trainer import FinetuneTrainer, LabelledSequences, probabilities
from claimscale.training.initialization import Initialization
from claimscale.training.results import FinetuneResult
from claimscale.training.trainer import MetricsFile
from claimscale.versions import VERSIONS

TRAINING_SHARE = 0.9
"""Of the progress shown; the rest is prediction."""
NON_TRAINING_SETTINGS = {"seeds", "labelled_patients", "initialization", "checkpoint_minutes"}


@dataclass(frozen=True)
class FinetuneJob:
    """A fine-tuning: labelled patients, the initial model, settings, and the folder to write to.

    `peak_tflops`: see `CostMeter.entry`.
    """

    train: LabelledSequences
    tuning: LabelledSequences
    initialization: Initialization
    settings: Finetune
    folder: Path
    peak_tflops: float | None = None

    def identity(self) -> str:
        """The fingerprint that a checkpoint must have to be resumed here."""
        start = self.initialization
        return artifacts.fingerprint(
            shape=asdict(start.shape),
            settings=self.settings.model_dump(exclude=NON_TRAINING_SETTINGS),
            seed=start.seed,
            weights=None if start.weights is None else artifacts.file_digest(start.weights),
            outcome_tokens=None if start.outcome_tokens is None else start.outcome_tokens.tolist(),
            patients=[
                [
                    len(labelled.sequences),
                    int(labelled.sequences.token.sum(dtype=np.int64)),
                    int(labelled.sequences.age_days.sum(dtype=np.int64)),
                    np.flatnonzero(labelled.outcome).tolist(),
                ]
                for labelled in (self.train, self.tuning)
            ],
            version=VERSIONS["finetune"],
        )


def finetune(
    job: FinetuneJob, predict: Mapping[str, Sequences], progress: Callable[[float], None]
) -> tuple[FinetuneResult, dict[str, np.ndarray]]:
    """Fine-tune, keep the epoch and learning rate with the lowest tuning loss, predict.

    Returns the result in `cell.json`, and for each name in `predict` the probabilities, float64 [n].
    `best_epoch` is 0 where the zero-shot prediction is kept: training raised the tuning loss by more than its
    standard error, or diverged at every learning rate within the first epoch. `zero_shot_tuning_loss` is the
    tuning loss of that prediction, null without one. `learning_rate` belongs to the best training, kept or
    not, and is the first one if none has a loss.

    Writes `model.safetensors` and `metrics.jsonl` to the job's folder, checkpoints while it runs. Called
    again after an interruption it resumes from the newest checkpoint and ends with the same weights; the
    caller removes the checkpoints once the result is on disk. `progress` receives the fraction done.

    Raises BadInput if all training outcomes are equal or there is no tuning patient.
    """
    if job.train.outcome.all() or not job.train.outcome.any():
        raise BadInput("finetune: all training patients have the same outcome")
    if not len(job.tuning.outcome):
        raise BadInput("finetune: there is no tuning patient to choose the best epoch by")
    shape, device = job.initialization.shape, job.initialization.device
    saver = Checkpoints(job.folder / checkpoints.FOLDER, job.identity(), job.settings.checkpoint_minutes)
    found = saver.resume()
    with closing(MetricsFile(job.folder / "metrics.jsonl", found.step)) as metrics:
        meter = CostMeter(device, found.state.get("cost"), metrics.usage)
        trainer = FinetuneTrainer(job.train, job.tuning, job.initialization, job.settings, meter)
        model = trainer.run(saver, found, metrics, lambda share: progress(TRAINING_SHARE * share))
    seconds = meter.seconds
    checkpoints.save_tensors(job.folder / "model.safetensors", model.state_dict())
    probability = {name: probabilities(model, one, device) for name, one in predict.items()}
    for sequences in predict.values():
        meter.count(0, shapes.classifier_flops(shape, sequences.lengths, model.has_zero_shot))
    progress(1.0)
    best, kept_zero_shot = trainer.best, trainer.kept_zero_shot
    result: FinetuneResult = {
        "parameters": shapes.parameters(shape),
        "learning_rate": best.learning_rate,
        "best_epoch": 0 if kept_zero_shot else best.best_epoch,
        "tuning_loss": trainer.zero_shot_tuning_loss if kept_zero_shot else best.tuning_loss,
        "zero_shot_tuning_loss": trainer.zero_shot_tuning_loss,
        "trials": [asdict(trial) for trial in trainer.trials],
        "seconds": seconds,
        "cost": meter.entry(job.peak_tflops),
        "notes": saver.notes,
    }
    return result, probability
