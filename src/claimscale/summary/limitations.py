"""Limitations of the results, as findings: everything that a reader must know before relying on them."""

from __future__ import annotations

from collections.abc import Sequence

from claimscale.findings import Finding, finding
from claimscale.summary.baseline_text import BASELINES
from claimscale.summary.decision_schema import (
    SUPPRESSED,
    AnswerEntry,
    ClusterVerdictEntry,
    SaturationEntry,
)
from claimscale.summary.phenome_schema import PhenomeEntry
from claimscale.summary.pretraining_schema import ConvergenceEntry, SizeEntry
from claimscale.summary.result_schema import SkippedSubsetsEntry
from claimscale.summary.statistics_schema import Statistics
from claimscale.summary.task_schema import TaskEntry
from claimscale.summary.verdict_text import NOT_TRAINED

FEW_POSITIVES = 100


def limitations(found: Statistics, answers: Sequence[AnswerEntry]) -> tuple[Finding, ...]:
    """All limitations; those of one task are wrapped in `limitation.of_task`."""
    listed = _convergence(found.convergence) if any(size.seeds for size in found.sizes) else []
    if found.dataset.source == "simulated":
        listed.append(finding("limitation.simulated"))
    for check in found.checks:
        if check.status == "warned":
            listed.append(of_task(check.task, check.text) if check.task else check.text)
    for task, answered in zip(found.tasks, answers, strict=True):
        listed += [of_task(task.name, one) for one in _of_task(task, answered)]
    if len(found.finetune_seeds) == 1:
        listed.append(finding("limitation.one_seed"))
    listed += learning_rates(found.sizes, found.learning_rate)
    if any(task.saturation.reason == SUPPRESSED for task in found.tasks):
        listed.append(finding("limitation.interaction_suppressed"))
    elif found.task_size_interaction.estimate is None and not (found.phenome and found.phenome.interaction):
        listed.append(finding("limitation.interaction_not_tested"))
    listed += [
        finding("limitation.failed_run", size=run.size, seed=run.seed, excess=run.excess)
        for run in found.failed_runs
    ]
    if found.unseen_failure_rate is not None:
        runs = min(len(size.seeds) for size in found.sizes if size.seeds)
        listed.append(finding("limitation.unseen_failures", n=runs, rate=found.unseen_failure_rate))
    if found.phenome is not None:
        listed += _of_phenome(found.phenome)
    return (*listed, *found.notes)


def _of_phenome(phenome: PhenomeEntry) -> list[Finding]:
    if not phenome.outcomes:
        return [finding("limitation.no_outcomes", n=phenome.min_cases)]
    if not phenome.families and not phenome.chapters:
        return [finding("limitation.no_families")]
    return [finding("limitation.without_fine_tuning")]


def of_task(task: str, limitation: Finding) -> Finding:
    return finding("limitation.of_task", task=task, finding=limitation)


def learning_rates(sizes: Sequence[SizeEntry], used: float | None) -> list[Finding]:
    """What the learning-rate sweep leaves open about each size. `used` is the rate of all sizes."""
    found: list[Finding] = []
    for size in sizes:
        rates = [one.learning_rate for one in size.lr_sweep or ()]
        losses = {
            one.validation_loss: one.learning_rate
            for one in reversed(size.lr_sweep or ())
            if one.validation_loss is not None
        }
        if not rates:
            continue
        if not losses:
            found.append(finding("limitation.lr_diverged", size=size.name))
            continue
        best = losses[min(losses)]
        if best == rates[0]:
            found.append(finding("limitation.lr_lowest", size=size.name, rate=best))
        elif best == rates[-1]:
            found.append(finding("limitation.lr_highest", size=size.name, rate=best))
        elif best != used and used in rates:
            found.append(finding("limitation.lr_better", size=size.name, better=best, used=used))
    return found


def _convergence(guards: ConvergenceEntry) -> list[Finding]:
    """The convergence guards that failed or were not measured; `learning_rates` reports on each sweep."""
    found: list[Finding] = []
    if "tokens" in guards.not_measured:
        found.append(finding("limitation.tokens_not_measured"))
    if "learning_rate" in guards.not_measured:
        found.append(finding("limitation.learning_rate_not_measured"))
    drop = guards.loss_drop_last_doubling or 0.0
    if "tokens" in guards.failed and drop < 0:
        found.append(finding("limitation.loss_rose", share=-drop))
    elif "tokens" in guards.failed:
        found.append(finding("limitation.loss_still_fell", share=drop))
    if "overfitting" in guards.failed:
        found.append(finding("limitation.overfitting", gap=guards.generalization_gap))
    return found


def _of_task(task: TaskEntry, answered: AnswerEntry) -> list[Finding]:
    saturation, positives = task.saturation, task.positives
    if saturation.reason in NOT_TRAINED:
        return [finding("limitation.not_trained")]
    found: list[Finding] = []
    if task.skipped_labelled_patients is not None:
        found.append(skipped_subsets(task.skipped_labelled_patients))
    if isinstance(positives, str) or (positives is not None and positives < FEW_POSITIVES):
        found.append(finding("limitation.few_positives", n=positives, limit=FEW_POSITIVES))
    if not same_by_hospital(saturation) and saturation.cluster_bootstrap:
        other, verdict = _verdict(saturation.cluster_bootstrap), _verdict(saturation)
        found.append(finding("limitation.hospital_verdict", other=other, verdict=verdict))
    if saturation.reason == SUPPRESSED:
        found.append(finding("limitation.suppressed"))
    elif answered.verdict == "inconclusive":
        found.append(finding("limitation.inconclusive"))
    if answered.recommendation in BASELINES:
        found.append(finding("limitation.baseline", baseline=BASELINES[answered.recommendation]))
    if not task.has_outcome_codes and any(result.arm == "outcome_history" for result in task.results):
        found.append(finding("limitation.outcome_history_without_codes"))
    return found


def skipped_subsets(skipped: SkippedSubsetsEntry) -> Finding:
    """The subsets of labelled patients on which no model was trained, and why; never how few they hold."""
    positive = skipped.label == "positive"
    code = "limitation.subsets_few_positives" if positive else "limitation.subsets_few_negatives"
    return finding(code, subsets=list(skipped.labelled_patients))


def same_by_hospital(saturation: SaturationEntry) -> bool:
    """Whether resampling hospitals gives the verdict of resampling patients; true where it was not done."""
    other = saturation.cluster_bootstrap
    return other is None or (other.verdict, other.smallest_sufficient) == (
        saturation.verdict,
        saturation.smallest_sufficient,
    )


def _verdict(found: SaturationEntry | ClusterVerdictEntry) -> Finding:
    if size := found.smallest_sufficient:
        return finding("verdict.saturated_at", size=size)
    not_saturated = found.verdict == "not_saturated"
    return finding("verdict.not_saturated" if not_saturated else "verdict.inconclusive")
