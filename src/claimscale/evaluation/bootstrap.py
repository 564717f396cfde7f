"""The patient bootstrap: how a metric would vary had other patients been drawn.

Every model and every task sees the same resampled patients, so that differences between them are
paired. A replicate is a vector of integer weights: how often each patient was drawn. Weights are made
block by block and never held as a whole, so memory does not grow with the number of replicates.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from claimscale.evaluation.metrics import Floats

BLOCK_WEIGHTS = 2**25
"""Weights held at a time by a thread: 32 MiB."""
MOST_THREADS = 8
"""Beyond this many, memory rather than arithmetic is the limit."""


@dataclass(frozen=True)
class Resamples:
    """`replicates` draws of patients with replacement (multinomial), fixed by `seed`.

    `unit` (patients), where given, is the place of each patient's unit of sampling, such as the hospital,
    from 0 on: then whole units are drawn, as many as there are, and a patient counts as often as the unit.
    """

    patients: int
    replicates: int
    seed: int
    unit: NDArray[np.int64] | None = None

    def places(self) -> list[slice]:
        """The blocks: which replicates are worked on together."""
        width = int(np.clip(BLOCK_WEIGHTS // max(self.patients, 1), 8, 256))
        return [
            slice(start, min(start + width, self.replicates)) for start in range(0, self.replicates, width)
        ]

    def weights(self, place: slice) -> NDArray[np.uint8]:
        """How often each patient was drawn: (patients, replicates of the block), the same at every call.

        Each replicate has a stream of random numbers of its own: neither the size of a block nor the order
        in which blocks are made changes it.
        """
        units = self.patients if self.unit is None else int(self.unit.max(initial=-1)) + 1
        block = np.zeros((place.stop - place.start, units), dtype=np.uint8)
        for row, replicate in zip(block, range(place.start, place.stop), strict=True):
            generator = np.random.default_rng([self.seed, replicate])
            _count(generator.integers(units, size=units, dtype=np.uint32), row)
        weights = np.ascontiguousarray(block.T)
        return weights if self.unit is None else weights[self.unit]

    def blocks(self) -> Iterator[tuple[slice, NDArray[np.uint8]]]:
        """The replicates' positions and their weights (patients, replicates in the block)."""
        for place in self.places():
            yield place, self.weights(place)


@dataclass(frozen=True)
class Ranking:
    """Patients of one model by descending score, cut where a precision is read off.

    Average precision changes only where a positive stands, and the ROC area needs only how many negatives
    lie between two positives. Negatives that no positive parts are therefore one run, whose weights are
    summed before anything else is done with them; that changes nothing, for the sums are of integers.

    `row` (n, int64) is a patient's place in the resampled population. Level g, a group of equal scores that
    holds a positive, is `row[cuts[g, 0]:cuts[g, 1]]`, negatives above it and below the level before,
    `row[cuts[g, 1]:cuts[g, 2]]`, negatives in it, and `row[cuts[g, 2]:cuts[g, 3]]`, its positives. What
    comes after the last level are negatives.
    """

    row: NDArray[np.int64]
    cuts: NDArray[np.int64]

    @classmethod
    def of(cls, labels: NDArray[np.bool_], scores: Floats, rows: NDArray[np.int64]) -> Ranking:
        """Rank patients: boolean labels (n), scores (n, finite), places among the resampled (n)."""
        order = np.argsort(-scores, kind="stable")
        if len(order) == 0:
            return cls(rows.astype(np.int64), np.zeros((0, 4), dtype=np.int64))
        descending = scores[order]
        level = np.concatenate([[0], np.cumsum(descending[1:] != descending[:-1])])
        # within a level negatives come first
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

    Equal to scikit-learn's `average_precision_score` and `roc_auc_score` with the replicate's weights.
    NaN where a replicate drew one class only.
    """
    auprc = np.empty((len(rankings), resamples.replicates))
    auroc = np.empty_like(auprc)

    def fill(place: slice, weights: NDArray[np.uint8]) -> None:
        for index, ranking in enumerate(rankings):
            auprc[index, place], auroc[index, place] = _weighted_areas(weights, ranking.row, ranking.cuts)

    _each_block(resamples, fill)
    return auprc, auroc


def areas(ranking: Ranking) -> tuple[float, float]:
    """AUPRC and AUROC of a ranking of patients who count once each."""
    once = np.ones((int(ranking.row.max(initial=-1)) + 1, 1), dtype=np.uint8)
    auprc, auroc = _weighted_areas(once, ranking.row, ranking.cuts)
    return float(auprc[0]), float(auroc[0])


def replicate_means(resamples: Resamples, values: Floats, rows: NDArray[np.int64]) -> Floats:
    """Weighted mean of each column of `values` (n, columns) in every replicate: (columns, replicates).

    `rows` (n) are the patients' places among the resampled. NaN where none of them was drawn.
    """
    means = np.empty((values.shape[1], resamples.replicates))

    def fill(place: slice, weights: NDArray[np.uint8]) -> None:
        drawn = weights[rows].astype(np.float64)
        total = drawn.sum(axis=0)
        total[total == 0] = np.nan
        means[:, place] = values.T @ drawn / total

    _each_block(resamples, fill)
    return means


def _each_block(resamples: Resamples, fill: Callable[[slice, NDArray[np.uint8]], None]) -> None:
    """Make every block and hand it on, on all cores: the heavy parts hold no interpreter lock."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ThreadPoolExecutor(min(cores, MOST_THREADS)) as pool:
        for _ in pool.map(lambda place: fill(place, resamples.weights(place)), resamples.places()):
            pass


@njit(cache=True, nogil=True)
def _count(drawn: NDArray[np.uint32], counts: NDArray[np.uint8]) -> None:
    for unit in drawn:
        counts[unit] += np.uint8(1)


@njit(cache=True, nogil=True)
def _add(
    weights: NDArray[np.uint8], row: NDArray[np.int64], begin: int, end: int, total: NDArray[np.uint32]
) -> None:
    """Weights of a run of patients, summed per replicate; the inner loop runs along memory."""
    total[:] = np.uint32(0)
    for place in range(begin, end):
        drawn = weights[row[place]]
        for r in range(total.size):
            total[r] += drawn[r]


@njit(cache=True, nogil=True)
def _weighted_areas(
    weights: NDArray[np.uint8], row: NDArray[np.int64], cuts: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """One walk down the ranking for all replicates at once.

    At each level average precision gains (recall gained) x (precision so far), and the ROC area gains
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
