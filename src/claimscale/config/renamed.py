"""Settings and values that had other names before the first release, and the error that names the new one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from claimscale.errors import BadInput

SETTINGS: dict[str, str] = {
    "runs": "runs_dir",
    "source.youngest": "source.min_age",
    "source.maps": "source.crosswalks",
    "source.crosswalks.of": "source.crosswalks.source",
    "source.crosswalks.to": "source.crosswalks.target",
    "cohort.splits.patients": "cohort.splits.fractions",
    "cohort.splits.temporal": "cohort.splits.temporal_date",
    "tokens.repeats": "tokens.deduplicate",
    "tokens.groups": "tokens.hierarchical_embeddings",
    "pretrain.mask": "pretrain.mask_probability",
    "pretrain.incident": "pretrain.incident_weight",
    "pretrain.branches": "pretrain.cooldown_fractions",
    "pretrain.learning_rates": "pretrain.lr_sweep",
    "pretrain.sweep_share": "pretrain.lr_sweep_fraction",
    "tasks.strip": "tasks.hidden_codes",
    "tasks.first_day": "tasks.first_index_date",
    "tasks.history_days": "tasks.min_history_days",
    "tasks.confirm_days": "tasks.confirmation_days",
    "tasks.confirm_codes": "tasks.confirmation_codes",
    "tasks.exclude.until_days": "tasks.exclude.window_end_days",
    "finetune.patients": "finetune.labelled_patients",
    "finetune.arms": "finetune.initialization",
    "finetune.layer_decay": "finetune.layerwise_lr_decay",
    "finetune.train": "finetune.method",
    "finetune.foretell": "finetune.zero_shot_init",
    "finetune.average": "finetune.weight_averaging",
    "finetune.mask": "finetune.token_dropout",
    "search.trials": "search.n_trials",
    "compare.replicates": "compare.bootstrap_replicates",
    "compare.margin": "compare.relative_margin",
    "compare.stop": "compare.stopping",
    "compute.slurm.minutes": "compute.slurm.time_limit_minutes",
    "compute.slurm.jobs": "compute.slurm.max_jobs",
}
"""Old setting -> new setting. Positions in lists are left out of both."""

VALUES: dict[str, dict[str, str]] = {
    "tokens.deduplicate": {"all": "none", "ever": "history"},
    "pretrain.mask_unit": {"position": "token"},
    "finetune.method": {"probe": "linear_probe"},
    "compare.stopping": {"auto": "futility"},
    "baselines": {
        "carry_forward": "outcome_history",
        "lightgbm_both": "lightgbm_counts_and_embeddings",
        "encoder_and_lightgbm": "ensemble",
    },
}
"""New setting -> old value -> new value."""


def refuse_old_names(data: object, place: str) -> None:
    """Raise BadInput for the first setting or value of a study that has another name now."""
    try:
        settings = list(_settings(data))
    except RecursionError:
        raise BadInput(f"{place}: a value contains itself") from None
    for shown, setting, value in settings:
        new = SETTINGS.get(setting, setting)
        values = VALUES.get(new, {})
        if isinstance(value, str) and value in values:
            raise BadInput(f"{place}: {shown}: {value} is now {new}: {values[value]}")
        if new != setting:
            raise BadInput(f"{place}: {shown} is now {new}")


def _settings(data: object, shown: str = "", setting: str = "") -> Iterator[tuple[str, str, object]]:
    """Every key and list item: its path in the file, its setting (without positions), and its value."""
    if isinstance(data, dict):
        for key, value in cast("dict[object, object]", data).items():
            yield from _with_nested(value, f"{shown}.{key}".lstrip("."), f"{setting}.{key}".lstrip("."))
    elif isinstance(data, list):
        for position, value in enumerate(cast("list[object]", data)):
            yield from _with_nested(value, f"{shown}.{position}", setting)


def _with_nested(value: object, shown: str, setting: str) -> Iterator[tuple[str, str, object]]:
    yield shown, setting, value
    yield from _settings(value, shown, setting)
