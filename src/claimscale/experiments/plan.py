"""The plan of a study: its cells, parameters, FLOPs, memory, time and expected power; nothing is run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from claimscale import artifacts
from claimscale.config.study import Study, parameter_count
from claimscale.errors import BadInput
from claimscale.experiments import fingerprints
from claimscale.experiments.cells import RECIPE_KINDS, Cell, cells_of
from claimscale.experiments.cost_estimate import Corpus, cell_flops
from claimscale.experiments.power_estimate import power_lines
from claimscale.experiments.workspace import LACKING, Workspace
from claimscale.model import shapes
from claimscale.progress import duration
from claimscale.tasks.outcome_codes import misspelt_systems

ASSUMED_VOCABULARIES = (10_000, 5_000, 2_000, 1_000, 500)
"""Tried in this order until the smallest encoder has room for the vocabulary."""
ASSUMED_GROUPS_PER_CODE = 0.3
ASSUMED_TOKENS_PER_PATIENT = 120.0
ASSUMED_PATIENTS = 100_000
ASSUMED_LABELLED_SHARE = 0.5
"""Fraction of a split that meets a task's washout and history rules."""

GPUS = {
    "h100": 989e12,
    "a100": 312e12,
    "l40s": 362e12,
    "a10": 125e12,
    "v100": 125e12,
    "rtx4090": 165e12,
    "t4": 65e12,
}
"""FLOP/s in half precision without sparsity, from the manufacturers' data sheets."""
GPU_SHARE = 0.4
"""Fraction of it that training reaches: a third to a half."""
DEFAULT_GPU = "a100"

BYTES_PER_PREDICTION = 24
BYTES_PER_TOKEN = 16
BYTES_PER_CHECKPOINTED_PARAMETER = 12
"""Weights and two moments."""

BYTES_PER_PARAMETER = 16
"""Weight, gradient and two Adam moments, 4 bytes each."""


@dataclass(frozen=True)
class SizePlan:
    """One size: its shape, and the cost of all its pretraining and fine-tuning cells."""

    name: str
    shape: shapes.Shape
    parameters: int
    pretrain_cells: int
    finetune_cells: int
    flops: float
    memory_bytes: float


def prepared_workspace(study: Study) -> Workspace | None:
    """The prepared data of the study; None unless tokens and labels are there and are those of its settings.

    The source is not looked at.
    """
    run = study.run_directory
    with suppress(OSError):  # a stage is missing
        for stage in ("tokens", "labels"):
            fingerprint = fingerprints.stage_fingerprint(study, run, stage, ("events", "cohort"))
            if not artifacts.is_current(run / stage, fingerprint):
                return None
        return Workspace(study, run)
    return None


def assumed_corpus(study: Study) -> Corpus:
    patients = _assumed_patients(study)
    per_patient = min(ASSUMED_TOKENS_PER_PATIENT, study.tokens.max_length)
    train, tuning, held_out = study.cohort.splits.fractions
    labelled = round(patients * train * ASSUMED_LABELLED_SHARE)
    predicted = round(patients * (tuning + held_out) * ASSUMED_LABELLED_SHARE)
    vocabulary, groups = _assumed_codes(study)
    return Corpus(
        vocabulary=vocabulary,
        groups=groups,
        pretraining_tokens=round(patients * train * per_patient),
        tokens_per_patient=per_patient,
        labelled={task.name: labelled for task in study.tasks},
        predicted={task.name: predicted for task in study.tasks},
    )


def _assumed_patients(study: Study) -> int:
    """Patients of the cohort: the sampled hospitals' share of the source, at most the sampled patients."""
    source, sample = study.source, study.cohort.sample
    if source.kind != "simulated":
        patients = ASSUMED_PATIENTS
    else:
        patients = source.patients * min(sample.hospitals or source.hospitals, source.hospitals)
        patients = round(patients / source.hospitals)
    return min(patients, sample.patients or patients)


def _assumed_codes(study: Study) -> tuple[int, int]:
    """Vocabulary and code groups: the usual numbers, fewer if the smallest encoder has no room."""
    smallest = min(parameter_count(name) for name in study.sizes)
    vocabulary = groups = 0
    for vocabulary in ASSUMED_VOCABULARIES:
        groups = round(ASSUMED_GROUPS_PER_CODE * vocabulary) if study.tokens.hierarchical_embeddings else 0
        with suppress(BadInput):
            shapes.solve(smallest, vocabulary, groups)
            break
    return vocabulary, groups


