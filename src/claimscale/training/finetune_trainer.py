"""The training within a fine-tuning: every learning rate with the same budget, resumable at any step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from scipy.optimize import brentq
from scipy.special import expit
from torch import Tensor

from claimscale.config.training import Finetune
from claimscale.model.classifier import EncoderClassifier
from claimscale.model.encoder import Encoder
from claimscale.model.shapes import Shape
from claimscale.tokens.batches import Batch, Batches, mask_batch, microbatches
from claimscale.tokens.sequences import Sequences
from claimscale.tokens.token_metadata import TokenMetadata
from claimscale.training import adapters, checkpoints, loop
from claimscale.training.checkpoints import Checkpoint, Checkpoints
from claimscale.training.cost import CostMeter, forward_flops
from claimscale.training.lr_schedule import rate_multiplier
from claimscale.training.weight_average import WeightAverage

WEIGHT_DECAY = 0.1
WARMUP_SHARE = 0.1
STEPS_PER_EPOCH = 12
"""Few patients get smaller batches, so that an epoch has about this many steps.

Fewer where patients are fewer still or one record is long: a step holds the longest record at least.
"""
PATIENCE = 2
"""Epochs without a lower tuning loss before training stops."""


@dataclass(frozen=True)
class Labelled:
    """Sequences with their outcomes, bool [n]."""

    sequences: Sequences
    outcome: np.ndarray


@dataclass(frozen=True)
class Initialization:
    """What every training of a fine-tuning begins from; `weights` null: from scratch.

    `outcome` are the tokens that the question is about, where the weights have learnt to foretell codes.
    """

    shape: Shape
    token_metadata: TokenMetadata
    weights: Path | None
    seed: int
    device: torch.device
    outcome: np.ndarray | None = None

    def model(self, settings: Finetune, bias: float = 0.0) -> EncoderClassifier:
        """The model before its first step, always the same."""
        torch.manual_seed(self.seed)
        encoder = Encoder(self.shape, self.token_metadata)
        if self.weights is not None:
            encoder.load_state_dict(load_file(self.weights))
        model = EncoderClassifier(encoder, self.outcome)
        adapters.set_trainable(model, settings.method)
        torch.nn.init.constant_(model.bias, bias)
        return model.to(self.device)


@dataclass
class Trial:
    """One learning rate and its lowest tuning loss (null before the first look at the tuning patients).

    `epoch` is how many epochs of training gave it.
    """

    learning_rate: float
    tuning_loss: float | None = None
    epoch: int = 0
    diverged: bool = False
    """Then the epochs that were finished before count."""


class FinetuneTrainer:
    """Trains once per learning rate and keeps the weights with the lowest tuning loss of all.

    Position p, by which checkpoints and metrics are numbered, is step p % `steps` of trial p // `steps`.
    """

    def __init__(self, train: Labelled, tuning: Labelled, start: Initialization, settings: Finetune) -> None:
        self.train, self.tuning, self.start, self.settings = train, tuning, start, settings
        batch_tokens = min(settings.batch_tokens, max(1, len(train.sequences.token) // STEPS_PER_EPOCH))
        parts = loop.microbatch_tokens(start.device, batch_tokens)
        self.batches = Batches(train.sequences, batch_tokens, start.seed, microbatch_tokens=parts)
        self.steps = settings.epochs * self.batches.steps_per_epoch
        self.trials: list[Trial] = []
        self._outcome = loop.tensor(train.outcome.astype(np.float32), start.device)
        self.zero_shot_tuning_loss: float | None = None
        self.kept_zero_shot = False
        self._best_loss, self._best = math.inf, dict[str, Tensor]()
        self._bias = 0.0

    @property
    def best(self) -> Trial:
        return min(self.trials, key=lambda t: math.inf if t.tuning_loss is None else t.tuning_loss)

    def run(
        self,
        saver: Checkpoints,
        found: Checkpoint,
        metrics: loop.MetricsFile,
        meter: CostMeter,
        report: Callable[[float], None],
    ) -> EncoderClassifier:
        """Train to the end, from the checkpoint on; returns the best model, adapters merged.

        A learning rate that diverges is given up: its finished epochs count, and so does what the start
        foretells. Raises Diverged if no rate finished an epoch with a finite loss and nothing was foretold.
        """
        self.trials = [Trial(**trial) for trial in found.state.get("trials", [])]
        if self.trials and self.best.tuning_loss is not None:
            self._best_loss = self.best.tuning_loss
        self._best = _named(found.tensors, "best.")
        self._bias = found.state["bias"] if found.step else self._starting_bias(meter)
        position, end = found.step, self.steps * len(self.settings.learning_rates)
        if position % self.steps:
            self._begin(position // self.steps)
            checkpoints.restore(found.tensors, position % self.steps, self.model, self.optimizer)
            self.average.restore(found.tensors)
        why = loop.Diverged("finetune: the tuning loss was never finite; lower finetune.learning_rates")
        while position < end:
            number, step = divmod(position, self.steps)
            if not step:
                self._begin(number)
            try:
                self._step(position, step, metrics, meter)
            except loop.Diverged as error:
                position = self.steps * (number + 1)
                self.trials[number].diverged, why = True, error
                continue
            position += 1
            epoch, within = divmod(step + 1, self.batches.steps_per_epoch)
            if not within and self._is_over(epoch, meter):
                position = self.steps * (number + 1)
            if saver.due(natural=not within):
                saver.save(position, self._tensors(position), self._state(meter))
            report(position / end)
        start = self.start.model(self.settings, self._bias)
        if not (self._best or start.has_zero_shot):
            raise why
        return self._better_of(start, self._best_model() if self._best else None, meter)

    def _starting_bias(self, meter: CostMeter) -> float:
        """The bias with which predictions before the first step add up to the training patients' outcomes."""
        prevalence = float(self.train.outcome.mean())
        log_odds = math.log(prevalence / (1 - prevalence))
        model = self.start.model(self.settings)
        if not model.has_zero_shot:
            return log_odds
        logit = logits(model, self.train.sequences, self.start.device).numpy()
        meter.count(0, forward_flops(self.start.shape, self.train.sequences.lengths))
        low, high = log_odds - logit.max() - 1, log_odds - logit.min() + 1
        return float(brentq(lambda bias: expit(logit + bias).mean() - prevalence, low, high))  # pyright: ignore

    def _begin(self, number: int) -> None:
        rate = self.settings.learning_rates[number]
        self.model = self.start.model(self.settings, self._bias)
        self.optimizer = adapters.make_optimizer(
            self.model, rate, WEIGHT_DECAY, self.settings.layerwise_lr_decay
        )
        self.average = WeightAverage(
            self.model, self.batches.steps_per_epoch if self.settings.weight_averaging else 1
        )
        if number == len(self.trials):
            self.trials.append(Trial(rate))

    def _step(self, position: int, step: int, metrics: loop.MetricsFile, meter: CostMeter) -> None:
        parts = self._parts(step)
        multiplier = rate_multiplier(step, self.steps, math.ceil(WARMUP_SHARE * self.steps))
        losses = self._losses(parts)
        loss = loop.update(self.model, self.optimizer, losses, multiplier, position, parts)
        self.average.follow()
        lengths = self.train.sequences.lengths[np.concatenate([part.index for part in parts])]
        passes = adapters.PASSES[self.settings.method]
        meter.count(int(lengths.sum()), passes * forward_flops(self.start.shape, lengths))
        rate = multiplier * self.trials[-1].learning_rate
        metrics.write(step=position, loss=loss, lr=rate, **meter.usage())

    def _parts(self, step: int) -> list[Batch]:
        parts, share = self.batches.microbatches(step), self.settings.token_dropout
        if not share:
            return parts
        return [replace(part, token=mask_batch(part, share, self.start.seed, step).token) for part in parts]

    def _losses(self, parts: list[Batch]) -> Iterator[Callable[[], Tensor]]:
        patients = sum(len(batch.index) for batch in parts)
        for batch in parts:
            yield lambda batch=batch: self._loss(batch) / patients

    def _loss(self, batch: Batch) -> Tensor:
        device = self.start.device
        outcome = self._outcome[loop.tensor(batch.index, device)]
        logit = _logits_of(self.model, batch, device)
        return F.binary_cross_entropy_with_logits(logit.float(), outcome, reduction="sum")

    def _is_over(self, epoch: int, meter: CostMeter) -> bool:
        """Look at the tuning patients after an epoch; whether there is nothing more to hope for."""
        with self.average.in_place():
            loss = self._tuning_losses(self.model).mean().item()
            if loss < self._best_loss:
                self._best_loss = loss
                trained = checkpoints.trainable_weights(self.model)
                self._best = {name: weight.detach().clone() for name, weight in trained.items()}
        meter.count(0, forward_flops(self.start.shape, self.tuning.sequences.lengths))
        trial = self.trials[-1]
        if math.isfinite(loss) and (trial.tuning_loss is None or loss < trial.tuning_loss):
            trial.tuning_loss, trial.epoch = loss, epoch
        self.model.train()
        return epoch - trial.epoch >= PATIENCE

    def _tensors(self, position: int) -> dict[str, Tensor]:
        best = {f"best.{name}": weight for name, weight in self._best.items()}
        # between two trials there is nothing to go on with
        if not position % self.steps:
            return best
        return best | checkpoints.training_tensors(self.model, self.optimizer) | self.average.tensors()

    def _state(self, meter: CostMeter) -> dict[str, Any]:
        trials = [vars(trial) for trial in self.trials]
        return {"trials": trials, "bias": self._bias, "cost": meter.state()}

    def _better_of(
        self, start: EncoderClassifier, trained: EncoderClassifier | None, meter: CostMeter
    ) -> EncoderClassifier:
        """The trained model, unless it is worse than pretraining's own answer by more than a standard error.

        Without a trained model, where every learning rate diverged, it is pretraining's own answer.

        A tuning split with few outcomes cannot tell a small gain from none, and labels rarely do harm:
        keeping the start for any lower loss threw most gains away (docs/recipe.md).
        """
        if trained is not None and not start.has_zero_shot:
            return trained
        adapters.merge(start)
        before = self._tuning_losses(start)
        passes = 1 if trained is None else 2
        meter.count(0, passes * forward_flops(self.start.shape, self.tuning.sequences.lengths))
        self.zero_shot_tuning_loss = float(before.mean())
        if trained is not None and not is_worse(before, self._tuning_losses(trained)):
            return trained
        self.kept_zero_shot = True
        return start

    def _tuning_losses(self, model: EncoderClassifier) -> Tensor:
        """Log-loss of each tuning patient, float64 [n]."""
        outcome = torch.from_numpy(self.tuning.outcome.astype(np.float64))
        logit = logits(model, self.tuning.sequences, self.start.device)
        return F.binary_cross_entropy_with_logits(logit, outcome, reduction="none")

    def _best_model(self) -> EncoderClassifier:
        model = self.start.model(self.settings, self._bias)
        with torch.no_grad():
            for name, weight in checkpoints.trainable_weights(model).items():
                weight.copy_(self._best[name])
        adapters.merge(model)
        return model


def is_worse(before: Tensor, after: Tensor) -> bool:
    """Whether mean losses of n patients, [n] each, rose by more than the standard error of the difference.

    Of a single patient nothing can be said.
    """
    rise = after - before
    return len(rise) > 1 and bool(rise.mean() > rise.std() / math.sqrt(len(rise)))


@torch.no_grad()
def logits(model: EncoderClassifier, sequences: Sequences, device: torch.device) -> Tensor:
    """Logits of all sequences in their order, float64 [n] on the CPU."""
    model.eval()
    out = torch.empty(len(sequences), dtype=torch.float64)
    for batch in microbatches(sequences, np.arange(len(sequences)), loop.microbatch_tokens(device)):
        out[torch.from_numpy(batch.index)] = _logits_of(model, batch, device).double().cpu()
    return out


def _logits_of(model: EncoderClassifier, batch: Batch, device: torch.device) -> Tensor:
    inputs = loop.on_device(batch, batch.token, device)
    with loop.mixed_precision(device):
        return model(inputs)


def _named(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
