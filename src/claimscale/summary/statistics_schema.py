"""All numbers of a study."""

from __future__ import annotations

from typing import Literal

from claimscale.findings import Finding
from claimscale.summary.dataset_schema import DatasetEntry
from claimscale.summary.entries import Entry, Real, Whole
from claimscale.summary.family_schema import FamilyEntry
from claimscale.summary.phenome_schema import PhenomeEntry
from claimscale.summary.pretraining_schema import (
    ConvergenceEntry,
    FailedRunEntry,
    ForecastsEntry,
    LossFitEntry,
    SizeEntry,
    TrainingLossEntry,
)
from claimscale.summary.task_schema import TaskEntry

SCHEMA_VERSION = 1
Profile = Literal["none", "ndb", "cms", "opensafely", "acro"]


class InteractionEntry(Entry):
    """How much more diseases than medications gain from size, as a share of the largest model's metric."""

    smallest: str | None = None
    """Smallest size that all tasks share."""
    largest: str | None = None
    """Largest size that all tasks share."""
    estimate: Real = None
    """Mean gain over diseases minus mean gain over medications; null if it was not tested."""
    low: Real = None
    """Lower bound of the 95 % interval."""
    high: Real = None
    """Upper bound of the 95 % interval."""
    p: Real = None
    """Two-sided p-value against no difference."""
    reason: str | None = None
    """Why it was not tested; null if it was."""


class CheckEntry(Entry):
    """One validity check."""

    task: str | None
    """Name of the task; null for the whole study."""
    title: str
    """Title of the check."""
    status: Literal["passed", "warned"]
    """Result of the check."""
    text: Finding
    """The finding in words."""


class ProvenanceEntry(Entry):
    """Software and data of the run."""

    versions: dict[str, str]
    """Versions by library."""
    manifests: dict[str, str]
    """First 16 digits of each data stage's digest."""


class PrivacyEntry(Entry):
    """The privacy step."""

    profile: Profile
    """Profile under which counts were suppressed."""


class PartialEntry(Entry):
    """Progress of an unfinished study."""

    done: Whole
    """Finished cells."""
    total: Whole
    """All cells."""
    running: bool = False
    """Whether the study was running when this was written."""


class Statistics(Entry):
    """All numbers of a study."""

    name: str
    """Name of the study."""
    version: str
    """Version of claimscale."""
    schema_version: Literal[1] = SCHEMA_VERSION
    """Version of this schema."""
    partial: PartialEntry | None = None
    """Progress; null for a finished study."""
    privacy: PrivacyEntry = PrivacyEntry(profile="none")
    """The privacy step."""
    dataset: DatasetEntry
    """The data."""
    sizes: tuple[SizeEntry, ...]
    """Model sizes, ascending."""
    tasks: tuple[TaskEntry, ...]
    """Prediction tasks."""
    task_families: tuple[FamilyEntry, ...] = ()
    """Disease tasks and medication tasks together, with at least three tasks of a kind."""
    phenome: PhenomeEntry | None = None
    """All outcomes that pretraining predicts, by family; null unless the study has a phenome."""
    task_size_interaction: InteractionEntry
    """Whether diseases gain more from size than medications."""
    convergence: ConvergenceEntry
    """Guards against insufficient pretraining."""
    failed_runs: tuple[FailedRunEntry, ...] = ()
    """Pretrainings that failed, by a rule fixed beforehand."""
    unseen_failure_rate: Real = None
    """Largest rate of failed runs that the runs of a size may not show; null with fewer than two runs."""
    forecast: ForecastsEntry
    """Forecasts, and the curves of loss and metric."""
    loss_fit: LossFitEntry
    """Validation losses and the fitted law."""
    training_losses: tuple[TrainingLossEntry, ...]
    """Loss during pretraining, by size."""
    checks: tuple[CheckEntry, ...]
    """Validity checks."""
    notes: tuple[Finding, ...] = ()
    """What cells report about themselves."""
    learning_rate: Real
    """Learning rate of pretraining, the same for all sizes."""
    finetune_seeds: tuple[Whole, ...]
    """Seeds of fine-tuning."""
    provenance: ProvenanceEntry
    """Software and data of the run."""
