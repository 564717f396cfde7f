"""Every setting of a study, typed and frozen.

A study is one YAML file (`study_file` reads it). Whatever is not written in it has the default below; the
resolved settings are saved with every run.
"""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from claimscale.config.base import Codes, Count, Fraction, Number, Positive, Settings
from claimscale.config.sources import Source
from claimscale.config.tasks import Task, catalogue, catalogue_task

__all__ = ["Codes", "Study", "Task", "catalogue", "catalogue_task", "parameter_count"]


class EngineSettings(Settings):
    """Where tables are worked on: DuckDB in this process, or Spark (`claimscale[spark]`, Java 17)."""

    kind: Literal["duckdb", "spark"] = "duckdb"
    master: str = "local[2]"
    """Where Spark runs."""
    memory: Annotated[str, Field(pattern=r"^\d+(\.\d+)?(MB|GB)$")] = "2GB"


class Splits(Settings):
    """Patient-disjoint fractions (train, tuning, test), a later landmark and hospitals held out whole."""

    fractions: tuple[Fraction, Fraction, Fraction] = (0.7, 0.1, 0.2)
    temporal_date: dt.date | None = None
    held_out_hospitals: Annotated[int, Field(ge=0)] = 0

    @field_validator("fractions", mode="before")
    @classmethod
    def as_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("fractions")
    @classmethod
    def sum_to_one(cls, value: tuple[float, float, float]) -> tuple[float, float, float]:
        if abs(sum(value) - 1) > 1e-9:
            raise ValueError(f"fractions add up to {sum(value):g}, not 1")
        return value


class CohortSample(Settings):
    """How many hospitals to draw, and how many patients of those; all of them where it is not said."""

    hospitals: Count | None = None
    patients: Count | None = None


class CohortSettings(Settings):
    """Who is studied: patients with enough events before the landmark, the date of all questions."""

    landmark: dt.date
    min_events: Count = 5
    sample: CohortSample = CohortSample()
    splits: Splits = Splits()


class Tokens(Settings):
    """How events become model inputs.

    `deduplicate` keeps one occurrence of a code per calendar month, quarter or year, or ever. With `hierarchical_embeddings` a
    code's vector is its own and those of its groups (chapter, category, drug class) added up. `rollup`
    shortens codes: characters for ICD10, ICD9CM and YJ (3 or 4: class, 7: ingredient), levels 1 to 5 for ATC;
    `ICD10: who` cuts national extensions off (claimscale[icd]).
    """

    max_length: Annotated[int, Field(ge=8)] = 512
    min_patients: Count = 10
    rollup: dict[str, Count | Literal["who"]] = {}
    deduplicate: Literal["none", "month", "quarter", "year", "history"] = "history"
    hierarchical_embeddings: bool = False


Share = Annotated[Number, Field(gt=0, le=1)]


class Pretrain(Settings):
    """Pretraining on masked and on incident codes. `learning_rate` is that of the base size, see CompleteP.

    `mask_probability` is the share of codes hidden, `mask_unit` what is hidden at a time: one position, or every
    occurrence of a code in a sequence, so that repeats cannot be copied. `incident_weight` is the weight of
    foretelling which codes a patient has for the first time within `horizon_days` of a random day of the
    record, of which only what was known then is shown; 0 shows all and foretells nothing.
    """

    seeds: Annotated[list[int], Field(min_length=1)] = [42, 123, 456]
    epochs: Count = 8
    batch_tokens: Annotated[int, Field(ge=64)] = 65536
    mask_probability: Fraction = 0.3
    mask_unit: Literal["token", "code"] = "token"
    incident_weight: Annotated[Number, Field(ge=0)] = 5.0
    horizon_days: Count = 365
    learning_rate: Positive = 4e-3
    cooldown_fractions: Annotated[list[Share], Field(min_length=1)] = [1.0]
    """Shares of the token budget at which weights are decayed, saved and scored; one run serves all."""
    lr_sweep: list[Positive] = []
    """Rates tried in short runs at every size, to see that `learning_rate` suits it; none: no sweep."""
    lr_sweep_fraction: Fraction = 0.1
    """Of the token budget, what each short run has."""
    checkpoint_minutes: Positive = 5.0

    @field_validator("cooldown_fractions")
    @classmethod
    def end_with_the_whole(cls, value: list[float]) -> list[float]:
        if sorted(set(value)) != value or value[-1] != 1:
            raise ValueError(
                "cooldown_fractions must ascend without repeats and end with 1, the whole budget"
            )
        return value

    @field_validator("lr_sweep")
    @classmethod
    def show_an_optimum(cls, value: list[float]) -> list[float]:
        if sorted(set(value)) != value or len(value) in (1, 2):
            raise ValueError("lr_sweep must ascend without repeats, three or more: a lowest has two sides")
        return value


