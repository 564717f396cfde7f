"""Convergence: was pretraining long enough, and was its learning rate near the optimum?

A larger encoder that was trained too little looks no better than a smaller one. A plateau counts only if
doubling the tokens hardly changes the largest size's losses, of masked and of incident codes, the best
learning rate of each size is inside the range that was tried, and the loss on training patients is not far
below the loss on others. A guard that was not measured is unknown, not passed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from claimscale.evaluation.pretrained_sizes import CooldownLoss, LearningRateTrial, PretrainedSize

MAX_LOSS_DROP = 0.005
"""Share of the validation loss by which the last doubling of tokens may still change it, either way."""
MAX_GENERALIZATION_GAP = 0.05
"""Share by which the loss on training patients may be below the loss on others."""
DOUBLING = (1.8, 2.2)
"""Ratios that count as twice the tokens, because cooldowns end on whole steps."""

Status = Literal["converged", "under_trained", "unknown"]


@dataclass(frozen=True)
class Convergence:
    """The guards of one study.

    Attributes:
        status: `under_trained` if any guard failed, `unknown` if none failed but one was not measured.
        loss_drop_last_doubling: share of the largest size's loss that the last doubling of tokens removed,
            of masked or incident codes, whichever changed more; negative where the loss rose.
        learning_rates: per size whether the best rate is inside the range tried; None where none was tried.
        generalization_gap: the largest share, over sizes, by which training loss is below validation loss.
        failed, not_measured: guards, by the names `tokens`, `learning_rate`, `overfitting`.
    """

    status: Status
    loss_drop_last_doubling: float | None
    learning_rates: dict[str, bool | None]
    generalization_gap: float | None
    failed: tuple[str, ...]
    not_measured: tuple[str, ...]


def convergence(sizes: Sequence[PretrainedSize]) -> Convergence:
    """The guards of these sizes, ascending. Where seeds differ, the worst of them counts."""
    drops = [last_doubling_drop(cooldowns) for cooldowns in (sizes[-1].cooldowns_by_seed if sizes else ())]
    drop = max((one for one in drops if one is not None), default=None, key=abs)
    interior = {size.name: has_interior_optimum(size.lr_sweep) for size in sizes}
    gap = max(
        (
            (size.validation_loss - size.train_loss) / size.validation_loss
            for size in sizes
            if size.train_loss is not None and size.validation_loss
        ),
        default=None,
    )
    passed = {
        "tokens": None if drop is None else abs(drop) < MAX_LOSS_DROP,
        "learning_rate": _all(list(interior.values())),
        "overfitting": None if gap is None else gap < MAX_GENERALIZATION_GAP,
    }
    failed = tuple(name for name, result in passed.items() if result is False)
    not_measured = tuple(name for name, result in passed.items() if result is None)
    status: Status = "under_trained" if failed else "unknown" if not_measured else "converged"
    return Convergence(status, drop, interior, gap, failed, not_measured)


def last_doubling_drop(cooldowns: Sequence[CooldownLoss] | None) -> float | None:
    """Share of the loss that the last doubling of tokens removed, of masked or of incident codes.

    Of the two losses the one that changed more; None if no end has half the tokens of the last one.
    """
    drops = [
        _last_doubling_drop({float(end["tokens"]): end.get(loss) for end in cooldowns or () if end["tokens"]})
        for loss in ("validation_loss", "validation_loss_incident")
    ]
    return max((drop for drop in drops if drop is not None), default=None, key=abs)


def _last_doubling_drop(losses: dict[float, float | None]) -> float | None:
    last = max(losses, default=0.0)
    for fewer in sorted(losses, reverse=True):
        before, after = losses[fewer], losses[last]
        if DOUBLING[0] <= last / fewer <= DOUBLING[1] and before and after:
            return (before - after) / before
    return None


def has_interior_optimum(sweep: Sequence[LearningRateTrial] | None) -> bool | None:
    """Whether the lowest loss is at neither end of the learning rates tried; None with fewer than three.

    A rate at which training diverged (loss None) is worse than all others.
    """
    tried = sorted(sweep or (), key=lambda trial: trial["learning_rate"])
    losses = [math.inf if trial["validation_loss"] is None else trial["validation_loss"] for trial in tried]
    if len(losses) < 3 or min(losses) == math.inf:
        return None
    return 0 < losses.index(min(losses)) < len(losses) - 1


def _all(results: Sequence[bool | None]) -> bool | None:
    """False if any is False, None if any is unknown or there is none."""
    if any(one is False for one in results):
        return False
    return None if not results or any(one is None for one in results) else True
