"""Explanations on simulated patients, whose diseases have known causes.

1. Completeness: the share of test patients whose error is below 1 % of the difference to the baseline.
2. Drivers: whether the five recorded codes with the largest contributions hold one that truly drives the
   risk, over the tenth of the test patients with the highest true risk. A patient's drivers are the
   conditions of the latent state that write the outcome's codes, are a milder stage of such a condition, or
   raise its hazard. Their codes are drivers, apart from everyday codes. Chance level is that of a random
   order of the codes that contribute.
   Beside it, integrated gradients on the embeddings, with masked codes as the baseline.
3. The same for encoders fine-tuned on shuffled labels, which hold no information: from scratch, and from the
   pretrained encoder without the zero-shot logit. As a control, labels are planted: five codes drive them.

    python benchmarks/explain.py
"""

from __future__ import annotations

import copy
import dataclasses
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow.parquet as pq
import torch
from captum.attr import IntegratedGradients
from safetensors.torch import load_file

from claimscale import pipeline
from claimscale.artifacts import make_folder
from claimscale.codes.systems import full_prefixes
from claimscale.config.sources import SimulatedSource
from claimscale.config.study import Study
from claimscale.experiments.datasets import LabelledSample
from claimscale.experiments.workspace import Workspace
from claimscale.inference.attribution import token_name
from claimscale.inference.explained import Explained, explain_row
from claimscale.inference.package import ModelPackage
from claimscale.inference.packaging import Choice, write_package
from claimscale.inference.presence import PresenceModel
from claimscale.progress import Silent, display
from claimscale.simulator import months
from claimscale.simulator.population import Population
from claimscale.tokens.special_tokens import LEADING, MASK
from claimscale.training.finetune_trainer import LabelledSequences
from claimscale.training.finetuning import FinetuneJob, finetune
from claimscale.training.initialization import Initialization
from explain_drivers import TOP, ByCode, Drivers, Hits, hit, hits
from record import write_record

SIZE, TASKS, SHUFFLES = "240k", ("ckd", "heart_failure"), 2
STUDY = {
    "name": "explain", "seed": 5,
    "source": {"kind": "simulated", "patients": 10_000, "hospitals": 8, "min_age": 60},
    "cohort": {"landmark": "2020-10-01"},
    "tokens": {"max_length": 120, "min_patients": 40},
    "sizes": [SIZE], "tasks": list(TASKS), "dates_per_patient": 2,
    "pretrain": {"seeds": [1], "epochs": 4, "batch_tokens": 4096, "cooldown_fractions": [1]},
    "finetune": {"seeds": [1], "epochs": 1, "learning_rates": [0.001], "initialization": ["pretrained"]},
    "baselines": ["lightgbm"], "search": {"n_trials": 3},
}  # fmt: skip
HIGH_RISK, COMPLETENESS_PATIENTS = 0.1, 300
MODELS: tuple[Literal["encoder", "lightgbm"], ...] = ("encoder", "lightgbm")
PLANTED_CODES, PLANTED_SHARE, PLANTED_RISKS = 5, 0.3, (0.8, 0.05)
"""Codes that drive the planted labels, of about this share of the commonest code's patients; risk with any of
them, and without."""
FROM_SCRATCH = {"epochs": 2, "learning_rates": [0.004]}
BREADTHS = {"all": 0.0, "strong": 0.5}
"""The least log hazard ratio of causes that count as drivers."""


def main() -> None:
    started = time.monotonic()
    torch.set_num_threads(1)
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        study = Study.model_validate({**STUDY, "runs_dir": folder}, strict=False)
        with display() as shown:
            run = pipeline.run_study(study, shown)
        workspace = Workspace(study, run.folder)
        for task in TASKS:
            for name, value in _task(workspace, task, Path(folder)).items():
                figures[f"{task}_{name}"] = value
    figures["minutes"] = (time.monotonic() - started) / 60
    print(f"{figures['minutes']:.1f} minutes")
    write_record("explain", figures)


