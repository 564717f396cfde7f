"""How many labelled patients a task needs before one model overtakes another.

The difference of two models is known at a few numbers of labelled patients. Between these it is taken to be
straight over the logarithm of the number, as learning curves of both nearly are; beyond them nothing is said.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from claimscale.evaluation.intervals import Scores, difference
from claimscale.evaluation.metrics import Floats

DRAWS = 4000
CONFIDENCE = 0.95

Outcome = Literal["at", "from_the_smallest", "never_in_range"]


@dataclass(frozen=True)
class BreakEven:
    """From how many labelled patients on a model stays ahead of its rival.

    Attributes:
        outcome: `at` some number within those tested, ahead `from_the_smallest`, or `never_in_range`.
        patients: the number, if `at`.
        low, high: 95 % interval over patients and seeds; an end is 0 where the model is ahead from the
            smallest number tested, None where it is not ahead even at the largest.
        ahead: share of draws in which the model is ahead at the largest number tested.
        tested: the numbers of labelled patients compared, ascending.
    """

    outcome: Outcome
    patients: float | None
    low: float | None
    high: float | None
    ahead: float
    tested: tuple[int, ...]


def break_even(model: Mapping[int, Scores], rival: Mapping[int, Scores], seed: int = 0) -> BreakEven | None:
    """Where the model overtakes the rival for good; both by number of labelled patients.

    A better model has a higher score. Differences are paired by patient and seed. None without two numbers of
    patients at which both were tested with two common seeds: the chance of training is then unknown. None,
    too, where so few have the outcome that replicates lack it.
    """
    gains = {}
    for patients in sorted(set(model) & set(rival)):
        gain = difference(model[patients], rival[patients])
        if gain is not None and len(gain.seeds) > 1:
            gains[patients] = gain
    seeds = {gain.seeds for gain in gains.values()}
    if len(gains) < 2 or len(seeds) > 1:
        return None
    tested = np.array(list(gains), dtype=float)
    mean = np.array([gain.values.mean() for gain in gains.values()])
    deviations = _deviations(list(gains.values()), seed)
    if not np.isfinite(mean + deviations).all():
        return None
    crossings = overtaken_at(tested, mean + deviations)
    (estimate,) = overtaken_at(tested, mean[None])
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(crossings, [tail, 1 - tail], method="closest_observation")
    outcome: Outcome = (
        "at" if np.isfinite(estimate) else "from_the_smallest" if estimate < 0 else "never_in_range"
    )
    return BreakEven(
        outcome=outcome,
        patients=float(estimate) if outcome == "at" else None,
        low=_end(low),
        high=_end(high),
        ahead=float(np.mean(crossings < math.inf)),
        tested=tuple(gains),
    )


def overtaken_at(tested: Floats, gains: Floats) -> Floats:
    """The number of patients from which each row of gains (draws, numbers) stays above zero.

    -inf where it is above zero at every number, inf where it is not at the last.

    >>> overtaken_at(np.array([100.0, 10_000.0]), np.array([[-1.0, 1.0], [1.0, 1.0], [1.0, 0.0]]))
    array([1000.,  -inf,   inf])
    """
    behind = gains <= 0
    # The last number at which the model is behind; it leads from somewhere before the next.
    last = np.where(behind.any(axis=1), behind.shape[1] - 1 - behind[:, ::-1].argmax(axis=1), -1)
    found = np.full(len(gains), -math.inf)
    found[last == behind.shape[1] - 1] = math.inf
    inside = np.flatnonzero((last >= 0) & (last < behind.shape[1] - 1))
    before, after = gains[inside, last[inside]], gains[inside, last[inside] + 1]
    share = before / (before - after)
    logs = np.log(tested)
    found[inside] = np.exp(logs[last[inside]] + share * (logs[last[inside] + 1] - logs[last[inside]]))
    return found


def _deviations(gains: list[Scores], seed: int) -> Floats:
    """How the mean gains would differ for other patients and other seeds: (draws, numbers of patients).

    The patient part is that of the bootstrap. The seed part is Student's t with k - 1 degrees of freedom
    along the spread of the k seeds: the same pretraining runs stand behind every number of patients.
    """
    generator = np.random.default_rng(seed)
    by_replicate = np.stack([gain.replicates.mean(axis=0) for gain in gains], axis=1)
    by_replicate = by_replicate[np.isfinite(by_replicate).all(axis=1)]
    if len(by_replicate) < 2:
        return np.full((DRAWS, len(gains)), np.nan)
    drawn = by_replicate[generator.integers(len(by_replicate), size=DRAWS)] - by_replicate.mean(axis=0)
    by_seed = np.stack([gain.values for gain in gains], axis=1)
    spread = by_seed - by_seed.mean(axis=0)
    runs = len(by_seed)
    normal = generator.normal(size=(DRAWS, runs)) / math.sqrt(runs * (runs - 1))
    heavier = np.sqrt((runs - 1) / generator.chisquare(runs - 1, size=(DRAWS, 1)))
    return drawn + heavier * (normal @ spread)


def _end(crossing: float) -> float | None:
    return None if crossing == math.inf else max(float(crossing), 0.0)
