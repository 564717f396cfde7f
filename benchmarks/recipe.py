"""Which recipe makes a small encoder worth its parameters: one choice changed at a time, on simulated claims.

30,000 unlabelled patients of 75 years and over (`recipe.yaml`), whose true risks are known. Every variant is
pretrained and fine-tuned on 1,000 and 3,000 labelled patients. Nothing is chosen on test patients: scores are
those of development patients, who are training patients whose labels no cell has seen (all after the first
3,000). The difference to the base recipe is the mean over tasks and label counts, with a 95 % interval from
resampling patients within each task. `recipe.py reduced` takes two tasks, fewer variants and fewer epochs.

Prints a table and writes `benchmarks/results/recipe.json` (`recipe_reduced.json`). A stopped run goes on.
`recipe.py [reduced] [--runs FOLDER] [--size 300k] [--only NAME ...]`, or `make bench NAME=recipe`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from claimscale import runs, study_file
from claimscale.evaluation.scoring import score_ranking
from claimscale.model.encoder import Encoder
from claimscale.model.readout import Readout
from claimscale.study import Study
from claimscale.sweep import work
from claimscale.sweep.cells import Cell
from claimscale.sweep.workspace import Sample, Workspace
from claimscale.training.fit import logits
from record import write_record

STUDY = Path(__file__).parent / "recipe.yaml"
SEED = 42
LABELLED = (1000, 3000)
REDUCED_TASKS = ("ckd", "sglt2_inhibitors")
REPLICATES = 2000
VARIANTS: dict[str, dict[str, str]] = {
    "base": {},
    "sequence: every occurrence": {"tokens.repeats": "all"},
    "sequence: once a month": {"tokens.repeats": "month"},
    "sequence: once a year": {"tokens.repeats": "year"},
    "sequence: 64 positions": {"tokens.max_length": "64"},
    "codes: groups share vectors": {"tokens.groups": "true"},
    "objective: masked codes alone": {"pretrain.incident": "0"},
    "objective: incident x 1": {"pretrain.incident": "1"},
    "objective: incident x 30": {"pretrain.incident": "30"},
    "objective: incident within 180 days": {"pretrain.horizon_days": "180"},
    "objective: incident within 2 years": {"pretrain.horizon_days": "730"},
    "masking: 15 %": {"pretrain.mask": "0.15"},
    "masking: 45 %": {"pretrain.mask": "0.45"},
    "masking: every occurrence of a code": {"pretrain.mask_unit": "code"},
    "pretraining: twice the epochs": {"pretrain.epochs": "double"},
    "pretraining: rate 2e-3": {"pretrain.learning_rate": "0.002"},
    "pretraining: rate 8e-3": {"pretrain.learning_rate": "0.008"},
    "tuning: nothing foretold": {"finetune.foretell": "false"},
    "tuning: rate 5e-4 alone": {"finetune.learning_rates": "[0.0005]"},
    "tuning: rate 2e-3 alone": {"finetune.learning_rates": "[0.002]"},
    "tuning: 15 % hidden": {"finetune.mask": "0.15"},
    "tuning: 30 % hidden": {"finetune.mask": "0.3"},
    "tuning: layer decay 0.7": {"finetune.layer_decay": "0.7"},
    "tuning: LoRA": {"finetune.train": "lora", "finetune.arms": "[pretrained]"},
    "tuning: probe": {"finetune.train": "probe", "finetune.arms": "[pretrained]"},
}
OF_TUNING = "tuning"
"""Variants that begin with this word are fine-tuned from the base's pretraining."""
REDUCED = (
    "base", "sequence: once a year", "codes: groups share vectors", "objective: masked codes alone",
    "objective: incident x 1", "objective: incident x 30", "masking: 15 %", "masking: 45 %",
    "tuning: nothing foretold", "tuning: 30 % hidden", "tuning: layer decay 0.7", "tuning: probe",
)  # fmt: skip
REDUCED_EPOCHS = 5


class Variant(Workspace):
    """The base's data under other settings; its cells lie in a folder of their own."""

    def __init__(self, name: str, run: Path, overrides: list[str]) -> None:
        base = study_file.load(STUDY, overrides)
        changes = VARIANTS[name].items()
        epochs = {"double": str(2 * base.pretrain.epochs)}
        study = study_file.load(
            STUDY, [*overrides, *(f"{key}={epochs.get(value, value)}" for key, value in changes)]
        )
        super().__init__(study, run)
        self.name = name

    def folder(self, cell_id: str) -> Path:
        name = "base" if cell_id.startswith("pretrain") and self.name.startswith(OF_TUNING) else self.name
        return self.run / "recipes" / name.replace(": ", "-").replace(" ", "_") / cell_id


def cells(study: Study) -> list[Cell]:
    size = study.sizes[0]
    tasks = [task.name for task in study.tasks]
    tuned = [Cell("finetune", SEED, size, task, "pretrained", n) for task in tasks for n in LABELLED]
    return [Cell("pretrain", SEED, size), *tuned]


def run_variant(name: str, run: Path, overrides: list[str]) -> dict[str, Any]:
    """Run all cells of a variant; returns its losses, and its scores on the development patients."""
    torch.set_num_threads(1)
    workspace = Variant(name, run, overrides)
    pretraining, *tuned = cells(workspace.study)
    found = work.run_cell(workspace, pretraining, 1, lambda share: None)
    losses = {key: value for key, value in found.items() if key.startswith("validation_loss")}
    scores = {}
    for cell in tuned:
        work.run_cell(workspace, cell, 1, lambda share: None)
        scores[f"{cell.task}-{cell.patients}"] = development(workspace, cell)
    return {"losses": losses, "seconds": found["seconds"], "scores": scores}


