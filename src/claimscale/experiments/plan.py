"""What a study would run: cells, parameters, operations, memory, hours; before anything is run."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from claimscale import artifacts
from claimscale.config.study import Study, parameter_count
from claimscale.errors import BadInput
from claimscale.experiments.cells import Cell, cells_of
from claimscale.experiments.cost_estimate import CPU_FLOPS_PER_CORE, Corpus, cell_flops
from claimscale.experiments.power_estimate import power_lines
from claimscale.experiments.workspace import Workspace
from claimscale.model import shapes

ASSUMED_VOCABULARIES = (10_000, 5_000, 2_000, 1_000, 500)
"""Tried in turn: sizes too small for as many codes as usual are meant for fewer."""
ASSUMED_GROUPS_PER_CODE = 0.3
ASSUMED_TOKENS_PER_PATIENT = 120.0
ASSUMED_PATIENTS = 100_000
ASSUMED_LABELLED_SHARE = 0.5
"""Share of a split's patients that a task's washout and history rules leave."""

GPUS = {
    "h100": 989e12,
    "a100": 312e12,
    "l40s": 362e12,
    "a10": 125e12,
    "v100": 125e12,
    "rtx4090": 165e12,
    "t4": 65e12,
}
"""Operations per second in half precision without sparsity, from the makers' data sheets."""
GPU_SHARE = 0.4
"""What training is seen to reach of that: a third to a half."""
DEFAULT_GPU = "a100"

BYTES_PER_PREDICTION = 24
BYTES_PER_TOKEN = 16
BYTES_PER_CHECKPOINTED_PARAMETER = 12
"""Weights and two moments."""

BYTES_PER_PARAMETER = 16
"""Weight, gradient and two Adam moments, 4 bytes each."""


@dataclass(frozen=True)
class SizePlan:
    """One size: its shape, and what all its pretraining and fine-tuning cells together cost."""

    name: str
    parameters: int
    layers: int
    width: int
    feed_forward: int
    pretrain_cells: int
    finetune_cells: int
    flops: float
    memory_bytes: float


def corpus_of(study: Study) -> tuple[Corpus, bool]:
    """The numbers of the prepared run, or assumed ones where it is not prepared (second value False)."""
    run = study.run_directory
    if all((run / stage / artifacts.DONE).exists() for stage in ("tokens", "cohort", "labels")):
        return Workspace(study, run).corpus, True
    return assumed_corpus(study), False


def assumed_corpus(study: Study) -> Corpus:
    patients = study.source.patients if study.source.kind == "simulated" else ASSUMED_PATIENTS
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


def _assumed_codes(study: Study) -> tuple[int, int]:
    """Codes and groups of codes: as many as usual, or as leave room for encoders as small as asked for."""
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
                parameters=shapes.parameters(shape),
                layers=shape.layers,
                width=shape.width,
                feed_forward=shape.feed_forward,
                pretrain_cells=sum(cell.kind == "pretrain" for cell in own),
                finetune_cells=sum(cell.kind == "finetune" for cell in own),
                flops=sum(cell_flops(study, corpus, cell) for cell in own),
                memory_bytes=_memory_bytes(study, shape),
            )
        )
    return plans


def _memory_bytes(study: Study, shape: shapes.Shape) -> float:
    """Weights with optimiser state, and the activations of one batch kept for the backward pass.

    Per token and layer about 16 widths and 4 feed-forward widths are kept, and a row of logits for each
    masked token; 4 bytes each.
    """
    per_token = shape.layers * (16 * shape.width + 4 * shape.feed_forward)
    logits = 2 * study.pretrain.mask_probability * shape.vocabulary
    return BYTES_PER_PARAMETER * shapes.parameters(shape) + 4 * study.pretrain.batch_tokens * (
        per_token + logits
    )


