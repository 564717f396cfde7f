"""Validation losses of five small sizes by tokens and by floating-point operations of pretraining.

The development country (`recipe.yaml`), tuning patients. Every run ends after a quarter, a half and all of
its epochs (cooldowns), so that equal operations can be compared across sizes: a large encoder after one epoch
against a small one after many. Also counted: in how many seeds the losses of all sizes are in order, and what
the last doubling of tokens still removed.

Prints a table and writes `benchmarks/results/isoflop.json`. Run with `make bench NAME=isoflop` (hours on
two cores; a stopped run resumes), or `isoflop.py [--runs FOLDER] [--epochs N] [--seeds SEED ...]`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cells import prepare, run_cells
from claimscale.artifacts import read_json
from claimscale.config import loading
from claimscale.experiments.cells import Cell
from claimscale.experiments.workspace import Workspace
from record import write_record

STUDY = Path(__file__).parent / "recipe.yaml"
SIZES = ("80k", "160k", "320k", "640k", "1.3M")
SHARES = (0.25, 0.5, 1.0)
LOSSES = ("validation_loss_incident", "validation_loss")


class End(NamedTuple):
    """One end of a pretraining."""

    size: str
    seed: int
    share: float
    tokens: float
    flops: float
    losses: tuple[float, ...]


def ends(workspace: Workspace, size: str, seed: int) -> list[End]:
    """The ends of one run; operations are in proportion to tokens."""
    record = read_json(workspace.folder(Cell("pretrain", seed, size).id) / "cell.json")["result"]
    per_token = record["train_flops"] / record["tokens"]
    return [
        End(
            size,
            seed,
            one["share"],
            one["tokens"],
            one["tokens"] * per_token,
            tuple(one[name] for name in LOSSES),
        )
        for one in record["cooldowns"]
    ]


def best_at(found: list[End], flops: float) -> dict[str, float]:
    """Incident loss of each size at these operations, interpolated over their logarithm; where it was run."""
    by_size = {}
    for size in SIZES:
        own = sorted((one for one in found if one.size == size), key=lambda one: one.flops)
        if own and own[0].flops <= flops * 1.001 and own[-1].flops >= flops * 0.999:
            losses = [one.losses[0] for one in own]
            by_size[size] = float(np.interp(np.log(flops), np.log([one.flops for one in own]), losses))
    return by_size


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", default="runs")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 123, 456])
    options = parser.parse_args()
    overrides = [
        "name=isoflop",
        f"runs_dir={options.runs}",
        f"sizes=[{', '.join(SIZES)}]",
        f"pretrain.epochs={options.epochs}",
        f"pretrain.cooldown_fractions={list(SHARES)}",
    ]
    prepare(STUDY, overrides)
    seeds = options.seeds
    run_cells(STUDY, overrides, [Cell("pretrain", seed, size) for size in reversed(SIZES) for seed in seeds])
    study = loading.load(STUDY, overrides)
    workspace = Workspace(study, study.run_directory)
    found = [one for size in SIZES for seed in seeds for one in ends(workspace, size, seed)]
    figures: dict[str, float] = {}
    for share in SHARES:
        epochs = share * options.epochs
        print(f"\n{epochs:g} epochs: incident and masked loss by size, mean over seeds")
        losses = np.array(
            [[one.losses for one in found if one.size == size and one.share == share] for size in SIZES]
        )  # [sizes, seeds, losses]
        for size, of_size in zip(SIZES, losses, strict=True):
            incident, masked = of_size.mean(axis=0)
            print(f"  {size:>5}  {incident:.4f} (SD {of_size[:, 0].std(ddof=1):.4f})  {masked:.4f}")
            figures |= {
                f"{epochs:g} epochs: {size}: incident": incident,
                f"{epochs:g} epochs: {size}: masked": masked,
            }
        ordered = (np.diff(losses[:, :, 0], axis=0) < 0).all(axis=0)
        print(f"  incident loss in the order of sizes in {ordered.sum()} of {len(seeds)} seeds")
        figures[f"{epochs:g} epochs: seeds in order"] = float(ordered.sum())
    first = [one for one in found if one.seed == seeds[0]]
    print("\nIncident loss at equal operations")
    for flops in sorted({one.flops for one in first if one.size == "320k"}):
        by_size = best_at(first, flops)
        print(f"  {flops:.2e}: " + ", ".join(f"{size} {loss:.4f}" for size, loss in by_size.items()))
        figures |= {f"{flops:.2e} operations: {size}": loss for size, loss in by_size.items()}
    for size in SIZES:
        half, whole = (next(one for one in first if one.size == size and one.share == s) for s in SHARES[1:])
        drop = 1 - whole.losses[0] / half.losses[0]
        print(f"  {size}: the last doubling of tokens removed {drop:.2%} of the incident loss")
        figures[f"{size}: last doubling"] = drop
    write_record("isoflop", figures)


if __name__ == "__main__":
    main()
