"""The cells of a study: the grid of pretrainings, fine-tunings and baselines, each with a stable name.

Examples: `pretrain-11M-s42`, `sweep-11M-s42` (learning rates), `phenome-11M-s42`, `phenome_lightgbm-s42`,
`finetune-ckd-11M-pretrained-n1000-s42`, `lightgbm-ckd-nall-s42`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NotRequired, TypedDict

from claimscale.config.comparison import NEEDS_LARGEST_ENCODER, USES_EMBEDDINGS, Baseline, RecipeName
from claimscale.config.study import Study

if TYPE_CHECKING:
    from claimscale.evaluation.pretrained_sizes import LearningRateTrial

Patients = int | Literal["all"]

RECIPE_KINDS = ("recipe_pretrain", "recipe")
"""Kinds of cells that train a published recipe; `arm` is its name."""
PRETRAINING_KINDS = ("pretrain", "sweep")
"""Kinds of cells that pretrain; several processes can share one."""
ENCODER_KINDS = (*PRETRAINING_KINDS, "finetune")
"""Kinds of cells that train an encoder. Their weights do not depend on the number of threads."""


class CellRecord(TypedDict):
    """What a finished cell writes to `cell.json` under `result`, as far as other modules read it.

    docs/files.md lists all keys.
    """

    seconds: float
    """Of training, over all interruptions."""
    cost: dict[str, float | None]
    notes: NotRequired[list[dict[str, object]]]
    """Findings about problems on the way, as JSON; they become warnings of the summary."""
    patients: int
    """Labelled training patients; of fine-tunings and baselines only, as `positives`."""
    positives: int
    lr_sweep: list[LearningRateTrial]
    """Of learning-rate sweeps only."""


@dataclass(frozen=True)
class Cell:
    """One unit of work.

    Attributes:
        kind: what is trained.
        seed: of weights, order and sampling.
        size: of the encoder; None for baselines without one.
        task: None for pretraining, learning-rate sweeps and the phenome.
        arm: how the encoder is initialised, None unless it is fine-tuned; or the name of a published recipe.
        patients: labelled training patients; None for pretraining and learning-rate sweeps.
    """

    kind: (
        Literal["pretrain", "sweep", "phenome", "phenome_lightgbm", "finetune", "recipe_pretrain", "recipe"]
        | Baseline
    )
    seed: int
    size: str | None = None
    task: str | None = None
    arm: Literal["pretrained", "scratch"] | RecipeName | None = None
    patients: Patients | None = None

    @property
    def id(self) -> str:
        """The folder's name.

        >>> Cell("finetune", 42, "11M", "ckd", "scratch", 1000).id
        'finetune-ckd-11M-scratch-n1000-s42'
        """
        patients = None if self.patients is None else f"n{self.patients}"
        parts = [self.kind, self.task, self.size, self.arm, patients, f"s{self.seed}"]
        return "-".join(part for part in parts if part is not None)

    @property
    def pretraining(self) -> Cell | None:
        """The pretraining whose weights this cell uses."""
        if self.arm == "pretrained" or self.kind in (*USES_EMBEDDINGS, "phenome"):
            return Cell("pretrain", self.seed, self.size)
        if self.kind == "recipe":
            return Cell("recipe_pretrain", self.seed, self.size, arm=self.arm)
        return None

    @property
    def needs(self) -> tuple[Cell, ...]:
        """The cells that must be done before this one."""
        if self.kind == "ensemble":
            return replace(self, kind="finetune", arm="pretrained"), replace(self, kind="lightgbm", size=None)
        return () if self.pretraining is None else (self.pretraining,)


def cells_of(
    study: Study,
    labelled: Mapping[str, int] | None = None,
    skipped: Mapping[str, Collection[int]] | None = None,
) -> list[Cell]:
    """All cells of a study, dependencies first.

    Args:
        study: its settings.
        labelled: labelled training patients of each task that can be trained, where known. A subset of as
            many patients or more becomes the cell `nall`. Other tasks have no cells; without any task there
            are no cells at all.
        skipped: by task the subsets with too few patients of either outcome. No model is trained on them, so
            that all models are compared on the same subsets.
    """
    trained = [task for task in study.tasks if labelled is None or task.name in labelled]
    sizes = _pretrained_sizes(study) if trained else []
    cells = [Cell("pretrain", seed, size) for size in sizes for seed in study.finetune.seeds]
    if study.pretrain.lr_sweep:
        # A sweep is a cell of its own, so that other rates do not make the pretraining stale.
        cells += [Cell("sweep", study.finetune.seeds[0], size) for size in sizes]
    if study.phenome is not None:
        cells += [Cell("phenome", seed, size) for size in sizes for seed in study.finetune.seeds]
        if sizes and study.phenome.lightgbm_outcomes and study.labels != "scarce":
            cells.append(Cell("phenome_lightgbm", study.finetune.seeds[0]))
    if trained:
        cells += [
            Cell("recipe_pretrain", seed, size, arm=recipe)
            for recipe in study.recipes
            for size in study.sizes
            for seed in study.finetune.seeds
        ]
    for task in trained:
        subsets: list[Patients] = [
            patients
            for patients in subsets_of(study, (labelled or {}).get(task.name))
            if patients not in (skipped or {}).get(task.name, ())
        ]
        cells += [
            Cell("finetune", seed, size, task.name, arm, patients)
            for size in study.sizes
            for arm in study.finetune.initialization
            for patients in subsets
            for seed in study.finetune.seeds
        ]
        cells += [
            Cell(baseline, seed, _size_of(study, baseline), task.name, patients=patients)
            for baseline in study.baselines
            for patients in subsets
            for seed in study.finetune.seeds
        ]
        cells += [
            Cell("recipe", seed, size, task.name, recipe, patients)
            for recipe in study.recipes
            for size in study.sizes
            for patients in subsets
            for seed in study.finetune.seeds
        ]
    return cells


def _pretrained_sizes(study: Study) -> list[str]:
    """The sizes whose weights another cell needs."""
    if "pretrained" in study.finetune.initialization:
        return study.sizes
    return study.sizes[-1:] if USES_EMBEDDINGS & set(study.baselines) else []


def _size_of(study: Study, baseline: Baseline) -> str | None:
    """The encoder size of a baseline: the largest.

    These baselines measure what trees add to the best encoder. Which size suffices is decided by fine-tuned
    encoders alone.
    """
    return study.sizes[-1] if baseline in NEEDS_LARGEST_ENCODER else None


def subsets_of(study: Study, labelled: int | None) -> list[Patients]:
    """The subsets of the study file for a task with `labelled` training patients (None: unknown)."""
    wanted: list[Patients] = [
        "all" if labelled is not None and patients != "all" and patients >= labelled else patients
        for patients in study.finetune.labelled_patients
    ]
    return list(dict.fromkeys(wanted))