def plan_text(study: Study, path: Path, gpu: str = DEFAULT_GPU, calibrate: bool = False) -> str:
    """The plan as a printable page; `gpu` is a name in `GPUS`. Calibrating takes half a minute.

    Raises BadInput for a GPU that is not known.
    """
    if gpu not in GPUS:
        raise BadInput(f"{gpu}: no such GPU is known ({', '.join(GPUS)})")
    corpus, prepared = corpus_of(study)
    cells = cells_of(study, corpus.labelled, corpus.left_out)
    plans = plan_sizes(study, corpus, cells)
    rate = GPU_SHARE * GPUS[gpu]
    counts = {kind: sum(cell.kind == kind for cell in cells) for kind in ("pretrain", "sweep", "finetune")}
    baselines = len(cells) - sum(counts.values())
    basis = "as prepared in the run directory" if prepared else "assumed, as the claims are not prepared yet"
    lines = [
        f"{study.name} ({path}): {len(cells)} cells, of which {counts['pretrain']} pretraining, "
        f"{counts['finetune']} fine-tuning, {baselines} baselines ({', '.join(study.baselines) or 'none'})",
        f"Tasks: {', '.join(task.name for task in study.tasks)}",
        *_left_out(corpus),
        f"Vocabulary {corpus.vocabulary:,}, {corpus.pretraining_tokens:,} tokens an epoch ({basis})",
        "",
        f"{'size':>6} {'parameters':>12} {'layers':>6} {'width':>6} {'feed-fwd':>8} {'cells':>9} "
        f"{'FLOPs':>9} {'GPU hours':>9} {'memory':>9}",
    ]
    for plan in plans:
        lines.append(
            f"{plan.name:>6} {plan.parameters:>12,} {plan.layers:>6} {plan.width:>6} {plan.feed_forward:>8} "
            f"{f'{plan.pretrain_cells}+{plan.finetune_cells}':>9} {plan.flops:>9.1e} "
            f"{plan.flops / rate / 3600:>9.2f} {plan.memory_bytes / 2**30:>6.1f} GiB"
        )
    total = sum(plan.flops for plan in plans)
    lines += [
        "",
        f"In all {total:.1e} floating-point operations: about {total / rate / 3600:,.1f} hours at "
        f"{rate / 1e12:.0f} TFLOP/s (one {gpu}), {_here(study, corpus, plans, calibrate)}.",
        "Memory is that of one cell: weights, optimiser and one batch. "
        f"Disk: about {_disk_bytes(study, corpus, cells, plans) / 2**30:,.1f} GiB.",
        "",
        *power_lines(study, _tested(study)),
    ]
    return "\n".join(lines)


def _left_out(corpus: Corpus) -> list[str]:
    """A line on the subsets that are not trained on, if there are any."""
    told = [
        f"{task} {', '.join(f'{patients:,}' for patients in small)}"
        for task, small in corpus.left_out.items()
    ]
    return (
        [f"Subsets left out, too few patients with or without the outcome: {'; '.join(told)}"] if told else []
    )


def _tested(study: Study) -> int:
    """Patients that a task is thought to be tested on."""
    _, tuning, held_out = study.cohort.splits.fractions
    predicted = min(assumed_corpus(study).predicted.values())
    return max(round(predicted * held_out / (tuning + held_out)), 100)


def _here(study: Study, corpus: Corpus, plans: list[SizePlan], calibrate: bool) -> str:
    """Hours on this machine: measured, or on one core as a first guess."""
    if not calibrate:
        hours = sum(plan.flops for plan in plans) / CPU_FLOPS_PER_CORE / 3600
        return f"{hours:,.1f} hours on a CPU core at {CPU_FLOPS_PER_CORE / 1e9:.0f} GFLOP/s (not measured)"
    from claimscale.experiments.throughput import flops_per_second  # pulls in torch

    rates = flops_per_second(study, corpus.vocabulary, corpus.groups, corpus.tokens_per_patient)
    hours = sum(plan.flops / rates[plan.name] for plan in plans) / 3600
    seen = ", ".join(f"{name} {rate / 1e9:,.0f}" for name, rate in rates.items())
    return f"{hours:,.1f} hours on this machine with one worker (measured, GFLOP/s by size: {seen})"


def _disk_bytes(study: Study, corpus: Corpus, cells: list[Cell], plans: list[SizePlan]) -> float:
    """Tokens, every cell's weights and predictions, and the checkpoints of the largest pretraining."""
    parameters = {plan.name: plan.parameters for plan in plans}
    weights = sum(4 * parameters[cell.size] for cell in cells if cell.size in parameters)
    predictions = sum(corpus.predicted.get(cell.task or "", 0) for cell in cells) * BYTES_PER_PREDICTION
    checkpoints = 2 * BYTES_PER_CHECKPOINTED_PARAMETER * max(parameters.values())
    return weights + predictions + checkpoints + BYTES_PER_TOKEN * corpus.pretraining_tokens
