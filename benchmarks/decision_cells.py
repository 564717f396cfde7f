"""Verdicts, intervals and forecasts on studies of known truth, by cell of a grid.

benchmarks/decisions.py summarises the cells.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

import numpy as np
from scipy import stats

from claimscale.evaluation import power
from claimscale.evaluation.contrasts import interaction_interval
from claimscale.evaluation.forecast import MIN_SIZES, forecast_gain
from claimscale.evaluation.intervals import difference, interval
from claimscale.evaluation.metrics import Floats
from claimscale.evaluation.power import Assumptions
from claimscale.evaluation.size_decision import SizeCurve, decide
from claimscale.evaluation.variance_components import patient_degrees, variance_components
from decision_worlds import SHAPES, as_scores, curves, predictions, some_seeds

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
"""Prevalence, positives, standard deviation between runs; the longest last."""
AUPRC = {0.01: 0.25, 0.05: 0.35, 0.2: 0.5}
"""Of the largest model, by prevalence."""


def verdict_cell(
    prevalence: float, positives: int, spread: float, studies: int, seed: int
) -> dict[str, float]:
    """Shares of verdicts and of covering intervals, by seeds and shape, on simulated predictions.

    The margin is the one that three seeds resolve in 80 % of studies according to `plan`; and 2 %.
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
            curve = SizeCurve(dict(zip("abc", sizes, strict=True)), prevalence, positives)
            verdict = decide({"task": curve}, margin)["task"]
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
                narrow = decide({"task": curve}, MARGIN)["task"].verdict
                tally.setdefault(f"k{seeds} inconclusive at 2 %", []).append(narrow == "inconclusive")
    found |= {name: float(np.mean(values)) for name, values in tally.items()}
    found |= {f"k{seeds} promised": power.power(parts, positives, seeds, margin) for seeds in SEEDS}
    return found


PROMISE_CELLS = list(itertools.product((0.2, 0.05, 0.01), (50, 100, 200)))
"""Prevalence and positives: few, where power is hardest to predict."""


def promise_cell(prevalence: float, positives: int, studies: int, seed: int) -> dict[str, float]:
    """How often two equal sizes are called so, by seeds, at the margin that three seeds resolve."""
    assumed = Assumptions(AUPRC[prevalence], prevalence, seed_spread=0.01)
    parts = power.components(assumed)
    margin = power.resolvable(parts, positives, 3)
    called: dict[int, list[bool]] = {seeds: [] for seeds in SEEDS}
    for study in range(seed, seed + studies):
        smaller, largest = predictions(
            assumed, positives, [[0.0]], seeds=max(SEEDS), replicates=REPLICATES, seed=study
        )
        for seeds, found in called.items():
            sizes = [some_seeds(scores, seeds) for scores in (smaller[0][0], largest)]
            curve = SizeCurve(dict(zip("ab", sizes, strict=True)), prevalence, positives)
            found.append(decide({"task": curve}, margin)["task"].verdict == "saturated")
    reached = {f"k{seeds} reached": float(np.mean(found)) for seeds, found in called.items()}
    promised = {f"k{seeds} promised": power.power(parts, positives, seeds, margin) for seeds in SEEDS}
    return {"margin": margin} | reached | promised


FIVE_SIZES: dict[str, tuple[float, ...]] = {
    "flat": (0, 0, 0, 0, 0),
    "rising within": (0.8, 0.6, 0.4, 0.2, 0),
    "rising to the margin": (3, 2, 1.5, 1, 0),
    "rising beyond": (4, 3, 2, 1.25, 0),
    "late jump": (1.25, 1.25, 1.25, 1.25, 0),
    "best in the middle": (0, 0, -1, 0, 0),
}
"""Gains of the largest of five sizes over each, in margins."""
CURVE_CELLS = list(
    itertools.product((100, 300, 1000, 3000, 10_000, 30_000), SEEDS, (0.0, 0.005, 0.02), (1.0, 3.0))
)
"""Positives, seeds, standard deviation between runs, its factor for the largest size."""


