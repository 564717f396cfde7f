"""Whether a plateau may be called one: has pretraining been long enough, and its learning rate right?

A larger encoder that was trained too little looks no better than a smaller one. A plateau counts only if
twice the tokens hardly move the largest size's loss, the best learning rate of each size lies inside
those tried, and the loss on the training patients is not far below that on others. What was not measured is
unknown, not passed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

MOST_FROM_DOUBLING = 0.005
"""Share of the validation loss by which doubling the tokens may still move it, either way."""
LARGEST_GAP = 0.05
"""Share by which the loss on training patients may lie below that on others."""
DOUBLING = (1.8, 2.2)
"""What counts as twice the tokens: branches end on whole steps."""

Status = Literal["converged", "under_trained", "unknown"]


@dataclass(frozen=True)
class Convergence:
    """The guards of one study.

    Attributes:
        status: `under_trained` if any guard failed, `unknown` if none failed but one was not measured.
        from_doubling: share of the largest size's loss that the last doubling of tokens took off; negative
            where the loss rose.
        learning_rates: per size whether the best rate lies inside those tried; null where none was.
        gap: the largest share, over sizes, by which training lies below validation loss.
        failed, unmeasured: which guards, by the names `tokens`, `learning_rate`, `overfitting`.
    """

    status: Status
    from_doubling: float | None
    learning_rates: dict[str, bool | None]
    gap: float | None
    failed: tuple[str, ...]
    unmeasured: tuple[str, ...]


def convergence(sizes: Sequence[Mapping[str, Any]]) -> Convergence:
    """Judge the sizes' entries of the summary, ascending. Where seeds differ the worst of them counts.

    Read are `name`, `cooldowns_by_seed` [[{share, tokens, steps, validation_loss}]], `lr_sweep`
    [{learning_rate, validation_loss}], `train_loss` and `validation_loss`, each if there.
    """
    doubled = [doubling(branches) for branches in (sizes[-1] if sizes else {}).get("cooldowns_by_seed") or ()]
    taken_off = max((one for one in doubled if one is not None), default=None, key=abs)
    inside = {size["name"]: interior(size.get("lr_sweep")) for size in sizes}
    gaps = [gap for size in sizes if (gap := _gap(size)) is not None]
    gap = max(gaps, default=None)
    verdicts = {
        "tokens": None if taken_off is None else abs(taken_off) < MOST_FROM_DOUBLING,
        "learning_rate": _all(list(inside.values())),
        "overfitting": None if gap is None else gap < LARGEST_GAP,
    }
    failed = tuple(name for name, passed in verdicts.items() if passed is False)
    unmeasured = tuple(name for name, passed in verdicts.items() if passed is None)
    status: Status = "under_trained" if failed else "unknown" if unmeasured else "converged"
    return Convergence(status, taken_off, inside, gap, failed, unmeasured)


def doubling(branches: Sequence[Mapping[str, Any]] | None) -> float | None:
    """Share of the loss that the last doubling of tokens took off; None if no end has half the last one's."""
    losses = {float(end["tokens"]): end["validation_loss"] for end in branches or () if end["tokens"]}
    last = max(losses, default=0.0)
    for fewer in sorted(losses, reverse=True):
        if DOUBLING[0] <= last / fewer <= DOUBLING[1] and losses[fewer] and losses[last]:
            return (losses[fewer] - losses[last]) / losses[fewer]
    return None


def interior(sweep: Sequence[Mapping[str, Any]] | None) -> bool | None:
    """Whether the lowest loss lies at neither end of the learning rates tried; None with fewer than three.

    A rate at which training diverged (loss null) is worse than all others.
    """
    tried = sorted(sweep or (), key=lambda one: one["learning_rate"])
    losses = [math.inf if one["validation_loss"] is None else one["validation_loss"] for one in tried]
    if len(losses) < 3 or min(losses) == math.inf:
        return None
    return 0 < losses.index(min(losses)) < len(losses) - 1


def _gap(size: Mapping[str, Any]) -> float | None:
    inside, outside = size.get("train_loss"), size.get("validation_loss")
    return None if inside is None or not outside else (outside - inside) / outside


def _all(found: Sequence[bool | None]) -> bool | None:
    """False if any is, None if any is unknown or there is none."""
    if any(one is False for one in found):
        return False
    return None if not found or any(one is None for one in found) else True
