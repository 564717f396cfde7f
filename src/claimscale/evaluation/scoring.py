"""All metrics of all models, with their replicates: the one expensive pass over predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from claimscale.evaluation import metrics
from claimscale.evaluation.bootstrap import Ranking, Resamples, replicate_means, replicate_rankings
from claimscale.evaluation.intervals import Scores
from claimscale.evaluation.metrics import CurvePoint, Floats
from claimscale.evaluation.predictions import CellResult, SplitPredictions

METRICS: tuple[str, ...] = ("auprc", "auroc", "log_loss", "calibration_slope", "calibration_intercept")


class Model(NamedTuple):
    """An arm, its size (None for baselines) and its labelled patients as in the settings.

    Cells of one model differ only in their seed.
    """

    arm: str
    size: str | None
    labelled_patients: int | Literal["all"]


@dataclass(frozen=True)
class ModelScores:
    """A model's metrics on one split: `by_metric` has the keys of `METRICS`.

    `n_labelled` is the number of labelled patients it was trained on, `seconds` the mean time of its cells.
    The calibration curve and error pool the seeds; the error has no interval, because its bootstrap is
    biased.
    """

    n_labelled: int
    seconds: float
    by_metric: Mapping[str, Scores]
    curve: list[CurvePoint]
    expected_calibration_error: float


def score_models(
    predictions: Mapping[tuple[str, str], SplitPredictions], split: str, replicates: int, seed: int
) -> dict[str, dict[Model, ModelScores]]:
    """Score every model of every task on one split, by task and model.

    Patients of all tasks are resampled together: a patient sampled twice counts twice in each of his or her
    tasks. Differences between models and between tasks are therefore paired.
    """
    of_split = {task: rows for (task, name), rows in predictions.items() if name == split}
    if not of_split:
        return {}
    population = np.unique(np.concatenate([rows.subject for rows in of_split.values()]))
    resamples = Resamples(len(population), replicates, seed)
    return {task: _score_task(rows, population, resamples) for task, rows in of_split.items()}


def score_ranking(labels: NDArray[np.bool_], values: Floats, replicates: int, seed: int) -> dict[str, Scores]:
    """AUPRC and AUROC of a single ranking of n patients, such as the true risks."""
    return score_runs(labels, np.asarray(values)[None], replicates, seed)


def score_runs(
    labels: NDArray[np.bool_],
    risks: Floats,
    replicates: int,
    seed: int,
    patient: NDArray[np.int64] | None = None,
) -> dict[str, Scores]:
    """AUPRC and AUROC of several runs `risks` (runs, n) on the same labels (n).

    `patient` (n) numbers the patients, who are resampled; by default each label has its own.
    """
    rows = np.arange(len(labels)) if patient is None else patient
    resamples = Resamples(int(rows.max(initial=-1)) + 1, replicates, seed)
    blocks = replicate_rankings(resamples, [Ranking.of(labels, risk, rows) for risk in risks])
    runs, positives = tuple(range(len(risks))), int(labels.sum())
    return {
        name: Scores(runs, np.array([score(labels, risk) for risk in risks]), block, positives)
        for name, score, block in zip(("auprc", "auroc"), (metrics.auprc, metrics.auroc), blocks, strict=True)
    }


def _score_task(
    predictions: SplitPredictions, population: NDArray[np.int64], resamples: Resamples
) -> dict[Model, ModelScores]:
    labels, risks = predictions.labels, predictions.risks
    rows = np.searchsorted(population, predictions.subject)
    calibrations = [metrics.calibration(labels, risk) for risk in risks]
    losses = [metrics.log_losses(labels, risk) for risk in risks]
    values = {
        "auprc": np.array([metrics.auprc(labels, risk) for risk in risks]),
        "auroc": np.array([metrics.auroc(labels, risk) for risk in risks]),
        "log_loss": np.array([loss.mean() for loss in losses]),
        "calibration_slope": np.array([found.slope for found in calibrations]),
        "calibration_intercept": np.array([found.intercept for found in calibrations]),
    }
    auprc, auroc = replicate_rankings(resamples, [Ranking.of(labels, risk, rows) for risk in risks])
    per_patient = [
        *losses,
        *(found.slope_values for found in calibrations),
        *(found.intercept_values for found in calibrations),
    ]
    means = replicate_means(resamples, np.stack(per_patient, axis=1), rows)
    replicates = dict(zip(METRICS, (auprc, auroc, *np.split(means, 3)), strict=True))
    return {
        model: _scores_of(predictions, cells, values, replicates)
        for model, cells in cells_by_model(predictions.cells).items()
    }


def _scores_of(
    predictions: SplitPredictions,
    cells: list[int],
    values: Mapping[str, Floats],
    replicates: Mapping[str, Floats],
) -> ModelScores:
    chosen = [predictions.cells[cell] for cell in cells]
    seeds = tuple(cell.seed for cell in chosen)
    positives = int(predictions.labels.sum())
    curve = metrics.calibration_curve(
        np.tile(predictions.labels, len(cells)), predictions.risks[cells].ravel()
    )
    return ModelScores(
        n_labelled=chosen[0].n_labelled,
        seconds=float(np.mean([cell.seconds for cell in chosen])),
        by_metric={
            metric: Scores(seeds, values[metric][cells], replicates[metric][cells], positives)
            for metric in METRICS
        },
        curve=curve,
        expected_calibration_error=metrics.expected_calibration_error(curve),
    )


def cells_by_model(cells: tuple[CellResult, ...]) -> dict[Model, list[int]]:
    """Places of the cells of each model, seeds ascending; models in the order of their first cell."""
    models: dict[Model, list[int]] = {}
    for place, cell in sorted(enumerate(cells), key=lambda item: item[1].seed):
        models.setdefault(Model(cell.arm, cell.size, cell.labelled_patients), []).append(place)
    return dict(sorted(models.items(), key=lambda item: min(item[1])))
