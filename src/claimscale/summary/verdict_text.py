"""The answer to each task, as findings: which model to use, and why."""

from __future__ import annotations

from typing import TypedDict

from claimscale.findings import Finding, finding, sentences
from claimscale.summary.decision_schema import (
    SUPPRESSED,
    AnswerEntry,
    BaselineComparisonEntry,
    ComparisonEntry,
    EnsembleGainEntry,
    SaturationEntry,
    TrainedModelsEntry,
)
from claimscale.summary.entries import DifferenceEntry, Metric, Real
from claimscale.summary.result_schema import CrossoverEntry, ModelResultEntry
from claimscale.summary.task_schema import TaskEntry

BASELINES = {
    "lightgbm": finding("model.lightgbm"),
    "logistic": finding("model.logistic"),
    "outcome_history": finding("model.outcome_history"),
}
"""Baselines that use no encoder, and may therefore replace one."""
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
METRIC_NAMES: dict[Metric, str] = {"auprc": "AUPRC", "auroc": "AUROC"}


class IntervalText(TypedDict):
    """An estimate with its interval, as a parameter of a finding."""

    estimate: Real
    low: Real
    high: Real


def answer(task: TaskEntry) -> AnswerEntry:
    """The answer to one task: the recommendation, the verdict on size, and the gain of the ensemble."""
    advice, metric = task.recommendation, METRIC_NAMES[task.saturation.metric]
    baseline, on_size = advice.baseline if advice else None, _on_size(task)
    above = advice.against_baseline if advice and baseline is None else None
    if baseline and (nothing := _not_above_chance(task, baseline)) is not None:
        return AnswerEntry(
            task=task.name,
            verdict="inconclusive",
            recommendation=None,
            text=nothing,
            size_text=on_size,
            ensemble_text=None,
        )
    text = _baseline(baseline, bool(advice and advice.size), metric) if baseline else on_size
    return AnswerEntry(
        task=task.name,
        verdict=advice.verdict if advice else task.saturation.verdict,
        scope=advice.scope if advice else "recipe",
        recommendation=baseline.baseline if baseline else advice.size if advice else None,
        text=sentences([text, _above_baseline(above, metric)]) if above else text,
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
        "gain": _interval(found.gain),
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
        "gain": _interval(largest),
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
        return _best_baseline(task)
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
        shown = _compared(saturation, first) | {"gain": _interval(worst)}
        return finding("answer.non_monotone", **shown, other=worst.smaller)
    shown = _compared(saturation, first) | {"margin": saturation.margin}
    code = "answer.borderline" if reason == "borderline" else "answer.underpowered"
    return sentences([finding(code, **shown), *remedy])


def _best_baseline(task: TaskEntry) -> Finding:
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


def _compared(saturation: SaturationEntry, pair: ComparisonEntry) -> dict[str, object]:
    """The parameters of a comparison of two sizes."""
    return {
        "larger": pair.larger,
        "smaller": pair.smaller,
        "gain": _interval(pair),
        "metric": METRIC_NAMES[saturation.metric],
    }


def _interval(found: DifferenceEntry) -> IntervalText:
    return {"estimate": found.difference, "low": found.low, "high": found.high}


def _baseline(found: BaselineComparisonEntry, advised: bool, metric: str) -> Finding:
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
        encoder=_model(found.encoder_arm, found.encoder_size),
        own=found.baseline_estimate,
        other=found.encoder_estimate,
        gain=_interval(found.gain),
        metric=metric,
    )


def _not_above_chance(task: TaskEntry, found: BaselineComparisonEntry) -> Finding | None:
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


def _above_baseline(found: BaselineComparisonEntry, metric: str) -> Finding:
    """How far the encoder is above the best baseline, and whether that is shown."""
    shown = (found.gain.low or 0.0) > 0
    return finding(
        "answer.above_baseline" if shown else "answer.above_baseline_not_shown",
        baseline=BASELINES[found.baseline],
        encoder=_model(found.encoder_arm, found.encoder_size),
        gain=_interval(found.gain),
        metric=metric,
    )


def _ensemble(found: EnsembleGainEntry, metric: str) -> Finding:
    """That the average of the largest encoder and LightGBM exceeds every model alone."""
    return finding(
        "answer.ensemble",
        size=found.encoder_size,
        metric=metric,
        value=found.estimate,
        gain=_interval(found),
        best=_model(found.over_arm, found.over_size),
    )


def _model(arm: str, size: str | None) -> Finding:
    """The name of a model."""
    if arm in BASELINES:
        return BASELINES[arm]
    return finding("model.scratch", size=size) if arm == "scratch" else finding("model.pretrained", size=size)
