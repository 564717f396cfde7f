"""The patient bootstrap: the variation of a metric over other samples of patients.

Every model and every task uses the same resampled patients, so that differences between them are paired. A
replicate is a vector of integer weights: how often each patient was sampled. Weights are made block by block,
so that memory does not grow with the number of replicates.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from claimscale.evaluation.metrics import Floats

BLOCK_WEIGHTS = 2**25
"""Weights of one block, one block per thread: 32 MiB."""
MAX_THREADS = 8
"""With more threads, memory bandwidth is the limit."""


@dataclass(frozen=True)
class Resamples:
    """`replicates` samples of patients with replacement (multinomial), fixed by `seed`.

    `unit` (patients), if given, is the number of each patient's sampling unit, such as the hospital, from 0.
    Whole units are then sampled, as many as there are, and a patient counts as often as his or her unit.
    """

    patients: int
    replicates: int
    seed: int
    unit: NDArray[np.int64] | None = None

    def places(self) -> list[slice]:
        """The blocks: ranges of replicates that are computed together."""
        width = int(np.clip(BLOCK_WEIGHTS // max(self.patients, 1), 8, 256))
        return [
            slice(start, min(start + width, self.replicates)) for start in range(0, self.replicates, width)
        ]

    def weights(self, place: slice) -> NDArray[np.uint8]:
        """How often each patient was sampled: (patients, replicates of the block), the same at every call.

        Each replicate has its own stream of random numbers, so that neither the size of a block nor the order
        of blocks changes it.
        """
        units = self.patients if self.unit is None else int(self.unit.max(initial=-1)) + 1
        block = np.zeros((place.stop - place.start, units), dtype=np.uint8)
        for row, replicate in zip(block, range(place.start, place.stop), strict=True):
            generator = np.random.default_rng([self.seed, replicate])
            _count(generator.integers(units, size=units, dtype=np.uint32), row)
        weights = np.ascontiguousarray(block.T)
        return weights if self.unit is None else weights[self.unit]


@dataclass(frozen=True)
class Ranking:
    """Patients of one model by descending score, with the cuts at which its metrics change.

    Average precision changes only at positives, and the ROC area needs only the number of negatives between
    two positives. Consecutive negatives are therefore one run, whose integer weights are summed first.

    `row` (n, int64) is a patient's number in the resampled population. Level g is a group of equal scores
    with a positive: `row[cuts[g, 0]:cuts[g, 1]]` are the negatives above it and below the level before,
    `row[cuts[g, 1]:cuts[g, 2]]` its negatives, and `row[cuts[g, 2]:cuts[g, 3]]` its positives. All patients
    after the last level are negatives.
    """

    row: NDArray[np.int64]
    cuts: NDArray[np.int64]

    @classmethod
    def of(cls, labels: NDArray[np.bool_], scores: Floats, rows: NDArray[np.int64]) -> Ranking:
        """Rank patients: boolean labels (n), finite scores (n), numbers in the resampled population (n)."""
        order = np.argsort(-scores, kind="stable")
        if len(order) == 0:
            return cls(rows.astype(np.int64), np.zeros((0, 4), dtype=np.int64))
        descending = scores[order]
        level = np.concatenate([[0], np.cumsum(descending[1:] != descending[:-1])])
        # Within a level negatives come first.
        order = order[np.argsort(2 * level + labels[order], kind="stable")]
        positive = labels[order]
        held = np.unique(level[positive])
        begins = np.searchsorted(level, held, side="left")
        ends = np.searchsorted(level, held, side="right")
        positives_before = np.concatenate([[0], np.cumsum(positive)])
        parts = ends - (positives_before[ends] - positives_before[begins])
        above = np.concatenate([[0], ends[:-1]]) if len(ends) else ends
        return cls(rows[order].astype(np.int64), np.stack([above, begins, parts, ends], axis=1))


def replicate_rankings(resamples: Resamples, rankings: Sequence[Ranking]) -> tuple[Floats, Floats]:
    """AUPRC and AUROC of every ranking in every replicate, each (rankings, replicates), float64.

    Equal to scikit-learn's `average_precision_score` and `roc_auc_score` with the replicate's weights. NaN
    where a replicate contains one class only.
    """
    auprc = np.empty((len(rankings), resamples.replicates))
    auroc = np.empty_like(auprc)

    def fill(place: slice, weights: NDArray[np.uint8]) -> None:
        for index, ranking in enumerate(rankings):
            auprc[index, place], auroc[index, place] = _weighted_areas(weights, ranking.row, ranking.cuts)

    _each_block(resamples, fill)
    return auprc, auroc


def areas(ranking: Ranking) -> tuple[float, float]:
    """AUPRC and AUROC of a ranking without resampling."""
    once = np.ones((int(ranking.row.max(initial=-1)) + 1, 1), dtype=np.uint8)
    auprc, auroc = _weighted_areas(once, ranking.row, ranking.cuts)
    return float(auprc[0]), float(auroc[0])


def replicate_means(resamples: Resamples, values: Floats, rows: NDArray[np.int64]) -> Floats:
    """Weighted mean of each column of `values` (n, columns) in every replicate: (columns, replicates).

    `rows` (n) are the patients' numbers in the resampled population. NaN where none of them was sampled.
    """
    means = np.empty((values.shape[1], resamples.replicates))

    def fill(place: slice, weights: NDArray[np.uint8]) -> None:
        counts = weights[rows].astype(np.float64)
        total = counts.sum(axis=0)
        total[total == 0] = np.nan
        means[:, place] = values.T @ counts / total

    _each_block(resamples, fill)
    return means


def _each_block(resamples: Resamples, fill: Callable[[slice, NDArray[np.uint8]], None]) -> None:
    """Call `fill` on every block, on all cores: the kernels release the interpreter lock."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ThreadPoolExecutor(min(cores, MAX_THREADS)) as pool:
        for _ in pool.map(lambda place: fill(place, resamples.weights(place)), resamples.places()):
            pass


