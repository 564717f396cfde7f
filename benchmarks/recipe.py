"""Ablations of the recipe of a small encoder, on simulated claims: each variant changes one choice.

Variants that are settings are listed here, variants of the architecture in `architectures.py`.

28,000 unlabelled patients of 75 years and over (`recipe.yaml`), whose true risks are known. Every variant is
pretrained for five epochs, fine-tuned on all index dates of the training patients, and scored on the 22,000
to 26,000 held-out patients of this country. Recipes are selected here; the selected one is evaluated on other
patients (`evidence.py`). The difference to the base recipe is the mean over tasks, with a
95 % interval from resampling patients within each task. `recipe.py reduced` has two of four tasks and fewer
variants; the whole benchmark continues from its cells.

Prints a table and writes `benchmarks/results/recipe.json` (`recipe_reduced.json`). A stopped run resumes.
`recipe.py [reduced] [--runs FOLDER] [--size 300k] [--only NAME ...]`, or `make bench NAME=recipe`. With
`--only` the record keeps the figures of the other variants.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

import architectures
from architectures import ALTERNATIVES
from cells import auprc, prepare
from claimscale import artifacts
from claimscale.config import loading
from claimscale.config.study import Study
from claimscale.experiments.cells import Cell
from claimscale.experiments.execute import run_cell
from claimscale.experiments.workspace import Workspace
from record import RESULTS, write_record

STUDY = Path(__file__).parent / "recipe.yaml"
SEED = 42
REDUCED_TASKS = ("ckd", "sglt2_inhibitors")
REPLICATES = 2000
VARIANTS: dict[str, dict[str, str]] = {
    "base": {},
    "sequence: every occurrence": {"tokens.deduplicate": "none"},
    "sequence: once a month": {"tokens.deduplicate": "month"},
    "sequence: once a year": {"tokens.deduplicate": "year"},
    "sequence: once a month, 512 positions": {"tokens.deduplicate": "month", "tokens.max_length": "512"},
    "sequence: once a year, 512 positions": {"tokens.deduplicate": "year", "tokens.max_length": "512"},
    "sequence: once ever, 512 positions": {"tokens.max_length": "512"},
    "sequence: 64 positions": {"tokens.max_length": "64"},
    "codes: hierarchical embeddings": {"tokens.hierarchical_embeddings": "true"},
    "objective: masked codes alone": {"pretrain.incident_weight": "0"},
    "objective: incident x 1": {"pretrain.incident_weight": "1"},
    "objective: incident x 30": {"pretrain.incident_weight": "30"},
    "objective: incident within 180 days": {"pretrain.horizon_days": "180"},
    "objective: incident within 2 years": {"pretrain.horizon_days": "730"},
    "masking: 15 %": {"pretrain.mask_probability": "0.15"},
    "masking: 45 %": {"pretrain.mask_probability": "0.45"},
    "masking: every occurrence of a code": {"pretrain.mask_unit": "code"},
    "pretraining: twice the epochs": {"pretrain.epochs": "double"},
    "pretraining: rate 2e-3": {"pretrain.learning_rate": "0.002"},
    "pretraining: rate 8e-3": {"pretrain.learning_rate": "0.008"},
    "tuning: no zero-shot initialization": {"finetune.zero_shot_init": "false"},
    "tuning: last weights": {"finetune.weight_averaging": "false"},
    "tuning: rate 5e-4 alone": {"finetune.learning_rates": "[0.0005]"},
    "tuning: rate 2e-3 alone": {"finetune.learning_rates": "[0.002]"},
    "tuning: token dropout 15 %": {"finetune.token_dropout": "0.15"},
    "tuning: token dropout 30 %": {"finetune.token_dropout": "0.3"},
    "tuning: layer decay 0.7": {"finetune.layerwise_lr_decay": "0.7"},
    "tuning: LoRA": {"finetune.method": "lora", "finetune.initialization": "[pretrained]"},
    "tuning: linear probe": {"finetune.method": "linear_probe", "finetune.initialization": "[pretrained]"},
}
NAMES = (*VARIANTS, *ALTERNATIVES)
OF_TUNING = "tuning"
"""Variants with this prefix are fine-tuned from the base's pretraining."""
REDUCED = (
    "base", "sequence: once a year", "codes: hierarchical embeddings", "objective: masked codes alone",
    "objective: incident x 1", "objective: incident x 30", "masking: 15 %", "masking: 45 %",
    "tuning: no zero-shot initialization", "tuning: last weights", "tuning: token dropout 30 %",
    "tuning: layer decay 0.7", "tuning: linear probe",
)  # fmt: skip
EPOCHS = 5


