"""Cells: the units of work of a study, each with a stable name.

`pretrain-11M-s42`, `sweep-11M-s42` (of learning rates), `finetune-ckd-11M-pretrained-n1000-s42`,
`lightgbm-ckd-nall-s42`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from claimscale.config.comparison import NEEDS_LARGEST_ENCODER, USES_EMBEDDINGS, Baseline
from claimscale.config.study import Study

Patients = int | Literal["all"]


@dataclass(frozen=True)
class Cell:
    """One unit of work. `arm` is null for baselines, pretraining and sweeps of learning rates.

    `task` and `patients` are null for the last two, `size` is null for baselines that need no encoder.
    """

    kind: Literal["pretrain", "sweep", "finetune"] | Baseline
    seed: int
    size: str | None = None
    task: str | None = None
    arm: Literal["pretrained", "scratch"] | None = None
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
        """The cell whose weights this one begins with."""
        if self.arm == "pretrained" or self.kind in USES_EMBEDDINGS:
            return Cell("pretrain", self.seed, self.size)
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
    left_out: Mapping[str, Collection[int]] | None = None,
) -> list[Cell]:
    """All cells of a study, dependencies first.

    `labelled` gives the labelled training patients of the tasks that can be trained, where known: subsets
    that would hold all of them anyway become one cell, `nall`, and other tasks have no cells. If none can be
    trained there are no cells at all. `left_out` gives the subsets of a task that hold too few of either
    outcome: no model is trained on them, so that what is compared stays the same for all.
    """
    trained = [task for task in study.tasks if labelled is None or task.name in labelled]
    sizes = _pretrained(study) if trained else []
    cells = [Cell("pretrain", seed, size) for size in sizes for seed in study.finetune.seeds]
    if study.pretrain.lr_sweep:
        # A cell of its own: other rates leave the pretraining, and all that rests on it, as it is.
        cells += [Cell("sweep", study.finetune.seeds[0], size) for size in sizes]
    for task in trained:
        subsets: list[Patients] = [
            patients
            for patients in subsets_of(study, (labelled or {}).get(task.name))
            if patients not in (left_out or {}).get(task.name, ())
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
    return cells


def _pretrained(study: Study) -> list[str]:
    """The sizes that some other cell needs."""
    if "pretrained" in study.finetune.initialization:
        return study.sizes
    return study.sizes[-1:] if USES_EMBEDDINGS & set(study.baselines) else []


def _size_of(study: Study, baseline: Baseline) -> str | None:
    """The size of the encoder that a baseline gets: the largest, which knows most.

    These arms ask what trees make of the best that pretraining has to give; which size is enough is asked
    of fine-tuned encoders, and a cell for each size would ask it twice.
    """
    return study.sizes[-1] if baseline in NEEDS_LARGEST_ENCODER else None


def subsets_of(study: Study, labelled: int | None) -> list[Patients]:
    """The subsets asked for, where `labelled` training patients are all that a task has."""
    wanted: list[Patients] = [
        "all" if labelled is not None and patients != "all" and patients >= labelled else patients
        for patients in study.finetune.labelled_patients
    ]
    return list(dict.fromkeys(wanted))