def _task(workspace: Workspace, task: str, folder: Path) -> dict[str, float]:
    """The figures of one task, printed as they come."""
    sample = workspace.samples(task)["held_out"]
    packages = {
        model: write_package(workspace.run, Choice(task, model), folder / f"{task}-{model}", Silent())[0]
        for model in MODELS
    }
    some = sample.take(np.random.default_rng(0).permutation(len(sample.rows))[:COMPLETENESS_PATIENTS])
    figures = _completeness(_explain(packages["encoder"], workspace, some))
    print(f"{task:<14} " + ", ".join(f"{name} {value:.4g}" for name, value in figures.items()), flush=True)
    high = _high_risk(workspace, task, sample)
    outcome = full_prefixes(workspace.task(task).outcome)
    drivers = Drivers(_population(workspace.study), outcome, months.month_number("2020-09"))
    models: dict[str, ModelPackage] = {**packages}
    for seed in range(SHUFFLES):
        models[f"shuffled_{seed}"] = _fine_tuned(workspace, packages["encoder"], folder / "tuned", seed)
    weights = workspace.folder(f"pretrain-{SIZE}-s1") / "model.safetensors"
    models["shuffled_pretrained"] = _fine_tuned(workspace, packages["encoder"], folder / "tuned", 0, weights)
    contributions = {
        name: [one.attribution.by_code() for one in _explain(package, workspace, high)]
        for name, package in models.items()
    }
    contributions["masked_baseline"] = [
        _from_masked(packages["encoder"], workspace, row, day)
        for row, day in zip(high.rows.tolist(), high.index_days.tolist(), strict=True)
    ]
    for name, by_code in contributions.items():
        for breadth, least in BREADTHS.items():
            found = hits(by_code, high.subjects, drivers, least)
            figures |= {f"{name}_{breadth}_{key}": value for key, value in found._asdict().items()}
            print(f"{task:<14} {name:<12} {breadth:<7} {_line(found)}", flush=True)
    if task == TASKS[0]:
        figures |= _planted(workspace, packages["encoder"], sample, folder / "tuned")
    return figures


def _line(found: Hits) -> str:
    return (
        f"a driver in the top {TOP}: {found.share:.3f} (chance {found.chance:.3f}); the strongest: "
        f"{found.strongest:.3f} (chance {found.strongest_chance:.3f}); {found.patients} patients"
    )


def _completeness(explained: Sequence[Explained]) -> dict[str, float]:
    """Errors, steps of the integral, and agreement with the removal of codes, over patients."""
    found = [one.attribution for one in explained]
    errors = np.abs([one.completeness_error for one in found])
    differences = np.abs([one.log_odds - one.baseline for one in found])
    correlations = [c for one in explained if (c := one.removal_correlation) is not None]
    removals = [removal for one in explained for removal in one.removals]
    return {
        "complete_patients": len(found),
        "complete_share": float(np.mean(errors < 0.01 * differences)),
        "largest_relative_error": float(np.max(errors / differences)),
        "mean_steps": float(np.mean([one.steps or 0 for one in found])),
        "removal_correlation_median": float(np.median(correlations)),
        "removal_same_sign_share": float(np.mean([one.contribution * one.change > 0 for one in removals])),
    }


def _high_risk(workspace: Workspace, task: str, sample: LabelledSample) -> LabelledSample:
    """The tenth of the test patients with the highest true risk."""
    oracle = pq.read_table(workspace.run / "oracle" / f"{task}.parquet")
    assert np.array_equal(oracle["subject_id"].to_numpy(), sample.subjects)
    order = np.argsort(-oracle["risk"].to_numpy(), kind="stable")
    return sample.take(order[: round(HIGH_RISK * len(order))])


def _population(study: Study) -> Population:
    assert isinstance(study.source, SimulatedSource)
    return Population(study.source.patients, study.source.hospitals, study.seed, study.source.min_age)


def _from_masked(package: ModelPackage, workspace: Workspace, row: int, day: int) -> ByCode:
    """Integrated gradients on the embedded positions; in their baseline every code is [MASK]."""
    member, vocabulary = package.encoder, package.vocabulary
    sequence = member.sequences(workspace.store, np.array([row]), np.array([day]))
    patient = PresenceModel.of(member.model, sequence, package.reference, member.device)
    token = patient.inputs.token.clone()
    token[LEADING:] = MASK
    with torch.no_grad():
        embed, masked = member.model.encoder.embed, dataclasses.replace(patient.inputs, token=token)
        baseline_Td = patient.embedded_Td + embed(masked) - embed(patient.inputs)

    def logits(embedded_STd: torch.Tensor) -> torch.Tensor:
        each = [dataclasses.replace(patient, embedded_Td=one) for one in embedded_STd]
        return torch.cat([one.logits(*patient.observed) for one in each])

    found = IntegratedGradients(logits).attribute(patient.embedded_Td[None], baseline_Td[None], n_steps=32)
    by_code: ByCode = {}
    for place, value in zip(
        sequence.token[LEADING:].tolist(), found[0, LEADING:].sum(1).tolist(), strict=True
    ):
        name = token_name(vocabulary, place)
        by_code[name] = by_code.get(name, 0.0) + value
    return by_code


