"""The settings of a study.

A study is one YAML file. A setting that the file does not name has its default; the resolved settings are
saved with every run.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from claimscale.config.base import Count, Seed, Settings
from claimscale.config.cohort import CohortSettings
from claimscale.config.comparison import (
    NEEDS_LARGEST_ENCODER,
    USES_EMBEDDINGS,
    Baseline,
    Compare,
    RecipeName,
    Search,
)
from claimscale.config.execution import Compute, EngineSettings
from claimscale.config.phenome import Phenome
from claimscale.config.secrets import expand
from claimscale.config.sources import FileSource, Source
from claimscale.config.tasks import Task, catalogue_task
from claimscale.config.training import Finetune, Pretrain, Tokens

LAST_SHIFTED_YEAR = 2100
"""Shifted contacts of this year are more than a century after the anchor: they are quarantined."""


class Privacy(Settings):
    """Suppression of small counts in the summary and the report."""

    profile: Literal["none", "ndb", "cms", "opensafely", "acro"] = "none"
    """Rule for small counts of patients: `ndb` suppresses those below 10, `cms` 1 to 10, `acro` 0 to 9,
    `opensafely` 1 to 7 and rounds the others to 5; each also suppresses counts that would reveal them."""


class Report(Settings):
    """The report page."""

    language: Literal["en", "ja"] = "en"
    """Language of the report: English or Japanese."""


class Study(Settings):
    """All settings of a study."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    """Name of the study; results go to the folder of this name in `runs_dir`."""
    seed: Seed = 42
    """Random seed of samples and splits."""
    source: Source
    """Format and place of the claims database."""
    engine: EngineSettings = EngineSettings()
    """Engine of table operations."""
    cohort: CohortSettings
    """Patients, landmark and splits."""
    tokens: Tokens = Tokens()
    """How events become model inputs."""
    sizes: Annotated[list[str], Field(min_length=1)]
    """Numbers of parameters of the encoders, ascending, such as `[2.2M, 11M]`."""
    pretrain: Pretrain = Pretrain()
    """Pretraining of the encoders."""
    tasks: Annotated[list[Task], Field(min_length=1)]
    """Prediction tasks: names of the catalogue, or definitions."""
    labels: Literal["all_dates", "scarce"] = "all_dates"
    """Labels that every model learns from: `all_dates` are those of all training patients at several dates;
    `scarce` are those of `finetune.labelled_patients` at the landmark, and pretraining does not see the
    outcomes."""
    dates_per_patient: Count = 5
    """Most index dates of a training patient with `all_dates`, the landmark included."""
    finetune: Finetune = Finetune()
    """Fine-tuning on labelled patients."""
    baselines: list[Baseline] = ["lightgbm", "logistic", "outcome_history"]
    """Models that are compared with the encoders; also `lightgbm_embeddings`,
    `lightgbm_counts_and_embeddings` and `ensemble`."""
    recipes: list[RecipeName] = []
    """Published recipes that are trained on the same patients, dates and labels, at every size:
    `paper`, `behrt`, `med_bert`, `cehr_bert`, `hi_behrt`, `transformehr`, `motor`, `causal`, `everyquery`."""
    search: Search = Search()
    """Hyperparameter search of the baselines."""
    compare: Compare = Compare()
    """Comparison of sizes."""
    phenome: Phenome | None = None
    """All outcomes that pretraining predicts, with verdicts by family; `{}` is enough."""
    privacy: Privacy = Privacy()
    """Suppression of small counts."""
    report: Report = Report()
    """Language of the report."""
    compute: Compute = Compute()
    """Where cells run, and on which device."""
    runs_dir: str = "runs"
    """Folder of the run directories, one per study."""

    @field_validator("sizes")
    @classmethod
    def sizes_ascend(cls, value: list[str]) -> list[str]:
        counts = [parameter_count(size) for size in value]
        if sorted(set(counts)) != counts:
            raise ValueError("must be ascending and distinct")
        return value

    @field_validator("tasks", mode="before")
    @classmethod
    def look_up_tasks(cls, value: object) -> object:
        if not isinstance(value, list):
            return value
        items: list[object] = value  # pyright: ignore[reportUnknownVariableType]
        return [catalogue_task(item) if isinstance(item, str) else item for item in items]

    @model_validator(mode="after")
    def baselines_have_their_encoders(self) -> Study:
        if not self.baselines and not self.finetune.initialization:
            raise ValueError("baselines: nothing is trained; list a baseline, or finetune.initialization")
        chosen, pretrained = set(self.baselines), "pretrained" in self.finetune.initialization
        if len(chosen) != len(self.baselines):
            raise ValueError("baselines: one is listed twice")
        missing = sorted(set(self.finetune.seeds) - set(self.pretrain.seeds))
        if missing and (pretrained or USES_EMBEDDINGS & chosen):
            raise ValueError(f"finetune.seeds: {missing} are not among pretrain.seeds")
        if "ensemble" in chosen and not (pretrained and "lightgbm" in chosen):
            raise ValueError(
                "baselines: ensemble averages two others: list lightgbm, and initialization: [pretrained]"
            )
        if self.compare.stopping == "futility" and NEEDS_LARGEST_ENCODER & chosen:
            raise ValueError(
                "compare.stopping: futility may omit the largest size, which baselines need: "
                f"{', '.join(sorted(NEEDS_LARGEST_ENCODER & chosen))}"
            )
        return self

    @model_validator(mode="after")
    def recipes_are_trained_at_every_size(self) -> Study:
        if len(set(self.recipes)) != len(self.recipes):
            raise ValueError("recipes: one is listed twice")
        if self.recipes and self.compare.stopping == "futility":
            raise ValueError("recipes: are trained at every size; set compare.stopping: never")
        return self

    @model_validator(mode="after")
    def phenome_has_its_encoders(self) -> Study:
        if self.phenome is not None:
            if not self.pretrain.incident_weight:
                raise ValueError(
                    "phenome: needs pretrain.incident_weight above 0, which predicts incident codes"
                )
            if "pretrained" not in self.finetune.initialization:
                raise ValueError("phenome: needs finetune.initialization: [pretrained]")
        return self

    @model_validator(mode="after")
    def labels_are_scarce_where_they_are_limited(self) -> Study:
        if self.labels == "all_dates" and self.finetune.labelled_patients != ["all"]:
            raise ValueError(
                "finetune.labelled_patients: a number of patients needs labels: scarce; with all_dates "
                "every model learns from all training patients"
            )
        return self

    @model_validator(mode="after")
    def tasks_and_dates_are_consistent(self) -> Study:
        names = [task.name for task in self.tasks]
        if len(set(names)) != len(names):
            raise ValueError("tasks: two tasks share a name")
        for task in self.tasks:
            if task.first_index_date is not None and task.first_index_date >= self.cohort.landmark:
                raise ValueError(f"tasks: {task.name}: first_index_date must be before cohort.landmark")
        later = self.cohort.splits.temporal_date
        if later is not None and later <= self.cohort.landmark:
            raise ValueError("cohort.splits.temporal_date: must be after cohort.landmark")
        if later is not None and self.has_shifted_dates:
            raise ValueError(
                "cohort.splits.temporal_date: with source.dates: shifted, patients have no calendar in "
                "common; omit it"
            )
        if self.has_shifted_dates and self.cohort.landmark.year >= LAST_SHIFTED_YEAR:
            raise ValueError(
                "cohort.landmark: with source.dates: shifted, each patient's anchor is 2000-01-01; "
                "the landmark is a time after it, such as 2001-01-01"
            )
        return self

    @property
    def has_shifted_dates(self) -> bool:
        """Whether dates count from each patient's anchor, so that no calendar is common to the patients."""
        return isinstance(self.source, FileSource) and self.source.dates == "shifted"

    @property
    def run_directory(self) -> Path:
        """The folder of the study's results."""
        return Path(expand(self.runs_dir, "runs_dir")) / self.name


def parameter_count(size: str) -> int:
    """The number of parameters that the name of a size stands for.

    >>> parameter_count("2.2M"), parameter_count("400k")
    (2200000, 400000)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kMB])", size)
    if match is None:
        raise ValueError(f"{size!r} is not a size such as 400k, 2.2M or 1B")
    return round(float(match[1]) * {"k": 10**3, "M": 10**6, "B": 10**9}[match[2]])
