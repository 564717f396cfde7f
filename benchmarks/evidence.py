"""Whether models behave on the simulated country as they do on claims.

Three questions, on 30,000 unlabelled patients of 75 years and over: does the masked-code loss fall with model
size over a decade of sizes; what share of the oracle's gain in AUPRC over the prevalence does LightGBM reach
on simple and on compound questions; and what does pretraining gain over from-scratch training with few labels
and with more. Beside the oracle, who knows the latent state, stands what the claims allow: see `attainable`.
 Runs `benchmarks/evidence.yaml`, prints tables and writes `benchmarks/results/evidence.json`. Run with
`make bench NAME=evidence` (an hour on two cores; a stopped run goes on), or `evidence.py --runs FOLDER`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from sklearn.metrics import average_precision_score

from claimscale.baselines.features import count_features
from claimscale.corpus.groups import CodeGroups
from claimscale.corpus.tokens import TokenStore
from claimscale.study import catalogue_task
from record import write_record

STUDY = Path(__file__).parent / "evidence.yaml"
SIZES = ("80k", "160k", "320k", "800k")
SIMPLE = ("pregabalin", "sglt2_inhibitors")
COMPOUND = ("ckd", "heart_failure")
REPLICATES = 1000


def claimscale(*arguments: str) -> None:
    status = subprocess.call([sys.executable, "-m", "claimscale.cli", *arguments])
    if status:
        sys.exit(status)


def losses(run: Path, seed: int) -> dict[str, float]:
    """Masked-code loss on tuning patients by size."""
    found = {}
    for size in SIZES:
        cell = json.loads((run / "cells" / f"pretrain-{size}-s{seed}" / "cell.json").read_text("utf-8"))
        found[size] = cell["result"]["validation_loss"]
    return found


def held_out(run: Path, task: str) -> pd.DataFrame:
    """Test patients with label, LightGBM's probability and the true risk."""
    oracle = pq.read_table(run / "oracle" / f"{task}.parquet").to_pandas()
    file = run / "cells" / f"lightgbm-{task}-nall-s42" / "predictions.parquet"
    predicted = pq.read_table(file).to_pandas()
    predicted = predicted[predicted["split"] == "held_out"].drop(columns=["prediction_time", "split"])
    return oracle.merge(predicted, on="subject_id", validate="one_to_one")


def attainable(run: Path, task: str, patients: pd.DataFrame) -> np.ndarray:
    """The best risk that the observed claims allow, or at least something below it.

    The mean of the true risk among patients with the same claims is the best that can be predicted from them.
    It is estimated by regressing the true risk, which carries no chance of its own, on counted codes: in
    two folds of the test patients, each predicted by the trees of the other.
    """
    store = TokenStore.load(run / "tokens")
    rows = store.rows_of(patients["subject_id"].to_numpy())
    index_days = patients["prediction_time"].to_numpy().astype("datetime64[D]").astype(np.int64)
    strip = store.vocabulary.tokens_with_prefix(catalogue_task(task).get("strip", {}))
    features = count_features(store, CodeGroups.of(store.vocabulary), rows, index_days, strip)
    risk, fold = patients["risk"].to_numpy(), np.arange(len(patients)) % 2
    settings = {"objective": "cross_entropy", "num_leaves": 31, "learning_rate": 0.05, "min_data_in_leaf": 20}
    settings |= {"feature_fraction": 0.5, "lambda_l2": 5.0, "verbosity": -1, "seed": 0, "deterministic": True}
    found = np.empty(len(patients))
    for part in (0, 1):
        data = lightgbm.Dataset(features[fold != part], label=risk[fold != part])
        found[fold == part] = np.asarray(lightgbm.train(settings, data, 400).predict(features[fold == part]))
    return found


