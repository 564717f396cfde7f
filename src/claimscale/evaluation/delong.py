"""DeLong's covariance of ROC areas: the secondary comparison of models, without resampling.

The area is the share of pairs, one patient with the outcome and one without, that a model ranks rightly. A
patient's placement is the share of the others whom he or she is ranked rightly against; areas vary over
patients as means of placements do (DeLong 1988, doi 10.2307/2531595). Placements follow from mid-ranks in
O(n log n) (Sun & Xu 2014, doi 10.1109/LSP.2014.2337313). Rows of one patient, where patients are asked more
than once, are summed first (Obuchowski 1997, doi 10.2307/2533958); with one row each that changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from claimscale.evaluation.intervals import Interval, interval_of, patient_degrees
from claimscale.evaluation.metrics import Floats
from claimscale.evaluation.predictions import SplitPredictions
from claimscale.evaluation.scoring import Model, cells_by_model


def placements(labels: NDArray[np.bool_], scores: Floats) -> Floats:
    """The share of the other class that each patient is ranked rightly against, ties as half: shape of
    `scores` (n)."""
    rank = stats.rankdata(scores)
    within = np.empty_like(rank)
    for members in (labels, ~labels):
        within[members] = stats.rankdata(scores[members])
    below = rank - within  # how many of the other class are ranked lower, ties as half
    positives = int(labels.sum())
    return np.where(labels, below / (len(labels) - positives), 1 - below / positives)


def covariance(
    labels: NDArray[np.bool_], scores: Floats, units: NDArray[np.int64] | None = None
) -> tuple[Floats, Floats]:
    """Areas (models) and their covariance over patients (models, models).

    Args:
        labels: (n), with two or more units of each class.
        scores: (models, n), finite.
        units: (n), whose rows belong together; every row its own unit if None.
    """
    placed = np.stack([placements(labels, each) for each in scores])
    areas = placed[:, labels].mean(axis=1)
    placed -= areas[:, None]
    units = np.arange(len(labels)) if units is None else units
    held, sums, found = [], [], np.zeros((len(scores), len(scores)))
    for members in (labels, ~labels):
        present, unit = np.unique(units[members], return_inverse=True)
        summed = np.stack([np.bincount(unit, own[members]) for own in placed]) / members.sum()
        found += len(present) / (len(present) - 1) * summed @ summed.T
        held.append(present)
        sums.append(summed)
    _, first, second = np.intersect1d(held[0], held[1], return_indices=True)  # units with both outcomes
    units_in_all = len(held[0]) + len(held[1]) - len(first)
    cross = units_in_all / (units_in_all - 1) * sums[0][:, first] @ sums[1][:, second].T
    return areas, found + cross + cross.T


@dataclass(frozen=True)
class RocAreas:
    """The ROC areas of all cells of a task on the same patients, with their covariance over patients.

    `places` are each model's cells by seed; `areas` (cells), `matrix` (cells, cells).
    """

    places: Mapping[Model, Mapping[int, int]]
    areas: Floats
    matrix: Floats
    positives: int

    @classmethod
    def of(cls, rows: SplitPredictions) -> RocAreas | None:
        """None where a class has fewer than two patients."""
        counts = [len(np.unique(rows.subject[members])) for members in (rows.labels, ~rows.labels)]
        if min(counts) < 2:
            return None
        places = {
            model: {rows.cells[cell].seed: cell for cell in cells}
            for model, cells in cells_by_model(rows.cells).items()
        }
        return cls(places, *covariance(rows.labels, rows.risks, rows.subject), counts[0])

    def contrast(self, weights: Mapping[Model, float]) -> Interval | None:
        """Interval of a weighted sum of models' seed-means, paired by patient and seed.

        The chance of training is accounted for as in every other interval (`intervals.interval_of`). None
        where a model is unknown or they have no seed in common.
        """
        if any(model not in self.places for model in weights):
            return None
        common = sorted(set.intersection(*(set(self.places[model]) for model in weights)))
        if not common:
            return None
        signs = np.zeros((len(common), len(self.areas)))
        for model, weight in weights.items():
            signs[np.arange(len(common)), [self.places[model][seed] for seed in common]] += weight
        over_patients = signs @ self.matrix @ signs.T
        runs = [
            weight * self.areas[[self.places[model][seed] for seed in common]]
            for model, weight in weights.items()
        ]
        seeds = len(common)
        shared = (over_patients.sum() - over_patients.trace()) / max(seeds * (seeds - 1), 1)
        within = over_patients.trace() / seeds - shared
        return interval_of(
            signs @ self.areas,
            runs,
            float(over_patients.mean()),
            float(within),
            patient_degrees(self.positives),
        )
