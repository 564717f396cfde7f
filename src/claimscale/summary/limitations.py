"""What limits the results, in words: everything a reader must be warned of, one sentence each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from claimscale.config.study import Study
from claimscale.privacy.suppression import SUPPRESSED
from claimscale.summary.formatting import count, percent
from claimscale.summary.verdict_text import NOT_TRAINED, RIVALS

FEW_POSITIVES = 100
UNMEASURED = {
    "tokens": "training was not repeated with twice the tokens",
    "learning_rate": "not every size had a learning-rate sweep",
}
"""What a guard against under-training would have needed."""


def warnings(study: Study, summary: Mapping[str, Any]) -> list[str]:
    """Everything that limits what the summary shows, one sentence each."""
    found = _convergence_warnings(summary)
    if study.source.kind == "simulated":
        found.append("The patients are simulated: nothing here is evidence about real patients.")
    for check in summary["checks"]:
        if check["status"] == "warned":
            found.append(f"{check['task']}: {check['text']}" if check["task"] else check["text"])
    for task, answered in zip(summary["tasks"], summary["answers"], strict=True):
        found += _task_warnings(task, answered)
    if "outcome_history" in study.baselines:
        found += [
            f"{name}: the outcome comes from a label file and has no codes, so carry-forward knows age "
            "and sex alone."
            for name in (task.name for task in study.tasks if task.labels is not None)
        ]
    if len(study.finetune.seeds) == 1:
        found.append(
            "One seed only: intervals cover the choice of patients but not the chance of training, and are "
            "too narrow; no verdict is given."
        )
    found += learning_rate_warnings(summary["sizes"], study.pretrain.learning_rate)
    if any(task["saturation"]["reason"] == SUPPRESSED for task in summary["tasks"]):
        found.append(
            "Whether diseases gain more from size than medications is not shown: it would tell of questions "
            "whose results are withheld."
        )
    elif summary["task_size_interaction"]["estimate"] is None:
        found.append(
            "Whether diseases gain more from size than medications was not tested: it takes three outcomes "
            "of each kind, two sizes and three seeds common to all, and metrics that do not fall with size."
        )
    return found


def learning_rate_warnings(sizes: Sequence[Mapping[str, Any]], used: float) -> list[str]:
    """What short runs at several learning rates leave open about each size, one sentence each.

    `used` is the rate that all sizes were trained with.
    """
    found = []
    for size in (size for size in sizes if size["lr_sweep"]):
        tried = [one for one in size["lr_sweep"] if one["validation_loss"] is not None]
        if not tried:
            found.append(f"{size['name']}: training diverged at every learning rate of the sweep.")
            continue
        best = min(tried, key=lambda one: one["validation_loss"])["learning_rate"]
        rates = [one["learning_rate"] for one in size["lr_sweep"]]
        if best in (rates[0], rates[-1]):
            side = "lowest" if best == rates[0] else "highest"
            found.append(
                f"{size['name']}: of the learning rates swept the {side}, {best:g}, gave the lowest loss: "
                "the best may lie beyond it, and a plateau is not to be trusted before it is found."
            )
        elif best != used and used in rates:
            found.append(
                f"{size['name']}: learning rate {best:g} did better than the {used:g} that was used, in "
                "short runs."
            )
    return found


def _convergence_warnings(summary: Mapping[str, Any]) -> list[str]:
    """Which guards against under-training failed or were not measured, a sentence each.

    What each size's learning rates leave open is said by `learning_rate_warnings`.
    """
    found, guards = [], summary["convergence"]
    unmeasured = [UNMEASURED[name] for name in guards["not_measured"] if name in UNMEASURED]
    if unmeasured:
        missing = " and ".join(unmeasured)
        found.append(
            f"{missing[0].upper()}{missing[1:]}: that a plateau is under-training cannot be excluded."
        )
    if "tokens" in guards["failed"] and guards["loss_drop_last_doubling"] < 0:
        found.append(
            "Under-trained: the last doubling of tokens added "
            f"{percent(-guards['loss_drop_last_doubling'])} to the largest size's validation loss; its "
            "training needs a look."
        )
    elif "tokens" in guards["failed"]:
        found.append(
            "Under-trained: the last doubling of tokens still took "
            f"{percent(guards['loss_drop_last_doubling'])} off the largest size's validation loss."
        )
    if "overfitting" in guards["failed"]:
        found.append(
            "Pretraining overfits: the loss on training patients lies "
            f"{percent(guards['generalization_gap'])} below that on others."
        )
    return found


def _task_warnings(task: Mapping[str, Any], answered: Mapping[str, Any]) -> list[str]:
    found, name = [], task["name"]
    if task["saturation"]["reason"] in NOT_TRAINED:
        return [
            f"{name}: nothing was trained, for want of patients; the other questions do not depend on it."
        ]
    if task["skipped_labelled_patients"] is not None:
        found.append(f"{name}: {subsets_warning(task['skipped_labelled_patients'])}")
    positives = task["positives"]
    if isinstance(positives, str) or (positives is not None and positives < FEW_POSITIVES):
        found.append(
            f"{name}: only {count(positives)} test patients have the outcome; below {FEW_POSITIVES} every "
            "figure is uncertain and the intervals are rough."
        )
    if not same_by_hospital(task["saturation"]):
        there, here = task["saturation"]["cluster_bootstrap"], task["saturation"]
        found.append(
            f"{name}: with whole hospitals resampled the verdict is {_named(there)}, not {_named(here)}: "
            "other hospitals might have given another answer."
        )
    if task["saturation"]["reason"] == SUPPRESSED:
        found.append(
            f"{name}: results on held-out patients, and what was concluded from them, are withheld under the "
            "privacy profile."
        )
    elif answered["verdict"] == "inconclusive":
        found.append(
            f"{name}: no verdict on size. That is want of evidence, not evidence that sizes are equal."
        )
    if answered["recommendation"] in RIVALS.values():
        found.append(
            f"{name}: {answered['recommendation']} does as well as every encoder or better; the verdict "
            "about sizes is about encoders only."
        )
    return found


def subsets_warning(left_out: Mapping[str, Any]) -> str:
    """Which subsets of labelled patients no model was trained on, and why; never how few they hold."""
    subsets = ", ".join(f"{patients:,}" for patients in left_out["labelled_patients"])
    if left_out["label"] == "positive":
        return (
            f"subsets of {subsets} labelled patients were left out for every model: too few of them, or of "
            "the patients they are tuned on, have the outcome."
        )
    return (
        f"subsets of {subsets} labelled patients were left out for every model: too few of them, or of "
        "the patients they are tuned on, are without the outcome."
    )


def same_by_hospital(saturation: Mapping[str, Any]) -> bool:
    """Whether resampling hospitals gives the verdict that resampling patients gave, as far as it was done."""
    other = saturation["cluster_bootstrap"]
    return other is None or all(saturation[key] == other[key] for key in ("verdict", "smallest_sufficient"))


def _named(saturation: Mapping[str, Any]) -> str:
    size = saturation["smallest_sufficient"]
    return f"saturated at {size}" if size else saturation["verdict"].replace("_", " ")
