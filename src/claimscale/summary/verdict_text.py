"""The answer to each task, as findings: which model to use, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from claimscale.findings import Finding, finding, sentences
from claimscale.privacy.suppression import SUPPRESSED

BASELINES = {
    "lightgbm": finding("model.lightgbm"),
    "logistic": finding("model.logistic"),
    "outcome_history": finding("model.outcome_history"),
}
"""Baselines that need no encoder, and may therefore make one superfluous."""
NOT_TRAINED = {
    "not_trained_few_positives": (None, finding("group.positives")),
    "not_trained_few_negatives": (None, finding("group.negatives")),
    "not_trained_tuning_few_positives": ("answer.tuning_few_positives", finding("group.positives")),
    "not_trained_tuning_few_negatives": ("answer.tuning_few_negatives", finding("group.negatives")),
    "not_trained_subsets_few_positives": ("answer.subsets_few_positives", finding("group.labelled")),
    "not_trained_subsets_few_negatives": ("answer.subsets_few_negatives", finding("group.labelled")),
}
"""Reasons why no model was trained: the code that states it without counts, and who more is needed of."""
UNDER_TRAINED = "under_trained"
"""The verdict in place of saturation where pretraining had not converged."""
METRIC_NAMES = {"auprc": "AUPRC", "auroc": "AUROC"}


def answer(task: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to one task: `text` in one finding, `recommendation` a size, a baseline or null.

    `verdict` is the verdict on sizes, or `under_trained` where a plateau may be insufficient pretraining.
    `ensemble_text` is null unless the average of encoder and LightGBM outperforms each alone. `task` is the
    task's entry in the summary.
    """
    found, on_size = task["recommendation"], _on_size(task)
    baseline = found["baseline"]
    return {
        "task": task["name"],
        "verdict": found["verdict"],
        "recommendation": baseline["baseline"] if baseline else found["size"],
        "text": _baseline(task) if baseline else on_size,
        "size_text": on_size,
        "ensemble_text": _ensemble(task) if task["ensemble"] else None,
    }


def crossover_text(found: Mapping[str, Any]) -> Finding:
    """From how many labelled patients the pretrained model outperforms LightGBM; `found` is a crossover."""
    size, tested = found["size"], found["tested_n_labelled"]
    low = finding("number.fewer_than", n=tested[0])
    if found["low"]:
        low = finding("number.about", n=found["low"])
    high = finding("number.more_than", n=tested[-1])
    if found["high"] is not None:
        high = finding("number.about", n=found["high"])
    match found["outcome"]:
        case "at":
            return finding("crossover.at", size=size, n=found["n_labelled"], low=low, high=high)
        case "from_the_smallest":
            parts = [finding("crossover.from_smallest", size=size, n=tested[0])]
            return sentences(
                [*parts, *([finding("crossover.up_to", high=high)] if found["high"] != 0 else [])]
            )
        case _:
            parts = [finding("crossover.none", size=size, n=tested[-1])]
            known = found["low"] is not None
            return sentences([*parts, *([finding("crossover.from", low=low)] if known else [])])


def _on_size(task: Mapping[str, Any]) -> Finding:
    """The verdict on sizes, with its reason."""
    saturation = task["saturation"]
    match saturation["verdict"]:
        case "saturated":
            return _saturated(saturation)
        case "not_saturated":
            gain = saturation["comparisons"][0]
            return finding(
                "answer.not_saturated", **_compared(saturation, gain), margin=saturation["relative_margin"]
            )
        case _ if saturation["reason"] in NOT_TRAINED:
            return _not_trained(task)
        case _ if saturation["reason"] == SUPPRESSED:
            return finding("answer.suppressed")
        case _:
            return _inconclusive(task)


def _saturated(saturation: Mapping[str, Any]) -> Finding:
    size = saturation["smallest_sufficient"]
    largest = next(pair for pair in saturation["comparisons"] if pair["smaller"] == size)
    shown = {
        "size": size,
        "largest": largest["larger"],
        "metric": METRIC_NAMES[saturation["metric"]],
        "gain": _span(largest),
    }
    if saturation["convergence_status"] == UNDER_TRAINED:
        return finding("answer.under_trained", **shown)
    parts = [finding("answer.sufficient", **shown, margin=saturation["relative_margin"])]
    hours = saturation["hours_saved"]
    if hours and hours > 0 and saturation["hours_saved_estimated"]:
        reference = saturation["reference_size"]
        parts.append(finding("answer.hours_saved_estimated", hours=hours, reference=reference))
    elif hours and hours > 0:
        parts.append(finding("answer.hours_saved", hours=hours))
    if saturation["convergence_status"] != "converged":
        parts.append(finding("answer.convergence_not_measured"))
    return sentences(parts)


