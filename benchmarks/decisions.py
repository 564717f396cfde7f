"""Are the verdicts right, and does `plan` promise what comes true? Studies of known truth, 500 and more a
cell.

    python benchmarks/decisions.py              everything, about an hour on two cores
    python benchmarks/decisions.py reduced      a tenth of the studies and fewer cells, a few minutes
    python benchmarks/decisions.py verdicts     one part: verdicts, curves, power, interaction, stopping,
                                                hospitals
    python benchmarks/decisions.py seed=9000000 other studies than those the rule was shaped on (seed 0)

Cells that are done are kept in runs/decisions/ and not simulated again.
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
from scipy import stats

from claimscale.evaluation import power
from claimscale.evaluation.forecast import FEWEST_SIZES, forecast
from claimscale.evaluation.gains import task_dependence
from claimscale.evaluation.intervals import difference, interval, patient_degrees, variance_parts
from claimscale.evaluation.metrics import Floats
from claimscale.evaluation.power import Assumptions
from claimscale.evaluation.saturation import Curve, judge
from decision_hospitals import HOSPITAL_CELLS, hospital_cell
from decision_worlds import SHAPES, as_scores, curves, predictions, some_seeds
from record import write_record

BEYOND = ("rising beyond", "late jump")
"""Shapes whose last gain is 1.25 or 1.5 margins."""
KEPT = Path("runs/decisions")
REPLICATES = 200
SEEDS = (2, 3, 5)
MARGIN = 0.02
PLACES = tuple(tuple(sorted({gains[place] for gains in SHAPES.values()})) for place in range(2))

VERDICT_CELLS = [
    (0.2, 50, 0.01),
    (0.05, 50, 0.01),
    (0.2, 200, 0.01),
    (0.01, 50, 0.01),
    (0.05, 200, 0.0),
    (0.05, 200, 0.01),
    (0.2, 800, 0.01),
    (0.05, 800, 0.01),
    (0.2, 3200, 0.01),
    (0.01, 200, 0.01),
]
"""Prevalence, positives, spread between runs; those that take longest last."""
AUPRC = {0.01: 0.25, 0.05: 0.35, 0.2: 0.5}
"""Of the largest model, by prevalence."""


def verdict_cell(
    prevalence: float, positives: int, spread: float, studies: int, seed: int
) -> dict[str, float]:
    """Share of verdicts and of intervals that cover, by seeds and shape, on simulated predictions.

    The margin is the one that `plan` says three seeds can resolve in four of five studies; beside it, 2 %.
    """
    assumed = Assumptions(AUPRC[prevalence], prevalence, seed_spread=spread)
    parts = power.components(assumed)
    margin = power.resolvable(parts, positives, 3)
    found: dict[str, float] = {"margin": margin}
    tally: dict[str, list[float]] = {}
    gains = [[gain * margin for gain in place] for place in PLACES]
    for study in range(seed, seed + studies):
        smaller, largest = predictions(
            assumed, positives, gains, seeds=max(SEEDS), replicates=REPLICATES, seed=study
        )
        for seeds, (shape, true) in itertools.product(SEEDS, SHAPES.items()):
            sizes = [smaller[place][PLACES[place].index(true[place])] for place in range(2)]
            sizes = [some_seeds(scores, seeds) for scores in (*sizes, largest)]
            curve = Curve(dict(zip("abc", sizes, strict=True)), prevalence, positives)
            verdict = judge({"task": curve}, margin)["task"]
            name = f"k{seeds} {shape}"
            wrong = (
                verdict.smallest_sufficient is not None and true["ab".find(verdict.smallest_sufficient)] >= 1
            )
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


def kept(
    part: str,
    cells: Sequence[tuple[Any, ...]],
    simulate: Callable[..., dict[str, float]],
    studies: int,
    seed: int,
) -> Iterator[tuple[tuple[Any, ...], dict[str, float]]]:
    """Each cell with what was found in it; simulated only if it was not before."""
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
    """What is asked of verdicts in every cell, gathered over cells."""

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


FIVE_SIZES: dict[str, tuple[float, ...]] = {
    "flat": (0, 0, 0, 0, 0),
    "rising within": (0.8, 0.6, 0.4, 0.2, 0),
    "rising to the margin": (3, 2, 1.5, 1, 0),
    "rising beyond": (4, 3, 2, 1.25, 0),
    "late jump": (1.25, 1.25, 1.25, 1.25, 0),
    "best in the middle": (0, 0, -1, 0, 0),
}
"""What the largest of five sizes gains over each, in margins."""
CURVE_CELLS = list(
    itertools.product((100, 300, 1000, 3000, 10_000, 30_000), SEEDS, (0.0, 0.005, 0.02), (1.0, 3.0))
)
"""Positives, seeds, spread between runs, by how much more the largest size's runs spread."""


