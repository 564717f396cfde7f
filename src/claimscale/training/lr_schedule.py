"""Warm-up, stable, decay: how long a training and its cooldowns are, and the rate of each step.

Until the decay begins a shorter run does what a longer one does. So one stable trunk serves several budgets:
at each it forks into a cooldown that decays to its own end, and goes on itself (Hägele et al. 2024).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from claimscale.config.training import Pretrain

DECAY_SHARE = 0.2
"""Of a training's steps, those at its end in which the learning rate decays."""
WARMUP_SHARE, LONGEST_WARMUP = 0.15, 500
"""Short runs need a long warm-up: at 2 % of 220 steps the best learning rate fell as the encoder grew."""


def rate_multiplier(step: int, steps: int, warmup: int) -> float:
    """Warm-up, stable, decay: the share of the learning rate that step `step` of `steps` uses.

    Linear up over `warmup` steps, then 1, then 1 - sqrt over the last 20 % of the steps.
    """
    decay_steps = DECAY_SHARE * steps
    rising = min(1.0, (step + 1) / (warmup + 1))
    into_decay = max(0.0, step - (steps - decay_steps))
    return rising * (1 - math.sqrt(min(1.0, into_decay / decay_steps)))


@dataclass(frozen=True)
class Schedule:
    """`steps` in all, the first `warmup` rising."""

    steps: int
    warmup: int

    @classmethod
    def of(cls, steps: int) -> Schedule:
        return cls(steps, min(math.ceil(WARMUP_SHARE * steps), LONGEST_WARMUP))

    def rate(self, step: int) -> float:
        """The share of the learning rate that a step uses."""
        return rate_multiplier(step, self.steps, self.warmup)

    @property
    def decay_from(self) -> int:
        """The first step whose rate is lower than in a longer run; before it both are equal."""
        return min(math.floor(self.steps - DECAY_SHARE * self.steps) + 1, self.steps)


@dataclass(frozen=True)
class Cooldown:
    """A decay to a share of the budget: it leaves the trunk before step `fork` and ends after `steps`."""

    share: float
    schedule: Schedule

    @property
    def fork(self) -> int:
        return self.schedule.decay_from

    @property
    def own_steps(self) -> int:
        """Steps that the trunk does not do for it."""
        return self.schedule.steps - self.fork

    @property
    def name(self) -> str:
        return f"cooldown-{self.share:g}"


def cooldowns_of(shares: list[float], trunk: Schedule) -> list[Cooldown]:
    """The cooldowns for these shares of the trunk's steps, in the order of their forks; share 1 is the trunk.

    A cooldown warms up as its trunk does, and has at least one step.
    """
    return [
        Cooldown(share, Schedule(max(1, round(share * trunk.steps)), trunk.warmup))
        for share in sorted(shares)
        if share < 1
    ]


def budgets(settings: Pretrain, kind: Literal["pretrain", "sweep"]) -> float:
    """Whole budgets of tokens that a pretraining with its cooldowns trains on, or a sweep of rates."""
    if kind == "sweep":
        return settings.lr_sweep_fraction * len(settings.lr_sweep)
    return 1 + DECAY_SHARE * sum(share for share in settings.cooldown_fractions if share < 1)
