"""Are verdicts of families, and the test of kind and size, right as often as they say?

Simulated studies with known truth: diseases and medications, five sizes, three seeds. The noise of an outcome
falls with its cases (50 to 2,000) and is shared by the models of a study, as on the same patients; runs of a
size share an effect over all outcomes, and have one of their own for each outcome; outcomes differ in what
they gain. The studies are drawn as metrics and replicates, without patients.

Measured: how often a family is wrongly called saturated (at the margin, and beyond it), whether it is found
when flat, coverage of the gain per doubling, and size and power of the interaction: none, and the contrast of
the paper (medications flat from 11M on, diseases gaining 3 % per doubling).

Prints a table and writes `benchmarks/results/families.json`: `families.py [--studies N] [--seed N]`, or
`make bench NAME=families` (about ten minutes on two cores).
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import NamedTuple

import numpy as np
from scipy import stats

from claimscale.evaluation.phenome import Phenome, SizeRuns, evaluate_phenome
from record import write_record

SIZES = {"2.2M": 2_200_000, "5M": 5_000_000, "11M": 11_000_000, "32M": 32_000_000, "101M": 101_000_000}
DOUBLINGS = np.log2([size / 2_200_000 for size in SIZES.values()])
SEEDS, REPLICATES, MARGIN = 3, 300, 0.02
BETWEEN_SIZES, BETWEEN_RUNS = 0.90, 0.93
"""Correlations of the noise of patients between models."""
WORKERS = 2


class World(NamedTuple):
    """Shares of a gain per size, by kind; and what varies. Spreads are relative to AUPRC."""

    diseases: tuple[float, ...]
    medications: tuple[float, ...]
    outcomes: int = 300
    run_spread: float = 0.005
    own_run_spread: float = 0.02
    outcome_spread: float = 0.01
    """Standard deviation over outcomes of what they gain from the smallest to the largest size."""
    size_factor: float = 1.0
    """How much more the runs of the largest size vary."""


FLAT = (0.0,) * 5
PER_DOUBLING = tuple(0.03 * DOUBLINGS)
UP_TO_11M = tuple(np.minimum(0.03 * DOUBLINGS, 0.03 * DOUBLINGS[2]))
AT_MARGIN = (-0.02, -0.02, -0.02, -0.02, 0.0)
BEYOND = (-0.025, -0.025, -0.025, -0.025, 0.0)
WORLDS = {
    "flat": World(FLAT, FLAT),
    "flat, spread 1 %": World(FLAT, FLAT, run_spread=0.01),
    "flat, 24 outcomes": World(FLAT, FLAT, outcomes=24),
    "at the margin": World(AT_MARGIN, AT_MARGIN),
    "at the margin, spread 1 %": World(AT_MARGIN, AT_MARGIN, run_spread=0.01),
    "at the margin, 24 outcomes": World(AT_MARGIN, AT_MARGIN, outcomes=24),
    "at the margin, outcomes vary": World(AT_MARGIN, AT_MARGIN, outcomes=60, outcome_spread=0.04),
    "at the margin, largest varies x4": World(AT_MARGIN, AT_MARGIN, size_factor=4),
    "1.25 margins": World(BEYOND, BEYOND),
    "1.25 margins, spread 1 %": World(BEYOND, BEYOND, run_spread=0.01),
    "3 % per doubling": World(PER_DOUBLING, PER_DOUBLING),
    "the paper's contrast": World(PER_DOUBLING, UP_TO_11M),
    "the paper's contrast, spread 1 %": World(PER_DOUBLING, UP_TO_11M, run_spread=0.01),
}


@dataclass(frozen=True)
class Simulated:
    """Values [sizes, seeds, outcomes] and deviations [sizes, seeds, outcomes, B] of one scale."""

    values: np.ndarray
    deviations: np.ndarray


def simulate(world: World, random: np.random.Generator) -> Phenome:
    count, sizes = world.outcomes, len(SIZES)
    cases = np.exp(random.uniform(np.log(50), np.log(2000), count)).astype(np.int64)
    kinds = np.repeat(["disease", "medication"], [count - count // 2, count // 2])
    gains = np.where(
        kinds == "disease", np.array(world.diseases)[:, None], np.array(world.medications)[:, None]
    )
    own = random.normal(0, world.outcome_spread, count) * (np.arange(sizes) / (sizes - 1))[:, None]
    spread = world.run_spread * np.where(np.arange(sizes) == sizes - 1, world.size_factor, 1.0)
    shared_runs = random.normal(size=(sizes, SEEDS, 1)) * spread[:, None, None]
    runs = shared_runs + random.normal(0, world.own_run_spread, (sizes, SEEDS, count))
    truth = (gains + own)[:, None, :] + runs
    by_scale: dict[str, Simulated] = {}
    for name, noise in (("auprc", 3.4), ("d_prime", 1.4)):
        error = noise / np.sqrt(cases)
        drawn = _patients(random, sizes, count, 1 + REPLICATES) * error[:, None]
        level = -2.3 if name == "auprc" else 1.5
        values = level + truth + drawn[..., 0]
        by_scale[name] = Simulated(values, drawn[..., 1:])
    auroc = stats.norm.cdf(by_scale["d_prime"].values / np.sqrt(2))
    slope = stats.norm.pdf(by_scale["d_prime"].values / np.sqrt(2)) / np.sqrt(2)
    return Phenome(
        tuple(f"C{n}" for n in range(count)),
        tuple(kinds.tolist()),
        tuple(f"{kind}{n % 10}" for n, kind in enumerate(kinds)),
        cases,
        np.full(count, 50_000),
        {
            size: SizeRuns(
                tuple(range(SEEDS)),
                np.exp(by_scale["auprc"].values[place]),
                auroc[place],
                np.zeros((SEEDS, count)),
                by_scale["auprc"].deviations[place].astype(np.float32),
                (by_scale["d_prime"].deviations[place] * slope[place][..., None]).astype(np.float32),
            )
            for place, size in enumerate(SIZES)
        },
    )


def _patients(random: np.random.Generator, sizes: int, count: int, draws: int) -> np.ndarray:
    """Noise of unit variance [sizes, seeds, outcomes, draws], correlated between models."""
    common = random.normal(size=(1, 1, count, draws)) * np.sqrt(BETWEEN_SIZES)
    of_size = random.normal(size=(sizes, 1, count, draws)) * np.sqrt(BETWEEN_RUNS - BETWEEN_SIZES)
    of_run = random.normal(size=(sizes, SEEDS, count, draws)) * np.sqrt(1 - BETWEEN_RUNS)
    return common + of_size + of_run


def one_study(world: World, seed: int) -> Counter[str]:
    """What one study found."""
    random = np.random.default_rng(seed)
    found, counts = evaluate_phenome(simulate(world, random), SIZES, MARGIN, seed), Counter[str]()
    weights = (DOUBLINGS - DOUBLINGS.mean()) / np.sum((DOUBLINGS - DOUBLINGS.mean()) ** 2)
    truths = {"diseases": world.diseases, "medications": world.medications}
    wrong = False
    for family in found.families:
        gains = np.array(truths[family.name])
        counts[f"{family.verdict.verdict}"] += 1
        counts[f"trained: {family.as_trained.verdict}"] += 1
        size = family.verdict.smallest_sufficient
        wrong |= size is not None and gains[list(SIZES).index(size)] < gains[-1] - 0.999 * MARGIN
        if family.per_doubling is not None:
            low, high = family.per_doubling.two_sided()
            counts["covered"] += low <= weights @ gains <= high
    counts["wrong in any family"] += wrong
    if found.interaction is not None:
        low, high = found.interaction.two_sided()
        counts["interaction"] += low > 0 or high < 0
        counts["interaction, right sign"] += low > 0
        expected = weights @ (np.array(world.diseases) - np.array(world.medications))
        counts["interaction covered"] += low <= expected <= high
    return counts


def studies(name: str, first: int, count: int) -> Counter[str]:
    total = Counter[str]()
    for seed in range(first, first + count):
        total += one_study(WORLDS[name], seed)
    return total


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--studies", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    figures: dict[str, float] = {"studies": options.studies}
    shown: Mapping[str, Callable[[Counter[str]], float]] = {
        "saturated": lambda c: c["saturated"] / 2,
        "not saturated": lambda c: c["not_saturated"] / 2,
        "saturated, these models": lambda c: c["trained: saturated"] / 2,
        "wrong in any family": lambda c: c["wrong in any family"],
        "slope covered": lambda c: c["covered"] / 2,
        "interaction": lambda c: c["interaction"],
        "interaction covered": lambda c: c["interaction covered"],
    }
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool:
        share = options.studies // WORKERS
        for place, name in enumerate(WORLDS):
            first = options.seed + place * 10**6
            parts = [pool.submit(studies, name, first + n * share, share) for n in range(WORKERS)]
            total = sum((part.result() for part in parts), Counter[str]())
            rates = {label: rate(total) / (share * WORKERS) for label, rate in shown.items()}
            print(f"{name}: " + ", ".join(f"{label} {rate:.1%}" for label, rate in rates.items()), flush=True)
            figures |= {f"{name}: {label}": rate for label, rate in rates.items()}
    write_record("families", figures)


if __name__ == "__main__":
    main()
