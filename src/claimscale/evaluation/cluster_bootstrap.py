"""The size decision with whole hospitals resampled instead of patients.

Patients of one hospital share coding and treatment habits. The gain of a model may therefore vary between
hospitals, and many patients of few hospitals carry less information than their number suggests. A patient
without a known hospital is a cluster alone.
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
from claimscale.evaluation.size_decision import MIN_POSITIVES, SizeCurve, Verdict, decide

MIN_HOSPITALS = 5
"""Hospitals with patients who have the outcome; fewer cannot show how much hospitals differ."""


class PatientHospitals(NamedTuple):
    """`subject` (n, ascending) and `hospital` (n), numbered from 0; -1 where it is not known."""

    subject: NDArray[np.int64]
    hospital: NDArray[np.int64]


@dataclass(frozen=True)
class ClusterVerdict:
    """The verdict of a task with hospitals resampled, and the number of hospitals with tested patients."""

    verdict: Verdict
    hospitals: int


class ComparedTask(NamedTuple):
    """A task's size curve, its held-out predictions, and by size the models of the curve."""

    curve: SizeCurve
    predictions: SplitPredictions
    models: Mapping[str, Model]


def read_hospitals(patients_file: Path) -> PatientHospitals | None:
    """Each patient's hospital, from a cohort's `patients.parquet`; None where there is no such file."""
    if not patients_file.exists():
        return None
    people = pq.read_table(patients_file, columns=["subject_id", "hospital_id"])
    subject = people["subject_id"].to_numpy()
    names = np.array([name or "" for name in people["hospital_id"].cast("string").to_pylist()], dtype=str)
    known, place = np.unique(names, return_inverse=True)
    hospital = np.where(names == "", -1, place - np.count_nonzero(known == ""))
    order = np.argsort(subject)
    return PatientHospitals(subject[order], hospital[order])


def cluster_verdicts(
    tasks: Mapping[str, ComparedTask], hospitals: PatientHospitals | None, compare: Compare, seed: int
) -> dict[str, ClusterVerdict]:
    """Verdicts with hospitals resampled, for tasks with cases in enough hospitals.

    Holm's correction is over all tasks, as for the verdicts themselves.
    """
    if hospitals is None or not tasks:
        return {}
    population = np.unique(np.concatenate([task.predictions.subject for task in tasks.values()]))
    place = np.searchsorted(hospitals.subject, population)
    if (place == len(hospitals.subject)).any() or (hospitals.subject[place] != population).any():
        return {}
    hospital = hospitals.hospital[place]
    alone = hospital < 0
    cluster = np.where(alone, hospital.max(initial=0) + 1 + np.cumsum(alone), hospital)
    unit = np.unique(cluster, return_inverse=True)[1].astype(np.int64)
    resamples = Resamples(len(population), compare.bootstrap_replicates, seed, unit)
    curves, counts = {}, {}
    for name, task in tasks.items():
        rows = np.searchsorted(population, task.predictions.subject)
        cases = hospital[rows][task.predictions.labels]
        if task.curve.positives < MIN_POSITIVES or len(np.unique(cases[cases >= 0])) < MIN_HOSPITALS:
            curves[name] = replace(task.curve, positives=0)  # keeps its share of the error rate
            continue
        tested = np.unique(hospital[rows])
        counts[name] = int((tested >= 0).sum())
        curves[name] = _resampled_curve(task, resamples, rows, compare.metric)
    verdicts = decide(curves, compare.relative_margin)
    return {name: ClusterVerdict(verdicts[name], count) for name, count in counts.items()}


def effective_clusters(unit: NDArray[np.int64]) -> float:
    """The number of equal clusters with the same information (Kish): (sum n)² / sum n².

    >>> effective_clusters(np.array([0, 0, 1, 1])), effective_clusters(np.array([0, 0, 0, 1]))
    (2.0, 1.6)
    """
    sizes = np.bincount(unit).astype(float)
    return float(sizes.sum() ** 2 / (sizes**2).sum())


def _resampled_curve(
    task: ComparedTask, resamples: Resamples, rows: NDArray[np.int64], metric: str
) -> SizeCurve:
    """The curve with replicates over the resampled clusters; `rows` are the patients' places in them."""
    assert resamples.unit is not None
    labels, risks = task.predictions.labels, task.predictions.risks
    units = effective_clusters(resamples.unit[rows][labels])
    cells = cells_by_model(task.predictions.cells)
    scores: dict[str, Scores] = {}
    for size, model in task.models.items():
        rankings = [Ranking.of(labels, risks[cell], rows) for cell in cells[model]]
        areas = replicate_rankings(resamples, rankings)
        replicates = areas[0 if metric == "auprc" else 1]
        scores[size] = replace(task.curve.scores[size], replicates=replicates, units=units)
    return replace(task.curve, scores=scores)
