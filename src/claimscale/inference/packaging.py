"""Writes a model package from a finished study.

The package is opened again before it appears, and must give the study's predictions, on the same machine bit
for bit.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple, cast

import numpy as np

from claimscale import __version__, artifacts, outputs
from claimscale.baselines import fitted_models
from claimscale.codes.systems import split
from claimscale.cohort.selection import HELD_OUT, TUNING
from claimscale.config import loading
from claimscale.config.base import Codes
from claimscale.config.sources import FileSource
from claimscale.config.study import Study
from claimscale.constants import SEXES
from claimscale.engine import Engine
from claimscale.errors import BadInput
from claimscale.experiments.cells import Cell
from claimscale.experiments.datasets import LabelledSample, read_risks
from claimscale.experiments.workspace import Workspace
from claimscale.inference import calibration, model_card, reference
from claimscale.inference.package import ModelPackage, together
from claimscale.inference.patients import lookup_of, shards
from claimscale.packages.config import EncoderShape, Kind, Member, PackageConfig
from claimscale.packages.files import CALIBRATION, CARD, CONFIG, EVIDENCE, REFERENCE, VOCABULARY, WEIGHTS
from claimscale.progress import Display
from claimscale.tokens.special_tokens import FIRST_CODE, FIRST_SEX

Model = Literal["encoder", "lightgbm", "logistic", "outcome_history", "ensemble"]
CHECKED_PATIENTS = 2000
"""Most predictions per split that are compared with those of the study."""
TOLERANCE = 2e-3
"""A GPU computes in lower precision, and another CPU rounds differently."""


@dataclass(frozen=True)
class Choice:
    """What to package: a model of a task, or a pretrained encoder where `task` is None.

    `size` None: the size that the study found sufficient, otherwise its largest. `seeds` None: the first.
    """

    task: str | None
    model: Model = "encoder"
    size: str | None = None
    seeds: tuple[int, ...] | None = None
    license: str = "other"


def write_package(run: Path, choice: Choice, out: Path, display: Display) -> tuple[ModelPackage, float]:
    """Write the package; returns it, opened, and how far its probabilities are from the study's.

    Raises BadInput if the run is unfinished, has no such model, or `out` exists.
    """
    artifacts.refuse_existing(out)
    workspace = open_run(run)
    cells = _cells(workspace, choice)
    config = _config(workspace, choice, cells)
    artifacts.make_folder(out.absolute().parent)
    with artifacts.atomic_folder(out) as target:
        workspace.store.vocabulary.save(target / VOCABULARY)
        artifacts.write_text(target / CONFIG, config.model_dump_json(indent=1) + "\n")
        for cell, member in zip(cells, config.members, strict=True):
            _copy_model(workspace.folder(cell.id), target / member.folder)
        predicted = _predicted(workspace, cells)
        fitted = _calibration(predicted)
        artifacts.write_text(target / CALIBRATION, fitted.model_dump_json(indent=1) + "\n")
        display.update(0.3, 10, "describing the training patients")
        found = _reference(workspace, config, predicted)
        artifacts.write_text(target / REFERENCE, found.model_dump_json(indent=1) + "\n")
        evidence = model_card.evidence_of(run, choice.task, choice.model, config.size)
        artifacts.write_json(target / EVIDENCE, evidence)
        artifacts.write_text(target / CARD, model_card.card(config, evidence, fitted, found))
        artifacts.write_manifest(target, artifacts.fingerprint(config=config.model_dump()), out.name)
        display.update(0.8, 3, "comparing with the study's predictions")
        package = ModelPackage.open(target)
        difference = _difference(package, workspace, predicted)
    return replace(package, folder=out), difference


def open_run(run: Path) -> Workspace:
    """The workspace of a run directory. Raises BadInput if it is none."""
    workspace = Workspace(settings_of(run), run)
    for stage in ("tokens", "labels", "events"):
        if not (run / stage / artifacts.DONE).exists():
            raise BadInput(f"{run}: {stage} is missing; run the study first")
    return workspace


def settings_of(run: Path) -> Study:
    """The settings of a run directory. Raises BadInput if it is none."""
    file = run / "study.yaml"
    if not file.is_file():
        raise BadInput(f"{run}: is not a run directory (study.yaml is missing)")
    return loading.load(file)


def _cells(workspace: Workspace, choice: Choice) -> list[Cell]:
    """The cells whose models are packaged. Raises BadInput if one is missing or has no such name."""
    study = workspace.study
    seeds = choice.seeds or (study.finetune.seeds[0],)
    size = choice.size or _sufficient_size(workspace.run, choice.task) or study.sizes[-1]
    if size not in study.sizes:
        raise BadInput(f"--size {size}: the study has {', '.join(study.sizes)}")
    if choice.task is None:
        cells = [Cell("pretrain", seeds[0], size)]
    else:
        names = [task.name for task in study.tasks]
        if choice.task not in names:
            raise BadInput(f"--task {choice.task}: the study has {', '.join(names)}")
        cells = [cell for seed in seeds for cell in _cells_of_task(workspace, choice, size, seed)]
    known = {cell.id for cell in workspace.cells}
    for cell in cells:
        if cell.id not in known:
            raise BadInput(f"{workspace.run}: the study has no cell {cell.id}")
        if not workspace.is_done(cell):
            raise BadInput(f"{workspace.run}: {cell.id} is missing or out of date; run the study first")
    return cells


def _cells_of_task(workspace: Workspace, choice: Choice, size: str, seed: int) -> list[Cell]:
    """The cells of one seed, on as many labelled patients as the study has."""
    study = workspace.study
    arm = "pretrained" if "pretrained" in study.finetune.initialization else "scratch"
    patients = {cell.patients for cell in workspace.cells if cell.task == choice.task}
    most = "all" if "all" in patients else max((p for p in patients if isinstance(p, int)), default="all")
    encoder = Cell("finetune", seed, size, choice.task, arm, cast("int | Literal['all']", most))
    if choice.model == "encoder":
        return [encoder]
    kind = "lightgbm" if choice.model == "ensemble" else choice.model
    baseline = Cell(kind, seed, None, choice.task, patients=encoder.patients)
    return [encoder, baseline] if choice.model == "ensemble" else [baseline]


def _sufficient_size(run: Path, task: str | None) -> str | None:
    """The size that the study's verdict names for the task; None without one."""
    if task is None or not (run / "summary.json").exists():
        return None
    tasks = artifacts.read_json(outputs.verified(run / outputs.SUMMARY))["tasks"]
    return next((one["saturation"]["smallest_sufficient"] for one in tasks if one["name"] == task), None)


