"""The pretraining that a smaller size saves, also against a size that was never trained.

A size that was left out costs what its operations take at the rate of the largest size that was trained.
Larger encoders use a device better, as a rule: what they would have taken is rather less than that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from claimscale.model import shapes


@dataclass(frozen=True)
class Cost:
    """Of one pretraining: `hours` and floating-point operations, None where unknown; whether `estimated`."""

    hours: float | None
    flops: float | None
    estimated: bool = False


@dataclass(frozen=True)
class Saving:
    """What using one size saves against another, `against`; the hours are `estimated` where either's are."""

    against: str
    hours: float | None
    flops: float | None
    estimated: bool


def costs(sizes: Sequence[Mapping[str, Any]], vocabulary: int | None, mask: float) -> dict[str, Cost]:
    """The cost of every size, by name: as measured, else estimated from the largest that was measured.

    Args:
        sizes: ascending, with `name`, `parameters` and, where trained, `hours`, `train_flops` and `tokens`.
        vocabulary: tokens in it, which the operations depend on; if None, nothing is estimated.
        mask: share of tokens that are masked.
    """
    measured = [one for one in sizes if one.get("hours") and one.get("train_flops") and one.get("tokens")]
    found = {one["name"]: Cost(one.get("hours"), one.get("train_flops")) for one in sizes}
    if not measured or vocabulary is None:
        return found
    base = measured[-1]

    def operations(parameters: int) -> float:
        tokens = base["tokens"]
        return shapes.train_flops(shapes.solve(parameters, vocabulary), tokens, round(mask * tokens))

    for one in sizes:
        if one.get("hours") is None:
            # Attention, which the operations counted here leave out, is thought to grow alike.
            share = operations(one["parameters"]) / operations(base["parameters"])
            found[one["name"]] = Cost(share * base["hours"], share * base["train_flops"], True)
    return found


def saving(cost: Mapping[str, Cost], used: str, against: str) -> Saving:
    """What one pretraining of `used` saves against one of `against`; nothing if they are the same."""
    if used == against:
        return Saving(against, 0.0, 0.0, False)
    most, least = cost[against], cost[used]
    hours, flops = _less(most.hours, least.hours), _less(most.flops, least.flops)
    return Saving(against, hours, flops, most.estimated or least.estimated)


def _less(most: float | None, least: float | None) -> float | None:
    return None if most is None or least is None else most - least
