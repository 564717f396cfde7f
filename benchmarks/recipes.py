"""Published recipes against the claimscale encoder of their size, on a simulated country.

The study `recipes.yaml`: the same patients, dates and labels for all; docs/recipes.md says what each gets.
Prints a table and writes `benchmarks/results/recipes.json`: `recipes.py [--runs FOLDER]`, or
`make bench NAME=recipes` (about an hour on two cores; a stopped run resumes).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from claimscale import artifacts, pipeline
from claimscale.config import loading
from claimscale.progress import PlainLines
from record import write_record

STUDY = Path(__file__).parent / "recipes.yaml"


def figures(task: dict[str, Any]) -> dict[str, float]:
    """AUPRC and AUROC of every model of a task, and the gain of the encoder over each recipe."""
    found: dict[str, float] = {"positives": task["positives"]}
    for one in task["recipes"]:
        name, gain = f"{one['recipe']} {one['size']}", one["encoder_gain"]
        found |= {f"{name} {metric}": one[metric]["estimate"] for metric in ("auprc", "auroc")}
        found |= {f"{name} encoder {key}": gain[key] for key in ("difference", "low", "high")}
        measured = ("parameters", "learning_rate", "pretraining_hours", "tokens_per_second", "train_flops")
        found |= {f"{name} {key}": one[key] for key in measured}
    for one in task["results"]:
        if one["split"] == "held_out":
            name = " ".join(filter(None, (one["arm"], one["size"])))
            found |= {f"{name} {metric}": one[metric]["estimate"] for metric in ("auprc", "auroc")}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", default="runs")
    study = loading.load(STUDY, [f"runs_dir={parser.parse_args().runs}"])
    pipeline.run_study(study, PlainLines())
    summary = artifacts.read_json(study.run_directory / "summary.json")
    measured: dict[str, float] = {}
    for task in summary["tasks"]:
        print(f"{task['name']}: {task['positives']} test patients with the outcome")
        own = [(one["arm"], one, None) for one in task["results"] if one["split"] == "held_out"]
        theirs = [(one["recipe"], one, one["encoder_gain"]) for one in task["recipes"]]
        for name, one, gain in sorted(own + theirs, key=lambda row: -row[1]["auprc"]["estimate"]):
            against = "{difference:+.4f} ({low:+.4f} to {high:+.4f})".format(**gain) if gain else ""
            print(f"  {name:14} {one['auprc']['estimate']:.4f} {one['auroc']['estimate']:.4f} {against}")
        measured |= {f"{task['name']} {key}": value for key, value in figures(task).items()}
    write_record("recipes", measured)


if __name__ == "__main__":
    main()
