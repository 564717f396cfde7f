"""The country's 519 hospitals: how large they are, what they are known for, and which of them are studied.

The country is the same for everybody; only the draw of hospitals follows from the seed of a study. A hospital
keeps its name, size and habits whichever others are drawn with it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from claimscale.errors import BadInput

HOSPITALS = 519
"""As many as in the database that arXiv 2604.22348 drew from."""

COUNTRY_SEED = 519
SIZE_SPREAD = 0.9
"""Standard deviation of the logarithm of hospital sizes."""
DEPARTMENT_SPREAD = 0.35
"""The same for the share of a general hospital's patients that a department draws."""
SPECIALISED = 0.2
"""Share of hospitals known for two departments, which draw `FAME` times the patients; the others, half."""
FAME = 3.0
HABIT_CONCENTRATION = 2.5
"""Small: hospitals differ much in the synonyms and drugs they prefer. Large: all follow the nation."""


class Hospitals(NamedTuple):
    """The drawn hospitals, in the order of their numbers (`H001` is number 0)."""

    numbers: np.ndarray  # int64 [H]
    sizes: np.ndarray  # float64 [H], share of the drawn hospitals' patients
    departments: np.ndarray  # float64 [H, D], patients of a department relative to the nation


def names(numbers: np.ndarray) -> list[str]:
    """`H001` and so on."""
    return [f"H{number + 1:03d}" for number in numbers]


def draw(hospitals: int, seed: int, departments: int) -> Hospitals:
    """Some of the country's hospitals, without replacement.

    Raises BadInput unless there are 1 to 519 of them.
    """
    if hospitals < 1:
        raise BadInput(f"hospitals: {hospitals} is not a positive number of hospitals")
    if hospitals > HOSPITALS:
        raise BadInput(f"hospitals: {hospitals} hospitals are more than the country's {HOSPITALS}")
    sizes, focus = _nation(departments)
    numbers = np.sort(np.random.default_rng([seed % 2**64, hospitals]).permutation(HOSPITALS)[:hospitals])
    return Hospitals(numbers, sizes[numbers] / sizes[numbers].sum(), focus[numbers])


def _nation(departments: int) -> tuple[np.ndarray, np.ndarray]:
    """Sizes [519] and the departments' relative patients [519, D], which average to 1 over all patients."""
    random = np.random.default_rng([COUNTRY_SEED, departments])
    sizes = np.exp(SIZE_SPREAD * random.standard_normal(HOSPITALS))
    focus = np.exp(DEPARTMENT_SPREAD * random.standard_normal((HOSPITALS, departments)))
    for hospital in np.flatnonzero(random.random(HOSPITALS) < SPECIALISED):
        focus[hospital] *= 0.5
        focus[hospital, random.permutation(departments)[:2]] = FAME
    return sizes, focus * sizes.sum() / (sizes @ focus)


def preferences(groups: list[list[int]], numbers: np.ndarray) -> np.ndarray:
    """How each hospital chooses within groups of codes: cumulative, float64 [H, all members].

    Dirichlet around the nation's usage, which falls as 1/rank.
    """
    national = [zipf(len(group)) for group in groups]
    rows = []
    for number in numbers:
        random = np.random.default_rng([COUNTRY_SEED, 1, number])
        shares = [random.dirichlet(HABIT_CONCENTRATION * share / share.sum()) for share in national]
        rows.append(np.concatenate([cumulative(share) for share in shares]))
    return np.array(rows)


def everyday_habits(codes: int, numbers: np.ndarray, exponent: float) -> np.ndarray:
    """How often each hospital uses each of the everyday codes: cumulative, float64 [H, codes]."""
    rows = []
    for number in numbers:
        random = np.random.default_rng([COUNTRY_SEED, 2, number])
        rows.append(cumulative(zipf(codes, exponent) * random.gamma(HABIT_CONCENTRATION, size=codes)))
    return np.array(rows)


def zipf(count: int, exponent: float = 1.0) -> np.ndarray:
    return 1.0 / np.arange(1, count + 1) ** exponent


def cumulative(weights: np.ndarray) -> np.ndarray:
    """Running shares, the last of them 1: a draw below 1 must always find its place."""
    shares = np.cumsum(weights) / np.sum(weights)
    shares[-1] = 1.0
    return shares
