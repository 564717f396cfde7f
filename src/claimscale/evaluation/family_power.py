"""The power of a verdict on several tasks together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from claimscale.evaluation.power import Components


def family(tasks: Sequence[tuple[Components, int]]) -> tuple[Components, int]:
    """The mean over several tasks as one task: its components and its positives.

    Each task is given by its components and test positives. Its patients are assumed to be others than those
    of other tasks; runs are assumed to err alike in all tasks, which promises least.
    """
    own = [(parts.at(positives), positives) for parts, positives in tasks]
    total = sum(positives for _, positives in own)

    def mean_variance(values: Sequence[float]) -> float:
        parts = (value / positives for value, (_, positives) in zip(values, own, strict=True))
        return total * sum(parts) / len(own) ** 2

    found = replace(
        own[0][0],
        shared=mean_variance([parts.shared for parts, _ in own]),
        within=mean_variance([parts.within for parts, _ in own]),
        common=mean_variance([parts.common for parts, _ in own]),
        lasting=float(np.mean([math.sqrt(parts.lasting) for parts, _ in own])) ** 2,
    )
    return found, total
