"""Pretraining of a published recipe: a search for the learning rate, then one run; resumable at any step.

Every recipe gets the same number of tokens as the claimscale encoder of its size, and besides a quarter of
them at each learning rate of the search, which that encoder does not get.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from claimscale import artifacts
from claimscale.errors import BadInput
from claimscale.model.recipes.history import (
    CodeTypes,
    PaddedBatch,
    RecipeSequences,
    code_counts,
    padded,
)
from claimscale.model.recipes.recipe import Recipe, RecipeModel, dimensions_of, parameters
from claimscale.tokens.batches import Batches
from claimscale.training import checkpoints
from claimscale.training.checkpoints import Checkpoint, Checkpoints
from claimscale.training.cost import CostMeter
from claimscale.training.lr_schedule import lr_multiplier
from claimscale.training.optimizer_step import Diverged, optimizer_step
from claimscale.training.results import RecipePretrainingResult
from claimscale.training.trainer import MetricsFile
from claimscale.versions import VERSIONS

RATES = (3e-4, 1e-3, 3e-3)
"""Learning rates that are tried; those of the papers suit models a hundred times as large."""
SEARCH_SHARE = 0.25
"""Of the steps, for each rate of the search."""
WARMUP_SHARE = 0.1
POSITIONS = {"cpu": 1 << 13, "cuda": 1 << 16}
"""Most positions of a microbatch, with padding."""
MOST_VALIDATED = 2000
"""Tuning patients whose loss chooses the rate."""


@dataclass(frozen=True)
class RecipeJob:
    """A recipe at one size, and the folder that its cell writes to.

    `target` is the number of parameters. `peak_tflops`: see `CostMeter.entry`.
    """

    recipe: Recipe
    codes: CodeTypes
    target: int
    seed: int
    device: torch.device
    folder: Path
    checkpoint_minutes: float = 5.0
    peak_tflops: float | None = None

    def model(self) -> RecipeModel:
        """The model before the first step."""
        torch.manual_seed(self.seed)
        dimensions = dimensions_of(self.recipe, self.target, self.codes)
        return self.recipe.build(dimensions, self.codes).to(self.device)

    def optimizer(self, model: nn.Module, rate: float) -> torch.optim.Optimizer:
        """AdamW with the recipe's decay of matrices."""
        weights = list(model.parameters())
        groups = [
            {"params": [w for w in weights if w.dim() > 1], "weight_decay": self.recipe.weight_decay},
            {"params": [w for w in weights if w.dim() <= 1], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=rate)
        for group in optimizer.param_groups:
            group["base_rate"] = rate
        return optimizer

    def microbatches(self, sequences: RecipeSequences, index: np.ndarray) -> Iterator[np.ndarray]:
        """The sequences `index`, shortest first, in parts of at most POSITIONS with padding."""
        index = index[np.argsort(sequences.lengths[index], kind="stable")]
        most, start = POSITIONS.get(self.device.type, POSITIONS["cuda"]), 0
        lengths = sequences.lengths[index].clip(1)
        while start < len(index):
            sizes = lengths[start:] * np.arange(1, len(index) - start + 1)
            stop = start + max(1, int(np.searchsorted(sizes, most, side="right")))
            yield index[start:stop]
            start = stop


@dataclass(frozen=True)
class Run:
    """One run of the pretraining: its rate, its first position and its steps."""

    rate: float
    first: int
    steps: int


class RecipePretraining:
    """Steps, numbered over the runs of the search and the final run."""

    def __init__(self, job: RecipeJob, sequences: RecipeSequences, tokens: int, batch_tokens: int) -> None:
        with_codes = np.flatnonzero(code_counts(sequences, job.codes))
        if not len(with_codes):
            raise BadInput(f"recipes: {job.recipe.name}: no training patient has a code before the landmark")
        self.job, self.sequences = job, sequences
        self.batches = Batches(lambda epoch: sequences, batch_tokens, job.seed, with_codes)
        per_step = self.batches.tokens_per_epoch / self.batches.steps_per_epoch
        self.steps = max(2, round(tokens / per_step))
        self.search_steps = max(1, round(SEARCH_SHARE * self.steps))
        self.end = len(RATES) * self.search_steps + self.steps
        self.losses: list[float | None] = []

    def run_at(self, position: int) -> Run:
        """The run of a position. The rate of the final run is known once the search has ended."""
        number, _ = divmod(position, self.search_steps)
        if number < len(RATES):
            return Run(RATES[number], number * self.search_steps, self.search_steps)
        return Run(self.best_rate, len(RATES) * self.search_steps, self.steps)

    @property
    def best_rate(self) -> float:
        """The rate with the lowest loss on tuning patients. Raises Diverged if every run diverged."""
        finite = {rate: loss for rate, loss in zip(RATES, self.losses, strict=False) if loss is not None}
        if not finite:
            raise Diverged(f"recipes: {self.job.recipe.name}: training diverged at every learning rate")
        return min(finite, key=lambda rate: finite[rate])

    def start(self, run: Run) -> None:
        self.model = self.job.model()
        self.optimizer = self.job.optimizer(self.model, run.rate)
        self.model.train()

    def step(self, position: int) -> tuple[float, int]:
        """Train one step; returns the loss and the positions trained on. Raises Diverged."""
        run = self.run_at(position)
        step = position - run.first
        index = self.batches.shard(step)
        seed_step(self.job.seed, position)
        parts = list(self.job.microbatches(self.sequences, index))
        losses = (
            lambda part=part: self._loss(part) * (len(part) / len(index)) for part in parts
        )  # the mean over sequences of the mean losses of their microbatches
        multiplier = lr_multiplier(step, run.steps, math.ceil(WARMUP_SHARE * run.steps))
        loss, norm = optimizer_step(self.model, self.optimizer, losses, multiplier)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise Diverged.at(step, self.job.recipe.name, loss, norm)
        return loss, int(self.sequences.lengths[index].sum())

    def _loss(self, index: np.ndarray) -> Tensor:
        return self.model.pretraining_loss(padded(self.sequences, index, self.job.device))

    @cached_property
    def flops_per_token(self) -> float:
        """Operations of training per position, counted on one microbatch by a model of its own."""
        part = next(self.job.microbatches(self.sequences, self.batches.shard(0)))
        batch = padded(self.sequences, part, self.job.device)
        flops = training_flops(self.job.model().pretraining_loss, batch)
        return flops / max(1, int(self.sequences.lengths[part].sum()))


def seed_step(seed: int, position: int) -> None:
    """Random choices of a step depend on its number alone: a resumed run makes the same."""
    torch.manual_seed(int(np.random.SeedSequence([seed, position]).generate_state(1)[0]))


def training_flops(loss: Callable[[PaddedBatch], Tensor], batch: PaddedBatch) -> float:
    """Operations of a forward and a backward pass, as PyTorch counts them."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        loss(batch).backward()
    return float(counter.get_total_flops())


@torch.no_grad()
def validation_loss(job: RecipeJob, model: RecipeModel, tuning: RecipeSequences) -> float:
    """The mean loss of tuning patients, with the same random choices each time."""
    model.eval()
    index = np.arange(min(len(tuning), MOST_VALIDATED))
    total = 0.0
    for number, part in enumerate(job.microbatches(tuning, index)):
        seed_step(0, number)
        total += float(model.pretraining_loss(padded(tuning, part, job.device))) * len(part)
    model.train()
    return total / max(1, len(index))


def pretrain_recipe(
    job: RecipeJob,
    train: RecipeSequences,
    tuning: RecipeSequences,
    budget: tuple[int, int],
    progress: Callable[[float], None],
) -> RecipePretrainingResult:
    """Pretrain a recipe; returns the result in `cell.json`.

    `budget` is the tokens of the final run, and those of a step. Writes `model.safetensors` and
    `metrics.jsonl`. Called again after an interruption it resumes and ends with the same weights.
    """
    work = RecipePretraining(job, train, *budget)
    saver = Checkpoints(
        job.folder / checkpoints.FOLDER, _identity(job, train, budget), job.checkpoint_minutes
    )
    found = saver.resume()
    metrics = MetricsFile(job.folder / "metrics.jsonl", found.step)
    meter = CostMeter(job.device, found.state.get("cost"), metrics.usage)
    position = _restore(work, found)
    try:
        while position < work.end:
            run = work.run_at(position)
            if position == run.first:
                work.start(run)
            try:
                loss, tokens = work.step(position)
            except Diverged:
                if run.first >= len(RATES) * work.search_steps:
                    raise
                position, loss, tokens = run.first + run.steps - 1, math.nan, 0
            position += 1
            meter.count(tokens, tokens * work.flops_per_token)
            metrics.write(step=position - 1, loss=None if math.isnan(loss) else loss, **meter.usage())
            if position == run.first + run.steps and len(work.losses) < len(RATES):
                failed = math.isnan(loss)
                work.losses.append(None if failed else validation_loss(job, work.model, tuning))
            if saver.due() or position == len(RATES) * work.search_steps:
                tensors = checkpoints.training_tensors(work.model, work.optimizer)
                saver.save(position, tensors, {"losses": work.losses, "cost": meter.state()})
            progress(position / work.end)
    finally:
        metrics.close()
    checkpoints.save_tensors(job.folder / "model.safetensors", dict(work.model.named_parameters()))
    tokens = work.batches.tokens_per_epoch * work.steps / work.batches.steps_per_epoch
    return {
        "parameters": sum(weight.numel() for weight in work.model.parameters()),
        "tokens": round(tokens),
        "train_flops": tokens * work.flops_per_token,
        "seconds": meter.seconds,
        "tokens_per_second": meter.tokens / max(meter.seconds, 1e-9),
        "learning_rate": work.best_rate,
        "lr_search": dict(zip(map(str, RATES), work.losses, strict=True)),
        "validation_loss": validation_loss(job, work.model, tuning),
        "cost": meter.entry(job.peak_tflops),
        "notes": saver.notes,
    }


def _restore(work: RecipePretraining, found: Checkpoint) -> int:
    """The state after a checkpoint; returns the next position."""
    work.losses = list(found.state.get("losses", []))
    if found.step and found.step < work.end:
        run = work.run_at(found.step)
        work.start(run)
        if found.step > run.first:
            checkpoints.restore(found.tensors, found.step - run.first, work.model, work.optimizer)
    return found.step


def _identity(job: RecipeJob, train: RecipeSequences, budget: tuple[int, int]) -> str:
    return artifacts.fingerprint(
        recipe=job.recipe.name,
        parameters=parameters(job.recipe, dimensions_of(job.recipe, job.target, job.codes), job.codes),
        seed=job.seed,
        budget=budget,
        tokens=int(train.channels["token"].sum()),
        version=VERSIONS["recipe_pretrain"],
    )
