"""The pretrained encoder against baselines, on simulated patients whose true risks are known.

28,000 unlabelled patients of 75 years and over, two simple and two compound tasks, three seeds, several
hundred test patients with each outcome: `recipe.yaml` with another seed, so that no choice was made on these
patients. With 1,000, 3,000 and all labelled patients: the pretrained encoder, the same encoder from scratch
(1,000 and 3,000 only), the tuned LightGBM, LightGBM on counts and frozen embeddings, and the ensemble of
encoder and LightGBM. Differences are paired, with 95 % intervals over patients and seeds. AUPRC is also given
as the share of the oracle's gain over the prevalence. The oracle knows the latent state; `attainable`
estimates what the claims allow. Also the masked-code loss of five sizes, with that of new codes.

Prints tables and writes `benchmarks/results/evidence.json`. Run with `make bench NAME=evidence` (two hours on
two cores; a stopped run resumes), or `evidence.py [--runs FOLDER] [--arms ARM ...] [--size SIZE]
[--labelled N ...] [--tasks TASK ...] [--no-sizes]`. Another size has a run folder and a record of its own.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import lightgbm
import numpy as np
import pyarrow.parquet as pq
from sklearn.metrics import average_precision_score

from cells import auprc, prepare, run_cells
from claimscale import artifacts
from claimscale.baselines.features import count_features
from claimscale.config import loading
from claimscale.config.comparison import NEEDS_LARGEST_ENCODER
from claimscale.evaluation.intervals import Scores, difference, interval
from claimscale.experiments.cells import Cell, Patients
from claimscale.experiments.workspace import Workspace
from claimscale.tokens.code_groups import CodeGroups
from record import write_record

STUDY = Path(__file__).parent / "recipe.yaml"
COUNTRY = ["name=evidence", "seed=7"]
SIZES = ("80k", "160k", "320k", "640k", "1.3M")
SWEEP = ["pretrain.epochs=3", f"sizes=[{', '.join(SIZES)}]"]
SIMPLE = ("pregabalin", "sglt2_inhibitors")
COMPOUND = ("ckd", "heart_failure")
TASKS = COMPOUND + SIMPLE
LABELLED: tuple[Patients, ...] = (1000, 3000, "all")
ARMS = ("pretrained", "scratch", "lightgbm", "lightgbm_counts_and_embeddings", "ensemble")
CONTRASTS = (
    ("pretrained", "lightgbm"), ("pretrained", "scratch"), ("lightgbm_counts_and_embeddings", "lightgbm"),
    ("ensemble", "lightgbm"),
)  # fmt: skip
REPLICATES = 1000


def labelled_of(arm: str, labelled: Sequence[Patients]) -> tuple[Patients, ...]:
    return tuple(n for n in labelled if arm != "scratch" or n != "all")


def cell_of(arm: str, task: str, labelled: Patients, seed: int, size: str) -> Cell:
    if arm in ("pretrained", "scratch"):
        return Cell("finetune", seed, size, task, arm, labelled)  # pyright: ignore[reportArgumentType]
    needed = size if arm in NEEDS_LARGEST_ENCODER else None
    return Cell(arm, seed, needed, task, None, labelled)  # pyright: ignore[reportArgumentType]


def scores_of(workspace: Workspace, arm: str, task: str, labelled: Patients) -> Scores:
    """AUPRC on the test patients of every seed, patients resampled alike for every arm."""
    seeds, size = workspace.study.finetune.seeds, workspace.study.sizes[0]
    cells = [cell_of(arm, task, labelled, seed, size) for seed in seeds]
    values, replicates, positives = zip(*(auprc(workspace, cell, REPLICATES) for cell in cells), strict=True)
    return Scores(tuple(seeds), np.array(values), np.stack(replicates), positives[0])


def oracle(workspace: Workspace, task: str) -> tuple[float, float, float]:
    """AUPRC of the true risk and of what the claims allow on the test patients, and the prevalence."""
    sample = workspace.samples(task)["held_out"]
    order = np.argsort(sample.subjects)
    table = pq.read_table(workspace.run / "oracle" / f"{task}.parquet").to_pandas()
    risk = table.set_index("subject_id").loc[sample.subjects[order], "risk"].to_numpy()
    outcome = sample.outcome[order]
    possible = attainable(workspace, task, sample.rows[order], sample.index_days[order], risk)
    best = (float(average_precision_score(outcome, values)) for values in (risk, possible))
    return (*best, float(outcome.mean()))  # pyright: ignore[reportReturnType]


def attainable(
    workspace: Workspace, task: str, rows: np.ndarray, index_days: np.ndarray, risk: np.ndarray
) -> np.ndarray:
    """A lower estimate of the best risk that the observed claims allow.

    The best prediction is the mean of the true risk among patients with the same claims. It is estimated by
    regressing the true risk, which has no sampling error, on counted codes, in two folds of the test
    patients: each is predicted by the trees of the other.
    """
    store = workspace.store
    hidden_tokens = store.vocabulary.tokens_with_prefix(workspace.task(task).hidden_codes)
    features = count_features(store, CodeGroups.of(store.vocabulary), rows, index_days, hidden_tokens)
    fold, found = np.arange(len(rows)) % 2, np.empty(len(rows))
    settings = {"objective": "cross_entropy", "num_leaves": 31, "learning_rate": 0.05, "min_data_in_leaf": 20}
    settings |= {"feature_fraction": 0.5, "lambda_l2": 5.0, "verbosity": -1, "seed": 0, "deterministic": True}
    for part in (0, 1):
        data = lightgbm.Dataset(features[fold != part], label=risk[fold != part])
        found[fold == part] = np.asarray(lightgbm.train(settings, data, 400).predict(features[fold == part]))
    return found


def compare(
    workspace: Workspace, task: str, arms: Sequence[str], labelled: Sequence[Patients]
) -> dict[str, float]:
    """Arms on one task: AUPRC, shares of the oracle's gain, and paired differences."""
    best, possible, prevalence = oracle(workspace, task)
    family = "simple" if task in SIMPLE else "compound"
    scores = {
        (arm, n): scores_of(workspace, arm, task, n) for arm in arms for n in labelled_of(arm, labelled)
    }
    positives = next(iter(scores.values())).positives
    figures = {"oracle": best, "attainable": possible, "prevalence": prevalence, "positives": positives}
    print(
        f"\n{task} ({family}): {positives:,} test patients with the outcome, prevalence {prevalence:.4f}, "
        f"AUPRC of the oracle {best:.3f}, attainable from claims {possible:.3f}"
    )
    for (arm, n), score in scores.items():
        mean = float(score.values.mean())
        share = (mean - prevalence) / (best - prevalence)
        figures |= {f"{arm}_{n}": mean, f"{arm}_{n}_share": share}
        print(f"  {arm:<20} {n!s:>5} labelled: AUPRC {mean:.4f}, {share:>4.0%} of the oracle's gain")
    for arm, other in (pair for pair in CONTRASTS if set(pair) <= set(arms)):
        for n in labelled_of(other, labelled):
            contrast = difference(scores[arm, n], scores[other, n])
            assert contrast is not None
            gain = interval(contrast)
            low, high = gain.two_sided()
            name = f"{arm}_over_{other}_{n}"
            figures |= {name: gain.estimate, f"{name}_low": low, f"{name}_high": high}
            print(f"  {arm} over {other:<9} {n!s:>5}: {gain.estimate:+.4f} ({low:+.4f} to {high:+.4f})")
    return {f"{task}_{key}": value for key, value in figures.items()}


