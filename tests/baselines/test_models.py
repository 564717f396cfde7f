"""Properties of every baseline."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import optuna
import pytest
import scipy.sparse as sparse
from scipy.special import logit
from sklearn.metrics import roc_auc_score

from claimscale.baselines import fitted_models, gradient_boosting, logistic, outcome_history
from claimscale.baselines.fitted_models import LinearModel
from claimscale.baselines.search import (
    Baseline,
    BaselineJob,
    Fitted,
    LabelledFeatures,
    Screened,
    fit_predict,
    log_loss,
)
from claimscale.errors import BadInput

MODELS: dict[str, Baseline] = {
    "lightgbm": gradient_boosting.baseline,
    "logistic": logistic.baseline,
    "outcome_history": outcome_history.baseline,
}
every_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())


def cohort(patients: int, seed: int) -> tuple[LabelledFeatures, np.ndarray]:
    """Counts of ten codes: the first two determine the known risk, four patients have the last."""
    random = np.random.default_rng(seed)
    counts = random.poisson(0.7, size=(patients, 11)).astype(np.float32)
    counts[:, 10] = np.arange(patients) < 4
    risk = 1 / (1 + np.exp(2.5 - 1.5 * counts[:, 0] - 1.0 * counts[:, 1]))
    return LabelledFeatures(sparse.csr_matrix(counts), random.random(patients) < risk), risk


def job(
    train: LabelledFeatures, tuning: LabelledFeatures, predict: dict[str, sparse.csr_matrix], **settings: Any
) -> BaselineJob:
    usual = {"trials": 1, "seed": 0, "threads": 1, "progress": lambda share: None}
    return BaselineJob("model", train, tuning, predict, **{**usual, **settings})


def fit(
    model: Baseline, seed: int = 42, trials: int = 4, threads: int = 1
) -> tuple[np.ndarray, dict, np.ndarray, np.ndarray]:
    (train, _), (tuning, _), (test, risk) = cohort(1500, 1), cohort(500, 2), cohort(1500, 3)
    seen: list[float] = []
    settings = {"trials": trials, "seed": seed, "threads": threads, "progress": seen.append}
    probability, result, _ = fit_predict(model, job(train, tuning, {"held_out": test.features}, **settings))
    assert seen == sorted(seen) and seen[-1] == 1
    return probability["held_out"], result, test.outcome, risk


@every_model
def test_discrimination_is_close_to_the_known_risk(model) -> None:
    probability, result, outcome, risk = fit(model)
    reached, best = roc_auc_score(outcome, probability), roc_auc_score(outcome, risk)
    assert best - 0.05 < reached < best + 0.02
    assert abs(probability.mean() - outcome.mean()) < 0.05
    assert log_loss(outcome, probability) == pytest.approx(result["tuning_log_loss"], abs=0.06)


@every_model
def test_the_same_seed_gives_the_same_bits(model) -> None:
    one, two = fit(model, seed=1), fit(model, seed=1)
    assert np.array_equal(one[0], two[0])
    assert one[1]["chosen"] == two[1]["chosen"]


@every_model
def test_a_saved_model_gives_the_same_bits(model, tmp_path) -> None:
    (train, _), (tuning, _), (test, _) = cohort(1500, 1), cohort(500, 2), cohort(1500, 3)
    fitted = fit_predict(model, job(train, tuning, {"held_out": test.features}, trials=3))
    fitted.model.save(tmp_path)
    again = fitted_models.load(tmp_path)
    assert np.array_equal(again.predict(test.features), fitted.probabilities["held_out"])
    one_by_one = [again.predict(test.features[place : place + 1]) for place in range(20)]
    assert np.array_equal(np.concatenate(one_by_one), fitted.probabilities["held_out"][:20])


def test_files_that_are_no_baseline_are_bad_input(tmp_path) -> None:
    trees = {"kind": "lightgbm", "columns": [0, 1]}
    for content in ({}, {"kind": "pickle", "columns": []}, {"kind": "linear", "columns": [1]}, trees, [1]):
        (tmp_path / fitted_models.MODEL).write_text(json.dumps(content))
        (tmp_path / fitted_models.TREES).write_text("tree\nversion=v4\n" if content is trees else "")
        with pytest.raises(BadInput, match="is not a fitted baseline"):
            fitted_models.load(tmp_path)


@every_model
def test_more_trials_never_end_worse_on_the_tuning_split(model) -> None:
    losses = [fit(model, trials=trials)[1]["tuning_log_loss"] for trials in (1, 4, 8)]
    assert losses == sorted(losses, reverse=True)


def test_an_unlearnable_job_is_bad_input_in_one_line() -> None:
    (train, _), (tuning, _) = cohort(100, 1), cohort(50, 2)
    nobody = LabelledFeatures(tuning.features[:0], tuning.outcome[:0])
    same = LabelledFeatures(train.features, np.zeros(100, dtype=bool))
    for bad, match in (((same, tuning), "same outcome"), ((train, nobody), "no tuning patient")):
        with pytest.raises(BadInput, match=match):
            job(*bad, {})


def test_threads_change_nothing() -> None:
    one, two = (fit(gradient_boosting.baseline, threads=threads) for threads in (1, 2))
    assert np.array_equal(one[0], two[0])


def test_rare_columns_are_left_out_by_their_training_patients() -> None:
    screened = Screened(cohort(1500, 1)[0])
    assert screened.supports == [1, 3, 10, 30, 100]
    assert 10 in screened.columns(3, 11) and 10 not in screened.columns(10, 11)
    assert Screened(cohort(40, 1)[0]).supports == [1, 3], "a tenth of the patients at most"


def test_the_strongest_columns_are_kept_longest() -> None:
    train, _ = cohort(1500, 1)
    assert Screened(train).columns(1, 2).tolist() == [0, 1]
    assert Screened(train).counts == [11], "there are no more columns than that"
    correlation = np.corrcoef(train.features.toarray().T, train.outcome)[-1, :-1]
    strongest = np.argsort(-np.abs(correlation))[:5]
    assert Screened(train).columns(1, 5).tolist() == sorted(strongest)


def test_constant_columns_are_dropped_first() -> None:
    train, _ = cohort(1500, 1)
    constant = sparse.csr_matrix(np.full((1500, 1), 0.3, dtype=np.float32))
    wider = sparse.csr_matrix(sparse.hstack([constant, train.features], format="csr"))
    assert 0 not in Screened(LabelledFeatures(wider, train.outcome)).columns(1, 11)


def test_the_search_starts_from_first_and_keeps_the_best() -> None:
    tried: list[float] = []

    def attempt(trial: optuna.Trial) -> Fitted:
        value = trial.suggest_float("x", 0.01, 0.99)
        tried.append(value)
        model = LinearModel(np.zeros(0, np.int64), np.zeros(0), logit(value))
        return Fitted((value - 0.25) ** 2, model, {"number": len(tried)})

    (train, _), (tuning, _) = cohort(100, 1), cohort(50, 2)
    whole = job(train, tuning, {"held_out": tuning.features}, trials=15, seed=7)
    probability, result, _ = fit_predict(lambda job: (attempt, [{"x": 0.9}, {"x": 0.8}]), whole)
    assert len(tried) == 15 and tried[0] == 0.9 and tried[1] != 0.8
    nearest = min(tried, key=lambda value: abs(value - 0.25))
    assert np.allclose(probability["held_out"], nearest) and result["chosen"] == {"x": nearest}
    assert tried[result["number"] - 1] == nearest


def test_more_starting_points_are_tried_if_wanted() -> None:
    tried: list[float] = []

    def attempt(trial: optuna.Trial) -> Fitted:
        tried.append(trial.suggest_float("x", 0.01, 0.99))
        return Fitted(tried[-1], LinearModel(np.zeros(0, np.int64), np.zeros(0), 0.0), {})

    (train, _), (tuning, _) = cohort(100, 1), cohort(50, 2)
    starts = [{"x": 0.9}, {"x": 0.1}, {"x": 0.8}]
    whole = job(train, tuning, {"held_out": tuning.features}, trials=2, seed=7)
    assert fit_predict(lambda job: (attempt, starts), replace(whole, starts=3)).result["chosen"] == {"x": 0.1}
    assert tried == [0.9, 0.1]
