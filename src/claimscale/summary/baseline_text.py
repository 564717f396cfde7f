"""What the answer to a task says of other models: baselines, the best of them, and chance level."""

from __future__ import annotations

from typing import TypedDict

from claimscale.findings import Finding, finding, sentences
from claimscale.summary.decision_schema import BaselineComparisonEntry
from claimscale.summary.entries import METRIC_NAMES, DifferenceEntry, Real
from claimscale.summary.result_schema import ModelResultEntry
from claimscale.summary.task_schema import TaskEntry

BASELINES = {
    "lightgbm": finding("model.lightgbm"),
    "logistic": finding("model.logistic"),
    "outcome_history": finding("model.outcome_history"),
}
"""Baselines that use no encoder, and may therefore replace one."""


class IntervalText(TypedDict):
    """An estimate with its interval, as a parameter of a finding."""

    estimate: Real
    low: Real
    high: Real


def interval_text(found: DifferenceEntry) -> IntervalText:
    return {"estimate": found.difference, "low": found.low, "high": found.high}


def model_name(arm: str, size: str | None) -> Finding:
    """The name of a model."""
    if arm in BASELINES:
        return BASELINES[arm]
    return finding("model.scratch", size=size) if arm == "scratch" else finding("model.pretrained", size=size)


def best_baseline(task: TaskEntry) -> Finding:
    """The baseline with the highest estimate, where no encoder was trained."""
    metric = task.saturation.metric
    held_out = [one for one in task.results if one.split == "held_out" and one.arm in BASELINES]
    known = [(getattr(one, metric), one) for one in held_out]
    known = [(found, one) for found, one in known if found.estimate is not None]
    if not known:
        return finding("answer.no_encoder")
    most = max(one.n_labelled for _, one in known)
    found, best = max(
        ((found, one) for found, one in known if one.n_labelled == most), key=lambda pair: pair[0].estimate
    )
    shown = {
        "baseline": BASELINES[best.arm],
        "metric": METRIC_NAMES[metric],
        "own": {"estimate": found.estimate, "low": found.low, "high": found.high},
    }
    return sentences([finding("answer.no_encoder"), finding("answer.best_baseline", **shown)])


def baseline_text(found: BaselineComparisonEntry, advised: bool, metric: str) -> Finding:
    """The advice to use a baseline, because the encoder has no higher estimate."""
    if advised:
        code = (
            "answer.baseline_better_than_advised"
            if found.superior
            else "answer.baseline_not_worse_than_advised"
        )
    else:
        code = "answer.baseline_better" if found.superior else "answer.baseline_not_worse"
    return finding(
        code,
        baseline=BASELINES[found.baseline],
        encoder=model_name(found.encoder_arm, found.encoder_size),
        own=found.baseline_estimate,
        other=found.encoder_estimate,
        gain=interval_text(found.gain),
        metric=metric,
    )


def not_above_chance(task: TaskEntry, found: BaselineComparisonEntry) -> Finding | None:
    """That not even the advised baseline exceeds chance level, by its interval; None if it does."""
    metric = task.saturation.metric
    chance = task.prevalence if metric == "auprc" else 0.5
    reached = next(
        (getattr(one, metric) for one in main_results(task) if (one.arm, one.size) == (found.baseline, None)),
        None,
    )
    if chance is None or reached is None or reached.low is None or reached.low > chance:
        return None
    own = {"estimate": reached.estimate, "low": reached.low, "high": reached.high}
    name, metric_name = BASELINES[found.baseline], METRIC_NAMES[metric]
    return finding("answer.none_above_chance", best=name, metric=metric_name, own=own, chance=chance)


def main_results(task: TaskEntry) -> list[ModelResultEntry]:
    """Held-out results at the largest number of labelled patients: those of the verdict."""
    held_out = [result for result in task.results if result.split == "held_out"]
    encoders = [result for result in held_out if result.size is not None]
    largest = max((result.n_labelled for result in encoders or held_out), default=0)
    return [result for result in held_out if result.n_labelled == largest]


def above_baseline(found: BaselineComparisonEntry, metric: str) -> Finding:
    """How far the encoder is above the best baseline, and whether that is shown."""
    shown = (found.gain.low or 0.0) > 0
    return finding(
        "answer.above_baseline" if shown else "answer.above_baseline_not_shown",
        baseline=BASELINES[found.baseline],
        encoder=model_name(found.encoder_arm, found.encoder_size),
        gain=interval_text(found.gain),
        metric=metric,
    )