def _config(workspace: Workspace, choice: Choice, cells: Sequence[Cell]) -> PackageConfig:
    study, vocabulary = workspace.study, workspace.store.vocabulary
    task = None if choice.task is None else workspace.task(choice.task)
    encoder = next((cell for cell in cells if cell.kind in ("finetune", "pretrain")), None)
    size = None if encoder is None else encoder.size
    systems = sorted({split(code)[0] for code in vocabulary.codes[FIRST_CODE:]} - {""})
    source = study.source
    return PackageConfig(
        claimscale=__version__,
        name="-".join(part for part in (study.name, choice.task, size or choice.model) if part),
        study=study.name,
        license=choice.license,
        size=size,
        shape=None if size is None else EncoderShape(**vars(workspace.shape(size))),
        members=[_member(study, cell) for cell in cells],
        task=task,
        tokens=study.tokens,
        hidden_codes={} if task is None else task.hidden_codes,
        withheld_codes=_withheld_codes(study),
        min_events=study.cohort.min_events,
        recency_days=study.cohort.recency_days,
        landmark=study.cohort.landmark,
        code_systems=systems,
        crosswalks=[f"{one.source} to {one.target}" for one in source.crosswalks]
        if isinstance(source, FileSource)
        else [],
        vocabulary_size=vocabulary.size,
    )


def _member(study: Study, cell: Cell) -> Member:
    predicts = bool(study.pretrain.incident_weight) and study.labels != "scarce"
    zero_shot = cell.arm == "pretrained" and predicts and study.finetune.zero_shot_init
    kind = "encoder" if cell.kind in ("finetune", "pretrain") else cell.kind
    return Member(kind=cast(Kind, kind), folder=f"{kind}-s{cell.seed}", cell=cell.id, zero_shot=zero_shot)


