"""The summary's entries of model sizes: what each is, what its pretraining took and reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from claimscale.config.study import Study, parameter_count


def size_entries(
    study: Study,
    pretraining: Sequence[Mapping[str, Any]],
    lr_sweeps: Mapping[str, Sequence[Mapping[str, Any]]],
) -> list[dict[str, Any]]:
    """One entry per size, averaged over the seeds of its pretraining; null where it was not pretrained."""
    entries = []
    for size in study.sizes:
        trained = sorted(
            (dict(run) for run in pretraining if run["size"] == size), key=lambda run: run["seed"]
        )
        entry: dict[str, Any] = {"name": size, "parameters": parameter_count(size)}
        fixed = (
            "parameters",
            "non_embedding_parameters",
            "layers",
            "width",
            "feed_forward",
            "train_flops",
            "tokens",
        )
        for field in fixed:
            if trained:
                entry[field] = trained[0].get(field)
        averaged = (
            "tokens_per_second", "seconds",
            "train_loss", "validation_loss", "validation_loss_new", "validation_loss_recurrent",
            "validation_loss_incident",
        )  # fmt: skip
        for field in averaged:
            values = [run[field] for run in trained if run.get(field) is not None]
            entry[field] = float(np.mean(values)) if values else None
        seconds = entry.pop("seconds")
        entry["hours"] = seconds / 3600 if seconds is not None else None
        entry["validation_loss_by_seed"] = [run.get("validation_loss") for run in trained]
        entry["seeds"] = [run["seed"] for run in trained]
        entry["lr_sweep"] = [dict(tried) for tried in lr_sweeps[size]] if size in lr_sweeps else None
        entry["cooldowns_by_seed"] = [run.get("cooldowns") for run in trained]
        entries.append(entry)
    return entries
