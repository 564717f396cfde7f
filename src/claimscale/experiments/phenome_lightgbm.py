"""LightGBM for a sample of the phenome's outcomes: below how many cases is an encoder better?

Each outcome has a model of its own. The outcomes are evenly spaced by their training cases. Every model
learns from all eligible index dates of all training patients, also from the year after the landmark, which
no pretraining has seen. It is the baseline of the tasks with three trials, of few and of many columns;
the tuning patients stop the training and choose.

The cell writes `outcomes.parquet` and `replicates.npy` as a phenome cell does, with the same signs of
patients, so that both models are paired.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

import numpy as np
import scipy.sparse as sparse
import torch
from scipy.special import logit

from claimscale import artifacts
from claimscale.baselines import gradient_boosting
from claimscale.baselines.features import count_features
from claimscale.baselines.search import BaselineJob, LabelledFeatures, fit_predict
from claimscale.evaluation.metrics import MIN_RISK
from claimscale.experiments.cells import Cell, CellRecord
from claimscale.experiments.phenome import TestedOutcomes, score, tested_outcomes, write_results
from claimscale.experiments.workspace import Workspace
from claimscale.tasks import phenome_dates
from claimscale.tokens.code_groups import CodeGroups
from claimscale.tokens.phenome import CASE, NOT_AT_RISK, Outcome, Window, outcome_states
from claimscale.training.cost import CostMeter

MIN_TRAINING_CASES, MIN_TUNING_CASES = 20, 1
"""Outcomes with fewer are not compared. No privacy profile hides a count of 20."""
TRIALS = 3
"""Few and many columns, and cautious trees: a longer search would take hours for all outcomes."""


class Part(NamedTuple):
    """The index dates of one split: features float32 [n, p], and states of the outcomes, int8 [n, K]."""

    features: sparse.csr_matrix
    states: np.ndarray

    def labelled(self, outcome: int) -> LabelledFeatures:
        """The dates at risk of an outcome."""
        rows = np.flatnonzero(self.states[:, outcome] != NOT_AT_RISK)
        return LabelledFeatures(self.features[rows], self.states[rows, outcome] == CASE)


def train_and_test(
    workspace: Workspace, cell: Cell, threads: int, progress: Callable[[float], None]
) -> CellRecord:
    """Train and test LightGBM for each chosen outcome, and write what the summary needs."""
    meter = CostMeter(torch.device("cpu"))
    rows, days = _dates(workspace, "held_out")
    tested = tested_outcomes(workspace, rows, days)
    train, tuning = (_part(workspace, split, tested.outcomes) for split in ("train", "tuning"))
    chosen = evenly_spaced(train.states, tuning.states, _wanted(workspace))
    kept = TestedOutcomes([tested.outcomes[place] for place in chosen], tested.states[:, chosen])
    features = _features(workspace, rows, days)
    log_odds = np.zeros(kept.states.shape, np.float32)
    for place, outcome in enumerate(chosen):
        at_risk = np.flatnonzero(kept.states[:, place] != NOT_AT_RISK)
        job = BaselineJob(
            "lightgbm",
            train.labelled(outcome),
            tuning.labelled(outcome),
            {"held_out": features[at_risk]},
            trials=TRIALS,
            starts=TRIALS,
            seed=cell.seed,
            threads=threads,
            progress=lambda part, done=place: progress(0.9 * (done + part) / len(chosen)),
        )
        risk = fit_predict(gradient_boosting.baseline, job).probabilities["held_out"]
        log_odds[at_risk, place] = logit(risk.clip(MIN_RISK, 1 - MIN_RISK))
    metrics, replicates = score(kept.states, log_odds, workspace.study.seed)
    training_cases = (train.states[:, chosen] == CASE).sum(0).astype(np.int64)
    write_results(workspace.folder(cell.id), kept, metrics, replicates, training_cases)
    progress(1.0)
    return cast(
        CellRecord,
        {
            "seconds": meter.seconds,
            "cost": meter.entry(),
            "patients": len(np.unique(_dates(workspace, "train")[0])),
            "positives": int(training_cases.sum()),
        },
    )


def evenly_spaced(train: np.ndarray, tuning: np.ndarray, wanted: int) -> np.ndarray:
    """Outcomes with enough cases to learn from, evenly spaced by the rank of their training cases, int64 [k].

    `train` and `tuning` are states, int8 [n, K].
    """
    cases = (train == CASE).sum(0)
    usable = np.flatnonzero((cases >= MIN_TRAINING_CASES) & ((tuning == CASE).sum(0) >= MIN_TUNING_CASES))
    usable = usable[np.argsort(cases[usable], kind="stable")]
    places = np.linspace(0, len(usable) - 1, min(wanted, len(usable))).round().astype(np.int64)
    return usable[places]


def _wanted(workspace: Workspace) -> int:
    assert workspace.study.phenome is not None
    wanted = workspace.study.phenome.lightgbm_outcomes
    return 2**31 if wanted == "all" else wanted


def _dates(workspace: Workspace, split: str) -> tuple[np.ndarray, np.ndarray]:
    subjects, days = phenome_dates.read(artifacts.verified(workspace.run / "labels"), split)
    return workspace.store.rows_of(subjects), days


def _features(workspace: Workspace, rows: np.ndarray, days: np.ndarray) -> sparse.csr_matrix:
    store = workspace.store
    return count_features(store, CodeGroups.of(store.vocabulary), rows, days, np.zeros(0, np.int32))


def _part(workspace: Workspace, split: str, outcomes: list[Outcome]) -> Part:
    rows, days = _dates(workspace, split)
    assert workspace.study.phenome is not None
    window = Window.of(workspace.study.phenome, workspace.study.pretrain.horizon_days)
    states = outcome_states(workspace.store, rows, days, outcomes, window)
    return Part(_features(workspace, rows, days), states)
