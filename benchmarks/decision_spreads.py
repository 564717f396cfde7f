"""Studies of many tasks whose runs vary unequally, for benchmarks/decisions.py: error rates in both scopes.

Curves of metrics, as in `decision_worlds.curves`, with what real studies have: spreads between runs that
differ by size and task, run effects that tasks share, heavy tails, runs that failed. The truth of a recipe is
the mean over infinitely many runs; the truth of trained models is that of the runs as they are.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from claimscale.constants import Scope
from claimscale.evaluation import family_power, power
from claimscale.evaluation.families import task_families
from claimscale.evaluation.intervals import Scores, difference, interval
from claimscale.evaluation.metrics import Floats
from claimscale.evaluation.size_decision import SizeCurve, Verdict, decide

LEVEL, PREVALENCE, MARGIN, REPLICATES = 0.35, 0.05, 0.02, 150
NOISE = power.components(power.Assumptions(LEVEL, PREVALENCE))
"""What patients contribute to a difference of sizes, as `plan` assumes."""
COLLAPSE = 0.15
"""Share of its metric that a failed run loses."""
SCOPES: tuple[Scope, ...] = ("recipe", "trained_models")


class World(NamedTuple):
    tasks: int = 1
    sizes: int = 4
    seeds: int = 3
    spread: float = 0.005
    positives: int = 2000
    size_factor: float = 1.0
    """Largest spread of a size over the smallest."""
    task_factor: float = 1.0
    shared: float = 0.0
    """Share of the variance between runs that all tasks have in common."""
    heavy: bool = False
    """Whether runs vary as Student's t with three degrees of freedom."""
    failed: float = 0.0
    """Share of the runs that fail."""


WORLDS: dict[str, World] = {
    "one task": World(),
    "one task, 2 seeds": World(seeds=2),
    "one task, 5 seeds": World(seeds=5),
    "sizes x4": World(size_factor=4),
    "sizes x4, 2 seeds": World(size_factor=4, seeds=2),
    "heavy tails": World(heavy=True),
    "spread 2 %, sizes x4": World(spread=0.02, size_factor=4, positives=20_000),
    "3 tasks": World(tasks=3),
    "6 tasks, both x4": World(tasks=6, size_factor=4, task_factor=4),
    "6 tasks, shared runs, heavy tails": World(tasks=6, shared=0.8, heavy=True),
    "12 tasks, shared runs": World(tasks=12, shared=0.9),
    "24 tasks, 2 seeds": World(tasks=24, seeds=2),
    "24 tasks, shared runs, sizes x4": World(tasks=24, shared=0.9, size_factor=4),
    "400 tasks, shared runs": World(tasks=400, shared=0.5),
    "one in three runs fails": World(failed=1 / 3),
    "one in three runs fails, 12 tasks": World(tasks=12, shared=0.9, failed=1 / 3),
}
STUDIES = {400: 0.05, 24: 0.4, 12: 0.6}
"""Share of the studies in worlds of many tasks, which take longer."""
SPREAD_CELLS = [(name, gain) for name in WORLDS for gain in (0.0, 1.0, 1.25)]
"""World, and gain of the largest size over all others in margins."""


@dataclass(frozen=True)
class Drawn:
    """One study: its curves, and the true metric of each task's sizes over runs as they are [sizes]."""

    curves: dict[str, SizeCurve]
    trained: dict[str, Floats]