NON_TRAINING_FIELDS = {"seeds", "checkpoint_minutes", "lr_sweep", "lr_sweep_fraction"}
"""Settings that a pretraining does not depend on."""


class Finetune(Settings):
    """Fine-tuning on labelled patients: nested subsets, early stopping on the tuning split.

    Every cell tries each of the `learning_rates`, all with the same number of epochs at most, and the tuning
    split's loss decides. `layerwise_lr_decay` multiplies the rate once per layer
    from the readout down. With `zero_shot_init` a pretrained encoder begins with what it foretells of the task's
    own codes, if it was pretrained on incident codes. `weight_averaging` judges and keeps the weights averaged over
    about an epoch, not the last ones. `token_dropout` is the share of codes hidden while training,
    others in each step, so that no patient is learnt by heart. `method` trains all weights, low-rank adapters of the
    layers (LoRA), or a linear probe: the readout alone, on the encoder as it was pretrained.
    """

    labelled_patients: Annotated[list[Count | Literal["all"]], Field(min_length=1)] = ["all"]
    initialization: Annotated[list[Literal["pretrained", "scratch"]], Field(min_length=1)] = [
        "pretrained",
        "scratch",
    ]
    seeds: Annotated[list[int], Field(min_length=1)] = [42, 123, 456]
    epochs: Count = 5
    batch_tokens: Annotated[int, Field(ge=64)] = 8192
    learning_rates: Annotated[list[Positive], Field(min_length=1)] = [5e-4, 2e-3]
    layerwise_lr_decay: Annotated[Number, Field(gt=0, le=1)] = 1.0
    method: Literal["full", "lora", "linear_probe"] = "full"
    zero_shot_init: bool = True
    weight_averaging: bool = True
    token_dropout: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    checkpoint_minutes: Positive = 5.0

    @field_validator("learning_rates")
    @classmethod
    def rates_differ(cls, value: list[float]) -> list[float]:
        if len(set(value)) != len(value):
            raise ValueError("a rate is listed twice")
        return value

    @model_validator(mode="after")
    def has_something_to_keep(self) -> Finetune:
        if self.method != "full" and "scratch" in self.initialization:
            raise ValueError(
                f"method: {self.method} keeps what pretraining has learnt, which scratch lacks; "
                "set initialization: [pretrained]"
            )
        return self


Baseline = Literal[
    "lightgbm",
    "logistic",
    "outcome_history",
    "lightgbm_embeddings",
    "lightgbm_counts_and_embeddings",
    "ensemble",
]
"""Models beside the fine-tuned encoders, on identical patients.

LightGBM and elastic-net logistic regression on counted codes; carry-forward, which knows only what the
record says about the outcome itself; LightGBM on the pretrained encoder's frozen embeddings, and on both;
the fine-tuned encoder and LightGBM averaged, which err differently.
"""

USES_EMBEDDINGS: frozenset[str] = frozenset({"lightgbm_embeddings", "lightgbm_counts_and_embeddings"})
"""Baselines that need a pretrained encoder."""

NEEDS_LARGEST_ENCODER: frozenset[str] = USES_EMBEDDINGS | {"ensemble"}
"""Baselines that ask what trees add to the best that pretraining has to give: to the largest encoder."""


class Search(Settings):
    """How baselines are tuned: as many trials for each, the tuning split's log-loss decides."""

    n_trials: Count = 20


class Compare(Settings):
    """How sizes are compared: a size suffices if larger ones gain less than `margin` (relative).

    `stopping: futility` trains sizes in ascending order and leaves out those whose gain is forecast to stay below it.
    """

    metric: Literal["auprc", "auroc"] = "auprc"
    margin: Fraction = 0.02
    bootstrap_replicates: Annotated[int, Field(ge=100)] = 2000
    stopping: Literal["never", "futility"] = "never"


class Privacy(Settings):
    """What may leave the machine: the rule by which the summary and the report hide small counts.

    `ndb` hides counts of patients below 10, `cms` 1 to 10, `acro` 0 to 9, `opensafely` 1 to 7 and rounds the
    others to 5; each also hides what would give a hidden count away. `none` hides nothing.
    """

    profile: Literal["none", "ndb", "cms", "opensafely", "acro"] = "none"


