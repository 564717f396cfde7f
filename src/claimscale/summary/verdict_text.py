"""The answer to each task, as findings: which model to use, and why."""

from __future__ import annotations

from claimscale.findings import Finding, finding, sentences
from claimscale.summary.baseline_text import (
    above_baseline,
    baseline_text,
    best_baseline,
    interval_text,
    model_name,
    not_above_chance,
)
from claimscale.summary.decision_schema import (
    SUPPRESSED,
    AnswerEntry,
    ComparisonEntry,
    EnsembleGainEntry,
    SaturationEntry,
    TrainedModelsEntry,
)
from claimscale.summary.entries import METRIC_NAMES
from claimscale.summary.result_schema import CrossoverEntry
from claimscale.summary.task_schema import TaskEntry

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


def answer(task: TaskEntry) -> AnswerEntry:
    """The answer to one task: the recommendation, the verdict on size, and the gain of the ensemble."""
    advice, metric = task.recommendation, METRIC_NAMES[task.saturation.metric]
    baseline, on_size = advice.baseline if advice else None, _on_size(task)
    above = advice.against_baseline if advice and baseline is None else None
    if baseline and (nothing := not_above_chance(task, baseline)) is not None:
        return AnswerEntry(
            task=task.name,
            verdict="inconclusive",
            recommendation=None,
            text=nothing,
            size_text=on_size,
            ensemble_text=None,
        )
    text = baseline_text(baseline, bool(advice and advice.size), metric) if baseline else on_size
    return AnswerEntry(
        task=task.name,
        verdict=advice.verdict if advice else task.saturation.verdict,
        scope=advice.scope if advice else "recipe",
        recommendation=baseline.baseline if baseline else advice.size if advice else None,
        text=sentences([text, above_baseline(above, metric)]) if above else text,
        size_text=on_size,
        ensemble_text=task.ensemble and _ensemble(task.ensemble, metric),
    )


def crossover_text(found: CrossoverEntry) -> Finding:
    """From how many labelled patients the pretrained model exceeds LightGBM."""
    size, tested = found.size, found.tested_n_labelled
    low = finding("number.fewer_than", n=tested[0])
    if found.low:
        low = finding("number.about", n=found.low)
    high = finding("number.more_than", n=tested[-1])
    if found.high is not None:
        high = finding("number.about", n=found.high)
    match found.outcome:
        case "at":
            return finding("crossover.at", size=size, n=found.n_labelled, low=low, high=high)
        case "from_the_smallest":
            parts = [finding("crossover.from_smallest", size=size, n=tested[0])]
            return sentences([*parts, *([finding("crossover.up_to", high=high)] if found.high != 0 else [])])
        case "never_in_range":
            parts = [finding("crossover.none", size=size, n=tested[-1])]
            return sentences(
                [*parts, *([finding("crossover.from", low=low)] if found.low is not None else [])]
            )


def _on_size(task: TaskEntry) -> Finding:
    """The verdict on size, with its reason; first that on the trained models, where only they have one."""
    advice, as_trained = task.recommendation, task.saturation.trained_models
    if as_trained and advice and advice.scope == "trained_models":
        return sentences([_as_trained(as_trained, task.saturation), _on_recipe(task)])
    return _on_recipe(task)


def _as_trained(found: TrainedModelsEntry, saturation: SaturationEntry) -> Finding:
    assert found.gain is not None
    shown = {
        "larger": found.larger,
        "smaller": found.smaller,
        "gain": interval_text(found.gain),
        "metric": METRIC_NAMES[saturation.metric],
        "margin": saturation.relative_margin,
    }
    saturated = found.verdict == "saturated"
    return finding("answer.trained_sufficient" if saturated else "answer.trained_not_saturated", **shown)


def _on_recipe(task: TaskEntry) -> Finding:
    """The verdict on models trained again, with its reason."""
    saturation = task.saturation
    if saturation.verdict == "saturated":
        return _saturated(saturation)
    if saturation.verdict == "not_saturated":
        shown = _compared(saturation, saturation.comparisons[0])
        return finding("answer.not_saturated", **shown, margin=saturation.relative_margin)
    if saturation.reason in NOT_TRAINED:
        return _not_trained(task, *NOT_TRAINED[saturation.reason])
    if saturation.reason == SUPPRESSED:
        return finding("answer.suppressed")
    return _inconclusive(task)