def development_patients(workspace: Workspace, task: str) -> Sample:
    """Labelled training patients after the first 3,000, whom no cell has learnt from."""
    train = workspace.samples(task)["train"]
    seen = workspace.subset(train, max(LABELLED)).subjects
    return train.take(np.flatnonzero(~np.isin(train.subjects, seen)))


def development(workspace: Workspace, cell: Cell) -> list[float]:
    """The fine-tuned model's logits of the development patients, kept beside the cell."""
    assert cell.task is not None and cell.size is not None
    folder = workspace.folder(cell.id)
    file = folder.with_name(f"{cell.id}.development.json")
    digest = runs.file_digest(folder / "model.safetensors")
    if file.exists() and (known := runs.read_json(file))["model"] == digest:
        return known["logits"]
    sample = development_patients(workspace, cell.task)
    strip = workspace.store.vocabulary.tokens_with_prefix(workspace.task(cell.task).strip)
    sequences = work.sequences_of(workspace, sample.rows, sample.index_days, strip)
    encoder = Encoder(workspace.shape(cell.size), workspace.codebook)
    model = Readout(encoder, work.foretold(workspace, cell))
    model.load_state_dict(load_file(folder / "model.safetensors"))
    found = logits(model, sequences, torch.device("cpu")).tolist()
    runs.write_json(file, {"model": digest, "logits": found})
    return found


def scored(outcomes: dict[str, np.ndarray], base: dict[str, Any], other: dict[str, Any]) -> dict[str, float]:
    """Mean AUPRC over tasks and label counts, its difference to the base and a 95 % interval."""

    def mean(found: dict[str, Any]) -> tuple[float, np.ndarray]:
        scores = [
            score_ranking(outcomes[key.rsplit("-", 1)[0]], np.asarray(values), REPLICATES, 0)["auprc"]
            for key, values in found["scores"].items()
        ]
        return (
            float(np.mean([score.values[0] for score in scores])),
            np.mean([score.replicates[0] for score in scores], axis=0),
        )

    (expected, base_drawn), (auprc, drawn) = mean(base), mean(other)
    low, high = np.quantile(drawn - base_drawn, [0.025, 0.975])
    return {"auprc": auprc, "difference": auprc - expected, "low": float(low), "high": float(high)}


def run_all(names: Sequence[str], run: Path, overrides: list[str]) -> dict[str, dict[str, Any]]:
    """Run variants two at a time, one core each; those of tuning wait for the base's weights."""
    results = {}
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        pretrained = [name for name in names if not name.startswith(OF_TUNING) and name != "base"]
        running = {name: pool.submit(run_variant, name, run, overrides) for name in ("base", *pretrained)}
        running["base"].result()
        for name in names:
            if name.startswith(OF_TUNING):
                running[name] = pool.submit(run_variant, name, run, overrides)
        for name in ("base", *(name for name in names if name != "base")):
            results[name] = running[name].result()
            print(f"done: {name}", flush=True)
    return results


def table(run: Path, overrides: list[str], results: dict[str, dict[str, Any]]) -> dict[str, float]:
    workspace = Variant("base", run, overrides)
    tasks = [task.name for task in workspace.study.tasks]
    outcomes = {task: development_patients(workspace, task).outcome for task in tasks}
    print("development positives: " + ", ".join(f"{task} {o.sum():,}" for task, o in outcomes.items()))
    print(f"{'':<38} {'AUPRC':>7} {'difference':>11}   95 % interval      masked first-ever incident seconds")
    figures = {}
    for name, found in results.items():
        score = scored(outcomes, results["base"], found)
        losses = found["losses"]
        print(
            f"{name:<38} {score['auprc']:>7.4f} {score['difference']:>+11.4f}   "
            f"{score['low']:+.4f} to {score['high']:+.4f}  {losses['validation_loss']:.4f}  "
            f"{losses['validation_loss_first']:.4f}   {losses.get('validation_loss_incident', 0):.4f}"
            f"   {found['seconds']:>5.0f}"
        )
        figures |= {f"{name}: {key}": value for key, value in (score | losses).items()}
    return figures


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("form", nargs="?", choices=["whole", "reduced"], default="whole")
    parser.add_argument("--runs", default="runs")
    parser.add_argument("--size", default="300k")
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS))
    options = parser.parse_args()
    overrides = [f"runs={options.runs}", f"sizes=[{options.size}]"]
    reduced = options.form == "reduced"
    if reduced:
        overrides += [f"tasks=[{', '.join(REDUCED_TASKS)}]", f"pretrain.epochs={REDUCED_EPOCHS}"]
    prepared = ["ingest", str(STUDY), "--set", f"runs={options.runs}"]
    if status := subprocess.call([sys.executable, "-m", "claimscale.cli", *prepared]):
        sys.exit(status)
    run = study_file.load(STUDY, overrides).run_directory
    names = options.only or (REDUCED if reduced else list(VARIANTS))
    figures = table(run, overrides, run_all(names, run, overrides))
    suffix = "" if not reduced else "_reduced"
    size = "" if options.size == "300k" else f"_{options.size}"
    write_record(f"recipe{suffix}{size}", figures)


if __name__ == "__main__":
    main()