class Report(Settings):
    """How the report is written: `language` is English or Japanese."""

    language: Literal["en", "ja"] = "en"


class Slurm(Settings):
    """What is asked for each cell's job; `options` are further ones of sbatch, such as `account: x`.

    A pretraining gets all `nodes` with `gpus` each, one process a GPU; other cells get one GPU. A job that
    reaches `time_limit_minutes` is put back into the queue and goes on where it was. At most `max_jobs` wait or run at once.
    """

    partition: str | None = None
    time_limit_minutes: Count = 240
    nodes: Count = 1
    gpus: Annotated[int, Field(ge=0)] = 1
    cores: Count = 8
    memory_gb: Positive | None = None
    max_jobs: Count = 100
    options: dict[str, str | int] = {}


class Compute(Settings):
    """Cells run side by side, unless told on one worker per GPU, or per core where there is none.

    With `slurm` they are submitted as jobs instead (claimscale[slurm]). `peak_tflops` is what one GPU or core
    can do at most, in 1e12 operations per second, for the utilisation in the ledger of each cell; without it
    a matrix product is measured.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    workers: Count | None = None
    slurm: Slurm | None = None
    peak_tflops: Positive | None = None


class Study(Settings):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    seed: int = 42
    source: Source
    engine: EngineSettings = EngineSettings()
    cohort: CohortSettings
    tokens: Tokens = Tokens()
    sizes: Annotated[list[str], Field(min_length=1)]
    pretrain: Pretrain = Pretrain()
    tasks: Annotated[list[Task], Field(min_length=1)]
    finetune: Finetune = Finetune()
    baselines: list[Baseline] = ["lightgbm", "logistic", "outcome_history"]
    search: Search = Search()
    compare: Compare = Compare()
    privacy: Privacy = Privacy()
    report: Report = Report()
    compute: Compute = Compute()
    runs_dir: str = "runs"
    """Folder that holds `<name>/`, the run directory."""

    @field_validator("sizes")
    @classmethod
    def sizes_ascend(cls, value: list[str]) -> list[str]:
        counts = [parameter_count(size) for size in value]
        if sorted(set(counts)) != counts:
            raise ValueError("sizes must ascend without repeats")
        return value

    @field_validator("tasks", mode="before")
    @classmethod
    def look_up_tasks(cls, value: Any) -> Any:
        if not isinstance(value, list):
            return value
        return [catalogue_task(item) if isinstance(item, str) else item for item in value]

    @model_validator(mode="after")
    def is_consistent(self) -> Study:
        names = [task.name for task in self.tasks]
        if len(set(names)) != len(names):
            raise ValueError("tasks: two tasks share a name")
        if len(set(self.baselines)) != len(self.baselines):
            raise ValueError("baselines: one is listed twice")
        missing = sorted(set(self.finetune.seeds) - set(self.pretrain.seeds))
        if (
            "pretrained" in self.finetune.initialization or USES_EMBEDDINGS & set(self.baselines)
        ) and missing:
            raise ValueError(f"finetune.seeds: {missing} are not among pretrain.seeds")
        averaged = "ensemble" in self.baselines
        if averaged and (
            "pretrained" not in self.finetune.initialization or "lightgbm" not in self.baselines
        ):
            raise ValueError(
                "baselines: ensemble averages two others: list lightgbm, and initialization: [pretrained]"
            )
        if self.compare.stopping == "futility" and NEEDS_LARGEST_ENCODER & set(self.baselines):
            raise ValueError(
                f"compare.stopping: futility may leave out the largest size, which baselines need: "
                f"{', '.join(sorted(NEEDS_LARGEST_ENCODER & set(self.baselines)))}"
            )
        for task in self.tasks:
            if task.first_index_date is not None and task.first_index_date >= self.cohort.landmark:
                raise ValueError(f"tasks: {task.name}: first_index_date must come before cohort.landmark")
        later = self.cohort.splits.temporal_date
        if later is not None and later <= self.cohort.landmark:
            raise ValueError("cohort.splits.temporal_date: must come after cohort.landmark")
        return self

    @property
    def run_directory(self) -> Path:
        return Path(self.runs_dir) / self.name


def parameter_count(size: str) -> int:
    """Parameters that a size's name asks for.

    >>> parameter_count("2.2M"), parameter_count("400k")
    (2200000, 400000)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kMB])", size)
    if match is None:
        raise ValueError(f"{size!r} is not a size such as 400k, 2.2M or 1B")
    return round(float(match[1]) * {"k": 10**3, "M": 10**6, "B": 10**9}[match[2]])
