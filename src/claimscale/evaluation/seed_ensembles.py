"""The models as they would be deployed: the mean log odds of the runs of all seeds.

There is one such ensemble of a model, so its interval is over patients alone: it holds for these trained
models, not for a retraining. Encoders and baselines average equally many runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from claimscale.evaluation.intervals import Interval, Scores, difference, interval
from claimscale.evaluation.metrics import mean_log_odds
from claimscale.evaluation.predictions import SplitPredictions
from claimscale.evaluation.scoring import Model, cells_by_model, score_runs
from claimscale.evaluation.selection import LIGHTGBM, TaskScores, largest_labelled_set


@dataclass(frozen=True)
class SeedEnsemble:
    """One model, averaged over its `runs` seeds.

    `over_lightgbm` is the gain in the metric of the verdict over LightGBM, averaged alike; None for LightGBM
    itself, and where LightGBM has another number of runs.
    """

    arm: str
    size: str | None
    runs: int
    auprc: Interval
    auroc: Interval
    over_lightgbm: Interval | None


def seed_ensembles(
    rows: SplitPredictions, scores: TaskScores, metric: str, replicates: int, seed: int
) -> tuple[SeedEnsemble, ...]:
    """The seed ensembles of all models with the largest number of labelled patients and two seeds or more.

    Patients are resampled alike for all, so that gains are paired.
    """
    labelled = largest_labelled_set(scores)
    runs = {
        model: cells
        for model, cells in cells_by_model(rows.cells).items()
        if model.labelled_patients == labelled and len(cells) > 1
    }
    patient = np.unique(rows.subject, return_inverse=True)[1]
    found = {
        model: score_runs(rows.labels, mean_log_odds(rows.risks[cells])[None], replicates, seed, patient)
        for model, cells in runs.items()
    }
    lightgbm = Model(LIGHTGBM, None, labelled)

    def gain(model: Model) -> Interval | None:
        if model == lightgbm or len(runs.get(lightgbm, ())) != len(runs[model]):
            return None
        paired: Scores | None = difference(found[model][metric], found[lightgbm][metric])
        return paired and interval(paired)

    return tuple(
        SeedEnsemble(
            model.arm,
            model.size,
            len(runs[model]),
            interval(by_metric["auprc"]),
            interval(by_metric["auroc"]),
            gain(model),
        )
        for model, by_metric in found.items()
    )
