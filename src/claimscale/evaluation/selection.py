"""Which models a task compares: the initialization, the labelled patients and the sizes of the decision."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from claimscale.evaluation.intervals import Scores
from claimscale.evaluation.scoring import Model, ModelScores
from claimscale.evaluation.size_decision import SizeCurve

PRETRAINED, SCRATCH = "pretrained", "scratch"
LIGHTGBM, ENSEMBLE = "lightgbm", "ensemble"
INDEPENDENT_BASELINES = (LIGHTGBM, "logistic", "outcome_history")
"""Baselines that use no encoder, and may therefore replace one."""

TaskScores = Mapping[Model, ModelScores]
"""The scores of one task's models on one split."""


def compared_arm(models: Iterable[Model]) -> str:
    """The arm whose sizes are compared: pretrained if there is any, otherwise scratch."""
    return PRETRAINED if any(model.arm == PRETRAINED for model in models) else SCRATCH


def largest_labelled_set(scores: TaskScores) -> int | Literal["all"]:
    """The number of labelled patients (as in the settings) that verdicts and answers use.

    It is the largest of the compared arm: while a study runs, the other arm may have more.
    """
    arm = compared_arm(scores)
    n_labelled: dict[int | Literal["all"], int] = {
        model.labelled_patients: found.n_labelled for model, found in scores.items() if model.arm == arm
    }
    if not n_labelled:  # a study without an encoder
        n_labelled = {model.labelled_patients: found.n_labelled for model, found in scores.items()}
    if not n_labelled:
        return "all"
    return max(n_labelled, key=lambda setting: (n_labelled[setting], setting == "all"))


def compared_models(scores: TaskScores, sizes: Iterable[str]) -> dict[str, Model]:
    """The models of the size decision: all sizes at the largest number of labelled patients."""
    arm, labelled = compared_arm(scores), largest_labelled_set(scores)
    models = {size: Model(arm, size, labelled) for size in sizes}
    return {size: model for size, model in models.items() if model in scores}


def size_curve(
    scores: TaskScores, models: Mapping[str, Model], metric: str, prevalence: float
) -> SizeCurve | None:
    """The metric of the compared models by size; None if there are none."""
    by_size = {size: scores[model].by_metric[metric] for size, model in models.items()}
    if not by_size:
        return None
    chance = prevalence if metric == "auprc" else 0.5
    return SizeCurve(by_size, chance, next(iter(by_size.values())).positives)


def encoders_and_baselines(
    scores: TaskScores, metric: str
) -> tuple[dict[Model, Scores], dict[Model, Scores]]:
    """Encoders, and baselines that use none, all with the largest number of labelled patients."""
    labelled = largest_labelled_set(scores)
    chosen = {
        model: found.by_metric[metric]
        for model, found in scores.items()
        if model.labelled_patients == labelled
    }
    encoders = {model: found for model, found in chosen.items() if model.size}
    baselines = {
        model: found
        for model, found in chosen.items()
        if not model.size and model.arm in INDEPENDENT_BASELINES
    }
    return encoders, baselines
