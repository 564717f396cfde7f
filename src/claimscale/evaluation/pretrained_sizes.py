"""The pretraining of each size, averaged over its seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

import numpy as np

from claimscale.config.study import Study, parameter_count


class LearningRateTrial(TypedDict):
    """One short run of a learning-rate sweep; the loss is None where training diverged."""

    learning_rate: float
    validation_loss: float | None


class CooldownLoss(TypedDict):
    """One end of a pretraining after a share of its tokens."""

    share: float
    tokens: float
    steps: int
    validation_loss: float | None
    validation_loss_incident: NotRequired[float | None]


@dataclass(frozen=True)
class PretrainedSize:
    """One size of the study. Fields are None where the size was not pretrained.

    `parameters` to `tokens` are those of every seed, `tokens_per_second` to `hours` means over the seeds.
    The fields `..._by_seed` have one entry per seed of `seeds`.
    """

    name: str
    parameters: int
    non_embedding_parameters: int | None = None
    layers: int | None = None
    width: int | None = None
    feed_forward: int | None = None
    train_flops: float | None = None
    tokens: float | None = None
    tokens_per_second: float | None = None
    train_loss: float | None = None
    validation_loss: float | None = None
    validation_loss_new: float | None = None
    validation_loss_recurrent: float | None = None
    validation_loss_incident: float | None = None
    hours: float | None = None
    validation_loss_by_seed: tuple[float | None, ...] = ()
    incident_loss_by_seed: tuple[float | None, ...] = ()
    seeds: tuple[int, ...] = ()
    lr_sweep: tuple[LearningRateTrial, ...] | None = None
    cooldowns_by_seed: tuple[Sequence[CooldownLoss] | None, ...] = ()


FIXED = ("non_embedding_parameters", "layers", "width", "feed_forward", "train_flops", "tokens")
AVERAGED = (
    "tokens_per_second", "train_loss", "validation_loss", "validation_loss_new", "validation_loss_recurrent",
    "validation_loss_incident",
)  # fmt: skip


def pretrained_sizes(
    study: Study,
    pretraining: Sequence[Mapping[str, Any]],
    lr_sweeps: Mapping[str, Sequence[LearningRateTrial]],
) -> list[PretrainedSize]:
    """The study's sizes, ascending. `pretraining` holds one mapping per (size, seed), as recorded."""

    def mean(runs: Sequence[Mapping[str, Any]], field: str) -> float | None:
        values = [run[field] for run in runs if run.get(field) is not None]
        return float(np.mean(values)) if values else None

    sizes = []
    for size in study.sizes:
        runs = sorted((run for run in pretraining if run["size"] == size), key=lambda run: run["seed"])
        first = runs[0] if runs else {}
        seconds = mean(runs, "seconds")
        numbers: dict[str, Any] = {field: first.get(field) for field in FIXED}
        numbers |= {field: mean(runs, field) for field in AVERAGED}
        sizes.append(
            PretrainedSize(
                name=size,
                parameters=first.get("parameters", parameter_count(size)),
                hours=None if seconds is None else seconds / 3600,
                validation_loss_by_seed=tuple(run.get("validation_loss") for run in runs),
                incident_loss_by_seed=tuple(run.get("validation_loss_incident") for run in runs),
                seeds=tuple(run["seed"] for run in runs),
                lr_sweep=tuple(lr_sweeps[size]) if size in lr_sweeps else None,
                cooldowns_by_seed=tuple(run.get("cooldowns") for run in runs),
                **numbers,
            )
        )
    return sizes
