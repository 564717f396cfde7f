"""The training loop of fine-tuning: one trial per learning rate, resumable at any step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import expit
from torch import Tensor

from claimscale.config.training import Finetune
from claimscale.model.classifier import EncoderClassifier
from claimscale.model.shapes import classifier_flops
from claimscale.tokens.batches import Batch, Batches, mask_batch
from claimscale.tokens.sequences import Sequences
from claimscale.training import adapters, checkpoints
from claimscale.training.checkpoints import Checkpoint, Checkpoints
from claimscale.training.cost import CostMeter
from claimscale.training.device import encoder_inputs, microbatch_tokens, mixed_precision, rows_of, to_device
from claimscale.training.initialization import Initialization
from claimscale.training.lr_schedule import lr_multiplier
from claimscale.training.optimizer_step import Diverged, batch_hash, finite_loss, optimizer_step
from claimscale.training.trainer import MetricsFile
from claimscale.training.weight_average import WeightAverage

WEIGHT_DECAY = 0.1
WARMUP_FRACTION = 0.1
STEPS_PER_EPOCH = 12
"""Approximate steps of an epoch: few patients have smaller batches. There are fewer steps where patients are
fewer still or one record is long, as a step holds at least the longest record."""
PATIENCE = 2
"""Epochs without a lower tuning loss before training stops."""


@dataclass(frozen=True)
class LabelledSequences:
    """Sequences with their outcomes, bool [n]."""

    sequences: Sequences
    outcome: np.ndarray


@dataclass
class Trial:
    """One learning rate, its lowest tuning loss (None before the first epoch ends) and the epoch of it.

    If it diverged, the epochs finished before count.
    """

    learning_rate: float
    tuning_loss: float | None = None
    best_epoch: int = 0
    diverged: bool = False


class FinetuneTrainer:
    """Trains once per learning rate and keeps the weights with the lowest tuning loss of all.

    Checkpoints and metrics are numbered by position: position p is step p % `steps` of trial p // `steps`.
    """

    def __init__(
        self,
        train: LabelledSequences,
        tuning: LabelledSequences,
        initialization: Initialization,
        settings: Finetune,
        meter: CostMeter,
    ) -> None:
        self.train, self.tuning, self.settings, self.meter = train, tuning, settings, meter
        self.initialization, self.device = initialization, initialization.device
        batch_tokens = min(settings.batch_tokens, max(1, len(train.sequences.token) // STEPS_PER_EPOCH))
        self.batches = Batches(
            train.sequences,
            batch_tokens,
            initialization.seed,
            microbatch_tokens=microbatch_tokens(self.device, batch_tokens),
        )
        self.steps = settings.epochs * self.batches.steps_per_epoch
        self.trials: list[Trial] = []
        self.zero_shot_tuning_loss: float | None = None
        self.kept_zero_shot = False
        self._outcome = to_device(train.outcome.astype(np.float32), self.device)
        self._best_loss, self._best = math.inf, dict[str, Tensor]()
        self._bias = 0.0

    @property
    def best(self) -> Trial:
        return min(self.trials, key=lambda t: math.inf if t.tuning_loss is None else t.tuning_loss)

    def run(
        self, saver: Checkpoints, found: Checkpoint, metrics: MetricsFile, report: Callable[[float], None]
    ) -> EncoderClassifier:
        """Train to the end, from the checkpoint on; returns the best model, adapters merged.

        A learning rate that diverges ends its trial. Raises Diverged if no trial finished an epoch with a
        finite loss and there is no zero-shot prediction.
        """
        self._restore(found)
        position, end = found.step, self.steps * len(self.settings.learning_rates)
        error = Diverged("finetune: the tuning loss was never finite; lower finetune.learning_rates")
        while position < end:
            number, step = divmod(position, self.steps)
            if not step:
                self._start_trial(number)
            try:
                self._step(position, metrics)
            except Diverged as raised:
                position = self.steps * (number + 1)
                self.trials[number].diverged, error = True, raised
                continue
            position += 1
            epoch, within = divmod(step + 1, self.batches.steps_per_epoch)
            if not within and self._stops_early(epoch):
                position = self.steps * (number + 1)
            if saver.due(natural=not within):
                saver.save(position, self._tensors(position), self._state())
            report(position / end)
        untrained = self.initialization.model(self.settings, self._bias)
        if not (self._best or untrained.has_zero_shot):
            raise error
        return self._better_of(untrained, self._best_model() if self._best else None)

    def _restore(self, found: Checkpoint) -> None:
        """The state after a checkpoint, or before the first step."""
        self.trials = [Trial(**trial) for trial in found.state.get("trials", [])]
        if self.trials and self.best.tuning_loss is not None:
            self._best_loss = self.best.tuning_loss
        prefix = "best."
        self._best = {
            name.removeprefix(prefix): tensor
            for name, tensor in found.tensors.items()
            if name.startswith(prefix)
        }
        self._bias = found.state["bias"] if found.step else self._initial_bias()
        number, step = divmod(found.step, self.steps)
        if step:
            self._start_trial(number)
            checkpoints.restore(found.tensors, step, self.model, self.optimizer)
            self.average.restore(found.tensors)

    def _initial_bias(self) -> float:
        """The bias with which initial predictions sum to the positive outcomes of the training patients."""
        from scipy.optimize import brentq  # only training has use for it

        prevalence = float(self.train.outcome.mean())
        log_odds = math.log(prevalence / (1 - prevalence))
        model = self.initialization.model(self.settings)
        if not model.has_zero_shot:
            return log_odds
        logit = logits(model, self.train.sequences, self.device).numpy()
        self.meter.count(0, self._forward_flops(self.train.sequences.lengths))
        low, high = log_odds - logit.max() - 1, log_odds - logit.min() + 1
        return float(brentq(lambda bias: expit(logit + bias).mean() - prevalence, low, high))  # pyright: ignore

    def _start_trial(self, number: int) -> None:
        rate = self.settings.learning_rates[number]
        self.model = self.initialization.model(self.settings, self._bias)
        decay = self.settings.layerwise_lr_decay
        self.optimizer = adapters.make_optimizer(self.model, rate, WEIGHT_DECAY, decay)
        steps = self.batches.steps_per_epoch if self.settings.weight_averaging else 1
        self.average = WeightAverage(self.model, steps)
        if number == len(self.trials):
            self.trials.append(Trial(rate))

    def _step(self, position: int, metrics: MetricsFile) -> None:
        step = position % self.steps
        batches = self._microbatches(step)
        multiplier = lr_multiplier(step, self.steps, math.ceil(WARMUP_FRACTION * self.steps))
        loss, norm = optimizer_step(self.model, self.optimizer, self._losses(batches), multiplier)
        finite_loss(loss, norm, position, lambda _: batch_hash(batches))
        self.average.update()
        lengths = self.train.sequences.lengths[np.concatenate([batch.index for batch in batches])]
        passes = adapters.PASSES[self.settings.method]
        self.meter.count(int(lengths.sum()), passes * self._forward_flops(lengths))
        rate = multiplier * self.trials[-1].learning_rate
        metrics.write(step=position, loss=loss, lr=rate, **self.meter.usage())

    def _microbatches(self, step: int) -> list[Batch]:
        batches, fraction = self.batches.microbatches(step), self.settings.token_dropout
        if not fraction:
            return batches
        seed = self.initialization.seed
        return [replace(batch, token=mask_batch(batch, fraction, seed, step).token) for batch in batches]

    def _losses(self, batches: list[Batch]) -> Iterator[Callable[[], Tensor]]:
        patients = sum(len(batch.index) for batch in batches)
        for batch in batches:
            yield lambda batch=batch: self._loss(batch) / patients

    def _loss(self, batch: Batch) -> Tensor:
        outcome = self._outcome[to_device(batch.index, self.device)]
        logit = _logits_of(self.model, batch, self.device)
        return F.binary_cross_entropy_with_logits(logit.float(), outcome, reduction="sum")

    def _stops_early(self, epoch: int) -> bool:
        """Evaluate the tuning patients after an epoch; whether the trial stops."""
        with self.average.swapped_in():
            loss = self._tuning_losses(self.model).mean().item()
            if loss < self._best_loss:
                self._best_loss = loss
                trained = checkpoints.trainable_weights(self.model)
                self._best = {name: weight.detach().clone() for name, weight in trained.items()}
        self.meter.count(0, self._forward_flops(self.tuning.sequences.lengths))
        trial = self.trials[-1]
        if math.isfinite(loss) and (trial.tuning_loss is None or loss < trial.tuning_loss):
            trial.tuning_loss, trial.best_epoch = loss, epoch
        self.model.train()
        return epoch - trial.best_epoch >= PATIENCE

    def _tensors(self, position: int) -> dict[str, Tensor]:
        best = {f"best.{name}": weight for name, weight in self._best.items()}
        if not position % self.steps:  # between two trials no training is under way
            return best
        return best | checkpoints.training_tensors(self.model, self.optimizer) | self.average.tensors()

    def _state(self) -> dict[str, object]:
        trials = [asdict(trial) for trial in self.trials]
        return {"trials": trials, "bias": self._bias, "cost": self.meter.state()}

    def _better_of(
        self, untrained: EncoderClassifier, trained: EncoderClassifier | None
    ) -> EncoderClassifier:
        """The trained model, unless its tuning loss exceeds the zero-shot one by more than a standard error.

        A tuning split with few outcomes cannot tell a small gain from none, and training on labels rarely
        does harm: keeping the zero-shot prediction for any lower loss lost most gains
        (docs/measured/recipe-development.md).
        """
        if trained is not None and not untrained.has_zero_shot:
            return trained
        adapters.merge(untrained)
        before = self._tuning_losses(untrained)
        passes = 1 if trained is None else 2
        self.meter.count(0, passes * self._forward_flops(self.tuning.sequences.lengths))
        self.zero_shot_tuning_loss = float(before.mean())
        if trained is not None and not is_worse(before, self._tuning_losses(trained)):
            return trained
        self.kept_zero_shot = True
        return untrained

    def _tuning_losses(self, model: EncoderClassifier) -> Tensor:
        """Log-loss of each tuning patient, float64 [n]."""
        outcome = torch.from_numpy(self.tuning.outcome.astype(np.float64))
        logit = logits(model, self.tuning.sequences, self.device)
        return F.binary_cross_entropy_with_logits(logit, outcome, reduction="none")

    def _best_model(self) -> EncoderClassifier:
        model = self.initialization.model(self.settings, self._bias)
        with torch.no_grad():
            for name, weight in checkpoints.trainable_weights(model).items():
                weight.copy_(self._best[name])
        adapters.merge(model)
        return model

    def _forward_flops(self, lengths: np.ndarray) -> float:
        zero_shot = self.initialization.outcome_tokens is not None and len(self.initialization.outcome_tokens)
        return classifier_flops(self.initialization.shape, lengths, bool(zero_shot))


def is_worse(before: Tensor, after: Tensor) -> bool:
    """Whether mean losses of n patients, [n] each, rose by more than the standard error of the difference.

    One patient decides nothing.
    """
    rise = after - before
    return len(rise) > 1 and bool(rise.mean() > rise.std() / math.sqrt(len(rise)))


def logits(model: EncoderClassifier, sequences: Sequences, device: torch.device) -> Tensor:
    """Logits of all sequences in their order, float64 [n] on the CPU."""
    model.eval()
    out = np.empty(len(sequences))
    for index, logit in rows_of(lambda batch: _logits_of(model, batch, device).double(), sequences, device):
        out[index] = logit
    return torch.from_numpy(out)


def probabilities(model: EncoderClassifier, sequences: Sequences, device: torch.device) -> np.ndarray:
    """Probabilities of all sequences in their order, float64 [n].

    PyTorch's sigmoid would round differently at the end of an array.
    """
    return expit(logits(model, sequences, device).numpy())


def _logits_of(model: EncoderClassifier, batch: Batch, device: torch.device) -> Tensor:
    inputs = encoder_inputs(batch, batch.token, device)
    with mixed_precision(device):
        return model(inputs)
