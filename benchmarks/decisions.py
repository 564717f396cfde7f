"""Are the verdicts right, and does `plan` promise what comes true? Studies of known truth, 500 and more a cell.

    python benchmarks/decisions.py              everything, about an hour on two cores
    python benchmarks/decisions.py reduced      a tenth of the studies and fewer cells, a few minutes
    python benchmarks/decisions.py verdicts     one part: verdicts, curves, power, interaction, stopping

Cells that are done are kept in runs/decisions/ and not simulated again.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from claimscale.evaluation import power
from claimscale.evaluation.intervals import Scores, difference, interval, variance_parts
from claimscale.evaluation.metrics import Floats
from claimscale.evaluation.power import Assumptions
from claimscale.evaluation.saturation import Curve, judge
from decision_worlds import SHAPES, as_scores, curves, predictions, some_seeds
from record import write_record

KEPT = Path("runs/decisions")
REPLICATES = 300
SEEDS = (2, 3, 5)
MARGIN = 0.02
PLACES = tuple(tuple(sorted({gains[place] for gains in SHAPES.values()})) for place in range(2))

VERDICT_CELLS = [
    (prevalence, positives, spread)
    for prevalence, auprc_positives in ((0.01, (50, 200)), (0.05, (50, 200, 800)), (0.2, (50, 200, 800, 3200)))
    for positives in auprc_positives
    for spread in (0.0, 0.01)
]
AUPRC = {0.01: 0.25, 0.05: 0.35, 0.2: 0.5}
"""Of the largest model, by prevalence."""


def verdict_cell(prevalence: float, positives: int, spread: float, studies: int) -> dict[str, float]:
    """Share of verdicts and of intervals that cover, by seeds and shape, on simulated predictions.

    The margin is the one that `plan` says three seeds can resolve in four of five studies; beside it, 2 %.
    """
    assumed = Assumptions(AUPRC[prevalence], prevalence, seed_spread=spread)
    parts = power.components(assumed)
    margin = power.resolvable(parts, positives, 3)
    found: dict[str, float] = {"margin": margin}
    tally: dict[str, list[float]] = {}
    gains = [[gain * margin for gain in place] for place in PLACES]
    for study in range(studies):
        smaller, largest = predictions(
            assumed, positives, gains, seeds=max(SEEDS), replicates=REPLICATES, seed=study
        )
        for seeds, (shape, true) in itertools.product(SEEDS, SHAPES.items()):
            sizes = [smaller[place][PLACES[place].index(true[place])] for place in range(2)]
            sizes = [some_seeds(scores, seeds) for scores in (*sizes, largest)]
            curve = Curve(dict(zip("abc", sizes, strict=True)), prevalence, positives)
            verdict = judge({"task": curve}, margin)["task"]
            name = f"k{seeds} {shape}"
            wrong = verdict.smallest_sufficient is not None and true["ab".find(verdict.smallest_sufficient)] >= 1
            tally.setdefault(f"{name} wrong", []).append(wrong)
            tally.setdefault(f"{name} saturated", []).append(verdict.verdict == "saturated")
            tally.setdefault(f"{name} inconclusive", []).append(verdict.verdict == "inconclusive")
            for place in range(2):
                gain = difference(sizes[2], sizes[place])
                assert gain is not None
                low, high = interval(gain).two_sided()
                truth = assumed.auprc * margin * true[place]
                tally.setdefault(f"k{seeds} covered", []).append(low <= truth <= high)
            if shape == "flat":
                narrow = judge({"task": curve}, MARGIN)["task"].verdict
                tally.setdefault(f"k{seeds} inconclusive at 2 %", []).append(narrow == "inconclusive")
    found |= {name: float(np.mean(values)) for name, values in tally.items()}
    found |= {f"k{seeds} promised": power.power(parts, positives, seeds, margin) for seeds in SEEDS}
    return found


def kept(part: str, cells: Sequence[tuple[Any, ...]], simulate: Callable[..., dict[str, float]], studies: int) -> Iterator[tuple[tuple[Any, ...], dict[str, float]]]:
    """Each cell with what was found in it; simulated only if it was not before."""
    KEPT.mkdir(parents=True, exist_ok=True)
    file = KEPT / f"{part}-{studies}.jsonl"
    known = {}
    if file.exists():
        known = {tuple(cell): found for cell, found in map(json.loads, file.read_text().splitlines())}
    for cell in cells:
        if cell not in known:
            known[cell] = simulate(*cell, studies)
            with file.open("a") as lines:
                lines.write(json.dumps([cell, known[cell]]) + "\n")
        yield cell, known[cell]


def verdicts(studies: int, cells: Sequence[tuple[Any, ...]]) -> dict[str, float]:
    figures: dict[str, float] = {}
    wrong, covered, gaps, kept_promises = [], [], [], []
    for cell, found in kept("verdicts", cells, verdict_cell, studies):
        for seeds in SEEDS:
            worst = max(found[f"k{seeds} {shape} wrong"] for shape in SHAPES)
            wrong.append(worst)
            covered.append(found[f"k{seeds} covered"])
            reached, promised = found[f"k{seeds} flat saturated"], found[f"k{seeds} promised"]
            gaps.append(reached - promised)
            if promised >= 0.795:
                kept_promises.append(reached)
            print(f"{str(cell):<22} k={seeds} margin {found['margin']:.3f} wrong {worst:.3f} covered {covered[-1]:.3f} "
                  f"promised {promised:.2f} reached {reached:.2f} "
                  f"inconclusive at 2 % {found[f'k{seeds} inconclusive at 2 %']:.2f}", flush=True)
    figures |= {
        "verdicts_most_wrongly_saturated": max(wrong),
        "verdicts_mean_wrongly_saturated": float(np.mean(wrong)),
        "verdicts_least_covered": min(covered),
        "verdicts_most_covered": max(covered),
        "verdicts_power_furthest_below_promise": min(gaps),
        "verdicts_power_furthest_above_promise": max(gaps),
        "verdicts_least_power_where_80_promised": min(kept_promises),
    }
    return figures


if __name__ == "__main__":
    pass