def losses(workspace: Workspace, seed: int) -> dict[str, float]:
    """Losses on tuning patients by size: masked codes, new ones among them, incident codes."""
    figures = {}
    print(f"\n{'size':>8} {'masked':>8} {'new':>10} {'incident':>9}")
    for size in SIZES:
        cell = artifacts.read_json(workspace.folder(Cell("pretrain", seed, size).id) / artifacts.CELL)[
            "result"
        ]
        names = ("validation_loss", "validation_loss_new", "validation_loss_incident")
        figures |= {f"{name}_{size}": cell[name] for name in names}
        print(f"{size:>8} {cell[names[0]]:>8.4f} {cell[names[1]]:>10.4f} {cell[names[2]]:>9.4f}")
    return figures


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", default="runs")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    parser.add_argument("--size", help="parameters of the encoder, instead of the study's")
    parser.add_argument(
        "--labelled", nargs="+", choices=[str(n) for n in LABELLED], help="subsets, instead of all three"
    )
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--no-sizes", action="store_true", help="leave out the losses of five sizes")
    options = parser.parse_args()
    arms, overrides = options.arms, [*COUNTRY, f"runs_dir={options.runs}"]
    labelled: list[Patients] = [n for n in LABELLED if options.labelled is None or str(n) in options.labelled]
    name = "evidence" if options.size is None else f"evidence_{options.size}"
    if options.size is not None:
        overrides += [f"name={name}", f"sizes=[{options.size}]"]
    prepare(STUDY, overrides)
    study = loading.load(STUDY, overrides)
    seeds, size = study.finetune.seeds, study.sizes[0]
    cells = [Cell("pretrain", seed, size) for seed in seeds]
    cells += [
        cell_of(arm, task, n, seed, size)
        for arm in arms for n in labelled_of(arm, labelled) for task in options.tasks for seed in seeds
    ]  # fmt: skip
    run_cells(STUDY, overrides, cells)
    workspace, figures = Workspace(study, study.run_directory), dict[str, float]()
    if not options.no_sizes:
        run_cells(STUDY, [*overrides, *SWEEP], [Cell("pretrain", seeds[0], name) for name in SIZES])
        figures |= losses(workspace, seeds[0])
    for task in options.tasks:
        figures |= compare(workspace, task, arms, labelled)
    write_record(name, figures)


if __name__ == "__main__":
    main()
