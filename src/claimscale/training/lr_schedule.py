"""Warm-up, stable, decay: the learning rate of each step, and the cooldowns of one run.

Until its decay begins a shorter run takes the same steps as a longer one. One stable run therefore serves
several budgets: a cooldown is forked from it and decays to the end of its own budget (Hägele et al. 2024).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from claimscale.config.training import Pretrain

DECAY_FRACTION = 0.2
"""Fraction of the steps, at the end, in which the learning rate decays."""
WARMUP_FRACTION, LONGEST_WARMUP = 0.15, 500
"""Short runs need a long warm-up: at 2 % of 220 steps the best learning rate fell as the encoder grew."""


def lr_multiplier(step: int, steps: int, warmup: int) -> float:
    """The factor of the learning rate at a step: warm-up, stable, decay.

    It rises linearly over `warmup` steps, is 1, and falls as 1 - sqrt over the last 20 % of the steps.
    """
    decay_steps = DECAY_FRACTION * steps
    rising = min(1.0, (step + 1) / (warmup + 1))
    into_decay = max(0.0, step - (steps - decay_steps))
    return rising * (1 - math.sqrt(min(1.0, into_decay / decay_steps)))


@dataclass(frozen=True)
class LrSchedule:
    """The schedule of a run of `steps` steps, the first `warmup` of them rising."""

    steps: int
    warmup: int

    @classmethod
    def of(cls, steps: int) -> LrSchedule:
        return cls(steps, min(math.ceil(WARMUP_FRACTION * steps), LONGEST_WARMUP))

    def multiplier(self, step: int) -> float:
        return lr_multiplier(step, self.steps, self.warmup)

    @property
    def decay_start(self) -> int:
        """The first step whose rate is lower than in a longer run."""
        return min(math.floor(self.steps - DECAY_FRACTION * self.steps) + 1, self.steps)


@dataclass(frozen=True)
class Cooldown:
    """A decay to a fraction of the budget: forked before step `fork`, it ends after `schedule.steps`."""

    fraction: float
    schedule: LrSchedule

    @property
    def fork(self) -> int:
        return self.schedule.decay_start

    @property
    def own_steps(self) -> int:
        """Steps that the stable run does not take for it."""
        return self.schedule.steps - self.fork

    @property
    def name(self) -> str:
        return f"cooldown-{self.fraction:g}"


def cooldowns_of(fractions: list[float], stable: LrSchedule) -> list[Cooldown]:
    """The cooldowns at these fractions of the stable run's steps, in order; 1 is the run itself.

    A cooldown has the warm-up of the stable run, and at least one step.
    """
    return [
        Cooldown(fraction, LrSchedule(max(1, round(fraction * stable.steps)), stable.warmup))
        for fraction in sorted(fractions)
        if fraction < 1
    ]


def token_budgets(settings: Pretrain, kind: Literal["pretrain", "sweep"]) -> float:
    """Whole budgets of tokens that a pretraining with its cooldowns, or a learning-rate sweep, trains on."""
    if kind == "sweep":
        return settings.lr_sweep_fraction * len(settings.lr_sweep)
    return 1 + DECAY_FRACTION * sum(fraction for fraction in settings.cooldown_fractions if fraction < 1)