def _planted(
    workspace: Workspace, package: ModelPackage, sample: LabelledSample, folder: Path
) -> dict[str, float]:
    """Hits of the planted codes by encoders from scratch, on planted labels and on the same ones shuffled."""
    vocabulary = workspace.store.vocabulary
    common = np.argsort(
        np.abs(vocabulary.patients - PLANTED_SHARE * vocabulary.patients.max()), kind="stable"
    )
    planted = common[:PLANTED_CODES]
    names = {vocabulary.codes[token] for token in planted.tolist()}
    figures: dict[str, float] = {}
    models = {"planted": _fine_tuned(workspace, package, folder, None, None, planted)}
    for seed in range(SHUFFLES):
        models[f"planted_shuffled_{seed}"] = _fine_tuned(workspace, package, folder, seed, None, planted)
    some = sample.take(np.arange(COMPLETENESS_PATIENTS))
    for name, one in models.items():
        found = []
        for explained in _explain(one, workspace, some):
            by_code = explained.attribution.by_code()
            keys = sorted(by_code, key=lambda key: -by_code[key])
            is_driver = np.array([code in names for code, _suspected in keys])
            if is_driver.any():
                found.append(hit(is_driver))
        share, chance = np.mean(found, axis=0).tolist()
        figures |= {f"{name}_share": share, f"{name}_chance": chance, f"{name}_patients": len(found)}
        text = f"a planted code in the top {TOP}: {share:.3f} (chance {chance:.3f}); {len(found)} patients"
        print(f"{name:<20} {text}", flush=True)
    return figures


def _fine_tuned(
    workspace: Workspace,
    package: ModelPackage,
    folder: Path,
    shuffle_seed: int | None,
    weights: Path | None = None,
    planted: np.ndarray | None = None,
) -> ModelPackage:
    """The package with an encoder without zero-shot logit, from scratch or from pretrained weights.

    Its labels are shuffled if there is a seed, and those of the planted codes if there are any.
    """
    member = copy.copy(package.encoder)
    cell = next(cell for cell in workspace.cells if cell.id == package.config.members[0].cell)
    train, tuning, _predict = workspace.cell_samples(cell)
    random = np.random.default_rng(shuffle_seed)

    def labelled(sample: LabelledSample) -> LabelledSequences:
        sequences = member.sequences(workspace.store, sample.rows, sample.index_days)
        outcome = sample.outcome
        if planted is not None:
            held = np.logical_or.reduceat(np.isin(sequences.token, planted), sequences.offsets[:-1])
            outcome = np.random.default_rng(0).random(len(held)) < np.where(held, *PLANTED_RISKS)
        return LabelledSequences(sequences, outcome if shuffle_seed is None else random.permutation(outcome))

    shutil.rmtree(folder, ignore_errors=True)
    make_folder(folder)
    metadata, device = workspace.token_metadata, torch.device("cpu")
    settings = workspace.study.finetune.model_copy(update=FROM_SCRATCH if weights is None else {})
    start = Initialization(member.shape, metadata, weights, shuffle_seed or 0, device)
    job = FinetuneJob(labelled(train), labelled(tuning), start, settings, folder)
    finetune(job, {}, lambda share: None)
    member.model = start.model(settings)
    member.model.load_state_dict(load_file(folder / "model.safetensors"))
    member.model.eval()
    return dataclasses.replace(package, members=(member,))


def _explain(package: ModelPackage, workspace: Workspace, sample: LabelledSample) -> list[Explained]:
    return [
        explain_row(package, workspace.store, row, day)
        for row, day in zip(sample.rows.tolist(), sample.index_days.tolist(), strict=True)
    ]


if __name__ == "__main__":
    main()
