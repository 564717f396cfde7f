"""Our LightGBM against meds-tab's published recipe, on the same patients, index dates and events.

Simulates patients of 75 and over, prepares three questions, and gives all of their labelled training patients
to both: LightGBM on counted codes as a study's cell runs it, and XGBoost as meds-tab 0.2.0 has it
(`meds_tab_recipe.py`): counts of every code over 1, 7, 30 and 365 days and all history, sex, settings
searched by Optuna for the AUROC of the tuning split, with as many trials. The recipe is rebuilt on this
package's tokens, and gets age, which meds-tab by itself would not count. Three seeds each, in turns. Shows
the AUPRC and AUROC of all on held-out patients, the intervals of the differences over patients and seeds,
and seconds. Writes `benchmarks/results/baselines.json`.

XGBoost and Optuna come from an environment that has meds-tab (`python -m venv FOLDER; FOLDER/bin/pip install
meds-tab==0.2.0`): `.venv/bin/python benchmarks/baselines.py FOLDER [PATIENTS]`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import scipy.sparse as sparse

from claimscale import pipeline
from claimscale.config.study import Study
from claimscale.evaluation.intervals import Scores, difference, interval
from claimscale.evaluation.scoring import score_ranking
from claimscale.experiments.cells import Cell
from claimscale.experiments.datasets import LabelledSample
from claimscale.experiments.execute import run_cell
from claimscale.experiments.workspace import Workspace
from record import write_record

PATIENTS, TRIALS, REPLICATES = 60_000, 20, 2000
SEEDS = (42, 123, 456)
TASKS = ("pregabalin", "ckd", "heart_failure")
RECIPE = Path(__file__).parent / "meds_tab_recipe.py"
RECIPE_WINDOWS = (1, 7, 30, 365, None)
METRICS = ("auprc", "auroc")
KINDS = ("lightgbm", "logistic", "outcome_history")


@dataclass(frozen=True)
class Run:
    """Held-out patients, subjects ascending: their outcomes and risks; and seconds."""

    outcome: np.ndarray
    risk: np.ndarray
    seconds: float


def study_of(folder: Path, patients: int) -> Study:
    return Study.model_validate(
        {
            "name": "baselines",
            "source": {"kind": "simulated", "patients": patients, "hospitals": 16, "min_age": 75},
            "cohort": {"landmark": "2020-10-01", "splits": {"fractions": [0.5, 0.1, 0.4]}},
            "tokens": {"min_patients": 10},
            "sizes": ["2.2M"],
            "tasks": list(TASKS),
            "search": {"n_trials": TRIALS},
            "runs_dir": str(folder),
        },
        strict=False,
    )


def run_baseline(workspace: Workspace, kind: str, task: str, seed: int) -> Run:
    cell = Cell(kind, seed, task=task, patients="all")  # pyright: ignore[reportArgumentType]
    started = time.monotonic()
    run_cell(workspace, cell, 1, lambda share: None)
    seconds = time.monotonic() - started
    table = pq.read_table(workspace.folder(cell.id) / "predictions.parquet")
    table = table.filter(np.asarray(table["split"].to_pylist()) == "held_out").sort_by("subject_id")
    outcome, risk = (table[name].to_numpy() for name in ("boolean_value", "predicted_boolean_probability"))
    return Run(outcome, risk, seconds)


def recipe_counts(workspace: Workspace, task: str, sample: LabelledSample) -> sparse.csr_matrix:
    """Age, sex, and the counts of every code in each window of the recipe."""
    store = workspace.store
    hidden_tokens = store.vocabulary.tokens_with_prefix(workspace.task(task).hidden_codes)
    counts = np.diff(store.offsets)[sample.rows]
    row = np.repeat(np.arange(len(sample.rows)), counts)
    place = np.concatenate(
        [np.arange(int(store.offsets[n]), int(store.offsets[n + 1])) for n in sample.rows.tolist()]
    )
    token = store.token[place].astype(np.int64)
    usable = (store.available[place] <= sample.index_days[row]) & ~np.isin(token, hidden_tokens)
    row, token, place = row[usable], token[usable], place[usable]
    ago = sample.index_days[row] - store.age_days[place] - store.birth_day[sample.rows[row]]
    age = sample.index_days - store.birth_day[sample.rows]
    person = np.stack([age, store.sex[sample.rows] == 3, store.sex[sample.rows] == 4], axis=1)
    blocks: list[sparse.csr_matrix] = [sparse.csr_matrix(person.astype(np.float32))]
    for window in RECIPE_WINDOWS:
        inside = np.ones(len(ago), dtype=bool) if window is None else ago < window
        where = (row[inside], token[inside])
        shape = (len(sample.rows), store.vocabulary.size)
        blocks.append(sparse.csr_matrix((np.ones(int(inside.sum()), np.float32), where), shape=shape))
    return sparse.csr_matrix(sparse.hstack(blocks, format="csr"))


def write_recipe_inputs(workspace: Workspace, task: str, folder: Path) -> None:
    samples = workspace.samples(task)
    for name in ("train", "tuning", "held_out"):
        sample = samples[name].take(np.argsort(samples[name].subjects))
        sparse.save_npz(folder / f"{name}.npz", recipe_counts(workspace, task, sample), compressed=False)
        np.save(folder / f"{name}-outcome.npy", sample.outcome)
    # A code's events decide whether all of its columns stay; age and sex always do.
    events = np.tile(workspace.store.vocabulary.events, len(RECIPE_WINDOWS))
    np.save(folder / "events.npy", np.r_[[np.iinfo(np.int64).max] * 3, events])


def run_recipe(environment: Path, folder: Path, seed: int) -> Run:
    started = time.monotonic()
    arguments = [str(folder), str(TRIALS), str(seed)]
    subprocess.run([environment / "bin" / "python", RECIPE, *arguments], check=True)
    seconds = time.monotonic() - started
    return Run(np.load(folder / "held_out-outcome.npy"), np.load(folder / "predictions.npy"), seconds)


def scored(runs: list[Run]) -> dict[str, Scores]:
    """Both metrics over the seeds, patients resampled alike for every model."""
    found = [score_ranking(run.outcome, run.risk, REPLICATES, 0) for run in runs]
    return {
        metric: Scores(
            SEEDS[: len(runs)],
            np.array([one[metric].values[0] for one in found]),
            np.stack([one[metric].replicates[0] for one in found]),
            int(runs[0].outcome.sum()),
        )
        for metric in METRICS
    }


def compare(workspace: Workspace, task: str, environment: Path, folder: Path) -> dict[str, float]:
    """Run both in turns on one question; prints and returns what was found."""
    write_recipe_inputs(workspace, task, folder)
    runs: dict[str, list[Run]] = {kind: [] for kind in (*KINDS, "meds_tab")}
    for seed in SEEDS:
        for kind in KINDS:
            runs[kind].append(run_baseline(workspace, kind, task, seed))
        runs["meds_tab"].append(run_recipe(environment, folder, seed))
    train, outcome = workspace.samples(task)["train"], runs["lightgbm"][0].outcome
    figures: dict[str, float] = {
        "train_patients": len(train.rows),
        "train_positives": int(train.outcome.sum()),
        "test_patients": len(outcome),
        "test_positives": int(outcome.sum()),
    }
    print(f"{task}: " + ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in figures.items()))
    scores = {kind: scored(found) for kind, found in runs.items()}
    for kind, found in runs.items():
        means = {metric: float(scores[kind][metric].values.mean()) for metric in METRICS}
        seconds = float(np.median([run.seconds for run in found]))
        figures |= {f"{kind}_{metric}": mean for metric, mean in means.items()}
        figures |= {f"{kind}_seconds": seconds}
        print(f"{kind:<14} AUPRC {means['auprc']:.4f}  AUROC {means['auroc']:.4f} {seconds:>7.0f} s")
    for metric in METRICS:
        contrast = difference(scores["lightgbm"][metric], scores["meds_tab"][metric])
        assert contrast is not None
        gain = interval(contrast)
        low, high = gain.two_sided()
        figures |= {f"{metric}_difference": gain.estimate, f"{metric}_low": low, f"{metric}_high": high}
        print(
            f"LightGBM - meds-tab, {metric}: {gain.estimate:+.4f} (95 % interval {low:+.4f} to {high:+.4f})"
        )
    return {f"{task}_{name}": value for name, value in figures.items()}


def main(environment: Path, patients: int) -> None:
    figures: dict[str, float] = {"patients": patients, "trials": TRIALS, "seeds": len(SEEDS)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        study = study_of(folder / "runs", patients)
        workspace = pipeline.prepare(study)
        for task in TASKS:
            figures |= compare(workspace, task, environment, folder)
    sys.argv[1] = "FOLDER"  # where meds-tab lies is of no interest to anybody else
    write_record("baselines" if patients == PATIENTS else f"baselines_{patients}", figures)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int((sys.argv[2:3] or [PATIENTS])[0]))
