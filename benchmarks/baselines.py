"""Our LightGBM against meds-tab's published recipe, on the same patients, index dates and events.

Simulates patients of 75 and over, prepares one question (pregabalin), and gives all of its labelled training
patients to both: LightGBM on counted codes as a study's cell runs it, and XGBoost as meds-tab 0.2.0 has it
(`meds_tab_recipe.py`): counts of every code over 1, 7, 30 and 365 days and all history, sex, settings
searched by Optuna for the AUROC of the tuning split, with as many trials. The recipe is rebuilt on this
package's tokens, and gets age, which meds-tab by itself would not count. Shows the AUPRC and AUROC of all on
held-out patients, the paired bootstrap interval of the differences, and seconds. Writes
`benchmarks/results/baselines.json`.

XGBoost and Optuna come from an environment that has meds-tab (`python -m venv FOLDER; FOLDER/bin/pip install
meds-tab==0.2.0`): `.venv/bin/python benchmarks/baselines.py FOLDER [PATIENTS]`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import scipy.sparse as sparse
from sklearn.metrics import average_precision_score, roc_auc_score

from claimscale.corpus import stages
from claimscale.study import Study
from claimscale.sweep.cells import Cell
from claimscale.sweep.work import run_cell
from claimscale.sweep.workspace import Sample, Workspace
from record import write_record

PATIENTS, TRIALS, SEED, REPLICATES = 12_000, 20, 42, 2000
TASK = "pregabalin"
RECIPE = Path(__file__).parent / "meds_tab_recipe.py"
RECIPE_WINDOWS = (1, 7, 30, 365, None)
METRICS = {"auprc": average_precision_score, "auroc": roc_auc_score}
EVERY_CELL = ("lightgbm", "logistic", "carry_forward")


def study_of(folder: Path, patients: int) -> Study:
    return Study.model_validate(
        {
            "name": "baselines",
            "source": {"kind": "simulated", "patients": patients, "hospitals": 16, "youngest": 75},
            "cohort": {"landmark": "2020-10-01", "splits": {"patients": [0.5, 0.1, 0.4]}},
            "tokens": {"min_patients": 10},
            "sizes": ["2.2M"],
            "tasks": [TASK],
            "search": {"trials": TRIALS},
            "runs": str(folder),
        },
        strict=False,
    )


def held_out(workspace: Workspace, kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Runs a baseline's cell; subjects (ascending), labels, probabilities of held-out patients, seconds."""
    cell = Cell(kind, SEED, task=TASK, patients="all")  # pyright: ignore[reportArgumentType]
    started = time.monotonic()
    run_cell(workspace, cell, 1, lambda share: None)
    seconds = time.monotonic() - started
    table = pq.read_table(workspace.folder(cell.id) / "predictions.parquet")
    table = table.filter(np.asarray(table["split"].to_pylist()) == "held_out").sort_by("subject_id")
    names = ("subject_id", "boolean_value", "predicted_boolean_probability")
    subject, labels, risk = (table[name].to_numpy() for name in names)
    return subject, labels, risk, seconds


def recipe_counts(workspace: Workspace, sample: Sample) -> sparse.csr_matrix:
    """Age, sex, and the counts of every code in each window of the recipe."""
    store = workspace.store
    strip = store.vocabulary.tokens_with_prefix(workspace.task(TASK).strip)
    counts = np.diff(store.offsets)[sample.rows]
    row = np.repeat(np.arange(len(sample.rows)), counts)
    place = np.concatenate(
        [np.arange(int(store.offsets[n]), int(store.offsets[n + 1])) for n in sample.rows.tolist()]
    )
    token = store.token[place].astype(np.int64)
    usable = (store.available[place] <= sample.index_days[row]) & ~np.isin(token, strip)
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


def recipe(workspace: Workspace, environment: Path, folder: Path) -> np.ndarray:
    """Held-out probabilities of the recipe, subjects ascending."""
    samples = workspace.samples(TASK)
    for name in ("train", "tuning", "held_out"):
        sample = samples[name].take(np.argsort(samples[name].subjects))
        sparse.save_npz(folder / f"{name}.npz", recipe_counts(workspace, sample), compressed=False)
        np.save(folder / f"{name}-outcome.npy", sample.outcome)
    # A code's events decide whether all of its columns stay; age and sex always do.
    events = np.tile(workspace.store.vocabulary.events, len(RECIPE_WINDOWS))
    np.save(folder / "events.npy", np.r_[[np.iinfo(np.int64).max] * 3, events])
    arguments = [str(folder), str(TRIALS), str(SEED)]
    subprocess.run([environment / "bin" / "python", RECIPE, *arguments], check=True)
    return np.load(folder / "predictions.npy")


def bootstrap(labels: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> dict[str, tuple[float, float]]:
    """95 % intervals of the differences of metrics, patients resampled in pairs."""
    random = np.random.default_rng(0)
    differences: dict[str, list[float]] = {name: [] for name in METRICS}
    for _ in range(REPLICATES):
        drawn = random.integers(0, len(labels), len(labels))
        for name, metric in METRICS.items():
            differences[name].append(
                float(metric(labels[drawn], ours[drawn])) - float(metric(labels[drawn], theirs[drawn]))
            )
    return {
        name: (float(np.quantile(found, 0.025)), float(np.quantile(found, 0.975)))
        for name, found in differences.items()
    }


def main(environment: Path, patients: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        study = study_of(folder / "runs", patients)
        run = study.run_directory
        run.mkdir(parents=True)
        stages.prepare(study, run, lambda stage, share: None)
        workspace = Workspace(study, run)
        found = {kind: held_out(workspace, kind) for kind in EVERY_CELL}
        subject, labels, ours, _ = found["lightgbm"]
        started = time.monotonic()
        theirs = recipe(workspace, environment, folder)
        found["meds_tab"] = (subject, labels, theirs, time.monotonic() - started)
        train = workspace.samples(TASK)["train"]
    figures: dict[str, float] = {
        "patients": patients,
        "trials": TRIALS,
        "train_patients": len(train.rows),
        "train_positives": int(train.outcome.sum()),
        "test_patients": len(labels),
        "test_positives": int(labels.sum()),
    }
    print(
        f"{len(train.rows):,} training patients, {len(labels):,} held-out, {labels.sum():,} with the outcome"
    )
    for kind, (_, _, risk, taken) in found.items():
        for name, metric in METRICS.items():
            figures[f"{kind}_{name}"] = float(metric(labels, risk))
        figures[f"{kind}_seconds"] = taken
        scores = f"AUPRC {figures[f'{kind}_auprc']:.4f}  AUROC {figures[f'{kind}_auroc']:.4f}"
        print(f"{kind:<14} {scores} {taken:>7.0f} s")
    for name, (low, high) in bootstrap(labels, ours, found["meds_tab"][2]).items():
        difference = figures[f"lightgbm_{name}"] - figures[f"meds_tab_{name}"]
        figures |= {f"{name}_difference": difference, f"{name}_low": low, f"{name}_high": high}
        print(f"LightGBM - meds-tab, {name}: {difference:+.4f} (95 % interval {low:+.4f} to {high:+.4f})")
    sys.argv[1] = "FOLDER"  # where meds-tab lies is of no interest to anybody else
    write_record("baselines" if patients == PATIENTS else f"baselines_{patients}", figures)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int((sys.argv[2:3] or [PATIENTS])[0]))
