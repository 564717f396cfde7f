"""The pretraining cost that a smaller size saves, also against a size that was never trained.

The cost of a size that was not trained is estimated from its operations, at the rate of the largest size that
was. Larger encoders usually run at a better rate, so that the estimate tends to be high.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from claimscale.evaluation.pretrained_sizes import PretrainedSize
from claimscale.model import shapes


@dataclass(frozen=True)
class PretrainingCost:
    """`hours` and floating-point operations of one pretraining, None where unknown; whether `estimated`."""

    hours: float | None
    flops: float | None
    estimated: bool = False


@dataclass(frozen=True)
class Saving:
    """What one size saves against the `reference_size`; the hours are `estimated` where either's are."""

    reference_size: str
    hours: float | None
    flops: float | None
    estimated: bool


def pretraining_costs(
    sizes: Sequence[PretrainedSize], vocabulary: int | None, mask_probability: float, groups: int = 0
) -> dict[str, PretrainingCost]:
    """The cost of every size, by name: as measured, otherwise estimated from the largest measured one.

    Args:
        sizes: ascending.
        vocabulary: number of codes, on which the operations depend; if None, nothing is estimated.
        mask_probability: share of tokens that are masked.
        groups: number of code groups with an embedding of their own.
    """
    found = {one.name: PretrainingCost(one.hours, one.train_flops) for one in sizes}
    measured = [one for one in sizes if one.hours and one.train_flops and one.tokens]
    if not measured or vocabulary is None:
        return found
    base = measured[-1]
    assert base.hours and base.train_flops and base.tokens

    def operations(parameters: int, tokens: float) -> float:
        shape = shapes.solve(parameters, vocabulary, groups)
        return shapes.pretraining_flops(shape, tokens, round(mask_probability * tokens))

    for one in sizes:
        if one.hours is None:
            # Attention is not counted here; it is taken to grow in proportion.
            share = operations(one.parameters, base.tokens) / operations(base.parameters, base.tokens)
            found[one.name] = PretrainingCost(share * base.hours, share * base.train_flops, True)
    return found


def saving(costs: Mapping[str, PretrainingCost], used: str, reference_size: str) -> Saving:
    """What one pretraining of `used` saves against one of `reference_size`; 0 if they are the same."""
    if used == reference_size:
        return Saving(reference_size, 0.0, 0.0, False)
    reference, smaller = costs[reference_size], costs[used]

    def less(more: float | None, fewer: float | None) -> float | None:
        return None if more is None or fewer is None else more - fewer

    hours, flops = less(reference.hours, smaller.hours), less(reference.flops, smaller.flops)
    return Saving(reference_size, hours, flops, reference.estimated or smaller.estimated)