def _not_trained(task: Mapping[str, Any]) -> Finding:
    saturation, splits = task["saturation"], task["splits"]
    cause, group = NOT_TRAINED[saturation["reason"]]
    if cause is not None:
        stated = Finding(code=cause)
    elif not task["n_train"] or not task["n_test"]:
        stated = finding("answer.none_eligible")
    else:
        train, test = splits["train"], splits["held_out"]
        stated = finding(
            "answer.few_outcomes",
            train_positives=train["positives"], train=train["index_dates"],
            test_positives=test["positives"], test=test["index_dates"],
        )  # fmt: skip
    more = saturation["additional_needed"]
    if more is None:
        return sentences([stated, finding("answer.more_needed", group=group)])
    total = sum(more.values())
    needed = finding("answer.number_needed", n=total, group=group, train=more["train"], test=more["held_out"])
    return sentences([stated, needed])


def _inconclusive(task: Mapping[str, Any]) -> Finding:
    saturation, reason = task["saturation"], task["saturation"]["reason"]
    needed, positives = saturation["positives_needed"], task["positives"]
    if needed:
        remedy = [finding("answer.positives_needed", needed=needed, positives=positives)]
    elif reason == "few_positives":
        remedy = []
    else:
        remedy = [finding("answer.too_close" if reason == "borderline" else "answer.more_seeds_needed")]
    match reason:
        case "one_size":
            return finding("answer.one_size")
        case "one_seed":
            return finding("answer.one_seed")
        case "not_above_chance":
            return finding("answer.not_above_chance", metric=METRIC_NAMES[saturation["metric"]])
        case "few_positives":
            return sentences([finding("answer.few_positives", positives=positives), *remedy])
    first = saturation["comparisons"][0]
    if reason == "non_monotone":
        pairs = [pair for pair in saturation["comparisons"] if pair["larger"] == first["larger"]]
        worst = min(pairs, key=lambda pair: pair["difference"])
        shown = _compared(saturation, first) | {"gain": _span(worst)}
        return finding("answer.non_monotone", **shown, other=worst["smaller"])
    shown = _compared(saturation, first) | {"margin": saturation["margin"]}
    if reason == "borderline":
        return sentences([finding("answer.borderline", **shown), *remedy])
    return sentences([finding("answer.underpowered", **shown), *remedy])


def _compared(saturation: Mapping[str, Any], pair: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a comparison of two sizes."""
    return {
        "larger": pair["larger"],
        "smaller": pair["smaller"],
        "gain": _span(pair),
        "metric": METRIC_NAMES[saturation["metric"]],
    }


def _span(pair: Mapping[str, Any]) -> dict[str, float | None]:
    return {"estimate": pair["difference"], "low": pair["low"], "high": pair["high"]}


def _baseline(task: Mapping[str, Any]) -> Finding:
    """The advice to use a baseline, because no encoder has a higher estimate."""
    found = task["recommendation"]["baseline"]
    shown = {
        "baseline": BASELINES[found["baseline"]],
        "metric": METRIC_NAMES[task["saturation"]["metric"]],
        "own": found["baseline_estimate"],
        "encoder": _model(found["encoder_arm"], found["encoder_size"]),
        "other": found["encoder_estimate"],
    }
    if found["superior"]:
        return finding("answer.baseline_better", **shown)
    return finding("answer.baseline_not_worse", **shown)


def _ensemble(task: Mapping[str, Any]) -> Finding:
    """That the average of the largest encoder and LightGBM outperforms every model alone."""
    found = task["ensemble"]
    return finding(
        "answer.ensemble",
        size=found["encoder_size"],
        metric=METRIC_NAMES[task["saturation"]["metric"]],
        value=found["estimate"],
        gain=found["gain"],
        best=_model(found["over_arm"], found["over_size"]),
    )


def _model(arm: str, size: str | None) -> Finding:
    """The name of a model."""
    if arm in BASELINES:
        return BASELINES[arm]
    return finding("model.scratch", size=size) if arm == "scratch" else finding("model.pretrained", size=size)