def curve_cell(
    positives: int, seeds: int, spread: float, uneven: float, studies: int, seed: int
) -> dict[str, float]:
    """Five sizes on curves of metrics at a margin of 2 %, ten times as many studies."""
    parts = power.components(Assumptions(0.35, 0.05, seed_spread=spread))
    found = {"promised": power.power(parts, positives, seeds, MARGIN)}
    for shape, true in FIVE_SIZES.items():
        gains = MARGIN * np.array(true)
        study = curves(
            parts,
            positives,
            list(gains),
            seeds=seeds,
            studies=10 * studies,
            seed=seed + positives,
            uneven=uneven,
        )
        sufficient, covered = _five(study, gains, positives)
        better = gains[:, None] - gains[None, :]  # of the column over the row
        wrong_sizes = [np.max(better[place, place + 1 :], initial=-1) >= MARGIN for place in range(5)]
        found[f"{shape} wrong"] = float(np.mean(np.array(wrong_sizes)[sufficient]))
        found[f"{shape} saturated"] = float(np.mean(sufficient < 4))
        found[f"{shape} covered"] = covered
    return found


def _five(study: Mapping[str, Floats], gains: Floats, positives: int) -> tuple[np.ndarray, float]:
    """The smallest sufficient size of each study (4, the largest, if none), and how often intervals cover."""
    value = study["value"]
    studies, sizes, seeds = value.shape
    by_size = value.var(axis=2, ddof=1)
    passes, covered = np.zeros((studies, sizes), dtype=bool), []
    passes[:, -1] = True
    for small in range(sizes - 2, -1, -1):
        enough = passes[:, small + 1].copy()
        for large in range(small + 1, sizes):
            gain = (value[:, large] - value[:, small]).mean(axis=1)
            patients, spread, degrees = variance_parts(
                study["shared"] + study["within"] / seeds,
                study["within"],
                by_size[:, [small, large]],
                seeds,
                patient_degrees(positives),
            )
            error = np.sqrt(patients + spread)
            over = gain - MARGIN * value[:, -1].mean(axis=1)
            cautious = np.maximum(error, np.sqrt(study["shared"] + study["within"] / seeds))
            bound = stats.t.ppf(0.95, degrees) * cautious
            enough &= (over + bound < 0) & (bound < MARGIN)
            truth = gains[small] - gains[large]
            covered.append(np.abs(gain - truth) < stats.t.ppf(0.975, degrees) * error)
        passes[:, small] = enough
    return passes.argmax(axis=1), float(np.mean(covered))


def interaction_cell(
    positives: int, effect: float, together: bool, studies: int, seed: int
) -> dict[str, float]:
    """Two diseases and two medications, two sizes, three seeds, on predictions; the effect as a
    share of the margin that is resolvable for one task. `together`: a pretraining falls out alike in all."""
    assumed = Assumptions(0.35, 0.05, seed_spread=0.01)
    parts = power.components(assumed)
    unit = power.resolvable(parts, positives, 3)
    apart, gain = effect * unit, 0.5 * unit
    shown, covered = [], []
    for study in range(seed, seed + studies):
        worth = np.random.default_rng([study, 7]).normal(size=(2, 3)) if together else None
        curves_of = [
            Curve(dict(zip("ab", (smaller[0][0], largest), strict=True)), 0.05, positives)
            for task in range(4)
            for smaller, largest in [
                predictions(
                    assumed,
                    positives,
                    [[gain + (task < 2) * apart]],
                    seeds=3,
                    replicates=REPLICATES,
                    seed=4 * study + task,
                    worth=worth,
                )
            ]
        ]
        found = task_dependence(curves_of[:2], curves_of[2:])
        assert found is not None
        shown.append(found.p_differs() < 0.05)
        low, high = found.two_sided()
        covered.append(low <= apart <= high)
    return {"effect": apart, "shown": float(np.mean(shown)), "covered": float(np.mean(covered))}