def shares_of_gain(
    patients: pd.DataFrame, scores: dict[str, np.ndarray]
) -> dict[str, tuple[float, float, float]]:
    """(AUPRC - prevalence) / (AUPRC of the oracle - prevalence) by name, with a 95 % patient bootstrap."""
    labels, risk = patients["boolean_value"].to_numpy(), patients["risk"].to_numpy()
    random = np.random.default_rng(0)

    def shares(rows: np.ndarray) -> list[float]:
        prevalence = labels[rows].mean()
        best = average_precision_score(labels[rows], risk[rows]) - prevalence
        return [
            (average_precision_score(labels[rows], values[rows]) - prevalence) / best
            for values in scores.values()
        ]

    drawn = [shares(random.integers(0, labels.size, labels.size)) for _ in range(REPLICATES)]
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    return dict(zip(scores, zip(shares(np.arange(labels.size)), low, high, strict=True), strict=True))


def families(run: Path) -> dict[str, float]:
    """What LightGBM reaches of the oracle's gain, and what the claims allow, by task."""
    figures: dict[str, float] = {}
    print(
        f"\n{'task':<20} {'family':<9} {'prevalence':>10} {'oracle':>7}  shares of the oracle's gain in AUPRC"
    )
    for family, tasks in (("simple", SIMPLE), ("compound", COMPOUND)):
        for task in tasks:
            patients = held_out(run, task)
            scores = {
                "lightgbm": patients["predicted_boolean_probability"].to_numpy(),
                "attainable": attainable(run, task, patients),
            }
            labels = patients["boolean_value"].to_numpy()
            best = float(average_precision_score(labels, patients["risk"].to_numpy()))
            prevalence = float(labels.mean())
            text = ""
            for name, (share, low, high) in shares_of_gain(patients, scores).items():
                figures |= {f"{task}_{name}_share": share}
                figures |= {f"{task}_{name}_share_low": low, f"{task}_{name}_share_high": high}
                text += f"  {name} {share:.0%} ({low:.0%} to {high:.0%})"
            figures |= {f"{task}_oracle_auprc": best, f"{task}_prevalence": prevalence}
            print(f"{task:<20} {family:<9} {prevalence:>10.4f} {best:>7.3f}{text}")
    return figures


def gains(summary: dict[str, Any]) -> dict[str, float]:
    """Pretrained minus from-scratch, in AUPRC, by task and number of labelled patients."""
    found: dict[str, float] = {}
    print(f"\n{'pretraining gains':<20} {'labelled':>9} {'positives':>10} {'AUPRC':>9}   95 % interval")
    for task in summary["tasks"]:
        for gain in task["pretraining_gain"]:
            labelled = gain["patients"]
            found |= {
                f"{task['name']}_gain_{labelled}_{key}": gain[key] for key in ("difference", "low", "high")
            }
            print(
                f"{task['name']:<20} {labelled:>9,} {task['positives']:>10,} {gain['difference']:>+9.4f}"
                f"   {gain['low']:+.4f} to {gain['high']:+.4f}"
            )
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", default="runs")
    runs = Path(parser.parse_args().runs)
    place = ("--set", f"runs={runs}")
    claimscale("study", str(STUDY), *place)
    for task in SIMPLE + COMPOUND:
        everybody = ("--set", "finetune.patients=[1000, 5000, all]", *place)
        claimscale("run", str(STUDY), f"lightgbm-{task}-nall-s42", *everybody)
    sweep = ("--set", f"sizes=[{', '.join(SIZES)}]", "--set", "pretrain.epochs=2", *place)
    for setting in ("pretrain.seeds=[42]", "finetune.seeds=[42]"):
        sweep = (*sweep, "--set", setting)
    claimscale("pretrain", str(STUDY), *sweep)
    run = runs / "evidence"
    figures: dict[str, float] = {}
    print(f"{'size':>8} {'masked-code loss':>18}")
    for size, loss in losses(run, 42).items():
        figures[f"validation_loss_{size}"] = loss
        print(f"{size:>8} {loss:>18.4f}")
    figures |= families(run)
    figures |= gains(json.loads((run / "summary.json").read_text("utf-8")))
    write_record("evidence", figures)


if __name__ == "__main__":
    main()
