"""The country's 519 hospitals: size, departments, coding and prescribing habits, and the sample of a study.

The country is the same for every study; only the sample of hospitals depends on the seed. A hospital keeps
its name, size and habits in every sample.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from claimscale.errors import BadInput

HOSPITALS = 519
"""The number of hospitals in the database of arXiv 2604.22348."""

COUNTRY_SEED = 519
SIZE_SPREAD = 0.9
"""Standard deviation of the log hospital size."""
DEPARTMENT_SPREAD = 0.35
"""Standard deviation of the log share of a general hospital's patients in a department."""
SPECIALISED = 0.2
"""Share of hospitals that specialise in two departments."""
SPECIALTY_FACTOR, OTHER_FACTOR = 3.0, 0.5
"""Relative number of patients in the specialties, and in the other departments, of a specialised hospital."""
HABIT_CONCENTRATION = 2.5
"""Dirichlet concentration of preferred synonyms and drugs: the smaller, the more hospitals differ."""


class SampledHospitals(NamedTuple):
    """The sampled hospitals, in the order of their numbers (`H001` is number 0)."""

    numbers: np.ndarray  # int64 [H]
    sizes: np.ndarray  # float64 [H], share of all patients
    departments: np.ndarray  # float64 [H, D], patients of a department relative to the country


def hospital_names(numbers: np.ndarray) -> list[str]:
    """`H001`, `H002`, ..."""
    return [f"H{number + 1:03d}" for number in numbers]


def sample_hospitals(hospitals: int, seed: int, departments: int) -> SampledHospitals:
    """Sample hospitals of the country without replacement.

    Raises BadInput unless 1 <= hospitals <= 519.
    """
    if hospitals < 1:
        raise BadInput(f"hospitals: {hospitals} is not a positive number of hospitals")
    if hospitals > HOSPITALS:
        raise BadInput(f"hospitals: {hospitals} hospitals are more than the country's {HOSPITALS}")
    sizes, case_mix = _all_hospitals(departments)
    numbers = np.sort(np.random.default_rng([seed % 2**64, hospitals]).permutation(HOSPITALS)[:hospitals])
    return SampledHospitals(numbers, sizes[numbers] / sizes[numbers].sum(), case_mix[numbers])


def _all_hospitals(departments: int) -> tuple[np.ndarray, np.ndarray]:
    """Sizes [519] and relative patients of departments [519, D], whose mean over all patients is 1."""
    random = np.random.default_rng([COUNTRY_SEED, departments])
    sizes = np.exp(SIZE_SPREAD * random.standard_normal(HOSPITALS))
    case_mix = np.exp(DEPARTMENT_SPREAD * random.standard_normal((HOSPITALS, departments)))
    for hospital in np.flatnonzero(random.random(HOSPITALS) < SPECIALISED):
        case_mix[hospital] *= OTHER_FACTOR
        case_mix[hospital, random.permutation(departments)[:2]] = SPECIALTY_FACTOR
    return sizes, case_mix * sizes.sum() / (sizes @ case_mix)


def preferences(groups: list[list[int]], numbers: np.ndarray) -> np.ndarray:
    """Each hospital's cumulative preferences within groups of codes, float64 [H, all members].

    They follow a Dirichlet distribution around the country's usage, which falls as 1/rank.
    """
    national = [zipf(len(group)) for group in groups]
    rows = []
    for number in numbers:
        random = np.random.default_rng([COUNTRY_SEED, 1, number])
        shares = [random.dirichlet(HABIT_CONCENTRATION * share / share.sum()) for share in national]
        rows.append(np.concatenate([cumulative(share) for share in shares]))
    return np.array(rows)


def everyday_habits(codes: int, numbers: np.ndarray, exponent: float) -> np.ndarray:
    """Each hospital's cumulative usage of the everyday codes, float64 [H, codes]."""
    rows = []
    for number in numbers:
        random = np.random.default_rng([COUNTRY_SEED, 2, number])
        rows.append(cumulative(zipf(codes, exponent) * random.gamma(HABIT_CONCENTRATION, size=codes)))
    return np.array(rows)


def zipf(count: int, exponent: float = 1.0) -> np.ndarray:
    return 1.0 / np.arange(1, count + 1) ** exponent


def cumulative(weights: np.ndarray) -> np.ndarray:
    """Cumulative shares; the last is exactly 1, so that every uniform number below 1 has a position."""
    shares = np.cumsum(weights) / np.sum(weights)
    shares[-1] = 1.0
    return shares
