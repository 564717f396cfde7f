"""Explanations on simulated patients, whose diseases have known causes.

1. Completeness: the share of test patients whose error is below 1 % of the difference to the baseline.
2. Drivers: whether the five recorded codes with the largest contributions hold one that truly drives the
   risk, over the tenth of the test patients with the highest true risk. A patient's drivers are the
   conditions of the latent state that write the outcome's codes, are a milder stage of such a condition, or
   raise its hazard. Their codes are drivers, apart from everyday codes. Chance level is that of a random
   order of the codes that contribute.
3. The same for encoders fine-tuned on shuffled labels, which hold no information: from scratch, and from the
   pretrained encoder without the zero-shot logit. As a control, labels are planted: ten codes drive them.

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
from typing import Literal, NamedTuple

import numpy as np
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file
from scipy.stats import hypergeom

from claimscale import pipeline
from claimscale.artifacts import make_folder
from claimscale.codes.systems import full_prefixes
from claimscale.config.sources import SimulatedSource
from claimscale.config.study import Study
from claimscale.experiments.datasets import LabelledSample
from claimscale.experiments.workspace import Workspace
from claimscale.inference.explained import Explained, explain_row
from claimscale.inference.package import ModelPackage
from claimscale.inference.packaging import Choice, write_package
from claimscale.progress import Silent, display
from claimscale.simulator import description, months
from claimscale.simulator.description import Condition, Description
from claimscale.simulator.kernel.histories import states_at
from claimscale.simulator.population import Population, stream_seed
from claimscale.training.finetune_trainer import LabelledSequences
from claimscale.training.finetuning import FinetuneJob, finetune
from claimscale.training.initialization import Initialization
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
TOP, HIGH_RISK, COMPLETENESS_PATIENTS = 5, 0.1, 300
MODELS: tuple[Literal["encoder", "lightgbm"], ...] = ("encoder", "lightgbm")
PLANTED_CODES, PLANTED_SHARE, PLANTED_RISKS = 5, 0.3, (0.8, 0.05)
"""Codes that drive the planted labels, of about this share of the commonest code's patients; risk with any of
them, and without."""
FROM_SCRATCH = {"epochs": 2, "learning_rates": [0.004]}
BREADTHS = {"all": 0.0, "strong": 0.5}
"""The least log hazard ratio of causes that count as drivers."""
STATE_ITSELF, EARLIER_STAGE = 3.0, 2.0
"""Ranks of the outcome's own condition and of its milder stage, above all causes."""


class Hits(NamedTuple):
    """Over patients: shares with a driver among the top codes, and the chance level of that."""

    share: float
    chance: float
    strongest: float
    strongest_chance: float
    patients: int


class Drivers:
    """The conditions that drive an outcome in each patient, with their codes."""

    def __init__(self, population: Population, outcome: tuple[str, ...], month: int) -> None:
        self.description: Description = description.read()
        country = population.country()
        self.has, _ = states_at(
            country.parameters, months.first_days(), stream_seed(population.seed), population.patients, month
        )
        self.names = country.conditions
        self.revised = {
            old: new for pairs in self.description.practice.revisions.values() for old, new in pairs.items()
        }
        everyday = set(self.description.everyday_codes())
        conditions = self.description.conditions
        self.codes = {name: self._codes(one) - everyday for name, one in conditions.items()}
        self.writers = [
            name
            for name, one in conditions.items()
            if any(code.startswith(outcome) for code in self._codes(one))
        ]

    def of(self, subject: int, least: float) -> dict[str, float]:
        """The patient's driving conditions with their strengths; causes of at least this log hazard ratio."""
        conditions = self.description.conditions
        present = {name for name, has in zip(self.names, self.has[subject - 1], strict=True) if has}
        found: dict[str, float] = {name: STATE_ITSELF for name in self.writers if name in present}
        for name in self.writers:
            stage = conditions[name].stage_of
            if name in present:
                continue
            if stage in present:
                found.setdefault(stage, EARLIER_STAGE)
            # Before the earlier stage, its causes come first.
            target = stage if stage is not None and stage not in present else name
            for cause, (weight, _years) in conditions[target].causes.items():
                if cause in present and weight >= least:
                    found[cause] = max(found.get(cause, 0.0), weight)
        return found

    def _codes(self, condition: Condition) -> set[str]:
        codes = {f"ICD10//{code}" for code in condition.diagnoses}
        codes |= {f"ATC//{code}" for line in condition.drugs for code in line}
        codes |= {f"KUBUN//{code}" for code in condition.tests}
        return codes | {self.revised[code] for code in codes if code in self.revised}


def hits(explained: Sequence[Explained], subjects: np.ndarray, drivers: Drivers, least: float) -> Hits:
    """Patients without a driver's code in the record do not count."""
    found: list[tuple[float, float]] = []
    strongest: list[tuple[float, float]] = []
    for one, subject in zip(explained, subjects.tolist(), strict=True):
        by_code = one.attribution.by_code()
        keys = sorted(by_code, key=lambda key: -by_code[key])
        ranked = drivers.of(subject, least)
        each = [
            _is_driver(keys, drivers.codes[name]) for name in sorted(ranked, key=lambda name: -ranked[name])
        ]
        recorded = [is_driver for is_driver in each if is_driver.any()]
        if recorded:
            found.append(_hit(np.any(recorded, axis=0)))
            strongest.append(_hit(recorded[0]))
    return Hits(*np.mean(found, axis=0).tolist(), *np.mean(strongest, axis=0).tolist(), len(found))


def _is_driver(keys: Sequence[tuple[str, bool]], codes: set[str]) -> np.ndarray:
    """Whether each code of the record, or a longer code that has its token, is one of the codes: bool [n]."""
    return np.array([not suspected and any(c.startswith(code) for c in codes) for code, suspected in keys])


def _hit(is_driver: np.ndarray) -> tuple[float, float]:
    """Whether the first TOP hold a driver, and the probability of that for a random order."""
    chance = hypergeom.sf(0, len(is_driver), is_driver.sum(), min(TOP, len(is_driver)))
    return float(is_driver[:TOP].any()), float(chance)


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
        model: write_package(workspace.run, Choice(task, model), folder / f"{task}-{model}", Silent())
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
    for name, package in models.items():
        explained = _explain(package, workspace, high)
        for breadth, least in BREADTHS.items():
            found = hits(explained, high.subjects, drivers, least)
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
                found.append(_hit(is_driver))
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
