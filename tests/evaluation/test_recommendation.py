"""What is compared for a task, and what is recommended, on models of known quality."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from claimscale.evaluation.intervals import Scores
from claimscale.evaluation.recommendation import ensemble_gain, recommend
from claimscale.evaluation.scoring import Model, ModelScores
from claimscale.evaluation.selection import compared_models, largest_labelled_set
from claimscale.evaluation.size_decision import SizeCurve, decide

SIZES = ("1M", "3M")


def scores(
    values: dict[Model, float], n_labelled: dict[Model, int] | None = None
) -> dict[Model, ModelScores]:
    """Models of these AUPRCs, three seeds each, with small errors of their own."""
    found = {}
    for number, (model, value) in enumerate(values.items()):
        patients = np.random.default_rng(number).normal(value, 1e-3, size=300)
        metric = Scores((1, 2, 3), np.full(3, value), np.tile(patients, (3, 1)), 500)
        count = (n_labelled or {}).get(model, 1000)
        found[model] = ModelScores(count, 1.0, {"auprc": metric}, [], 0.0)
    return found


def models(**values: float) -> dict[Model, float]:
    encoders = {Model("pretrained", size, "all"): values[f"s{size}"] for size in SIZES}
    return encoders | {
        Model(arm, None, "all"): value for arm, value in values.items() if not arm.startswith("s")
    }


def verdict_of(found: dict[Model, ModelScores]):
    curve = {model.size: one.by_metric["auprc"] for model, one in found.items() if model.size}
    return decide({"ckd": SizeCurve({size: curve[size] for size in SIZES}, 0.1, 500)}, 0.02)["ckd"]


@pytest.mark.parametrize(
    ("status", "verdict", "size"),
    [
        ("converged", "saturated", "1M"),
        ("unknown", "saturated", "1M"),
        ("under_trained", "under_trained", None),
    ],
)
def test_no_size_is_recommended_on_an_under_trained_plateau(
    status: str, verdict: str, size: str | None
) -> None:
    found = scores(models(s1M=0.4, s3M=0.4))
    advice = recommend(verdict_of(found), verdict_of(found), status, found, "auprc")  # pyright: ignore[reportArgumentType]
    assert (advice.verdict, advice.size) == (verdict, size)


def test_the_largest_size_is_recommended_if_it_gains() -> None:
    found = scores(models(s1M=0.3, s3M=0.4))
    assert recommend(verdict_of(found), verdict_of(found), "converged", found, "auprc").size == "3M"


@pytest.mark.parametrize(("lightgbm", "superior"), [(0.5, True), (0.4001, False), (0.39, None)])
def test_a_baseline_that_no_encoder_exceeds_is_recommended(lightgbm: float, superior: bool | None) -> None:
    """Baselines on embeddings, and the ensemble, need an encoder and do not replace it."""
    found = scores(models(s1M=0.4, s3M=0.4, lightgbm=lightgbm, lightgbm_embeddings=0.9, ensemble=0.9))
    compared = recommend(verdict_of(found), verdict_of(found), "converged", found, "auprc").against_baseline
    assert compared is not None and compared.baseline == "lightgbm"
    assert compared.prefers_baseline == (superior is not None)
    assert compared.superior == bool(superior)
    assert compared.gain.estimate == pytest.approx(0.4 - lightgbm)


def test_a_baseline_is_compared_with_the_advised_size_not_with_the_best() -> None:
    """1M is enough within the margin, but LightGBM is above it, and below 3M."""
    found = scores(models(s1M=0.4, s3M=0.4005, lightgbm=0.4003))
    advice = recommend(verdict_of(found), verdict_of(found), "converged", found, "auprc")
    compared = advice.against_baseline
    assert advice.size == "1M" and compared is not None
    assert compared.encoder_size == "1M" and compared.prefers_baseline


def test_without_a_baseline_nothing_is_compared() -> None:
    found = scores(models(s1M=0.4, s3M=0.4))
    assert (
        recommend(verdict_of(found), verdict_of(found), "converged", found, "auprc").against_baseline is None
    )


@pytest.mark.parametrize(("ensemble", "named"), [(0.5, True), (0.4001, False), (0.3, False)])
def test_an_ensemble_must_be_better_than_each_model(ensemble: float, named: bool) -> None:
    gain = ensemble_gain(scores(models(s1M=0.3, s3M=0.4, lightgbm=0.39, ensemble=ensemble)), "auprc", "3M")
    assert (gain is not None) == named
    if gain is not None:
        assert (gain.over_arm, gain.over_size, gain.encoder_size) == ("pretrained", "3M", "3M")
        assert gain.gain.estimate == pytest.approx(0.1)


def test_the_pretrained_arm_decides_even_if_scratch_has_more_labels() -> None:
    """While a study runs, encoders from scratch may be finished with more labelled patients."""
    few, many = Model("pretrained", "1M", 300), Model("scratch", "1M", 1000)
    found = scores({few: 0.4, many: 0.4}, {few: 300, many: 1000})
    assert largest_labelled_set(found) == 300
    assert compared_models(found, SIZES) == {"1M": few}
    assert compared_models({many: found[many]}, SIZES) == {"1M": many}


def test_the_trained_models_are_the_advice_where_the_recipe_is_open() -> None:
    found = scores(models(s1M=0.4, s3M=0.4))
    verdict = verdict_of(found)
    assert verdict.verdict == "saturated"
    open_verdict = replace(verdict, verdict="inconclusive", smallest_sufficient=None)
    advice = recommend(open_verdict, verdict, "unknown", found, "auprc")
    assert (advice.verdict, advice.scope, advice.size) == ("saturated", "trained_models", "1M")
    assert recommend(verdict, open_verdict, "unknown", found, "auprc").scope == "recipe"
    neither = recommend(open_verdict, open_verdict, "unknown", found, "auprc")
    assert (neither.verdict, neither.scope, neither.size) == ("inconclusive", "recipe", None)


def test_trained_models_are_no_way_around_under_training() -> None:
    found = scores(models(s1M=0.4, s3M=0.4))
    advice = recommend(verdict_of(found), verdict_of(found), "under_trained", found, "auprc")
    assert (advice.verdict, advice.size) == ("under_trained", None)
    open_verdict = replace(verdict_of(found), verdict="inconclusive", smallest_sufficient=None)
    advice = recommend(open_verdict, verdict_of(found), "under_trained", found, "auprc")
    assert (advice.verdict, advice.scope, advice.size) == ("inconclusive", "recipe", None)