@njit(cache=True, nogil=True)
def _count(sampled: NDArray[np.uint32], counts: NDArray[np.uint8]) -> None:
    for unit in sampled:
        counts[unit] += np.uint8(1)


@njit(cache=True, nogil=True)
def _add(
    weights: NDArray[np.uint8], row: NDArray[np.int64], begin: int, end: int, total: NDArray[np.uint32]
) -> None:
    """Sum the weights of a run of patients per replicate; the inner loop is contiguous in memory."""
    total[:] = np.uint32(0)
    for place in range(begin, end):
        own = weights[row[place]]
        for r in range(total.size):
            total[r] += own[r]


@njit(cache=True, nogil=True)
def _weighted_areas(
    weights: NDArray[np.uint8], row: NDArray[np.int64], cuts: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """AUPRC and AUROC of all replicates in one pass down the ranking.

    At each level average precision grows by (gain in recall) x (precision so far), and the ROC area by
    (negatives in the level) x (positives above + half of those within).
    """
    replicates = weights.shape[1]
    positives, negatives = np.zeros(replicates), np.zeros(replicates)
    above = np.zeros(replicates, dtype=np.uint32)
    within, gained = np.zeros_like(above), np.zeros_like(above)
    precision_sum, area = np.zeros(replicates), np.zeros(replicates)
    for level in range(cuts.shape[0]):
        _add(weights, row, cuts[level, 0], cuts[level, 1], above)
        _add(weights, row, cuts[level, 1], cuts[level, 2], within)
        _add(weights, row, cuts[level, 2], cuts[level, 3], gained)
        for r in range(replicates):
            area[r] += above[r] * positives[r] + within[r] * (positives[r] + 0.5 * gained[r])
            negatives[r] += above[r] + within[r]
            positives[r] += gained[r]
            if gained[r] > 0:
                precision_sum[r] += gained[r] * positives[r] / (positives[r] + negatives[r])
    last = cuts[-1, 3] if cuts.shape[0] else 0
    _add(weights, row, last, row.size, above)
    for r in range(replicates):
        area[r] += above[r] * positives[r]
        negatives[r] += above[r]
        both = positives[r] > 0 and negatives[r] > 0
        precision_sum[r] = precision_sum[r] / positives[r] if both else np.nan
        area[r] = area[r] / (positives[r] * negatives[r]) if both else np.nan
    return precision_sum, area