def _saturated(saturation: SaturationEntry) -> Finding:
    size = saturation.smallest_sufficient
    largest = next(pair for pair in saturation.comparisons if pair.smaller == size)
    shown = {
        "size": size,
        "largest": largest.larger,
        "metric": METRIC_NAMES[saturation.metric],
        "gain": interval_text(largest),
    }
    if saturation.convergence_status == UNDER_TRAINED:
        return finding("answer.under_trained", **shown)
    parts = [finding("answer.sufficient", **shown, margin=saturation.relative_margin)]
    hours = saturation.hours_saved
    if hours and hours > 0 and saturation.hours_saved_estimated:
        reference = saturation.reference_size
        parts.append(finding("answer.hours_saved_estimated", hours=hours, reference=reference))
    elif hours and hours > 0:
        parts.append(finding("answer.hours_saved", hours=hours))
    if saturation.convergence_status != "converged":
        parts.append(finding("answer.convergence_not_measured"))
    return sentences(parts)


def _not_trained(task: TaskEntry, cause: str | None, group: Finding) -> Finding:
    if cause is not None:
        stated = Finding(code=cause)
    elif not task.n_train or not task.n_test:
        stated = finding("answer.none_eligible")
    else:
        train, test = task.splits["train"], task.splits["held_out"]
        stated = finding(
            "answer.few_outcomes",
            train_positives=train.positives, train=train.index_dates,
            test_positives=test.positives, test=test.index_dates,
        )  # fmt: skip
    more = task.saturation.additional_needed
    if more is None:
        return sentences([stated, finding("answer.more_needed", group=group)])
    total = more.train + more.held_out
    needed = finding("answer.number_needed", n=total, group=group, train=more.train, test=more.held_out)
    return sentences([stated, needed])


def _inconclusive(task: TaskEntry) -> Finding:
    saturation, reason = task.saturation, task.saturation.reason
    if reason == "no_encoder":
        return best_baseline(task)
    if needed := saturation.positives_needed:
        remedy = [finding("answer.positives_needed", needed=needed, positives=task.positives)]
    elif reason == "few_positives":
        remedy = []
    else:
        remedy = [finding("answer.too_close" if reason == "borderline" else "answer.more_seeds_needed")]
    if seeds := saturation.seeds_needed:
        by_seeds = finding("answer.seeds_needed", n=seeds)
        remedy = [*remedy, by_seeds] if needed else [by_seeds]
    if reason == "one_size":
        return finding("answer.one_size")
    if reason == "one_seed":
        return finding("answer.one_seed")
    if reason == "not_above_chance":
        return finding("answer.not_above_chance", metric=METRIC_NAMES[saturation.metric])
    if reason == "few_positives":
        return sentences([finding("answer.few_positives", positives=task.positives), *remedy])
    first = saturation.comparisons[0]
    if reason == "non_monotone":
        pairs = [pair for pair in saturation.comparisons if pair.larger == first.larger]
        worst = min(pairs, key=lambda pair: pair.difference or 0.0)
        shown = _compared(saturation, first) | {"gain": interval_text(worst)}
        return finding("answer.non_monotone", **shown, other=worst.smaller)
    shown = _compared(saturation, first) | {"margin": saturation.margin}
    code = "answer.borderline" if reason == "borderline" else "answer.underpowered"
    return sentences([finding(code, **shown), *remedy])


def _compared(saturation: SaturationEntry, pair: ComparisonEntry) -> dict[str, object]:
    """The parameters of a comparison of two sizes."""
    return {
        "larger": pair.larger,
        "smaller": pair.smaller,
        "gain": interval_text(pair),
        "metric": METRIC_NAMES[saturation.metric],
    }


def _ensemble(found: EnsembleGainEntry, metric: str) -> Finding:
    """That the average of the largest encoder and LightGBM exceeds every model alone."""
    return finding(
        "answer.ensemble",
        size=found.encoder_size,
        metric=metric,
        value=found.estimate,
        gain=interval_text(found),
        best=model_name(found.over_arm, found.over_size),
    )
