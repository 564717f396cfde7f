"""Whether models behave on the simulated country as they do on claims.

Three questions, on 30,000 unlabelled patients of 75 years and over: does the masked-code loss fall with model
size over a decade of sizes; what share of the oracle's gain in AUPRC over the prevalence does LightGBM reach on
simple and on compound questions; and what does pretraining gain over from-scratch training with few labels and
with more. Runs `benchmarks/evidence.yaml`, prints tables and writes `benchmarks/results/evidence.json`. Run with
`make bench NAME=evidence` (an hour on two cores; a stopped run goes on), or `evidence.py --runs FOLDER`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from sklearn.metrics import average_precision_score

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


def share_of_gain(run: Path, task: str, count: int) -> tuple[float, float, float]:
    """(AUPRC of LightGBM - prevalence) / (AUPRC of the oracle - prevalence), with a 95 % patient bootstrap."""
    oracle = pq.read_table(run / "oracle" / f"{task}.parquet").to_pandas()
    cell = run / "cells" / f"lightgbm-{task}-nall-s42" / "predictions.parquet"
    predicted = pq.read_table(cell).to_pandas()
    predicted = predicted[predicted["split"] == "held_out"]
    both = oracle.merge(predicted, on="subject_id", validate="one_to_one")
    labels = both["boolean_value"].to_numpy()
    scores = [both[name].to_numpy() for name in ("predicted_boolean_probability", "risk")]
    random = np.random.default_rng(0)

    def share(rows: np.ndarray) -> float:
        reached, best = (average_precision_score(labels[rows], values[rows]) for values in scores)
        return (reached - labels[rows].mean()) / (best - labels[rows].mean())

    drawn = [share(random.integers(0, labels.size, labels.size)) for _ in range(count)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return share(np.arange(labels.size)), float(low), float(high)


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
    sweep = ("--set", f"sizes=[{', '.join(SIZES)}]", "--set", "pretrain.epochs=4", *place)
    for setting in ("pretrain.seeds=[42]", "finetune.seeds=[42]"):
        sweep = (*sweep, "--set", setting)
    claimscale("pretrain", str(STUDY), *sweep)
    run = runs / "evidence"
    figures: dict[str, float] = {}
    print(f"{'size':>8} {'masked-code loss':>18}")
    for size, loss in losses(run, 42).items():
        figures[f"validation_loss_{size}"] = loss
        print(f"{size:>8} {loss:>18.4f}")
    print(f"\n{'task':<20} {'family':<9} {'share of the oracle gain':>25}   95 % interval")
    for family, tasks in (("simple", SIMPLE), ("compound", COMPOUND)):
        for task in tasks:
            share, low, high = share_of_gain(run, task, REPLICATES)
            figures |= {f"{task}_share": share, f"{task}_share_low": low, f"{task}_share_high": high}
            print(f"{task:<20} {family:<9} {share:>25.0%}   {low:.0%} to {high:.0%}")
    figures |= gains(json.loads((run / "summary.json").read_text("utf-8")))
    write_record("evidence", figures)


if __name__ == "__main__":
    main()
