"""Published recipes against the study's own encoder of the same size, on the same test patients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from claimscale.config.comparison import RecipeName
from claimscale.evaluation.contrasts import difference
from claimscale.evaluation.intervals import Interval, Scores, interval
from claimscale.evaluation.scoring import Model
from claimscale.evaluation.selection import TaskScores, compared_arm, largest_labelled_set

RECIPE_NAMES: frozenset[str] = frozenset(get_args(RecipeName))
Comparison = Literal["better", "not_worse", "worse", "undecided"]
"""Of the encoder: shown to be better, shown not to be worse by the margin, shown to be worse, neither."""


@dataclass(frozen=True)
class RecipeResult:
    """One recipe at one size, with the largest number of labelled patients.

    Attributes:
        metrics: its AUPRC and AUROC.
        gain: of the encoder of the same size over it, in the study's metric; None without a common seed.
        margin: what counts as a loss, in the units of the metric.
        comparison: of the encoder with it; None without a gain.
    """

    recipe: str
    size: str
    n_labelled: int
    metrics: dict[str, Scores]
    gain: Interval | None
    margin: float
    comparison: Comparison | None


def without_recipes(scores: TaskScores) -> TaskScores:
    """The study's own models, among which its verdicts choose."""
    return {model: found for model, found in scores.items() if model.arm not in RECIPE_NAMES}


def compare_recipes(scores: TaskScores, metric: str, relative_margin: float) -> tuple[RecipeResult, ...]:
    """Every recipe at every size against the encoder of that size.

    The margin is a share of the recipe's metric. Intervals are of 95 %, over patients and runs.
    """
    own = without_recipes(scores)
    arm, labelled = compared_arm(own), largest_labelled_set(own)
    found = []
    for model, theirs in scores.items():
        if model.arm not in RECIPE_NAMES or model.labelled_patients != labelled:
            continue
        assert model.size is not None
        ours = own.get(Model(arm, model.size, labelled))
        difference_of = ours and difference(ours.by_metric[metric], theirs.by_metric[metric])
        gain = interval(difference_of) if difference_of else None
        margin = relative_margin * float(theirs.by_metric[metric].values.mean())
        metrics = {name: theirs.by_metric[name] for name in ("auprc", "auroc")}
        compared = gain and _comparison(gain, margin)
        found.append(RecipeResult(model.arm, model.size, theirs.n_labelled, metrics, gain, margin, compared))
    return tuple(found)


def _comparison(gain: Interval, margin: float) -> Comparison:
    low, high = gain.two_sided()
    if low > 0:
        return "better"
    if high < 0:
        return "worse"
    return "not_worse" if low > -margin else "undecided"
