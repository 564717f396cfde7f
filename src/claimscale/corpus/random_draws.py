"""Random numbers that are a pure function of what they are for."""

# pyright: reportArgumentType=false

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def uniform(seed: int, step: int, item: int) -> float:
    """A uniform number in [0, 1) for an item of a step: rounds of splitmix64 (Steele et al. 2014)."""
    bits = np.uint64(0)
    for word in (seed, step, item):
        bits = (bits ^ np.uint64(word)) + np.uint64(0x9E3779B97F4A7C15)
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        bits ^= bits >> np.uint64(31)
    return np.float64(bits >> np.uint64(11)) * 2.0**-53
