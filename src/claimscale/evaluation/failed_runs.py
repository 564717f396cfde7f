"""Runs of pretraining that failed, by a rule fixed beforehand, and how many may go unseen.

A failed run is no draw from the distribution of the others: it changes the mean of its size, and no variance
between a few runs describes it. It is named, and should be repeated with another seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from claimscale.evaluation.intervals import CONFIDENCE
from claimscale.evaluation.pretrained_sizes import PretrainedSize

MAX_EXCESS = 0.02
"""Share by which a loss may exceed the median of the other runs; they differ by 0.2 to 0.5 % as a rule."""
MIN_RUNS = 3


@dataclass(frozen=True)
class FailedRun:
    """A run whose loss exceeds the median of the other runs of its size by the share `excess`."""

    size: str
    seed: int
    excess: float


def failed_runs(sizes: Sequence[PretrainedSize]) -> tuple[FailedRun, ...]:
    """The failed runs of sizes with at least MIN_RUNS runs, by the loss of incident codes.

    Without incident codes the loss of masked codes decides.
    """
    found = []
    for size in sizes:
        trains_incident = any(loss is not None for loss in size.incident_loss_by_seed)
        losses = size.incident_loss_by_seed if trains_incident else size.validation_loss_by_seed
        known = [(seed, loss) for seed, loss in zip(size.seeds, losses, strict=True) if loss]
        for seed, loss in known if len(known) >= MIN_RUNS else ():
            excess = loss / median(other for one, other in known if one != seed) - 1
            if excess > MAX_EXCESS:
                found.append(FailedRun(size.name, seed, excess))
    return tuple(found)


def unseen_failure_rate(runs: int) -> float:
    """The largest rate of failures with which so many runs have none in 5 % of studies.

    >>> round(unseen_failure_rate(3), 2)
    0.63
    """
    return 1 - (1 - CONFIDENCE) ** (1 / runs)
