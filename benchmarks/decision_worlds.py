"""Studies whose truth is known, for benchmarks/decisions.py: predictions, and curves of metrics.

A model's score is N(0, 1) for patients without the outcome and N(separation, 1) for those with it. The
variance of 1 is the sum of an error shared by all sizes, an error shared by the runs of one size, and an
error of each run. Runs of a size also differ in quality: their AUPRC on infinitely many patients has the
relative standard
    deviation
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
"""True gains of the largest size over the smaller ones, in margins. With one margin or more, calling the
smaller size sufficient is an error; it is hardest to avoid at exactly one margin."""


def predictions(
    assumed: power.Assumptions,
    positives: int,
    gains: Sequence[Sequence[float]],
    *,
    seeds: int,
    replicates: int,
    seed: int,
    quality: Floats | None = None,
) -> tuple[list[list[Scores]], Scores]:
    """Scores of smaller sizes and of the largest, all on the same simulated patients.

    `gains` lists, per place in the order of sizes, the relative gains of the largest over a size there. Sizes
    in one place share their errors, because a curve contains only one of them. `quality` (places, seeds) is
    the deviation of each run's AUPRC, in standard deviations.
    """
    generator = np.random.default_rng(seed)
    patients = round(positives / assumed.prevalence)
    labels = np.arange(patients) < positives
    common = np.sqrt(assumed.between_sizes) * generator.normal(size=patients)
    of_size = np.sqrt(assumed.between_runs - assumed.between_sizes)
    of_run = np.sqrt(1 - assumed.between_runs)
    models: list[Floats] = []
    if quality is None:
        quality = generator.normal(size=(len(gains) + 1, seeds))
    for place, of_runs in zip([*gains, [0.0]], quality, strict=True):
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

    The sizes are equally good over infinitely many hospitals. In one hospital the separation of each size
    deviates by `apart` (standard deviation), for all its runs alike. Hospitals differ in size as in claims:
    the largest of ten has about ten times the patients of the smallest.
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
    """The same study with fewer seeds."""
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
    largest_spread: float = 1.0,
) -> dict[str, Floats]:
    """Measurements of `studies` studies of sizes with given relative gains, the last one the largest (gain
    0).

    Normal variables with the variances of `parts`, relative to the largest model's AUPRC: `value` (studies,
    sizes, seeds), and per study the bootstrap variances `shared` and `within`, with their sampling error.
    `largest_spread` multiplies the standard deviation between runs of the largest size.
    """
    generator, parts = np.random.default_rng(seed), parts.at(positives)
    sizes = len(gains)
    lasting = np.full(sizes, parts.lasting)
    lasting[-1] *= largest_spread**2
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
    """One of the studies of `curves` as `Scores` by size, with replicates from its bootstrap variances."""
    generator = np.random.default_rng([seed, place])
    value = study["value"][place]
    sizes, seeds = value.shape
    noise = np.sqrt(study["shared"][place] / 2) * generator.normal(size=(sizes, 1, replicates))
    noise = noise + np.sqrt(study["within"][place] / 2) * generator.normal(size=(sizes, seeds, replicates))
    return [
        Scores(tuple(range(seeds)), value[size], value[size][:, None] + noise[size], positives)
        for size in range(sizes)
    ]
