"""Entries of the summary about published recipes, and the sentence about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from claimscale.evaluation.intervals import Scores, interval
from claimscale.evaluation.recipe_comparison import RecipeResult
from claimscale.findings import Finding, finding
from claimscale.summary.decision_entries import RANGES, difference_fields
from claimscale.summary.entries import METRIC_NAMES, DifferenceEntry, EstimateEntry, Metric
from claimscale.summary.recipe_schema import RecipeEntry
from claimscale.summary.task_schema import TaskEntry

TITLES: dict[str, Finding] = {
    "paper": finding("recipe.paper"),
    "behrt": finding("recipe.behrt"),
    "med_bert": finding("recipe.med_bert"),
    "cehr_bert": finding("recipe.cehr_bert"),
    "hi_behrt": finding("recipe.hi_behrt"),
    "transformehr": finding("recipe.transformehr"),
    "motor": finding("recipe.motor"),
    "causal": finding("recipe.causal"),
    "everyquery": finding("recipe.everyquery"),
}
"""Names of the recipes as the report shows them."""


def recipe_entries(
    results: Sequence[RecipeResult], pretrainings: Sequence[Mapping[str, Any]], metric: Metric
) -> tuple[RecipeEntry, ...]:
    """One entry per recipe and size. `pretrainings` are what their cells recorded."""
    return tuple(
        _entry(
            one,
            [made for made in pretrainings if (made["recipe"], made["size"]) == (one.recipe, one.size)],
            metric,
        )
        for one in results
    )


def _entry(found: RecipeResult, made: Sequence[Mapping[str, Any]], metric: Metric) -> RecipeEntry:
    gain = found.gain
    return RecipeEntry(
        recipe=found.recipe,
        size=found.size,
        parameters=made[0]["parameters"],
        n_labelled=found.n_labelled,
        n_seeds=len(found.metrics["auprc"].seeds),
        auprc=_estimate(found.metrics["auprc"], "auprc"),
        auroc=_estimate(found.metrics["auroc"], "auroc"),
        metric=metric,
        encoder_gain=gain and DifferenceEntry(**difference_fields(gain)),
        p=gain and gain.p_differs(),
        comparison=found.comparison,
        learning_rate=made[0]["learning_rate"],
        pretraining_hours=fmean(one["cost"]["wall_hours"] for one in made),
        pretraining_tokens=made[0]["tokens"],
        tokens_per_second=fmean(one["tokens_per_second"] for one in made),
        train_flops=made[0]["train_flops"],
    )


def _estimate(scores: Scores, metric: str) -> EstimateEntry:
    return EstimateEntry.model_validate(interval(scores).bounded(*RANGES[metric]))


def recipes_text(task: TaskEntry) -> Finding:
    """How the study's encoders compare with all recipes, and with the best of them."""
    counts = Counter(one.comparison for one in task.recipes)
    metric = task.recipes[0].metric
    best = max(task.recipes, key=lambda one: getattr(one, metric).estimate or 0.0)
    gain = best.encoder_gain
    return finding(
        "recipes.compared" if gain else "recipes.alone",
        n=len(task.recipes),
        better=counts["better"],
        not_worse=counts["not_worse"],
        worse=counts["worse"],
        undecided=counts["undecided"],
        best=TITLES[best.recipe],
        size=best.size,
        metric=METRIC_NAMES[metric],
        value=getattr(best, metric).estimate,
        **({"gain": gain.difference, "low": gain.low, "high": gain.high} if gain else {}),
    )
