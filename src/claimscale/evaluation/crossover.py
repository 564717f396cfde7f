"""The number of labelled patients from which one model exceeds another.

The difference of two models is measured at a few numbers of labelled patients. Between these numbers it is
interpolated linearly over their logarithm, because learning curves are nearly straight on that scale. Nothing
is extrapolated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from claimscale.evaluation.intervals import CONFIDENCE, Scores, difference
from claimscale.evaluation.metrics import Floats
from claimscale.evaluation.selection import LIGHTGBM, PRETRAINED, TaskScores

SIMULATIONS = 4000

Outcome = Literal["at", "from_the_smallest", "never_in_range"]


@dataclass(frozen=True)
class Crossover:
    """From how many labelled patients a model stays above its comparator.

    Attributes:
        outcome: `at` a number in the tested range, above `from_the_smallest`, or `never_in_range`.
        n_labelled: the number, if `at`.
        low, high: 95 % interval over patients and seeds. An end is 0 where the model is above from the
            smallest number tested, None where it is not above even at the largest.
        prob_superior: share of simulations in which the model is above at the largest number tested.
        tested_n_labelled: the numbers of labelled patients compared, ascending.
    """

    outcome: Outcome
    n_labelled: float | None
    low: float | None
    high: float | None
    prob_superior: float
    tested_n_labelled: tuple[int, ...]


def crossovers(scores: TaskScores, sizes: Sequence[str], metric: str, seed: int) -> dict[str, Crossover]:
    """By size, ascending, where the pretrained model exceeds LightGBM.

    A size is missing if too few numbers of labelled patients, or too few seeds, are common to both.
    """
    by_model: dict[tuple[str, str | None], dict[int, Scores]] = {}
    for model, found in scores.items():
        by_model.setdefault((model.arm, model.size), {})[found.n_labelled] = found.by_metric[metric]
    comparator = by_model.get((LIGHTGBM, None), {})
    found = {size: find_crossover(by_model.get((PRETRAINED, size), {}), comparator, seed) for size in sizes}
    return {size: crossover for size, crossover in found.items() if crossover is not None}


def find_crossover(
    model: Mapping[int, Scores], comparator: Mapping[int, Scores], seed: int = 0
) -> Crossover | None:
    """Where the model exceeds the comparator for good; both by number of labelled patients.

    A better model has a higher score. Differences are paired by patient and seed. None without two numbers of
    patients at which both were tested with two common seeds, because the variance between runs is then
    unknown. None, too, where so few patients have the outcome that replicates lack it.
    """
    gains = {}
    for patients in sorted(set(model) & set(comparator)):
        gain = difference(model[patients], comparator[patients])
        if gain is not None and len(gain.seeds) > 1:
            gains[patients] = gain
    seeds = {gain.seeds for gain in gains.values()}
    if len(gains) < 2 or len(seeds) > 1:
        return None
    tested = np.array(list(gains), dtype=float)
    mean = np.array([gain.values.mean() for gain in gains.values()])
    deviations = _simulated_deviations(list(gains.values()), seed)
    if not np.isfinite(mean + deviations).all():
        return None
    crossings = crossing_points(tested, mean + deviations)
    (estimate,) = crossing_points(tested, mean[None])
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(crossings, [tail, 1 - tail], method="closest_observation")
    outcome: Outcome = (
        "at" if np.isfinite(estimate) else "from_the_smallest" if estimate < 0 else "never_in_range"
    )
    return Crossover(
        outcome=outcome,
        n_labelled=float(estimate) if outcome == "at" else None,
        low=_end(low),
        high=_end(high),
        prob_superior=float(np.mean(crossings < math.inf)),
        tested_n_labelled=tuple(gains),
    )


def crossing_points(tested: Floats, gains: Floats) -> Floats:
    """The number of patients from which each row of gains (simulations, numbers) stays above zero.

    -inf where it is above zero at every number, inf where it is not at the last.

    >>> crossing_points(np.array([100.0, 10_000.0]), np.array([[-1.0, 1.0], [1.0, 1.0], [1.0, 0.0]]))
    array([1000.,  -inf,   inf])
    """
    below = gains <= 0
    # The last number at which the model is below; it crosses somewhere before the next number.
    last = np.where(below.any(axis=1), below.shape[1] - 1 - below[:, ::-1].argmax(axis=1), -1)
    found = np.full(len(gains), -math.inf)
    found[last == below.shape[1] - 1] = math.inf
    inside = np.flatnonzero((last >= 0) & (last < below.shape[1] - 1))
    before, after = gains[inside, last[inside]], gains[inside, last[inside] + 1]
    share = before / (before - after)
    logs = np.log(tested)
    found[inside] = np.exp(logs[last[inside]] + share * (logs[last[inside] + 1] - logs[last[inside]]))
    return found


def _simulated_deviations(gains: list[Scores], seed: int) -> Floats:
    """Deviations of the mean gains for other patients and other seeds: (simulations, numbers of patients).

    The patient part is resampled from the bootstrap. The seed part is Student's t with k - 1 degrees of
    freedom along the deviations of the k seeds: all numbers of labelled patients share the same pretraining
    runs.
    """
    generator = np.random.default_rng(seed)
    by_replicate = np.stack([gain.replicates.mean(axis=0) for gain in gains], axis=1)
    by_replicate = by_replicate[np.isfinite(by_replicate).all(axis=1)]
    if len(by_replicate) < 2:
        return np.full((SIMULATIONS, len(gains)), np.nan)
    chosen = by_replicate[generator.integers(len(by_replicate), size=SIMULATIONS)]
    over_patients = chosen - by_replicate.mean(axis=0)
    by_seed = np.stack([gain.values for gain in gains], axis=1)
    spread = by_seed - by_seed.mean(axis=0)
    runs = len(by_seed)
    normal = generator.normal(size=(SIMULATIONS, runs)) / math.sqrt(runs * (runs - 1))
    heavier = np.sqrt((runs - 1) / generator.chisquare(runs - 1, size=(SIMULATIONS, 1)))
    return over_patients + heavier * (normal @ spread)


def _end(crossing: float) -> float | None:
    return None if crossing == math.inf else max(float(crossing), 0.0)
