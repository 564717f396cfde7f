"""Counts of labels per task and split, and whether they are enough to train and test a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

import numpy as np
import pyarrow as pa

from claimscale.cohort.selection import HELD_OUT, TRAIN, TUNING
from claimscale.config.tasks import Task
from claimscale.errors import BadInput
from claimscale.tasks.labelled_subsets import MIN_TO_TUNE, min_labelled_patients

MIN_PER_CLASS = 10
"""Fewest positives, and negatives, in training and in testing. A predictor needs about ten cases (Peduzzi
1996, doi 10.1016/S0895-4356(96)00236-3). Of 2,000 bootstrap samples of a test set with 10 cases hardly one
has none (e^-10 each); with 5 cases a dozen have."""
SPLIT_NAMES = {TRAIN: "training", TUNING: "tuning", HELD_OUT: "held-out"}


class SplitCounts(TypedDict):
    """Counts of one split; `n` are index dates."""

    n: int
    patients: int
    positives: int
    prevalence: float | None
    outcome_in_gap: NotRequired[int]
    censored_share: NotRequired[float | None]


class InsufficientData(TypedDict):
    """The label (`positive` or `negative`) with too few patients: their number by split, and the required
    one."""

    label: str
    observed: dict[str, int]
    required: int


class LabelCounts(TypedDict):
    """The entry of a task in `labels.json`."""

    kind: str
    splits: dict[str, SplitCounts]
    excluded: dict[str, int]
    insufficient_data: InsufficientData | None
    min_labelled_patients: dict[str, int]


def count_labels(labels: pa.Table, excluded: dict[str, int], task: Task, seeds: Sequence[int]) -> LabelCounts:
    """The counts of a task: index dates per split, excluded dates by reason, and insufficient data."""
    split = np.array(labels["split"].to_pylist(), dtype=str)
    positive = np.asarray(labels["boolean_value"].to_numpy(), dtype=bool)
    subjects = labels["subject_id"].to_numpy()
    splits: dict[str, SplitCounts] = {}
    for name in (*SPLIT_NAMES, *np.setdiff1d(split, tuple(SPLIT_NAMES)).tolist()):
        inside = split == name
        n = int(inside.sum())
        splits[name] = {
            "n": n,
            "patients": len(np.unique(subjects[inside])),
            "positives": int(positive[inside].sum()),
            "prevalence": float(positive[inside].mean()) if n else None,
        }
        if "censored" in labels.column_names:  # the windows of a label file are unknown
            splits[name]["outcome_in_gap"] = int(labels["outcome_in_gap"].to_numpy()[inside].sum())
            censored = labels["censored"].to_numpy()[inside]
            splits[name]["censored_share"] = float(censored.mean()) if n else None
    return {
        "kind": task.kind,
        "splits": splits,
        "excluded": excluded,
        "insufficient_data": _insufficient_data(splits),
        "min_labelled_patients": min_labelled_patients(subjects, split, positive, seeds),
    }


def refuse_empty_splits(counts: Mapping[str, LabelCounts], place: str) -> None:
    """Raise BadInput if every task has a training, tuning or held-out split without an eligible index date.

    `place` says where the landmark is, and from when to when the claims are.
    """
    empty = {task: _empty_split(found) for task, found in counts.items()}
    if not all(empty.values()):
        return
    task, name = next(iter(empty.items()))
    reasons = [
        f"{count:,} {reason.replace('_', ' ')}" for reason, count in counts[task]["excluded"].items() if count
    ]
    others = f"; nor has any of the {len(counts)} tasks" if len(counts) > 1 else ""
    cause = ", ".join(reasons) or "there are no patients"
    raise BadInput(f"task {task}: no {name} index date is eligible ({cause}){others}; {place}")


def _insufficient_data(splits: Mapping[str, SplitCounts]) -> InsufficientData | None:
    """The label with too few patients for training and testing, or else for tuning; None if there is none."""
    for names, required in (((TRAIN, HELD_OUT), MIN_PER_CLASS), ((TUNING,), MIN_TO_TUNE)):
        observed = {
            "positive": {name: splits[name]["positives"] for name in names},
            "negative": {name: splits[name]["n"] - splits[name]["positives"] for name in names},
        }
        scarcest = min(observed, key=lambda label: min(observed[label].values()))
        if min(observed[scarcest].values()) < required:
            return {"label": scarcest, "observed": observed[scarcest], "required": required}
    return None


def _empty_split(found: LabelCounts) -> str | None:
    """The name of the first split without an eligible patient."""
    return next((name for split, name in SPLIT_NAMES.items() if found["splits"][split]["n"] == 0), None)
