"""The age distribution of the simulated patients."""

from __future__ import annotations

import numpy as np

from claimscale.simulator.hospitals import cumulative

SEXES = ("M", "F")
"""In the kernel's order: 0 is a man, 1 a woman."""

# Outpatients of hospitals with 200 beds or more, in percent of all, by 5-year band from 0-4 to 90 and over:
# NDB Open Data no. 9, A002, fiscal year 2022.
PATIENTS_BY_AGE = {
    "M": (1.7, 1.5, 1.4, 1.1, 0.8, 0.8, 0.9, 1.2, 1.5, 2.2, 2.8, 3.1, 3.6, 4.3, 6.1, 5.7, 4.5, 2.6, 1.1),
    "F": (1.4, 1.1, 1.1, 1.0, 1.1, 1.4, 1.7, 2.1, 2.5, 3.3, 3.9, 3.6, 3.6, 4.1, 5.8, 5.6, 4.7, 3.2, 1.9),
}
# Percent of the simulated patients of each band who have claims in the year of the comparison: older patients
# have often died before. Dividing by it makes the patients with claims follow the published distribution.
SEEN_BY_AGE = {
    "M": (99, 94, 93, 93, 92, 93, 94, 94, 95, 95, 95, 95, 94, 92, 86, 77, 63, 44, 25),
    "F": (100, 94, 93, 93, 92, 96, 95, 95, 95, 95, 96, 96, 96, 94, 92, 88, 80, 67, 50),
}
BAND_YEARS = 5


def age_bands(min_age: int) -> dict[str, np.ndarray]:
    """The age bands from `min_age` on and their shares of the patients.

    `band_ages` int32 [B]: first age; `band_cumulative` float64 [2 B]: shares, men's bands then women's.
    """
    first_ages = np.arange(len(PATIENTS_BY_AGE["M"]), dtype=np.int32) * BAND_YEARS
    is_kept = first_ages >= min_age
    shares = np.concatenate([np.divide(PATIENTS_BY_AGE[sex], SEEN_BY_AGE[sex])[is_kept] for sex in SEXES])
    return {"band_ages": first_ages[is_kept], "band_cumulative": cumulative(shares)}