def draw(world: World, gain: float, random: np.random.Generator, positives: int | None = None) -> Drawn:
    positives = positives or world.positives
    parts = NOISE.at(positives)
    of_patients, of_size, of_run = (
        np.sqrt(variance / positives) for variance in (parts.common, parts.shared / 2, parts.within / 2)
    )
    by_size = np.geomspace(world.size_factor**-0.5, world.size_factor**0.5, world.sizes)
    random.shuffle(by_size)
    by_task = np.geomspace(world.task_factor**-0.5, world.task_factor**0.5, world.tasks)
    shape = world.sizes, world.seeds
    common, failed = _runs(world, random), random.random(shape) < world.failed
    curves, trained = {}, {}
    for task in range(world.tasks):
        own = np.sqrt(world.shared) * common + np.sqrt(1 - world.shared) * _runs(world, random)
        quality = np.ones(shape) + world.spread * by_size[:, None] * by_task[task] * own
        quality[failed] *= 1 - COLLAPSE
        quality[:-1] -= gain * MARGIN
        errors = (
            part * random.normal(size=(*size, 1 + REPLICATES))
            for part, size in ((of_patients, (1, 1)), (of_size, (world.sizes, 1)), (of_run, shape))
        )
        error = LEVEL * sum(errors, np.zeros(()))
        values = LEVEL * quality + error[..., 0]
        curves[f"task{task}"] = SizeCurve(
            {
                f"{size}M": Scores(
                    tuple(range(world.seeds)),
                    values[size],
                    values[size][:, None] + error[size, :, 1:],
                    positives,
                )
                for size in range(world.sizes)
            },
            PREVALENCE,
            positives,
        )
        trained[f"task{task}"] = quality.mean(axis=1)
    return Drawn(curves, trained)


def _runs(world: World, random: np.random.Generator) -> Floats:
    shape = world.sizes, world.seeds
    return random.standard_t(3, shape) / np.sqrt(3) if world.heavy else random.normal(size=shape)


def spread_cell(name: str, gain: float, studies: int, seed: int) -> dict[str, float]:
    """Shares of studies: any task wrongly saturated, by scope; of tasks: saturated, and intervals that
    cover."""
    world, counts = WORLDS[name], defaultdict[str, float](float)
    count = max(int(studies * STUDIES.get(world.tasks, 1.0)), 2)
    for study in range(seed, seed + count):
        random = np.random.default_rng([study, list(WORLDS).index(name)])
        drawn = draw(world, gain, random)
        for scope in SCOPES:
            verdicts = decide(drawn.curves, MARGIN, scope)
            wrong = [_wrong(found, gain, drawn.trained[task], scope) for task, found in verdicts.items()]
            counts[f"{scope} any wrong"] += any(wrong)
            counts[f"{scope} saturated"] += float(
                np.mean([one.verdict == "saturated" for one in verdicts.values()])
            )
        counts["covered"] += float(np.mean([_covers(curve, gain) for curve in drawn.curves.values()]))
    return {key: value / count for key, value in counts.items()} | {"studies": count}


def _wrong(found: Verdict, gain: float, trained: Floats, scope: Scope) -> bool:
    """Whether a size was called sufficient although the largest gains the margin or more."""
    if found.smallest_sufficient is None:
        return False
    size = int(found.smallest_sufficient[:-1])
    true = trained[-1] - trained[size] if scope == "trained_models" else gain * MARGIN
    return bool(true >= MARGIN * (trained[-1] if scope == "trained_models" else 1.0) - 1e-12)


def _covers(curve: SizeCurve, gain: float) -> bool:
    """Whether the 95 % interval of the largest size's gain over the smallest contains the truth."""
    sizes = list(curve.scores)
    found = difference(curve.scores[sizes[-1]], curve.scores[sizes[0]])
    assert found is not None
    low, high = interval(found).two_sided()
    return low <= gain * MARGIN * LEVEL <= high


FAMILY_CELLS = [
    (spread, shared, seeds, gain)
    for spread, seeds in ((0.005, 3), (0.01, 3), (0.01, 5))
    for shared in (0.0, 0.5, 1.0)
    for gain in (0.0, 1.0, 1.25)
]
"""Spread, its share that tasks have in common, seeds, and gain in margins; 12 tasks of 6,900 positives."""


def family_cell(
    spread: float, shared: float, seeds: int, gain: float, studies: int, seed: int
) -> dict[str, float]:
    """Six disease tasks and six medication tasks together: shares of families saturated, of studies wrong."""
    world = World(tasks=12, sizes=5, seeds=seeds, spread=spread, positives=6900, shared=shared)
    parameters = {f"{size}M": 1e6 * 3**size for size in range(world.sizes)}
    counts = defaultdict[str, float](float)
    for study in range(seed, seed + studies):
        random = np.random.default_rng([study, seeds])
        drawn = [(curve, curve.scores) for curve in draw(world, gain, random).curves.values()]
        kinds = {"disease_tasks": drawn[:6], "medication_tasks": drawn[6:]}
        found = task_families(kinds, parameters, MARGIN, study)
        saturated = [one.verdict.smallest_sufficient is not None for one in found]
        counts["saturated"] += float(np.mean(saturated))
        counts["wrong"] += any(saturated) and gain >= 1
    tasks = [(power.components(power.Assumptions(LEVEL, PREVALENCE, seed_spread=spread)), 6900)] * 6
    parts, positives = family_power.family([(replace(part, sizes=5), own) for part, own in tasks])
    promised = power.power(parts, positives, seeds, MARGIN, 0.025)
    return {key: value / studies for key, value in counts.items()} | {"promised": promised}


