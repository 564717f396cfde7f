"""Averages over seeds, on runs whose common signal and own noise are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import average_precision_score

from claimscale.evaluation.predictions import CellResult, SplitPredictions
from claimscale.evaluation.scoring import Model, ModelScores
from claimscale.evaluation.seed_ensembles import SeedEnsemble, seed_ensembles

PATIENTS = 4000
ENCODER, TREES, SINGLE = (
    Model("pretrained", "1M", "all"), Model("lightgbm", None, "all"), Model("logistic", None, "all")
)  # fmt: skip


@pytest.fixture(scope="module")
def rows() -> SplitPredictions:
    """Encoders see the signal, each with noise of its own; trees see half of it; one model has one seed."""
    random = np.random.default_rng(0)
    signal = random.normal(size=PATIENTS)
    labels = random.random(PATIENTS) < expit(2 * signal - 3)
    strengths = {ENCODER: (1.0, 3), TREES: (0.5, 3), SINGLE: (1.0, 1)}
    cells, risks = [], []
    for model, (strength, seeds) in strengths.items():
        for seed in range(seeds):
            cells.append(CellResult("ckd", model.arm, model.size, 900, "all", seed, Path(), 1.0))
            risks.append(expit(strength * signal + random.normal(size=PATIENTS)))
    days = np.zeros(PATIENTS, "datetime64[us]")
    return SplitPredictions(tuple(cells), np.arange(PATIENTS), days, labels, np.array(risks))


def found(rows: SplitPredictions) -> dict[str, SeedEnsemble]:
    scores = {model: ModelScores(900, 1.0, {}, [], 0.0) for model in (ENCODER, TREES, SINGLE)}
    return {one.arm: one for one in seed_ensembles(rows, scores, "auprc", 200, 0)}


def test_it_is_the_mean_log_odds_and_better_than_its_runs(rows: SplitPredictions) -> None:
    encoder = found(rows)["pretrained"]
    odds = rows.risks[:3] / (1 - rows.risks[:3])
    assert encoder.runs == 3
    expected = average_precision_score(rows.labels, np.log(odds).sum(axis=0))
    assert encoder.auprc.estimate == pytest.approx(expected)
    runs = [average_precision_score(rows.labels, risk) for risk in rows.risks[:3]]
    assert encoder.auprc.estimate > max(runs), "noise of the runs averages out"


def test_the_gain_is_paired_and_over_patients_alone(rows: SplitPredictions) -> None:
    both = found(rows)
    encoder, trees = both["pretrained"], both["lightgbm"]
    gain = encoder.over_lightgbm
    assert gain is not None and trees.over_lightgbm is None
    assert gain.estimate == pytest.approx(encoder.auprc.estimate - trees.auprc.estimate)
    assert gain.two_sided()[0] > 0
    assert gain.seed_variance == 0
    alone = np.hypot(encoder.auprc.standard_error, trees.auprc.standard_error)
    assert gain.standard_error < alone, "the same patients are resampled for both"


def test_a_single_run_is_no_ensemble(rows: SplitPredictions) -> None:
    assert set(found(rows)) == {"pretrained", "lightgbm"}


def test_models_with_other_numbers_of_runs_are_not_compared(rows: SplitPredictions) -> None:
    fewer = [0, 1, 3, 4, 5]
    cells = tuple(rows.cells[place] for place in fewer)
    some = SplitPredictions(cells, rows.subject, rows.day, rows.labels, rows.risks[fewer])
    assert found(some)["pretrained"].over_lightgbm is None


def test_a_patient_with_many_dates_is_resampled_whole(rows: SplitPredictions) -> None:
    """Ten copies of every patient tell no more than one."""
    many = SplitPredictions(
        rows.cells, np.repeat(rows.subject, 10), np.repeat(rows.day, 10), np.repeat(rows.labels, 10),
        np.repeat(rows.risks, 10, axis=1),
    )  # fmt: skip
    once, often = found(rows)["pretrained"].auprc, found(many)["pretrained"].auprc
    assert often.standard_error == pytest.approx(once.standard_error, rel=0.05)
