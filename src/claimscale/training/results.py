"""What finished trainings write to `cell.json` under `result`; docs/files.md explains every key."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from claimscale.training.cost import CostEntry, MeterState

Note = dict[str, object]
"""A finding about a problem on the way, as JSON."""


class Losses(TypedDict):
    """Mean validation losses in nats per code; null without any code to predict."""

    validation_loss: float | None
    validation_loss_new: float | None
    validation_loss_recurrent: float | None
    validation_loss_incident: NotRequired[float | None]
    train_loss: NotRequired[float | None]


class EndEntry(Losses):
    """The losses at a share of the budget of tokens."""

    share: float
    tokens: int
    steps: int


class CooldownEntry(EndEntry):
    usage: MeterState
    """The cost of the whole pretraining so far, which its next checkpoint includes."""


class PretrainingResult(Losses):
    parameters: int
    non_embedding_parameters: int
    tokens: int
    seconds: float
    tokens_per_second: float
    train_flops: float
    ranks: int
    cooldowns: list[EndEntry]
    cost: CostEntry
    notes: list[Note]
    compiled: NotRequired[dict[str, int]]


class RateLoss(TypedDict):
    """A rate of the learning-rate sweep; the loss is null where training diverged."""

    learning_rate: float
    validation_loss: float | None


class RateEntry(RateLoss):
    tokens: int
    usage: MeterState
    notes: list[Note]
    train_flops: float


class SweepResult(TypedDict):
    parameters: int
    tokens: int
    seconds: float
    train_flops: float
    lr_sweep: list[RateLoss]
    cost: CostEntry
    notes: list[Note]


class TrialEntry(TypedDict):
    """A learning rate of a fine-tuning: its best epoch and the tuning loss there."""

    learning_rate: float
    tuning_loss: float | None
    best_epoch: int


class RecipeFinetuneResult(TypedDict):
    parameters: int
    trials: list[TrialEntry]
    tuning_loss: float
    seconds: float
    cost: CostEntry


class FinetuneResult(TypedDict):
    parameters: int
    learning_rate: float
    best_epoch: int
    tuning_loss: float | None
    zero_shot_tuning_loss: float | None
    trials: list[dict[str, object]]
    seconds: float
    cost: CostEntry
    notes: list[Note]


class RecipePretrainingResult(TypedDict):
    parameters: int
    tokens: int
    train_flops: float
    seconds: float
    tokens_per_second: float
    learning_rate: float
    lr_search: dict[str, float | None]
    validation_loss: float
    cost: CostEntry
    notes: list[Note]