def plan_sizes(study: Study, corpus: Corpus, cells: list[Cell]) -> list[SizePlan]:
    """Costs per size, ascending."""
    plans = []
    for name in study.sizes:
        shape = shapes.solve(parameter_count(name), corpus.vocabulary, corpus.groups)
        own = [cell for cell in cells if cell.size == name]
        plans.append(
            SizePlan(
                name=name,
                shape=shape,
                parameters=shapes.parameters(shape),
                pretrain_cells=sum(cell.kind == "pretrain" for cell in own),
                finetune_cells=sum(cell.kind == "finetune" for cell in own),
                flops=sum(cell_flops(study, corpus, cell) for cell in own),
                memory_bytes=_memory_bytes(study, shape),
            )
        )
    return plans


def _memory_bytes(study: Study, shape: shapes.Shape) -> float:
    """Weights with optimiser state, and the activations of one batch kept for the backward pass.

    Numbers of 4 bytes are kept: per token and layer about 16 widths and 4 feed-forward widths, and a row of
    logits for each masked token.
    """
    per_token = shape.layers * (16 * shape.width + 4 * shape.feed_forward)
    logits = 2 * study.pretrain.mask_probability * shape.vocabulary
    return BYTES_PER_PARAMETER * shapes.parameters(shape) + 4 * study.pretrain.batch_tokens * (
        per_token + logits
    )


def cells_text(study: Study, cells: Sequence[Cell]) -> str:
    """How many cells there are, by what they train."""
    kinds = Counter(cell.kind for cell in cells)
    baselines = sum(kinds[name] for name in study.baselines)
    parts = [f"{kinds['pretrain']} pretraining", f"{kinds['finetune']} fine-tuning"]
    if baselines:
        parts.append(f"{baselines} baselines ({', '.join(study.baselines)})")
    if study.recipes:
        recipes = sum(kinds[kind] for kind in RECIPE_KINDS)
        parts.append(f"{recipes} published recipes ({', '.join(study.recipes)})")
    others = {"phenome": "all outcomes", "phenome_lightgbm": "LightGBM per outcome", "sweep": "rate sweeps"}
    parts += [f"{kinds[kind]} {name}" for kind, name in others.items() if kinds[kind]]
    return f"{len(cells)} cells" + (f", of which {', '.join(parts)}" if cells else "")


def sizes_text(vocabulary: int, targets: Sequence[str], groups: int | None = None) -> str:
    """A table of the encoder shapes solved for each target; raises BadInput for an impossible one."""
    groups = round(ASSUMED_GROUPS_PER_CODE * vocabulary) if groups is None else groups
    lines = [f"{'target':>8} {'parameters':>12} {'layers':>6} {'width':>6} {'feed-fwd':>8} {'embedding':>9}"]
    for target in targets:
        try:
            count = parameter_count(target)
        except ValueError as error:
            raise BadInput(str(error)) from None
        shape = shapes.solve(count, vocabulary, groups)
        lines.append(
            f"{target:>8} {shapes.parameters(shape):>12,} {shape.layers:>6} {shape.width:>6} "
            f"{shape.feed_forward:>8} {shape.embedding:>9}"
        )
    return "\n".join(lines)


