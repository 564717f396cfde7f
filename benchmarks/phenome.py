"""One encoder for every outcome, against LightGBM trained per outcome, by number of training cases.

The country of `evidence.py`. Outcomes are codes that become incident within a year after the landmark in
patients without the code in the year before: 60 of them, 15 in each band of training cases (30-100, 100-300,
300-1,000, over 1,000). The encoder answers all of them without fine-tuning. LightGBM, as the study's baseline
with a search of three trials, is trained for each outcome on the landmark and the earlier dates of all
training patients, so it knows a year of labels that pretraining has not seen. Both
are tested on all test patients in sight at the landmark. The gain is the mean ratio of AUPRC, with a 95 %
interval over outcomes.

Prints a table and writes `benchmarks/results/phenome.json`: `make bench NAME=phenome`, after `evidence.py`,
or `phenome.py [--runs FOLDER] [--size SIZE] [--seeds SEED ...]`. Every LightGBM is kept as it ends: a stopped
run resumes.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import scipy.sparse as sparse
import torch
from safetensors.torch import load_file
from sklearn.metrics import average_precision_score

import evidence
from cells import WORKERS
from claimscale import artifacts
from claimscale.baselines import gradient_boosting
from claimscale.baselines.features import count_features
from claimscale.baselines.search import BaselineJob, LabelledFeatures, fit_predict
from claimscale.cohort.selection import read_patients
from claimscale.config import loading
from claimscale.experiments.cells import Cell
from claimscale.experiments.workspace import Workspace
from claimscale.model.attention import QueryPositions
from claimscale.model.encoder import Encoder
from claimscale.tasks import index_dates
from claimscale.tokens.batches import Batch
from claimscale.tokens.code_groups import CodeGroups
from claimscale.tokens.incident_codes import IncidentCodes, incident_codes
from claimscale.tokens.sequences import select_inputs
from claimscale.tokens.special_tokens import FIRST_CODE
from claimscale.training.device import cls_positions, encoder_inputs, evaluate
from record import write_record

BANDS = ((30, 100), (100, 300), (300, 1000), (1000, 10**9))
PER_BAND, MIN_TEST_CASES = 15, 20
HORIZON_DAYS, RECENCY_DAYS, MIN_HISTORY_DAYS = 365, 365, 365
CPU = torch.device("cpu")
NOTHING = np.zeros(0, np.int32)
TRIALS = 3
"""Of each LightGBM: few columns, many, and cautious trees on many."""


@dataclass(frozen=True)
class Dates:
    """Index dates of patients in sight: rows of the store and days, int64 [n]."""

    rows: np.ndarray
    days: np.ndarray

    def outcomes(self, workspace: Workspace) -> IncidentCodes:
        dates = self.days, np.ones(len(self.rows), np.bool_)
        return incident_codes(workspace.store, self.rows, dates, HORIZON_DAYS, NOTHING)

    def features(self, workspace: Workspace) -> sparse.csr_matrix:
        groups = CodeGroups.of(workspace.store.vocabulary)
        return count_features(workspace.store, groups, self.rows, self.days, NOTHING)


class Phenome:
    """The dates of each split and their outcomes."""

    def __init__(self, overrides: list[str]) -> None:
        study = loading.load(evidence.STUDY, overrides)
        self.workspace = Workspace(study, study.run_directory)

    def dates(self, split: str) -> Dates:
        """The landmark, and in learning splits the earlier dates, of patients who are then in sight."""
        store, study = self.workspace.store, self.workspace.study
        rows = store.rows_of(self.workspace.splits[split])
        days = np.full(len(rows), index_dates.day_before(study.cohort.landmark))
        if split in index_dates.LEARNING_SPLITS:
            patients = read_patients(self.workspace.run / "cohort")
            earlier = index_dates.earlier_dates(patients, study, MIN_HISTORY_DAYS).to_pandas()
            earlier = earlier[earlier["split"] == split]
            rows = np.r_[rows, store.rows_of(earlier["subject_id"].to_numpy())]
            days = np.r_[days, earlier["index_day"].to_numpy()]
        last = np.full(len(rows), -(10**6))
        for place, (row, day) in enumerate(zip(rows.tolist(), days.tolist(), strict=True)):
            known = store.available[store.offsets[row] : store.offsets[row + 1]]
            newest = int(np.searchsorted(known, day, side="right"))
            last[place] = known[newest - 1] if newest else -(10**6)
        in_sight = last > days - RECENCY_DAYS
        return Dates(rows[in_sight], days[in_sight].astype(np.int64))

    @cached_property
    def test(self) -> Dates:
        return self.dates("held_out")

    def chosen(self) -> list[tuple[int, int]]:
        """The outcomes: token and training cases, PER_BAND of each band, evenly spaced by cases."""
        vocabulary = self.workspace.store.vocabulary.size
        cases = np.bincount(self.dates("train").outcomes(self.workspace).new.token, minlength=vocabulary)
        tested = np.bincount(self.test.outcomes(self.workspace).new.token, minlength=vocabulary)
        found = []
        for low, high in BANDS:
            usable = np.flatnonzero((cases >= low) & (cases < high) & (tested >= MIN_TEST_CASES))
            usable = usable[usable >= FIRST_CODE]
            usable = usable[np.argsort(cases[usable], kind="stable")]
            places = np.unique(np.linspace(0, len(usable) - 1, PER_BAND).round().astype(int))
            found += [(int(token), int(cases[token])) for token in usable[places]]
        return found


def labels_of(codes: IncidentCodes, token: int) -> tuple[np.ndarray, np.ndarray]:
    """Outcome, and who is at risk of it, bool [n]."""
    n = len(codes.has_full_horizon)
    outcome, known = np.zeros(n, bool), np.zeros(n, bool)
    for lists, target in ((codes.new, outcome), (codes.known, known)):
        row, listed = lists.pairs(np.arange(n))
        target[row[listed == token]] = True
    return outcome, ~known


def encoder_log_odds(phenome: Phenome, seed: int, tokens: list[int]) -> np.ndarray:
    """Log odds of the outcomes of test patients, float32 [n, outcomes]."""
    workspace, size = phenome.workspace, phenome.workspace.study.sizes[0]
    encoder = Encoder(workspace.shape(size), workspace.token_metadata).eval()
    folder = workspace.folder(Cell("pretrain", seed, size).id)
    encoder.load_state_dict(load_file(folder / "model.safetensors"))
    chosen, settings = phenome.test, workspace.study.tokens
    sequences = select_inputs(
        workspace.store, chosen.rows, chosen.days, settings.max_length, settings.deduplicate, NOTHING
    )
    found, codes = np.zeros((len(chosen.rows), len(tokens)), np.float32), torch.tensor(tokens)

    def predict(batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        inputs = encoder_inputs(batch, batch.token, CPU)
        x_Td, queries = encoder.embed(inputs), QueryPositions.of(cls_positions(batch), batch.lengths, CPU)
        hidden, context = encoder.attend(x_Td, inputs, queries)
        sums = encoder.record_sums(x_Td, context, inputs.layout)
        return batch.index, encoder.incident_logits(hidden, sums, inputs, codes).numpy()

    with torch.no_grad():
        for index, logits in evaluate(predict, sequences, np.arange(len(sequences)), CPU):
            found[index] = logits
    return found


def lightgbm_scores(overrides: list[str], tokens: list[int], kept: Path) -> None:
    """AUPRC on test patients of the study's LightGBM baseline, searched and trained for each outcome."""
    phenome = Phenome(overrides)
    workspace = phenome.workspace
    splits = {name: phenome.dates(name) for name in ("train", "tuning")} | {"test": phenome.test}
    codes = {name: dates.outcomes(workspace) for name, dates in splits.items()}
    features = {name: dates.features(workspace) for name, dates in splits.items()}
    for token in tokens:
        parts: dict[str, LabelledFeatures] = {}
        for name, one in codes.items():
            outcome, at_risk = labels_of(one, token)
            rows = np.flatnonzero(at_risk)
            parts[name] = LabelledFeatures(features[name][rows], outcome[rows])
        job = BaselineJob(
            "lightgbm", parts["train"], parts["tuning"], {"test": parts["test"].features}, TRIALS, 0, 1,
            lambda share: None, starts=TRIALS,
        )  # fmt: skip
        found = fit_predict(gradient_boosting.baseline, job)
        auprc = float(average_precision_score(parts["test"].outcome, found.probabilities["test"]))
        artifacts.write_json(kept / f"{token}.json", {"auprc": auprc, "chosen": found.result["chosen"]})
        cases = int(parts["train"].outcome.sum())
        print(f"token {token}: {cases:,} training cases, AUPRC {auprc:.4f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", default="runs")
    parser.add_argument("--size")
    parser.add_argument("--seeds", nargs="+", help="pretrainings to evaluate; all of evidence.py by default")
    options = parser.parse_args()
    overrides = [*evidence.COUNTRY, f"runs_dir={options.runs}"]
    overrides += [] if options.size is None else [f"sizes=[{options.size}]"]
    if options.seeds:
        listed = ", ".join(options.seeds)
        overrides += [f"pretrain.seeds=[{listed}]", f"finetune.seeds=[{listed}]"]
    phenome = Phenome(overrides)
    chosen = phenome.chosen()
    tokens = [token for token, _ in chosen]
    kept = phenome.workspace.run / "phenome-baseline"
    artifacts.make_folder(kept)
    missing = [token for token in tokens if not (kept / f"{token}.json").exists()]
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool:
        shares = [missing[place::WORKERS] for place in range(WORKERS)]
        for part in [pool.submit(lightgbm_scores, overrides, share, kept) for share in shares if share]:
            part.result()
    trees = np.array([artifacts.read_json(kept / f"{token}.json")["auprc"] for token in tokens])
    codes = phenome.test.outcomes(phenome.workspace)
    labels = [labels_of(codes, token) for token in tokens]
    by_seed = []
    for seed in phenome.workspace.study.pretrain.seeds:
        log_odds = encoder_log_odds(phenome, seed, tokens)
        by_seed.append(
            [
                average_precision_score(outcome[at_risk], log_odds[at_risk, place])
                for place, (outcome, at_risk) in enumerate(labels)
            ]
        )
    encoder = np.array(by_seed).mean(axis=0)  # one encoder, in expectation
    figures: dict[str, float] = {"test_patients": len(phenome.test.rows), "outcomes": len(tokens)}
    cases = np.array([count for _, count in chosen])
    for low, high in BANDS:
        inside = (cases >= low) & (cases < high)
        ratio = np.log(encoder[inside] / trees[inside])
        error = 1.96 * ratio.std(ddof=1) / np.sqrt(inside.sum())
        gain = np.expm1([ratio.mean(), ratio.mean() - error, ratio.mean() + error])
        absolute = encoder[inside].mean() / trees[inside].mean() - 1
        name = f"{low}-{high}" if high < 10**9 else f"over {low}"
        print(
            f"{name:>10} training cases, {inside.sum()} outcomes: AUPRC {encoder[inside].mean():.4f}, "
            f"LightGBM {trees[inside].mean():.4f}; gain {gain[0]:+.1%} ({gain[1]:+.1%} to {gain[2]:+.1%})"
        )
        figures |= {f"{name}: encoder": encoder[inside].mean(), f"{name}: lightgbm": trees[inside].mean()}
        figures |= {f"{name}: gain": gain[0], f"{name}: low": gain[1], f"{name}: high": gain[2]}
        figures[f"{name}: gain of the mean"] = absolute
    write_record("phenome" if options.size is None else f"phenome_{options.size}", figures)


if __name__ == "__main__":
    main()
