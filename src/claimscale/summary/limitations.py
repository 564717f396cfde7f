"""Limitations of the results, as findings: everything that a reader must know before relying on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from claimscale.config.study import Study
from claimscale.findings import Finding, finding
from claimscale.privacy.suppression import SUPPRESSED
from claimscale.summary.verdict_text import BASELINES, NOT_TRAINED

FEW_POSITIVES = 100


def limitations(study: Study, summary: Mapping[str, Any]) -> list[Finding]:
    """All limitations of the summary; those of one task are wrapped in `limitation.of_task`."""
    found = _convergence(summary["convergence"])
    if study.source.kind == "simulated":
        found.append(finding("limitation.simulated"))
    for check in summary["checks"]:
        if check["status"] == "warned":
            text = Finding.model_validate(check["text"])
            found.append(of_task(check["task"], text) if check["task"] else text)
    for task, answered in zip(summary["tasks"], summary["answers"], strict=True):
        found += [of_task(task["name"], one) for one in _of_task(task, answered)]
    if "outcome_history" in study.baselines:
        without_codes = finding("limitation.outcome_history_without_codes")
        found += [of_task(task.name, without_codes) for task in study.tasks if task.labels is not None]
    if len(study.finetune.seeds) == 1:
        found.append(finding("limitation.one_seed"))
    found += learning_rates(summary["sizes"], study.pretrain.learning_rate)
    if any(task["saturation"]["reason"] == SUPPRESSED for task in summary["tasks"]):
        found.append(finding("limitation.interaction_suppressed"))
    elif summary["task_size_interaction"]["estimate"] is None:
        found.append(finding("limitation.interaction_not_tested"))
    return found


def of_task(task: str, limitation: Finding) -> Finding:
    return finding("limitation.of_task", task=task, finding=limitation)


def learning_rates(sizes: Sequence[Mapping[str, Any]], used: float) -> list[Finding]:
    """What the learning-rate sweep leaves open about each size. `used` is the rate of all sizes."""
    found = []
    for size in (size for size in sizes if size["lr_sweep"]):
        tried = [one for one in size["lr_sweep"] if one["validation_loss"] is not None]
        name = size["name"]
        if not tried:
            found.append(finding("limitation.lr_diverged", size=name))
            continue
        best = min(tried, key=lambda one: one["validation_loss"])["learning_rate"]
        rates = [one["learning_rate"] for one in size["lr_sweep"]]
        if best == rates[0]:
            found.append(finding("limitation.lr_lowest", size=name, rate=best))
        elif best == rates[-1]:
            found.append(finding("limitation.lr_highest", size=name, rate=best))
        elif best != used and used in rates:
            found.append(finding("limitation.lr_better", size=name, better=best, used=used))
    return found


def _convergence(guards: Mapping[str, Any]) -> list[Finding]:
    """The convergence guards that failed or were not measured.

    `learning_rates` reports on the sweep of each size.
    """
    found, failed = list[Finding](), guards["failed"]
    if "tokens" in guards["not_measured"]:
        found.append(finding("limitation.tokens_not_measured"))
    if "learning_rate" in guards["not_measured"]:
        found.append(finding("limitation.learning_rate_not_measured"))
    drop = guards["loss_drop_last_doubling"]
    if "tokens" in failed and drop < 0:
        found.append(finding("limitation.loss_rose", share=-drop))
    elif "tokens" in failed:
        found.append(finding("limitation.loss_still_fell", share=drop))
    if "overfitting" in failed:
        found.append(finding("limitation.overfitting", gap=guards["generalization_gap"]))
    return found


def _of_task(task: Mapping[str, Any], answered: Mapping[str, Any]) -> list[Finding]:
    saturation = task["saturation"]
    if saturation["reason"] in NOT_TRAINED:
        return [finding("limitation.not_trained")]
    found = list[Finding]()
    if task["skipped_labelled_patients"] is not None:
        found.append(skipped_subsets(task["skipped_labelled_patients"]))
    positives = task["positives"]
    if isinstance(positives, str) or (positives is not None and positives < FEW_POSITIVES):
        found.append(finding("limitation.few_positives", n=positives, limit=FEW_POSITIVES))
    if not same_by_hospital(saturation):
        other, verdict = _verdict(saturation["cluster_bootstrap"]), _verdict(saturation)
        found.append(finding("limitation.hospital_verdict", other=other, verdict=verdict))
    if saturation["reason"] == SUPPRESSED:
        found.append(finding("limitation.suppressed"))
    elif answered["verdict"] == "inconclusive":
        found.append(finding("limitation.inconclusive"))
    if answered["recommendation"] in BASELINES:
        found.append(finding("limitation.baseline", baseline=BASELINES[answered["recommendation"]]))
    return found


def skipped_subsets(skipped: Mapping[str, Any]) -> Finding:
    """The subsets of labelled patients on which no model was trained, and why; never how few they hold."""
    if skipped["label"] == "positive":
        return finding("limitation.subsets_few_positives", subsets=list(skipped["labelled_patients"]))
    return finding("limitation.subsets_few_negatives", subsets=list(skipped["labelled_patients"]))


def same_by_hospital(saturation: Mapping[str, Any]) -> bool:
    """Whether resampling hospitals gives the verdict of resampling patients; true where it was not done."""
    other = saturation["cluster_bootstrap"]
    return other is None or all(saturation[key] == other[key] for key in ("verdict", "smallest_sufficient"))


def _verdict(saturation: Mapping[str, Any]) -> Finding:
    if size := saturation["smallest_sufficient"]:
        return finding("verdict.saturated_at", size=size)
    if saturation["verdict"] == "not_saturated":
        return finding("verdict.not_saturated")
    return finding("verdict.inconclusive")
