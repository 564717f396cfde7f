"""Error rates of verdicts and calibration of promised power, on studies of known truth, 500 and more per
cell.

    python benchmarks/decisions.py              everything, about an hour on two cores
    python benchmarks/decisions.py reduced      a tenth of the studies and fewer cells, a few minutes
    python benchmarks/decisions.py verdicts     one part: verdicts, curves, power, interaction, stopping,
                                                promises, hospitals, spreads, families, needed, borderline
    python benchmarks/decisions.py seed=9000000 other studies than those on which the rule was developed (seed
    0)

Finished cells are kept in runs/decisions/ and not simulated again.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from claimscale.evaluation import power
from claimscale.evaluation.power import Assumptions
from decision_cells import (
    AUPRC,
    CURVE_CELLS,
    FIVE_SIZES,
    INTERACTION_CELLS,
    MARGIN,
    PROMISE_CELLS,
    SEEDS,
    STOP_CELLS,
    VERDICT_CELLS,
    curve_cell,
    interaction_cell,
    promise_cell,
    stop_cell,
    verdict_cell,
)
from decision_hospitals import HOSPITAL_CELLS, hospital_cell
from decision_spreads import (
    BORDERLINE_CELLS,
    FAMILY_CELLS,
    NEEDED_CELLS,
    SPREAD_CELLS,
    borderline_cell,
    family_cell,
    needed_cell,
    spread_cell,
)
from decision_worlds import SHAPES
from record import write_record

BEYOND = ("rising beyond", "late jump")
"""Shapes whose last gain is 1.25 or 1.5 margins."""
KEPT = Path("runs/decisions")


def kept(
    part: str,
    cells: Sequence[tuple[Any, ...]],
    simulate: Callable[..., dict[str, float]],
    studies: int,
    seed: int,
) -> Iterator[tuple[tuple[Any, ...], dict[str, float]]]:
    """Each cell with its result; a kept result is not simulated again."""
    KEPT.mkdir(parents=True, exist_ok=True)
    file = KEPT / (f"{part}-{studies}-{seed}.jsonl" if seed else f"{part}-{studies}.jsonl")
    known = {}
    if file.exists():
        known = {tuple(cell): found for cell, found in map(json.loads, file.read_text().splitlines())}
    for cell in cells:
        if cell not in known:
            known[cell] = simulate(*cell, studies, seed)
            with file.open("a") as lines:
                lines.write(json.dumps([cell, known[cell]]) + "\n")
        yield cell, known[cell]


@dataclass
class Errors:
    """Error rates, coverage and power over all cells."""

    wrong: list[float] = field(default_factory=list)
    beyond: list[float] = field(default_factory=list)
    covered: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    kept_promises: list[float] = field(default_factory=list)

    def add(
        self, found: Mapping[str, float], shapes: Iterable[str], covered: Sequence[float], before: str = ""
    ) -> None:
        self.wrong.append(max(found[f"{before}{shape} wrong"] for shape in shapes))
        self.beyond.append(max(found[f"{before}{shape} wrong"] for shape in BEYOND))
        self.covered += covered

    def add_power(self, reached: float, promised: float) -> None:
        self.gaps.append(reached - promised)
        if promised >= 0.795:
            self.kept_promises.append(reached)

    def figures(self, part: str) -> dict[str, float]:
        return {
            f"{part}_most_wrong_beyond_the_margin": max(self.beyond),
            f"{part}_most_wrong_at_the_margin": max(self.wrong),
            f"{part}_mean_wrong_at_the_margin": float(np.mean(self.wrong)),
            f"{part}_mean_covered": float(np.mean(self.covered)),
            f"{part}_least_covered": min(self.covered),
            f"{part}_most_covered": max(self.covered),
            f"{part}_power_furthest_below_promise": min(self.gaps),
            f"{part}_power_furthest_above_promise": max(self.gaps),
            f"{part}_least_power_where_80_promised": min(self.kept_promises, default=float("nan")),
        }


def verdicts(studies: int, cells: Sequence[tuple[Any, ...]], seed: int) -> dict[str, float]:
    errors = Errors()
    for cell, found in kept("verdicts", cells, verdict_cell, studies, seed):
        for seeds in SEEDS:
            reached, promised = found[f"k{seeds} flat saturated"], found[f"k{seeds} promised"]
            errors.add(found, SHAPES, [found[f"k{seeds} covered"]], f"k{seeds} ")
            errors.add_power(reached, promised)
            print(
                f"{cell!s:<22} k={seeds} margin {found['margin']:.3f} wrong {errors.wrong[-1]:.3f} "
                f"beyond {errors.beyond[-1]:.3f} covered {errors.covered[-1]:.3f} "
                f"promised {promised:.2f} reached {reached:.2f} "
                f"inconclusive at 2 % {found[f'k{seeds} inconclusive at 2 %']:.2f}",
                flush=True,
            )
    return {"verdicts_cells": len(cells)} | errors.figures("verdicts")


def promises_part(studies: int, cells: Sequence[tuple[Any, ...]], seed: int) -> dict[str, float]:
    """Power reached and power promised, in four times as many studies of two sizes."""
    figures = {}
    for (prevalence, positives), found in kept("promises", cells, promise_cell, 4 * studies, seed):
        for seeds in SEEDS:
            reached, promised = found[f"k{seeds} reached"], found[f"k{seeds} promised"]
            name = f"promises_prevalence_{prevalence:g}_positives_{positives}_seeds_{seeds}"
            print(f"{name:<55} reached {reached:.3f} promised {promised:.3f}", flush=True)
            figures |= {f"{name}_reached": reached, f"{name}_less_promised": reached - promised}
    return figures


def curves_part(studies: int, cells: Sequence[tuple[Any, ...]], seed: int) -> dict[str, float]:
    errors, small = Errors(), []
    for cell, found in kept("curves", cells, curve_cell, studies, seed):
        errors.add(found, FIVE_SIZES, [found[f"{shape} covered"] for shape in FIVE_SIZES])
        if cell[3] == 1:  # what plan assumes
            errors.add_power(found["flat saturated"], found["promised"])
        if cell[0] <= 300:
            small.append(found["flat saturated"])
    return (
        {"curves_cells": len(cells)}
        | errors.figures("curves")
        | {"curves_most_saturated_with_300_positives_or_fewer": max(small)}
    )


def power_part(studies: int, cells: Sequence[tuple[Any, ...]], seed: int) -> dict[str, float]:
    """Positives needed for a margin of 2 %, by prevalence, seeds and variance between runs."""
    figures = {}
    for prevalence, spread, seeds in cells:
        parts = power.components(Assumptions(AUPRC[prevalence], prevalence, seed_spread=spread))
        needed = power.positives_for(parts, seeds, MARGIN)
        name = f"positives_for_2_percent_prevalence_{prevalence:g}_spread_{spread:g}_seeds_{seeds}"
        figures[name] = float("inf") if needed is None else needed
        print(f"{name:<70} {needed}")
    parts = power.components(Assumptions(0.35, 0.05))
    figures["resolvable_1900_positives_3_seeds"] = power.resolvable(parts, 1900, 3)
    return {name: value for name, value in figures.items() if np.isfinite(value)}


def interaction_part(studies: int, cells: Sequence[tuple[Any, ...]], seed: int) -> dict[str, float]:
    figures, size, gaps = {}, [], []
    parts = power.components(Assumptions(0.35, 0.05, seed_spread=0.01))
    for (positives, effect, together), found in kept("interaction", cells, interaction_cell, studies, seed):
        tasks = [(parts, positives)] * 2
        promised = power.interaction_power(tasks, tasks, 3, found["effect"])
        print(
            f"interaction, {positives} positives, effect {found['effect']:.3f}, "
            f"{'shared' if together else 'own'} runs: "
            f"shown {found['shown']:.3f} promised {promised:.3f} covered {found['covered']:.3f}",
            flush=True,
        )
        figures[f"interaction_{positives}_effect_{found['effect']:.3f}_{'shared' if together else 'own'}"] = (
            found["shown"]
        )
        if effect == 0:
            size.append(found["shown"])
        else:
            gaps.append(found["shown"] - promised)
    return figures | {
        "interaction_largest_size": max(size),
        "interaction_power_furthest_below_promise": min(gaps, default=0.0),
        "interaction_power_furthest_above_promise": max(gaps, default=0.0),
    }


def stopping_part(studies: int, cells: Sequence[tuple[Any, ...]], seed: int) -> dict[str, float]:
    figures = {}
    for (shape, wanted, last), found in kept("stopping", cells, stop_cell, studies, seed):
        name = f"stopping_{shape.replace(' ', '_')}_power_{wanted:g}_last_{last:g}"
        print(
            f"{name:<50} positives {found['positives']:.0f} lost {found['lost']:.3f} "
            f"saved {found['saved']:.2f}",
            flush=True,
        )
        figures[f"{name}_lost"], figures[f"{name}_saved"] = found["lost"], found["saved"]
    foreseeable = [
        figures[f"{name}_lost"] for name in {n.rsplit("_", 1)[0] for n in figures} if "late" not in name
    ]
    return figures | {
        "stopping_most_lost_without_late_rises": max(foreseeable),
        "stopping_least_saved_when_flat": min(
            v for n, v in figures.items() if "flat_" in n and n.endswith("saved")
        ),
    }


def hospitals_part(studies: int, cells: Sequence[tuple[Any, ...]], seed: int) -> dict[str, float]:
    figures = {}
    for (hospitals, apart), found in kept("hospitals", cells, hospital_cell, studies, seed):
        print(f"{hospitals} hospitals, apart {apart}: {found}", flush=True)
        for name, value in found.items():
            figures[f"hospitals_{hospitals}_apart_{apart:g}_{name.replace(' ', '_')}"] = value
    return figures


def spreads_part(studies: int, cells: Sequence[tuple[Any, ...]], seed: int) -> dict[str, float]:
    """Any task wrongly saturated, per study, where runs vary unequally; in both scopes."""
    figures: dict[str, float] = {}
    for (name, gain), found in kept("spreads", cells, spread_cell, 2 * studies, seed):
        print(f"{name}, gain {gain:g} margins: {found}", flush=True)
        label = f"spreads_{name.replace(' ', '_')}_gain_{gain:g}"
        figures |= {f"{label}_{key.replace(' ', '_')}": value for key, value in found.items()}
    return figures


def families_part(studies: int, cells: Sequence[tuple[Any, ...]], seed: int) -> dict[str, float]:
    """Verdicts of six tasks together."""
    figures: dict[str, float] = {}
    for (spread, shared, seeds, gain), found in kept("families", cells, family_cell, studies, seed):
        label = f"families_spread_{spread:g}_shared_{shared:g}_seeds_{seeds}_gain_{gain:g}"
        print(f"{label}: {found}", flush=True)
        figures |= {f"{label}_{key}": value for key, value in found.items()}
    return figures


def repeats_part(studies: int, cells: Sequence[tuple[Any, ...]], seed: int) -> dict[str, float]:
    """How often what an inconclusive, or a borderline, study asks for decides."""
    figures: dict[str, float] = {}
    part, simulate = ("needed", needed_cell) if len(cells[0]) == 4 else ("borderline", borderline_cell)
    for cell, found in kept(part, cells, simulate, 2 * studies, seed):
        names = zip(("", "spread_", "seeds_", "sizes_"), cell, strict=False)
        label = "_".join([part, *(f"{name}{value:g}" for name, value in names)])
        print(f"{label}: {found}", flush=True)
        known = {key: value for key, value in found.items() if np.isfinite(value)}
        figures |= {f"{label}_{key.replace(' ', '_')}": value for key, value in known.items()}
    return figures


Part = Callable[[int, Sequence[tuple[Any, ...]], int], dict[str, float]]
PARTS: dict[str, tuple[Part, Sequence[tuple[Any, ...]]]] = {
    "curves": (curves_part, CURVE_CELLS),
    "power": (power_part, list(itertools.product(AUPRC, (0.0, 0.0025, 0.005), SEEDS))),
    "stopping": (stopping_part, STOP_CELLS),
    "interaction": (interaction_part, INTERACTION_CELLS),
    "verdicts": (verdicts, VERDICT_CELLS),
    "promises": (promises_part, PROMISE_CELLS),
    "hospitals": (hospitals_part, HOSPITAL_CELLS),
    "spreads": (spreads_part, SPREAD_CELLS),
    "families": (families_part, FAMILY_CELLS),
    "needed": (repeats_part, NEEDED_CELLS),
    "borderline": (repeats_part, BORDERLINE_CELLS),
}


def main(arguments: Sequence[str]) -> None:
    reduced = "reduced" in arguments
    seed = next((int(word.removeprefix("seed=")) for word in arguments if word.startswith("seed=")), 0)
    wanted = [name for name in arguments if name in PARTS] or list(PARTS)
    figures: dict[str, float] = {"studies_per_cell": 50 if reduced else 500, "seed": seed}
    for name in wanted:
        part, cells = PARTS[name]
        figures |= part(50 if reduced else 500, cells[::4] if reduced else cells, seed)
    for name, value in figures.items():
        if not name.startswith(("positives_for", "stopping_", "promises_")):
            print(f"{name:<55} {value:.4g}")
    record = "decisions_reduced" if reduced else "decisions"
    write_record(f"{record}_fresh" if seed else record, figures)


if __name__ == "__main__":
    main(sys.argv[1:])
