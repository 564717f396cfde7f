"""DeLong's covariance of AUROCs: the secondary comparison of models, without resampling.

The AUROC is the share of pairs (one patient with the outcome, one without) that a model ranks correctly. A
patient's placement is the share of the other class that the model ranks correctly against the patient; AUROCs
vary over patients as means of placements do (DeLong 1988, doi 10.2307/2531595). Placements follow from
mid-ranks in O(n log n) (Sun & Xu 2014, doi 10.1109/LSP.2014.2337313). Rows of one patient, where a patient
has several index dates, are summed first (Obuchowski 1997, doi 10.2307/2533958); with one row each that
changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from claimscale.evaluation.intervals import Interval, interval_of
from claimscale.evaluation.metrics import Floats
from claimscale.evaluation.predictions import SplitPredictions
from claimscale.evaluation.scoring import Model, cells_by_model
from claimscale.evaluation.variance_components import patient_degrees


def placements(labels: NDArray[np.bool_], scores: Floats) -> Floats:
    """Each patient's placement, ties as half: shape of `scores` (n)."""
    rank = stats.rankdata(scores)
    within = np.empty_like(rank)
    for members in (labels, ~labels):
        within[members] = stats.rankdata(scores[members])
    below = rank - within  # patients of the other class with a lower score, ties as half
    positives = int(labels.sum())
    return np.where(labels, below / (len(labels) - positives), 1 - below / positives)


def covariance(
    labels: NDArray[np.bool_], scores: Floats, units: NDArray[np.int64] | None = None
) -> tuple[Floats, Floats]:
    """AUROCs (models) and their covariance over patients (models, models).

    Args:
        labels: (n), with two or more units of each class.
        scores: (models, n), finite.
        units: (n), the patient of each row; every row its own unit if None.
    """
    placed = np.stack([placements(labels, each) for each in scores])
    aurocs = placed[:, labels].mean(axis=1)
    placed -= aurocs[:, None]
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
    return aurocs, found + cross + cross.T


@dataclass(frozen=True)
class PairedAurocs:
    """The AUROCs of all cells of a task on the same patients, with their covariance over patients.

    `places` maps each model's seeds to its cells; `aurocs` (cells), `matrix` (cells, cells).
    """

    places: Mapping[Model, Mapping[int, int]]
    aurocs: Floats
    matrix: Floats
    positives: int

    @classmethod
    def of(cls, rows: SplitPredictions) -> PairedAurocs | None:
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

        The variance between runs enters as in every other interval (`intervals.interval_of`). None where a
        model is unknown or the models have no seed in common.
        """
        if any(model not in self.places for model in weights):
            return None
        common = sorted(set.intersection(*(set(self.places[model]) for model in weights)))
        if not common:
            return None
        signs = np.zeros((len(common), len(self.aurocs)))
        runs = []
        for model, weight in weights.items():
            cells = [self.places[model][seed] for seed in common]
            signs[np.arange(len(common)), cells] += weight
            runs.append(weight * self.aurocs[cells])
        over_patients, seeds = signs @ self.matrix @ signs.T, len(common)
        shared = (over_patients.sum() - over_patients.trace()) / max(seeds * (seeds - 1), 1)
        within = over_patients.trace() / seeds - shared
        degrees = patient_degrees(self.positives)
        return interval_of(signs @ self.aurocs, runs, float(over_patients.mean()), float(within), degrees)
