"""The secondary comparison: what sizes and pretraining add to AUROC, by DeLong's variance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from claimscale.evaluation.delong import RocAreas
from claimscale.evaluation.predictions import SplitPredictions
from claimscale.evaluation.scoring import Model
from claimscale.summary.task_entry import TaskScores, bounds
from claimscale.summary.verdict_text import judged_arm


def add_auroc_gains(
    entry: dict[str, Any], rows: SplitPredictions, scores: TaskScores, requested: int | Literal["all"]
) -> None:
    """Put `auroc` {difference, low, high, p} beside every comparison of a task's entry; null where unknown.

    Those are the pairs of sizes that the verdict rests on and the gains of pretraining. `rows` are held-out
    patients, `scores` the models, `requested` the labelled patients that the verdict is about.
    """
    areas = RocAreas.of(rows)
    arm = judged_arm(scores)
    for pair in entry["saturation"]["comparisons"]:
        larger, smaller = (Model(arm, pair[size], requested) for size in ("larger", "smaller"))
        pair["auroc"] = _gain(areas, {larger: 1.0, smaller: -1.0})
    paired: dict[int, dict[str | None, list[Model]]] = {}
    for gain in entry["pretraining_gain"]:
        named = {
            model.arm: model
            for model, found in scores.items()
            if model.size == gain["size"] and found.patients == gain["n_labelled"]
        }
        sizes = paired.setdefault(gain["n_labelled"], {})
        if gain["size"] is not None:
            sizes[gain["size"]] = [named["pretrained"], named["scratch"]]
        # The entry without a size is the mean over those before it.
        chosen = list(sizes.values()) if gain["size"] is None else [sizes[gain["size"]]]
        weights = {
            model: sign / len(chosen) for pair in chosen for model, sign in zip(pair, (1, -1), strict=True)
        }
        gain["auroc"] = _gain(areas, weights)


def _gain(areas: RocAreas | None, weights: Mapping[Model, float]) -> dict[str, float] | None:
    found = areas.contrast(weights) if areas is not None else None
    return found and {"difference": found.estimate, **bounds(found), "p": found.p_differs()}