def plan_text(study: Study, path: Path, gpu: str = DEFAULT_GPU, calibrate: bool = False) -> str:
    """The plan as text; `gpu` is a name in `GPUS`. `calibrate` measures this machine for half a minute.

    Raises BadInput for a GPU that is not known.
    """
    if gpu not in GPUS:
        raise BadInput(f"{gpu}: no such GPU is known ({', '.join(GPUS)})")
    workspace = prepared_workspace(study)
    corpus = assumed_corpus(study) if workspace is None else workspace.corpus
    cells = cells_of(study, corpus.labelled, corpus.skipped)
    plans = plan_sizes(study, corpus, cells)
    rate = GPU_SHARE * GPUS[gpu]
    basis = (
        "as prepared in the run directory"
        if workspace
        else "assumed: the claims are not prepared as set here"
    )
    lines = [
        f"{study.name} ({path}): {cells_text(study, cells)}",
        f"Tasks: {', '.join(task.name for task in study.tasks)}",
        *_skipped(corpus),
        f"Vocabulary {corpus.vocabulary:,}, {corpus.pretraining_tokens:,} tokens an epoch ({basis})",
        "",
        f"{'size':>6} {'parameters':>12} {'layers':>6} {'width':>6} {'feed-fwd':>8} {'cells':>9} "
        f"{'FLOPs':>9} {'GPU hours':>9} {'memory':>9}",
    ]
    for plan in plans:
        shape, count = plan.shape, f"{plan.pretrain_cells}+{plan.finetune_cells}"
        lines.append(
            f"{plan.name:>6} {plan.parameters:>12,} {shape.layers:>6} {shape.width:>6} "
            f"{shape.feed_forward:>8} {count:>9} {plan.flops:>9.1e} {_hours(plan.flops / rate):>9} "
            f"{plan.memory_bytes / 2**30:>6.1f} GiB"
        )
    total = sum(plan.flops for plan in plans)
    lines += [
        "",
        f"In all {total:.1e} floating-point operations: about {duration(total / rate)} at "
        f"{rate / 1e12:.0f} TFLOP/s (one {gpu}); {_on_this_machine(study, corpus, plans, calibrate)}.",
        "Memory is that of one cell: weights, optimiser and one batch. "
        f"Disk: about {_disk_bytes(study, corpus, cells, plans) / 2**30:,.1f} GiB.",
        "",
        *_without_models(study, workspace),
        *power_lines(study, _tested(study), workspace and workspace.labels),
    ]
    return "\n".join(lines)


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.2f}" if seconds >= 36 else "< 0.01"


def _skipped(corpus: Corpus) -> list[str]:
    """A line on the subsets that are not trained on, if there are any."""
    subsets = [
        f"{task} {', '.join(f'{count:,}' for count in small)}" for task, small in corpus.skipped.items()
    ]
    line = f"Subsets left out, too few patients with or without the outcome: {'; '.join(subsets)}"
    return [line] if subsets else []


def _without_models(study: Study, workspace: Workspace | None) -> list[str]:
    """A line for each task that no model is or, for a misspelt code system, will be trained for."""
    if workspace is None:
        return [line for task in study.tasks for line in misspelt_systems(task)]
    lacking = workspace.insufficient_data
    return [
        f"{task}: no model is trained, because too few labelled patients {LACKING[reason['label']]}"
        for task, reason in lacking.items()
    ]


def _tested(study: Study) -> int:
    """Held-out patients that a task is assumed to have."""
    _, tuning, held_out = study.cohort.splits.fractions
    predicted = min(assumed_corpus(study).predicted.values())
    return max(round(predicted * held_out / (tuning + held_out)), 100)


def _on_this_machine(study: Study, corpus: Corpus, plans: list[SizePlan], calibrate: bool) -> str:
    """The time on this machine, if it is measured."""
    if not calibrate:
        return "--calibrate measures this machine"
    from claimscale.experiments.throughput import flops_per_second  # imports torch

    rates = flops_per_second(study, corpus.vocabulary, corpus.groups, corpus.tokens_per_patient)
    seconds = sum(plan.flops / rates[plan.name] for plan in plans)
    measured = ", ".join(f"{name} {rate / 1e9:,.0f}" for name, rate in rates.items())
    return f"{duration(seconds)} on this machine with one worker (measured, GFLOP/s by size: {measured})"


def _disk_bytes(study: Study, corpus: Corpus, cells: list[Cell], plans: list[SizePlan]) -> float:
    """Tokens, every cell's weights and predictions, and the checkpoints of the largest pretraining."""
    parameters = {plan.name: plan.parameters for plan in plans}
    weights = sum(4 * parameters[cell.size] for cell in cells if cell.size in parameters)
    predictions = sum(corpus.predicted.get(cell.task or "", 0) for cell in cells) * BYTES_PER_PREDICTION
    checkpoints = 2 * BYTES_PER_CHECKPOINTED_PARAMETER * max(parameters.values())
    return weights + predictions + checkpoints + BYTES_PER_TOKEN * corpus.pretraining_tokens