NEEDED_CELLS = [
    *[
        (positives, spread, seeds, 2)
        for positives in (1000, 4000)
        for spread in (0.0, 0.005)
        for seeds in (2, 3, 5)
    ],
    *[(positives, 0.0025, seeds, 2) for positives in (1000, 4000) for seeds in (2, 3, 5)],
    *[(4000, 0.01, seeds, 2) for seeds in (2, 3, 5)],
    *[(positives, spread, 3, 4) for positives in (1000, 4000) for spread in (0.0, 0.005, 0.01)],
]
"""Positives, spread, seeds and sizes of a first study of equal sizes."""


def needed_cell(
    positives: int, spread: float, seeds: int, sizes: int, studies: int, seed: int
) -> dict[str, float]:
    """Of inconclusive studies of equal sizes: how often the positives, or the seeds, that they ask for
    decide.

    Beside it, how often the same positives and seeds decide, and one more seed: fewer cannot be asked for.
    """
    world = World(sizes=sizes, seeds=seeds, spread=spread, positives=positives)
    decided, asked = defaultdict[str, list[bool]](list), defaultdict[str, list[int]](list)
    for study in range(seed, seed + studies):
        random = np.random.default_rng([study, positives, seeds, sizes])
        [verdict] = decide(draw(world, 0.0, random).curves, MARGIN).values()
        if verdict.verdict != "inconclusive":
            continue
        decided["the same"].append(_saturated(draw(world, 0.0, random)))
        decided["one more seed"].append(_saturated(draw(world._replace(seeds=seeds + 1), 0.0, random)))
        if (needed := verdict.positives_needed) is not None:
            outcome = _saturated(draw(world, 0.0, random, needed))
            for what in ("positives", f"positives if {verdict.reason}"):
                decided[what].append(outcome)
                asked[what].append(needed)
        if verdict.seeds_needed is not None:
            more = world._replace(seeds=verdict.seeds_needed)
            decided["seeds"].append(_saturated(draw(more, 0.0, random)))
            asked["seeds"].append(verdict.seeds_needed)
    found: dict[str, float] = {"inconclusive": len(decided["the same"])}
    found |= {f"{what} decide": float(np.mean(outcomes)) for what, outcomes in decided.items() if outcomes}
    for what, numbers in asked.items():
        found |= {f"{what} asked": len(numbers), f"{what} median": float(np.median(numbers))}
    return found


BORDERLINE_CELLS = [(4000, 0.0, 5), (4000, 0.005, 5), (8000, 0.0, 3), (8000, 0.005, 5)]
"""Positives, spread, seeds."""


def borderline_cell(positives: int, spread: float, seeds: int, studies: int, seed: int) -> dict[str, float]:
    """Of borderline studies of two sizes: how often the positives that they ask for give any verdict.

    True gains are normal with mean zero and a standard deviation of one margin.
    """
    world = World(sizes=2, seeds=seeds, spread=spread, positives=positives)
    decided, borderline = list[bool](), 0
    for study in range(seed, seed + studies):
        random = np.random.default_rng([study, positives, seeds])
        gain = float(random.normal())
        [verdict] = decide(draw(world, gain, random).curves, MARGIN).values()
        borderline += verdict.reason == "borderline"
        if verdict.reason == "borderline" and verdict.positives_needed is not None:
            [again] = decide(draw(world, gain, random, verdict.positives_needed).curves, MARGIN).values()
            decided.append(again.verdict != "inconclusive")
    return {"borderline": borderline, "asked": len(decided), "decide": float(np.mean(decided or [np.nan]))}


def _saturated(drawn: Drawn) -> bool:
    return all(one.verdict == "saturated" for one in decide(drawn.curves, MARGIN).values())