def curve_cell(
    positives: int, seeds: int, spread: float, largest_spread: float, studies: int, seed: int
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
            largest_spread=largest_spread,
        )
        sufficient, covered = _five(study, gains, positives)
        better = gains[:, None] - gains[None, :]  # of the column over the row
        wrong_sizes = [np.max(better[place, place + 1 :], initial=-1) >= MARGIN for place in range(5)]
        found[f"{shape} wrong"] = float(np.mean(np.array(wrong_sizes)[sufficient]))
        found[f"{shape} saturated"] = float(np.mean(sufficient < 4))
        found[f"{shape} covered"] = covered
    return found


def _five(study: Mapping[str, Floats], gains: Floats, positives: int) -> tuple[np.ndarray, float]:
    """The smallest sufficient size of each study (4, the largest, if none), and the coverage of intervals."""
    value = study["value"]
    studies, sizes, seeds = value.shape
    by_size = value.var(axis=2, ddof=1)
    passes, covered = np.zeros((studies, sizes), dtype=bool), []
    passes[:, -1] = True
    for small in range(sizes - 2, -1, -1):
        enough = passes[:, small + 1].copy()
        for large in range(small + 1, sizes):
            gain = (value[:, large] - value[:, small]).mean(axis=1)
            patients, spread, degrees = variance_components(
                study["shared"] + study["within"] / seeds,
                study["within"],
                by_size[:, [small, large]],
                seeds,
                patient_degrees(positives),
            )
            error = np.sqrt(patients + spread)
            over = gain - MARGIN * value[:, -1].mean(axis=1)
            conservative = np.maximum(error, np.sqrt(study["shared"] + study["within"] / seeds))
            bound = stats.t.ppf(0.95, degrees) * conservative
            enough &= (over + bound < 0) & (bound < MARGIN)
            truth = gains[small] - gains[large]
            covered.append(np.abs(gain - truth) < stats.t.ppf(0.975, degrees) * error)
        passes[:, small] = enough
    return passes.argmax(axis=1), float(np.mean(covered))


def interaction_cell(
    positives: int, effect: float, together: bool, studies: int, seed: int
) -> dict[str, float]:
    """Two diseases and two medications, two sizes, three seeds, on predictions.

    The effect is a share of the margin that one task resolves. `together`: the quality of a pretraining run
    is the same in all tasks.
    """
    assumed = Assumptions(0.35, 0.05, seed_spread=0.01)
    parts = power.components(assumed)
    unit = power.resolvable(parts, positives, 3)
    apart, gain = effect * unit, 0.5 * unit
    shown, covered = [], []
    for study in range(seed, seed + studies):
        quality = np.random.default_rng([study, 7]).normal(size=(2, 3)) if together else None
        curves_of = [
            SizeCurve(dict(zip("ab", (smaller[0][0], largest), strict=True)), 0.05, positives)
            for task in range(4)
            for smaller, largest in [
                predictions(
                    assumed,
                    positives,
                    [[gain + (task < 2) * apart]],
                    seeds=3,
                    replicates=REPLICATES,
                    seed=4 * study + task,
                    quality=quality,
                )
            ]
        ]
        found = interaction_interval(curves_of[:2], curves_of[2:], "a", "b")
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
"""Positives, effect, whether the quality of a pretraining run is the same in all tasks."""

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
gain is one margin unless stated otherwise."""
STOP_CELLS = list(itertools.product(GROWTH, (0.8, 0.95), (1.0, 1.5)))
"""SizeCurve, the power to tell flat from the margin, the last gain in margins."""


def stop_cell(shape: str, wanted: float, last: float, studies: int, seed: int) -> dict[str, float]:
    """How often stopping loses a needed size, and the share of pretraining hours that it saves."""
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
                for number in range(MIN_SIZES, 5)
                if (made := forecast_gain(dict(list(scores.items())[:number]), PARAMETERS, "e", MARGIN))
                is not None
                and made.futile()
            ),
            5,
        )
        lost.append(gains[seen - 1] >= MARGIN * (1 - 1e-9))
        saved.append(hours[seen:].sum() / hours.sum())
    return {"positives": positives, "lost": float(np.mean(lost)), "saved": float(np.mean(saved))}