def _withheld_codes(study: Study) -> Codes:
    """The codes of `StudyData.withheld_tokens`."""
    found: dict[str, set[str]] = {}
    if study.labels == "scarce":
        for task in study.tasks:
            for codes in (task.outcome, task.hidden_codes):
                for system, prefixes in codes.items():
                    found.setdefault(system, set()).update(prefixes)
    return {system: sorted(prefixes) for system, prefixes in found.items()}


def _copy_model(cell: Path, target: Path) -> None:
    artifacts.make_folder(target)
    files = [cell / name for name in (WEIGHTS, fitted_models.MODEL, fitted_models.TREES)]
    for file in files:
        if file.exists():
            shutil.copyfile(file, target / file.name)


class _Predicted(NamedTuple):
    """What the study predicted with the packaged models together, and for whom, of one split."""

    sample: LabelledSample
    risks: np.ndarray


def _predicted(workspace: Workspace, cells: Sequence[Cell]) -> dict[str, _Predicted]:
    """The study's predictions by split; none of an encoder without a question."""
    if cells[0].task is None:
        return {}
    samples = workspace.cell_samples(cells[0]).predict
    each = [read_risks(workspace.folder(cell.id), samples) for cell in cells]
    return {
        name: _Predicted(sample, together(np.stack([risks[name] for risks in each])))
        for name, sample in samples.items()
    }


def _calibration(predicted: Mapping[str, _Predicted]) -> calibration.Calibration:
    if not predicted:
        return calibration.Calibration(method="none")
    return calibration.fit(predicted[TUNING].sample.outcome, predicted[TUNING].risks)


def _reference(
    workspace: Workspace, config: PackageConfig, predicted: Mapping[str, _Predicted]
) -> reference.Reference:
    """The training patients at the study's landmark, or at their index dates of the task."""
    events, vocabulary = artifacts.verified(workspace.run / "events"), workspace.store.vocabulary
    if config.task is None:
        subjects = workspace.splits["train"]
        days = np.full(len(subjects), workspace.last_pretraining_day)
    else:
        train = workspace.samples(config.task.name)["train"]
        subjects, days = train.subjects, train.index_days.astype(np.int64)
    parts, sexes = [], np.zeros(len(SEXES), np.int64)
    with Engine(workspace.study.engine) as engine:
        lookup = lookup_of(events, engine, config, vocabulary)
        for shard in shards(events, vocabulary, lookup):
            rows = np.searchsorted(shard.store.subjects, subjects).clip(0, len(shard.store.subjects) - 1)
            here = shard.store.subjects[rows] == subjects
            parts.append(reference.measures_of(shard, rows[here], days[here]))
            sexes += np.bincount(shard.store.sex[rows[here]] - FIRST_SEX, minlength=len(SEXES))
    joined = {name: np.concatenate([part[name] for part in parts]) for name in reference.MEASURES}
    each = (sexes / max(sexes.sum(), 1)).round(3).tolist()
    shares: dict[str, float] = {str(sex): share for sex, share in zip(SEXES, each, strict=True)}
    risks = predicted[HELD_OUT].risks if predicted else np.zeros(0)
    return reference.reference_of(joined, shares, risks)


def _difference(package: ModelPackage, workspace: Workspace, predicted: Mapping[str, _Predicted]) -> float:
    """The largest difference between the package's probabilities and those of the study; 0 on the same CPU.

    Raises BadInput if it is larger than another machine would explain.
    """
    largest = 0.0
    for sample, risks in predicted.values():
        some = sample.take(np.arange(len(sample.rows))[:CHECKED_PATIENTS])
        again = package.risks(workspace.store, some.rows, some.index_days)
        largest = max(largest, float(np.abs(again - risks[: len(again)]).max(initial=0.0)))
    if largest > TOLERANCE:
        cell = package.config.members[0].cell
        raise BadInput(f"{cell}: the package differs from the study's predictions by {largest:.1g}")
    return largest
