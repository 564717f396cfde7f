"""The pretrained encoder against LightGBM with the same labels, on simulated patients.

A country on which nothing was chosen (`recipe.yaml`, seed 12): 28,800 training patients of 75 and over,
128,000 test patients, two simple and two compound tasks, three seeds. Every arm learns from all eligible
index dates of all training patients (`labels: all_dates`) and is tested once per patient. The pretrained
encoder, LightGBM (tuned), the ensemble of both (mean log odds), and its controls: two encoders and two
LightGBMs of different seeds. Differences are paired, with 95 % intervals over patients and runs.

Prints a table and writes `benchmarks/results/evidence.json`. Run with `make bench NAME=evidence` (two hours
on two cores; a stopped run resumes), or `evidence.py [--runs FOLDER] [--size SIZE] [--tasks TASK ...]`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.special import expit, logit

from cells import held_out, prepare, run_cells
from claimscale.config import loading
from claimscale.evaluation.intervals import Scores, difference, interval
from claimscale.evaluation.metrics import MIN_RISK
from claimscale.evaluation.scoring import score_ranking
from claimscale.experiments.cells import Cell
from claimscale.experiments.workspace import Workspace
from record import write_record

STUDY = Path(__file__).parent / "recipe.yaml"
COUNTRY = [
    "name=evidence",
    "seed=12",
    "source.patients=160000",
    "cohort.splits.fractions=[0.18, 0.02, 0.8]",
    "pretrain.epochs=16",
]
COMPOUND, SIMPLE = ("ckd", "heart_failure"), ("pregabalin", "sglt2_inhibitors")
TASKS = COMPOUND + SIMPLE
ARMS = {
    "encoder": ("encoder",),
    "lightgbm": ("lightgbm",),
    "encoder and LightGBM": ("encoder", "lightgbm"),
    "two encoders": ("encoder", "encoder"),
    "two LightGBMs": ("lightgbm", "lightgbm"),
}
"""The members of each arm; a second member of the same kind is of the next seed."""
CONTRASTS = (
    ("encoder", "lightgbm"),
    ("encoder and LightGBM", "two LightGBMs"),
    ("encoder and LightGBM", "two encoders"),
    ("two encoders", "two LightGBMs"),
)
REPLICATES = 1000


class TaskRisks(NamedTuple):
    """Outcomes of the test patients, bool [n], and log odds of both models by seed, float64 [n]."""

    outcome: np.ndarray
    log_odds: dict[tuple[str, int], np.ndarray]
    seeds: tuple[int, ...]


def cell_of(model: str, task: str, seed: int, size: str) -> Cell:
    if model == "encoder":
        return Cell("finetune", seed, size, task, "pretrained", "all")
    return Cell("lightgbm", seed, None, task, None, "all")


def risks_of(workspace: Workspace, task: str) -> TaskRisks:
    seeds, size = tuple(workspace.study.finetune.seeds), workspace.study.sizes[0]
    outcome, found = np.zeros(0, bool), {}
    for model in ("encoder", "lightgbm"):
        for seed in seeds:
            table = held_out(workspace, cell_of(model, task, seed, size))
            outcome = table["boolean_value"].to_numpy()
            risk = table["predicted_boolean_probability"].to_numpy()
            found[model, seed] = logit(risk.clip(MIN_RISK, 1 - MIN_RISK))
    return TaskRisks(outcome, found, seeds)


def scores_of(risks: TaskRisks, arm: str) -> Scores:
    """AUPRC of an arm of every seed; patients are resampled alike for every arm."""
    values, replicates = [], []
    for place in range(len(risks.seeds)):
        members = ARMS[arm]
        repeated = len(set(members)) < len(members)
        seeds = [
            risks.seeds[(place + number * repeated) % len(risks.seeds)] for number in range(len(members))
        ]
        log_odds = np.mean([risks.log_odds[key] for key in zip(members, seeds, strict=True)], axis=0)
        found = score_ranking(risks.outcome, expit(log_odds), REPLICATES, 0)["auprc"]
        values.append(float(found.values[0]))
        replicates.append(found.replicates[0])
    return Scores(risks.seeds, np.array(values), np.stack(replicates), int(risks.outcome.sum()))


def compare(workspace: Workspace, task: str) -> dict[str, float]:
    """AUPRC of every arm on one task, and paired differences with 95 % intervals."""
    risks = risks_of(workspace, task)
    learnt = workspace.labels[task]["splits"]["train"]
    figures = {
        "positives": float(risks.outcome.sum()),
        "prevalence": float(risks.outcome.mean()),
        "training_patients": learnt["patients"],
        "training_dates": learnt["n"],
        "training_positives": learnt["positives"],
        "pretraining_positives": workspace.pretraining_positives(workspace.task(task)),
    }
    print(f"\n{task}: " + ", ".join(f"{name} {value:,.4g}" for name, value in figures.items()))
    scores = {arm: scores_of(risks, arm) for arm in ARMS}
    for arm, score in scores.items():
        figures[arm] = float(score.values.mean())
        print(f"  {arm:<22} AUPRC {figures[arm]:.4f} ({', '.join(f'{x:.4f}' for x in score.values)})")
    for arm, other in CONTRASTS:
        contrast = difference(scores[arm], scores[other])
        assert contrast is not None
        gain = interval(contrast)
        low, high = gain.two_sided()
        name = f"{arm} over {other}"
        figures |= {name: gain.estimate, f"{name}: low": low, f"{name}: high": high}
        print(f"  {name}: {gain.estimate:+.4f} ({low:+.4f} to {high:+.4f})")
    return {f"{task}: {key}": value for key, value in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", default="runs")
    parser.add_argument("--size", help="parameters of the encoder, instead of the study's")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    options = parser.parse_args()
    overrides = [*COUNTRY, f"runs_dir={options.runs}"]
    name = "evidence" if options.size is None else f"evidence_{options.size}"
    if options.size is not None:
        overrides.append(f"sizes=[{options.size}]")
    prepare(STUDY, overrides)
    study = loading.load(STUDY, overrides)
    cells = [Cell("pretrain", seed, study.sizes[0]) for seed in study.finetune.seeds]
    cells += [
        cell_of(model, task, seed, study.sizes[0])
        for model in ("encoder", "lightgbm")
        for task in options.tasks
        for seed in study.finetune.seeds
    ]
    run_cells(STUDY, overrides, cells)
    workspace, figures = Workspace(study, study.run_directory), dict[str, float]()
    for task in options.tasks:
        figures |= compare(workspace, task)
    write_record(name, figures)


if __name__ == "__main__":
    main()
