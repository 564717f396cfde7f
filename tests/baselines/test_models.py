"""What every baseline must do, whatever it is made of."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sparse
from sklearn.metrics import roc_auc_score

from claimscale.baselines import carry_forward, gradient_boosting, logistic
from claimscale.baselines.search import Labelled, Supported, log_loss, search
from claimscale.errors import BadInput

MODELS: dict[str, Callable[..., Any]] = {
    "lightgbm": partial(gradient_boosting.fit_predict, threads=1),
    "logistic": logistic.fit_predict,
    "carry_forward": carry_forward.fit_predict,
}
every_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())


def cohort(patients: int, seed: int) -> tuple[Labelled, np.ndarray]:
    """Counts of ten codes; the first two decide the known risk, the last is had by four patients."""
    random = np.random.default_rng(seed)
    counts = random.poisson(0.7, size=(patients, 11)).astype(np.float32)
    counts[:, 10] = np.arange(patients) < 4
    risk = 1 / (1 + np.exp(2.5 - 1.5 * counts[:, 0] - 1.0 * counts[:, 1]))
    return Labelled(sparse.csr_matrix(counts), random.random(patients) < risk), risk


def fit(
    model: Callable[..., Any], seed: int = 42, trials: int = 4
) -> tuple[np.ndarray, dict, np.ndarray, np.ndarray]:
    (train, _), (tuning, _), (test, risk) = cohort(1500, 1), cohort(500, 2), cohort(1500, 3)
    seen: list[float] = []
    probability, result = model(
        train, tuning, {"held_out": test.features}, trials=trials, seed=seed, progress=seen.append
    )
    assert seen == sorted(seen) and seen[-1] == 1
    return probability["held_out"], result, test.outcome, risk


@every_model
def test_it_comes_near_the_known_risk_and_never_beyond_chance(model) -> None:
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
def test_more_trials_never_end_worse_on_the_tuning_split(model) -> None:
    losses = [fit(model, trials=trials)[1]["tuning_log_loss"] for trials in (1, 4, 8)]
    assert losses == sorted(losses, reverse=True)


@every_model
def test_what_cannot_be_learned_is_refused_in_one_line(model) -> None:
    (train, _), (tuning, _) = cohort(100, 1), cohort(50, 2)
    nobody = Labelled(tuning.features[:0], tuning.outcome[:0])
    same = Labelled(train.features, np.zeros(100, dtype=bool))
    for bad, match in (((same, tuning), "same outcome"), ((train, nobody), "no tuning patient")):
        with pytest.raises(BadInput, match=match):
            model(*bad, {}, trials=1, seed=0, progress=lambda share: None)


def test_threads_change_nothing() -> None:
    one, two = (fit(partial(gradient_boosting.fit_predict, threads=threads)) for threads in (1, 2))
    assert np.array_equal(one[0], two[0])


def test_rare_columns_are_left_out_by_their_training_patients() -> None:
    supported = Supported(cohort(1500, 1)[0].features)
    assert supported.choices == [1, 3, 10, 30, 100]
    assert 10 in supported.columns(3) and 10 not in supported.columns(10)
    assert Supported(cohort(40, 1)[0].features).choices == [1, 3], "a tenth of the patients at most"


def test_the_search_begins_with_what_it_is_given_and_keeps_the_best() -> None:
    tried: list[float] = []

    def attempt(trial):
        value = trial.suggest_float("x", -1.0, 1.0)
        tried.append(value)
        return f"model {value}", (value - 0.25) ** 2

    best = search(attempt, {"x": -0.5}, 15, 7, lambda share: None)
    assert len(tried) == 15 and tried[0] == -0.5
    nearest = min(tried, key=lambda value: abs(value - 0.25))
    assert best.model == f"model {nearest}" and best.settings == {"x": nearest}
