"""The patient bootstrap: how a metric would vary had other patients been drawn.

Every model and every task sees the same resampled patients, so that differences between them are
paired. A replicate is a vector of integer weights: how often each patient was drawn. Weights are made
block by block and never held as a whole, so memory does not grow with the number of replicates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from claimscale.evaluation.metrics import Floats

BLOCK_WEIGHTS = 2**23
"""Weights held at a time: 8 MiB as drawn, 64 MiB as float64."""


@dataclass(frozen=True)
class Resamples:
    """`replicates` draws of `patients` patients with replacement (multinomial), fixed by `seed`."""

    patients: int
    replicates: int
    seed: int

    def blocks(self) -> Iterator[tuple[slice, NDArray[np.uint8]]]:
        """The replicates' positions and their weights (patients, replicates in the block).

        Each call yields the same weights again. Drawn replicate by replicate, so that the size of a
        block does not change them.
        """
        generator = np.random.default_rng(self.seed)
        width = int(np.clip(BLOCK_WEIGHTS // max(self.patients, 1), 8, 256))
        for start in range(0, self.replicates, width):
            stop = min(start + width, self.replicates)
            block = np.empty((stop - start, self.patients), dtype=np.uint8)
            for row in block:
                drawn = generator.integers(self.patients, size=self.patients)
                row[:] = np.bincount(drawn, minlength=self.patients)
            yield slice(start, stop), np.ascontiguousarray(block.T)


@dataclass(frozen=True)
class Ranking:
    """Patients of one model by descending score; patients with equal scores form a group.

    `row` (n, int64) is a patient's place in the resampled population, `positive` (n) the outcome,
    `ends_group` (n) true where the next score is lower.
    """

    row: NDArray[np.int64]
    positive: NDArray[np.bool_]
    ends_group: NDArray[np.bool_]

    @classmethod
    def of(cls, labels: NDArray[np.bool_], scores: Floats, rows: NDArray[np.int64]) -> Ranking:
        """Rank patients: boolean labels (n), scores (n, finite), places among the resampled (n)."""
        order = np.argsort(-scores, kind="stable")
        descending = scores[order]
        ends_group = np.append(descending[1:] != descending[:-1], True)
        return cls(rows[order].astype(np.int64), labels[order], ends_group)


def replicate_rankings(resamples: Resamples, rankings: Sequence[Ranking]) -> tuple[Floats, Floats]:
    """AUPRC and AUROC of every ranking in every replicate, each (rankings, replicates), float64.

    Equal to scikit-learn's `average_precision_score` and `roc_auc_score` with the replicate's weights.
    NaN where a replicate drew one class only.
    """
    auprc = np.empty((len(rankings), resamples.replicates))
    auroc = np.empty_like(auprc)
    for place, weights in resamples.blocks():
        for index, ranking in enumerate(rankings):
            auprc[index, place], auroc[index, place] = _weighted_areas(
                weights, ranking.row, ranking.positive, ranking.ends_group
            )
    return auprc, auroc


def replicate_means(resamples: Resamples, values: Floats, rows: NDArray[np.int64]) -> Floats:
    """Weighted mean of each column of `values` (n, columns) in every replicate: (columns, replicates).

    `rows` (n) are the patients' places among the resampled. NaN where none of them was drawn.
    """
    means = np.empty((values.shape[1], resamples.replicates))
    for place, weights in resamples.blocks():
        drawn = weights[rows].astype(np.float64)
        total = drawn.sum(axis=0)
        total[total == 0] = np.nan
        means[:, place] = values.T @ drawn / total
    return means


@njit(cache=True)
def _weighted_areas(
    weights: NDArray[np.uint8],
    order: NDArray[np.int64],
    positive: NDArray[np.bool_],
    ends_group: NDArray[np.bool_],
) -> tuple[Floats, Floats]:
    """One walk down the ranking for all replicates at once; the inner loops run along memory.

    At the end of each group of equal scores, average precision gains (recall gained) x (precision so
    far) and the ROC area gains (negatives in the group) x (positives above + half of those within).
    """
    replicates = weights.shape[1]
    positives, negatives = np.zeros(replicates), np.zeros(replicates)
    group_positives, group_negatives = np.zeros(replicates), np.zeros(replicates)
    precision_sum, area = np.zeros(replicates), np.zeros(replicates)
    any_positive = False
    for place in range(order.size):
        drawn = weights[order[place]]
        if positive[place]:
            any_positive = True
            for r in range(replicates):
                group_positives[r] += drawn[r]
        else:
            for r in range(replicates):
                group_negatives[r] += drawn[r]
        if not ends_group[place]:
            continue
        for r in range(replicates):
            area[r] += group_negatives[r] * (positives[r] + 0.5 * group_positives[r])
            negatives[r] += group_negatives[r]
            group_negatives[r] = 0.0
        if any_positive:  # most groups are one negative patient: the division is then skipped
            for r in range(replicates):
                positives[r] += group_positives[r]
                if group_positives[r] > 0:
                    precision_sum[r] += group_positives[r] * positives[r] / (positives[r] + negatives[r])
                group_positives[r] = 0.0
            any_positive = False
    for r in range(replicates):
        both = positives[r] > 0 and negatives[r] > 0
        precision_sum[r] = precision_sum[r] / positives[r] if both else np.nan
        area[r] = area[r] / (positives[r] * negatives[r]) if both else np.nan
    return precision_sum, area
