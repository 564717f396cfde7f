"""Warm-up, stable, decay: how long a pretraining and its branches are, and the rate of each step.

Until the decay begins a shorter run does what a longer one does. So one stable trunk serves several budgets:
at each it forks into a branch that decays to its own end, and goes on itself (Hägele et al. 2024).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from claimscale.study import DECAY_SHARE
from claimscale.training import loop

WARMUP_SHARE, LONGEST_WARMUP = 0.15, 500
"""Short runs need a long warm-up: at 2 % of 220 steps the best learning rate fell as the encoder grew."""


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
        return loop.rate_multiplier(step, self.steps, self.warmup)

    @property
    def decay_from(self) -> int:
        """The first step whose rate is lower than in a longer run; before it both are equal."""
        return min(math.floor(self.steps - DECAY_SHARE * self.steps) + 1, self.steps)


@dataclass(frozen=True)
class Branch:
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
        return f"branch-{self.share:g}"


def branches_of(shares: list[float], trunk: Schedule) -> list[Branch]:
    """The branches for these shares of the trunk's steps, in the order of their forks; share 1 is the trunk.

    A branch warms up as its trunk does, and has at least one step.
    """
    return [
        Branch(share, Schedule(max(1, round(share * trunk.steps)), trunk.warmup))
        for share in sorted(shares)
        if share < 1
    ]