class Variant(Workspace):
    """The base's data under other settings; its cells have a separate folder."""

    def __init__(self, name: str, run: Path, overrides: list[str]) -> None:
        base = loading.load(STUDY, overrides)
        changes = VARIANTS.get(name, {}).items()
        epochs = {"double": str(2 * base.pretrain.epochs)}
        study = loading.load(
            STUDY, [*overrides, *(f"{key}={epochs.get(value, value)}" for key, value in changes)]
        )
        super().__init__(study, run)
        self.name = name

    def folder(self, cell_id: str) -> Path:
        name = "base" if self._of_base(cell_id) else self.name
        return self.run / "recipes" / name.replace(": ", "-").replace(" ", "_") / cell_id

    def fingerprint(self, cell: Cell) -> str:
        """An alternative's cells depend on its code as well."""
        found = super().fingerprint(cell)
        if self.name not in ALTERNATIVES or self._of_base(cell.id):
            return found
        return artifacts.fingerprint(inputs=found, code=Path(architectures.__file__).read_text("utf-8"))

    def _of_base(self, cell_id: str) -> bool:
        return cell_id.startswith("pretrain") and self.name.startswith(OF_TUNING)


def cells(study: Study) -> list[Cell]:
    size = study.sizes[0]
    tasks = [task.name for task in study.tasks]
    labelled = study.finetune.labelled_patients
    tuned = [Cell("finetune", SEED, size, task, "pretrained", n) for task in tasks for n in labelled]
    return [Cell("pretrain", SEED, size), *tuned]


def run_variant(name: str, run: Path, overrides: list[str]) -> dict[str, Any]:
    """Run all cells of a variant; returns its losses and seconds."""
    torch.set_num_threads(1)
    workspace = Variant(name, run, overrides)
    pretraining, *tuned = cells(workspace.study)
    with ALTERNATIVES.get(name, nullcontext)():
        found = run_cell(workspace, pretraining, 1, lambda share: None)
        for cell in tuned:
            run_cell(workspace, cell, 1, lambda share: None)
    losses = {key: value for key, value in found.items() if key.startswith("validation_loss")}
    return {"losses": losses, "seconds": found["seconds"]}


def mean_auprc(name: str, run: Path, overrides: list[str]) -> tuple[float, np.ndarray]:
    """Mean AUPRC of the held-out patients over tasks, and its replicates."""
    workspace = Variant(name, run, overrides)
    scores = [auprc(workspace, cell, REPLICATES) for cell in cells(workspace.study)[1:]]
    return float(np.mean([value for value, *_ in scores])), np.mean([found for _, found, _ in scores], axis=0)


def run_all(names: Sequence[str], run: Path, overrides: list[str]) -> dict[str, dict[str, Any]]:
    """Run two variants in parallel, one core each; variants of tuning wait for the base's weights."""
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
    labelled = {task.name: workspace.samples(task.name)["held_out"].outcome for task in workspace.study.tasks}
    print("held-out positives: " + ", ".join(f"{task} {o.sum():,}" for task, o in labelled.items()))
    print(f"{'':<38} {'AUPRC':>7} {'difference':>11}   95 % interval      masked       new  incident seconds")
    expected, base = mean_auprc("base", run, overrides)
    figures = {}
    for name, found in results.items():
        mean, replicates = mean_auprc(name, run, overrides)
        low, high = np.quantile(replicates - base, [0.025, 0.975])
        score = {"auprc": mean, "difference": mean - expected, "low": float(low), "high": float(high)}
        losses = found["losses"]
        print(
            f"{name:<38} {mean:>7.4f} {score['difference']:>+11.4f}   {low:+.4f} to {high:+.4f}  "
            f"{losses['validation_loss']:.4f}  {losses['validation_loss_new']:.4f}   "
            f"{losses.get('validation_loss_incident', 0):.4f}   {found['seconds']:>5.0f}"
        )
        figures |= {f"{name}: {key}": value for key, value in (score | losses).items()}
    return figures


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("form", nargs="?", choices=["whole", "reduced"], default="whole")
    parser.add_argument("--runs", default="runs")
    parser.add_argument("--size", default="300k")
    parser.add_argument("--only", nargs="+", choices=NAMES)
    options = parser.parse_args()
    reduced = options.form == "reduced"
    overrides = [
        f"runs_dir={options.runs}",
        f"sizes=[{options.size}]",
    ]
    overrides += [f"pretrain.epochs={EPOCHS}"]
    if reduced:
        overrides += [f"tasks=[{', '.join(REDUCED_TASKS)}]"]
    prepare(STUDY, [f"runs_dir={options.runs}"])
    run = loading.load(STUDY, overrides).run_directory
    names = options.only or (REDUCED if reduced else NAMES)
    figures = table(run, overrides, run_all(names, run, overrides))
    suffix = "" if not reduced else "_reduced"
    record = f"recipe{suffix}" + ("" if options.size == "300k" else f"_{options.size}")
    if options.only and (file := RESULTS / f"{record}.json").exists():
        figures = json.loads(file.read_text("utf-8"))["figures"] | figures
    write_record(record, figures)


if __name__ == "__main__":
    main()
