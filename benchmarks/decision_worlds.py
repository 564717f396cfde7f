"""Studies whose truth is known, for benchmarks/decisions.py: predictions, and curves of metrics.

A model's score is N(0, 1) among patients without the outcome and N(separation, 1) among those with it. What
all sizes get wrong alike, what the runs of one size get wrong alike and what each run gets wrong alone add up
to that variance of 1. Runs of a size also differ in worth: their AUPRC on endless patients spreads by
`seed_spread`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from claimscale.evaluation import power
from claimscale.evaluation.bootstrap import Ranking, Resamples, areas, replicate_rankings
from claimscale.evaluation.intervals import Scores
from claimscale.evaluation.metrics import Floats

SHAPES: dict[str, tuple[float, ...]] = {
    "flat": (0.0, 0.0),
    "rising within": (0.5, 0.25),
    "rising to the margin": (3.0, 1.0),
    "rising beyond": (3.0, 1.5),
    "late jump": (1.25, 1.25),
}
"""What the largest size truly gains over the smaller ones, in margins. Where it is one margin or more,
calling that size sufficient is wrong; nowhere is that harder to avoid than at one margin exactly."""


def predictions(
    assumed: power.Assumptions,
    positives: int,
    gains: Sequence[Sequence[float]],
    *,
    seeds: int,
    replicates: int,
    seed: int,
    worth: Floats | None = None,
) -> tuple[list[list[Scores]], Scores]:
    """Scores of smaller sizes and of the largest, all on the same simulated patients.

    `gains` lists, per place in the order of sizes, the relative gains of the largest over a size there; sizes
    in one place share their errors, as only one of them stands in any one curve. `worth` (places, seeds) is
    how well each run fell out, in standard deviations.
    """
    generator = np.random.default_rng(seed)
    patients = round(positives / assumed.prevalence)
    labels = np.arange(patients) < positives
    common = np.sqrt(assumed.between_sizes) * generator.normal(size=patients)
    of_size = np.sqrt(assumed.between_runs - assumed.between_sizes)
    of_run = np.sqrt(1 - assumed.between_runs)
    models: list[Floats] = []
    if worth is None:
        worth = generator.normal(size=(len(gains) + 1, seeds))
    for place, of_runs in zip([*gains, [0.0]], worth, strict=True):
        size = common + of_size * generator.normal(size=patients)
        runs = [size + of_run * generator.normal(size=patients) for _ in range(seeds)]
        for gain in place:
            auprc = assumed.auprc * (1 - gain) * (1 + assumed.seed_spread * of_runs)
            separations = separation(assumed.prevalence, auprc)
            models += [run + own * labels for run, own in zip(runs, separations, strict=True)]
    found = scores_of(labels, models, seeds, replicates, seed)
    counts = np.cumsum([0, *(len(place) for place in gains)])
    return [found[begin:end] for begin, end in itertools.pairwise(counts)], found[-1]


def scores_of(
    labels: np.ndarray, models: Iterable[Floats], seeds: int, replicates: int, seed: int
) -> list[Scores]:
    rows = np.arange(len(labels))
    rankings = [Ranking.of(labels, scores, rows) for scores in models]
    values = np.array([areas(ranking)[0] for ranking in rankings])
    auprc, _ = replicate_rankings(Resamples(len(rows), replicates, seed), rankings)
    positives = int(labels.sum())
    return [
        Scores(tuple(range(seeds)), values[place : place + seeds], auprc[place : place + seeds], positives)
        for place in range(0, len(rankings), seeds)
    ]


def many_hospitals(
    assumed: power.Assumptions, positives: int, hospitals: int, apart: float, *, seeds: int, seed: int
) -> tuple[NDArray[np.bool_], Floats, NDArray[np.int64]]:
    """Labels (patients), scores of a smaller and a larger size (2 * seeds, patients), hospitals (patients).

    The sizes are equally good over endless hospitals. In one hospital the separation of each size is off by
    `apart` (standard deviation), all runs of the size alike. Hospitals differ in size as claims' do: the
    largest of ten has about ten times the patients of the smallest.
    """
    generator = np.random.default_rng(seed)
    patients = round(positives / assumed.prevalence)
    share = np.exp(0.7 * generator.normal(size=hospitals))
    hospital = generator.choice(hospitals, size=patients, p=share / share.sum())
    labels = np.arange(patients) < positives
    common = np.sqrt(assumed.between_sizes) * generator.normal(size=patients)
    scores = []
    for _ in range(2):
        size = common + np.sqrt(assumed.between_runs - assumed.between_sizes) * generator.normal(
            size=patients
        )
        shift = apart * generator.normal(size=hospitals)[hospital]
        auprc = assumed.auprc * (1 + assumed.seed_spread * generator.normal(size=seeds))
        for own in separation(assumed.prevalence, auprc):
            run = size + np.sqrt(1 - assumed.between_runs) * generator.normal(size=patients)
            scores.append(run + (own + shift) * labels)
    return labels, np.array(scores), hospital


def some_seeds(scores: Scores, seeds: int) -> Scores:
    """The study as it would be with fewer seeds."""
    return Scores(scores.seeds[:seeds], scores.values[:seeds], scores.replicates[:seeds], scores.positives)


@lru_cache(maxsize=16)
def _table(prevalence: float) -> tuple[Floats, Floats]:
    separations = np.linspace(0, 6, 400)
    return np.array([power.expected_auprc(each, prevalence) for each in separations]), separations


def separation(prevalence: float, auprc: Floats) -> Floats:
    return np.interp(auprc, *_table(prevalence))


def curves(
    parts: power.Components,
    positives: int,
    gains: Sequence[float],
    *,
    seeds: int,
    studies: int,
    seed: int,
    uneven: float = 1.0,
) -> dict[str, Floats]:
    """What `studies` studies would measure of sizes of given relative gain, the last one the largest (gain
    0).

    Normal draws with the variances of `parts`, relative to the largest model's AUPRC: `value` (studies,
    sizes, seeds), and per study what the bootstrap finds, `shared` and `within`, with the chance of a finite
    sample. `uneven` multiplies the spread between runs of the largest size.
    """
    generator, parts = np.random.default_rng(seed), parts.at(positives)
    sizes = len(gains)
    lasting = np.full(sizes, parts.lasting)
    lasting[-1] *= uneven**2
    shared, within = parts.shared / positives, parts.within / positives
    value = 1 - np.asarray(gains)[:, None] + np.zeros((studies, sizes, seeds))
    value += np.sqrt(shared / 2) * generator.normal(size=(studies, sizes, 1))
    value += np.sqrt(within / 2 + lasting)[:, None] * generator.normal(size=value.shape)
    freedom = positives / parts.weight
    blur = generator.chisquare(freedom, size=studies) / freedom
    return {"value": value, "shared": shared * blur, "within": within * blur}


def as_scores(
    study: Mapping[str, Floats], place: int, positives: int, replicates: int, seed: int
) -> list[Scores]:
    """One of the studies of `curves` as `Scores` by size, its replicates drawn from what the bootstrap
    finds."""
    generator = np.random.default_rng([seed, place])
    value = study["value"][place]
    sizes, seeds = value.shape
    drawn = np.sqrt(study["shared"][place] / 2) * generator.normal(size=(sizes, 1, replicates))
    drawn = drawn + np.sqrt(study["within"][place] / 2) * generator.normal(size=(sizes, seeds, replicates))
    return [
        Scores(tuple(range(seeds)), value[size], value[size][:, None] + drawn[size], positives)
        for size in range(sizes)
    ]
