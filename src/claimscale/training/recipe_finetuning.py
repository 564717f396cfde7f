"""Fine-tuning of a published recipe: a linear classifier on its readout, all weights trained.

The same labelled patients, epochs, tokens of a step, number of learning rates and early stopping as for the
claimscale encoder. Of a step's patients the loss is the mean log-loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from scipy.special import expit
from torch import Tensor, nn

from claimscale.config.training import Finetune
from claimscale.model.recipes.history import PaddedBatch, RecipeSequences, padded
from claimscale.model.recipes.recipe import RecipeModel
from claimscale.tokens.batches import Batches
from claimscale.training.cost import CostMeter
from claimscale.training.finetune_trainer import PATIENCE, STEPS_PER_EPOCH, WARMUP_FRACTION
from claimscale.training.lr_schedule import lr_multiplier
from claimscale.training.optimizer_step import Diverged, optimizer_step
from claimscale.training.recipe_pretraining import RecipeJob, seed_step, training_flops
from claimscale.training.results import RecipeFinetuneResult, TrialEntry

FINETUNE_RATES = (3e-4, 1e-3, 1e-4, 3e-3)
"""Tried in this order, as many as the study tries for its own encoder; at least two."""


@dataclass(frozen=True)
class Labelled:
    """Sequences with their outcomes, bool [n]."""

    sequences: RecipeSequences
    outcome: np.ndarray


class Classifier(nn.Module):
    """A recipe's model and a linear classifier of its readout, which is normalised.

    Small states would need large weights, and many more steps than a fine-tuning has.
    """

    def __init__(self, model: RecipeModel, bias: float) -> None:
        super().__init__()
        self.model = model
        self.weight = nn.Parameter(torch.zeros(model.readout_width))
        self.bias = nn.Parameter(torch.tensor(bias))

    def forward(self, batch: PaddedBatch) -> Tensor:
        """Logits [B]."""
        readout = self.model.readout(batch).float()
        return F.layer_norm(readout, readout.shape[1:]) @ self.weight + self.bias


class _Trials:
    """One trial per learning rate; the weights with the lowest tuning loss of all are kept."""

    def __init__(self, setup: RecipeFinetuning, meter: CostMeter) -> None:
        self.setup, self.meter = setup, meter
        self.entries: list[TrialEntry] = []
        self.best_loss, self.best = math.inf, dict[str, Tensor]()
        train, settings = setup.train, setup.settings
        whole = int(train.sequences.lengths.sum())
        batch_tokens = min(settings.batch_tokens, max(1, whole // STEPS_PER_EPOCH))
        self.batches = Batches(lambda epoch: train.sequences, batch_tokens, setup.job.seed)
        self.steps = settings.epochs * self.batches.steps_per_epoch

    def run(self, rate: float, number: int, progress: Callable[[float], None]) -> None:
        """Train at a rate until the tuning loss stops falling, the epochs end or the loss is not finite."""
        classifier = self.setup.classifier()
        optimizer = self.setup.job.optimizer(classifier, rate)
        entry: TrialEntry = {"learning_rate": rate, "tuning_loss": None, "best_epoch": 0}
        self.entries.append(entry)
        for step in range(self.steps):
            seed_step(self.setup.job.seed, number * self.steps + step)
            if not self._step(classifier, optimizer, step):
                return
            progress((step + 1) / self.steps)
            epoch, within = divmod(step + 1, self.batches.steps_per_epoch)
            if within:
                continue
            found = self.setup.tuning_loss(classifier)
            if entry["tuning_loss"] is None or found < entry["tuning_loss"]:
                entry["tuning_loss"], entry["best_epoch"] = found, epoch
            if found < self.best_loss:
                self.best_loss = found
                self.best = {name: w.detach().clone() for name, w in classifier.named_parameters()}
            if epoch - entry["best_epoch"] >= PATIENCE:
                return

    def _step(self, classifier: Classifier, optimizer: torch.optim.Optimizer, step: int) -> bool:
        """One step; whether its loss and gradient were finite."""
        job, train = self.setup.job, self.setup.train
        classifier.train()
        index = self.batches.shard(step)
        losses = [
            lambda part=part: self.setup.loss(classifier, part) / len(index)
            for part in job.microbatches(train.sequences, index)
        ]
        tokens = int(train.sequences.lengths[index].sum())
        self.meter.count(tokens, tokens * self.setup.flops_per_token)
        multiplier = lr_multiplier(step, self.steps, math.ceil(WARMUP_FRACTION * self.steps))
        loss, norm = optimizer_step(classifier, optimizer, losses, multiplier)
        return math.isfinite(loss) and math.isfinite(norm)


@dataclass(frozen=True)
class RecipeFinetuning:
    """A fine-tuning: the pretrained weights, the labelled patients and the tokens of the outcome's codes."""

    job: RecipeJob
    weights: Path
    outcome_tokens: np.ndarray
    train: Labelled
    tuning: Labelled
    settings: Finetune

    def run(
        self, progress: Callable[[float], None]
    ) -> tuple[RecipeFinetuneResult, Callable[[RecipeSequences], np.ndarray]]:
        """Train on training patients and choose by tuning patients.

        Returns the result in `cell.json`, and the function from sequences to probabilities, float64 [n].
        Raises Diverged if no learning rate ended an epoch.
        """
        meter = CostMeter(self.job.device)
        trials = _Trials(self, meter)
        rates = FINETUNE_RATES[: max(2, len(self.settings.learning_rates))]
        for number, rate in enumerate(rates):
            trials.run(rate, number, lambda share, number=number: progress((number + share) / len(rates)))
        if not trials.best:
            raise Diverged(f"recipes: {self.job.recipe.name}: fine-tuning diverged at every learning rate")
        classifier = self.classifier()
        with torch.no_grad():
            for name, weight in classifier.named_parameters():
                weight.copy_(trials.best[name])
        result: RecipeFinetuneResult = {
            "parameters": sum(weight.numel() for weight in classifier.parameters()),
            "trials": trials.entries,
            "tuning_loss": trials.best_loss,
            "seconds": meter.seconds,
            "cost": meter.entry(self.job.peak_tflops),
        }
        return result, lambda sequences: expit(logits(self.job, classifier, sequences))

    def classifier(self) -> Classifier:
        """The pretrained model and a classifier that predicts the prevalence."""
        model = self.job.model()
        loaded = load_file(self.weights, str(self.job.device))
        with torch.no_grad():
            for name, weight in model.named_parameters():
                weight.copy_(loaded[name])
        model.ask(self.outcome_tokens)
        prevalence = float(self.train.outcome.mean())
        return Classifier(model, math.log(prevalence / (1 - prevalence))).to(self.job.device)

    def loss(self, classifier: Classifier, index: np.ndarray) -> Tensor:
        """The summed log-loss of training patients."""
        logit = classifier(padded(self.train.sequences, index, self.job.device))
        outcome = torch.from_numpy(self.train.outcome[index].astype(np.float32)).to(self.job.device)
        return F.binary_cross_entropy_with_logits(logit, outcome, reduction="sum")

    def tuning_loss(self, classifier: Classifier) -> float:
        """The mean log-loss of the tuning patients."""
        logit, outcome = logits(self.job, classifier, self.tuning.sequences), self.tuning.outcome
        return float((np.logaddexp(0, logit) - outcome * logit).mean())

    @cached_property
    def flops_per_token(self) -> float:
        """Operations of training per position, counted on one microbatch."""
        sequences = self.train.sequences
        part = next(self.job.microbatches(sequences, np.arange(len(sequences))[: 1 << 10]))
        batch, classifier = padded(sequences, part, self.job.device), self.classifier()
        return training_flops(lambda batch: classifier(batch).sum(), batch) / int(
            sequences.lengths[part].sum()
        )


@torch.no_grad()
def logits(job: RecipeJob, classifier: Classifier, sequences: RecipeSequences) -> np.ndarray:
    """Logits of all sequences in their order, float64 [n]."""
    classifier.eval()
    out = np.empty(len(sequences))
    for part in job.microbatches(sequences, np.arange(len(sequences))):
        out[part] = classifier(padded(sequences, part, job.device)).double().cpu().numpy()
    return out