INTERACTION_CELLS = [
    *[(100, effect, False) for effect in (0.0, 0.5, 0.9, 1.3)],
    (100, 0.0, True),
    *[(400, effect, False) for effect in (0.0, 0.5, 0.9)],
]
"""Positives, effect, whether a pretraining falls out alike in all tasks."""

PARAMETERS = dict(zip("abcde", (2.2e6, 4.7e6, 11e6, 32e6, 101e6), strict=True))
"""Hours of pretraining grow with the parameters, the tokens being the same."""
GROWTH: dict[str, Callable[[Floats], Floats]] = {
    "flat": lambda x: 0 * x,
    "rising within": lambda x: 0.4 * x,
    "straight": lambda x: x,
    "flattening": lambda x: (
        (1 - np.exp(-0.5 * (x - x[0]))) / (np.exp(-0.5 * (x[-2] - x[0])) - np.exp(-0.5 * (x[-1] - x[0])))
    ),
    "late rise": lambda x: np.exp(1.0 * x) / (np.exp(x[-1]) - np.exp(x[-2])),
    "late jump": lambda x: 1.0 * (x >= x[-1]),
}
"""True curves over the logarithm of the size, in units of the largest size's gain over the one before; that
gain is one margin, where nothing else is said."""
STOP_CELLS = list(itertools.product(GROWTH, (0.8, 0.95), (1.0, 1.5)))
"""Curve, the power to tell flat from the margin, the last gain in margins."""


def stop_cell(shape: str, wanted: float, last: float, studies: int, seed: int) -> dict[str, float]:
    """How often stopping loses a size that was needed, and the share of pretraining hours that it saves."""
    parts = power.components(Assumptions(0.35, 0.05, seed_spread=0.005))
    positives = 1000
    while power.power(parts, positives, 3, MARGIN) < wanted:
        positives = round(1.05 * positives)
    x = np.log(list(PARAMETERS.values()))
    grown = GROWTH[shape]((x - x[-2]) / (x[-1] - x[-2])) * MARGIN * last
    gains = grown[-1] - grown
    study = curves(parts, positives, gains, seeds=3, studies=studies, seed=seed + 1)
    hours = np.array(list(PARAMETERS.values()))
    lost, saved = [], []
    for place in range(studies):
        scores = dict(zip("abcde", as_scores(study, place, positives, REPLICATES, seed + 1), strict=True))
        seen = next(
            (
                number
                for number in range(FEWEST_SIZES, 5)
                if (made := forecast(dict(list(scores.items())[:number]), PARAMETERS, "e", MARGIN))
                is not None
                and made.futile()
            ),
            5,
        )
        lost.append(gains[seen - 1] >= MARGIN * (1 - 1e-9))
        saved.append(hours[seen:].sum() / hours.sum())
    return {"positives": positives, "lost": float(np.mean(lost)), "saved": float(np.mean(saved))}


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
    """Positives that a margin of 2 % takes, and what each way of squeezing the variance is worth."""
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


Part = Callable[[int, Sequence[tuple[Any, ...]], int], dict[str, float]]
PARTS: dict[str, tuple[Part, Sequence[tuple[Any, ...]]]] = {
    "curves": (curves_part, CURVE_CELLS),
    "power": (power_part, list(itertools.product(AUPRC, (0.0, 0.0025, 0.005), SEEDS))),
    "stopping": (stopping_part, STOP_CELLS),
    "interaction": (interaction_part, INTERACTION_CELLS),
    "verdicts": (verdicts, VERDICT_CELLS),
    "hospitals": (hospitals_part, HOSPITAL_CELLS),
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
        if not name.startswith(("positives_for", "stopping_")):
            print(f"{name:<55} {value:.4g}")
    record = "decisions_reduced" if reduced else "decisions"
    write_record(f"{record}_fresh" if seed else record, figures)


if __name__ == "__main__":
    main(sys.argv[1:])
