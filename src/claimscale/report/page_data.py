"""The data of the page's script: the results of a summary as compact rows."""

from __future__ import annotations

import json
from typing import Any

from claimscale.config.comparison import USES_EMBEDDINGS
from claimscale.report.i18n import Texts
from claimscale.summary.entries import METRIC_NAMES, EstimateEntry
from claimscale.summary.result_schema import ModelDiagnosticsEntry, ModelResultEntry, SplitCountsEntry
from claimscale.summary.schema import Summary

METRICS = ("auprc", "auroc", "log_loss", "calibration")
ALL_METRICS = {**METRIC_NAMES, "log_loss": "Log-loss", "calibration": "Calibration slope"}
SPLITS = ("held_out", "hospital", "temporal")
SPLIT_NAMES = {
    "held_out": "Held-out patients",
    "hospital": "Held-out hospitals",
    "temporal": "Later in time",
}
ARMS = {
    "pretrained": ("Pretrained", "circle"),
    "scratch": ("From scratch", "square"),
    "lightgbm": ("LightGBM", "diamond"),
    "logistic": ("Logistic regression", "up"),
    "outcome_history": ("Outcome history", "cross"),
    "lightgbm_embeddings": ("LightGBM on embeddings", "down"),
    "lightgbm_counts_and_embeddings": ("LightGBM on counts and embeddings", "right"),
    "ensemble": ("Encoder and LightGBM", "left"),
}
SHORT = {
    "outcome_history": "History",
    "logistic": "Logistic",
    "lightgbm_embeddings": "on embeddings",
    "lightgbm_counts_and_embeddings": "on counts + emb.",
    "ensemble": "ensemble",
}


def splits_of(summary: Summary) -> list[str]:
    """The test sets that any task has results on, in their order."""
    present = {result.split for task in summary.tasks for result in task.results}
    return [split for split in SPLITS if split in present] or ["held_out"]


def view(summary: Summary, texts: Texts, script: str) -> dict[str, Any]:
    """Everything that the script needs, and nothing that is not in the summary.

    `tasks` have `rows`: arm, size (-1 for none), split, labelled patients, seeds, seconds, then estimate, low
    and high of each of METRICS; `splits` with patients, positives and prevalence. An arm `rests` on a
    pretraining of its own size or of the largest, or on none.
    """
    splits, arms = splits_of(summary), list(ARMS)
    sizes = [size.name for size in summary.sizes]
    metric = next((task.saturation.metric for task in summary.tasks), "auprc")
    return {
        "texts": {key: text for key, text in texts.table.items() if key in script or key in GROUPS},
        "metric": metric,
        "metrics": {name: texts(ALL_METRICS[name]) for name in METRICS},
        "splits": splits,
        "split_names": {split: texts(SPLIT_NAMES[split]) for split in splits},
        "arms": [
            {
                "key": arm, "name": texts(name), "short": texts(SHORT.get(arm, name)), "shape": shape,
                "rests": "own" if arm == "pretrained" else "largest" if arm in USES_EMBEDDINGS else None,
            }
            for arm, (name, shape) in ARMS.items()
        ],
        "sizes": [
            {"name": size.name, "parameters": size.parameters, "hours": size.hours} for size in summary.sizes
        ],
        "losses": [one.model_dump() for one in summary.training_losses],
        "tasks": [
            {
                "name": task.name,
                "splits": {
                    split: _counts(found)
                    for split, found in task.splits.items()
                    if split in splits
                },
                "oracle": task.oracle
                and {"auprc": _bounds(task.oracle.auprc), "auroc": _bounds(task.oracle.auroc)},
                "crossover": [one.model_dump() for one in task.crossover],
                "rows": [_row(result, arms, sizes, splits) for result in task.results],
                "per_model": [_plotted(one) for one in task.per_model if one.highlighted],
            }
            for task in summary.tasks
        ],
    }  # fmt: skip


GROUPS = ("Women", "Men", "Sex unknown", "Age unknown", "Other hospitals")


def _counts(found: SplitCountsEntry) -> list[Any]:
    return [found.index_dates, found.positives, found.prevalence]


def _bounds(found: EstimateEntry) -> list[float | None]:
    return [found.estimate, found.low, found.high]


def _row(result: ModelResultEntry, arms: list[str], sizes: list[str], splits: list[str]) -> list[Any]:
    size = -1 if result.size is None else sizes.index(result.size)
    head = [
        arms.index(result.arm),
        size,
        splits.index(result.split),
        result.n_labelled,
        result.n_seeds,
    ]
    numbers = [number for metric in METRICS for number in _bounds(getattr(result, metric))]
    return [*head, result.seconds, *numbers]


def _plotted(found: ModelDiagnosticsEntry) -> dict[str, Any]:
    return found.model_dump(exclude={"cells", "top_decile"})


def embedded(content: Any) -> str:
    """JSON that may stand inside a script element: nothing in it can end the element or start another."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text
