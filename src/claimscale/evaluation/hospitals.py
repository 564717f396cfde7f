"""Would other hospitals have given the same verdict? Whole hospitals are resampled instead of patients.

Patients of one hospital are coded by the same hands and treated by the same habits. What a model gains may
thereby vary from hospital to hospital, and many patients of few hospitals are worth less than their number.
Patients without a known hospital stand for themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from claimscale.config.comparison import Compare
from claimscale.evaluation.bootstrap import Ranking, Resamples, replicate_rankings
from claimscale.evaluation.intervals import Scores
from claimscale.evaluation.predictions import SplitPredictions
from claimscale.evaluation.scoring import Model, cells_by_model
from claimscale.evaluation.size_decision import FEWEST_POSITIVES, Curve, Verdict, judge

FEWEST_HOSPITALS = 5
"""With patients of the outcome; fewer cannot tell how much hospitals differ."""


class Hospitals(NamedTuple):
    """`subject` (n, ascending) and `hospital` (n), from 0 on; -1 where it is not known."""

    subject: NDArray[np.int64]
    hospital: NDArray[np.int64]


@dataclass(frozen=True)
class HospitalVerdict:
    """The verdict of a task with hospitals resampled, and how many there were with tested patients."""

    verdict: Verdict
    hospitals: int


def hospitals_of(patients_file: Path) -> Hospitals | None:
    """Each patient's hospital, from a cohort's `patients.parquet`; None where there is no such file."""
    if not patients_file.exists():
        return None
    people = pq.read_table(patients_file, columns=["subject_id", "hospital_id"])
    subject = people["subject_id"].to_numpy()
    names = np.array([name or "" for name in people["hospital_id"].cast("string").to_pylist()], dtype=str)
    known, place = np.unique(names, return_inverse=True)
    hospital = np.where(names == "", -1, place - np.count_nonzero(known == ""))
    order = np.argsort(subject)
    return Hospitals(subject[order], hospital[order])


def by_hospital(
    curves: Mapping[str, Curve],
    predictions: Mapping[str, SplitPredictions],
    models: Mapping[str, Mapping[str, Model]],
    hospitals: Hospitals | None,
    compare: Compare,
    seed: int,
) -> dict[str, HospitalVerdict]:
    """Verdicts with hospitals resampled, of the tasks that enough hospitals have cases of.

    `curves`, `predictions` (for held-out patients) and `models` (by size, those of the curve) are by task.
    Holm's correction is over all tasks, as for the verdicts themselves.
    """
    if hospitals is None or not curves:
        return {}
    population = np.unique(np.concatenate([rows.subject for rows in predictions.values()]))
    place = np.searchsorted(hospitals.subject, population)
    if (place == len(hospitals.subject)).any() or (hospitals.subject[place] != population).any():
        return {}
    hospital = hospitals.hospital[place]
    alone = hospital < 0
    named = np.where(alone, hospital.max(initial=0) + 1 + np.cumsum(alone), hospital)
    unit = np.unique(named, return_inverse=True)[1].astype(np.int64)
    resamples = Resamples(len(population), compare.bootstrap_replicates, seed, unit)
    redrawn, counts = {}, {}
    for task, curve in curves.items():
        rows = np.searchsorted(population, predictions[task].subject)
        cases = hospital[rows][predictions[task].labels]
        if curve.positives < FEWEST_POSITIVES or len(np.unique(cases[cases >= 0])) < FEWEST_HOSPITALS:
            redrawn[task] = replace(curve, positives=0)  # keeps its share of the error rate
            continue
        tested = np.unique(hospital[rows])
        counts[task] = int((tested >= 0).sum())
        redrawn[task] = _redrawn(curve, predictions[task], models[task], resamples, rows, compare.metric)
    verdicts = judge(redrawn, compare.margin)
    return {task: HospitalVerdict(verdicts[task], count) for task, count in counts.items()}


def effective_units(unit: NDArray[np.int64]) -> float:
    """How many units of equal size the units of these cases are worth (Kish): (sum n)² / sum n².

    >>> effective_units(np.array([0, 0, 1, 1])), effective_units(np.array([0, 0, 0, 1]))
    (2.0, 1.6)
    """
    sizes = np.bincount(unit).astype(float)
    return float(sizes.sum() ** 2 / (sizes**2).sum())


def _redrawn(
    curve: Curve,
    predictions: SplitPredictions,
    models: Mapping[str, Model],
    resamples: Resamples,
    rows: NDArray[np.int64],
    metric: str,
) -> Curve:
    """The curve with replicates over the resampled units; `rows` are the patients' places in them."""
    assert resamples.unit is not None
    units = effective_units(resamples.unit[rows][predictions.labels])
    cells = cells_by_model(predictions.cells)
    scores: dict[str, Scores] = {}
    for size, model in models.items():
        rankings = [Ranking.of(predictions.labels, predictions.risks[cell], rows) for cell in cells[model]]
        areas = replicate_rankings(resamples, rankings)
        replicates = areas[0 if metric == "auprc" else 1]
        scores[size] = replace(curve.scores[size], replicates=replicates, units=units)
    return replace(curve, scores=scores)
