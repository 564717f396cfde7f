"""Random numbers and orders as functions of a key, so that they do not depend on other patients."""

# pyright: reportArgumentType=false

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from numba import njit


@njit(cache=True, nogil=True)
def uniform(seed: int, step: int, item: int) -> float:
    """A uniform number in [0, 1) for an item of a step: rounds of splitmix64 (Steele et al. 2014)."""
    bits = np.uint64(0)
    for word in (seed, step, item):
        bits = (bits ^ np.uint64(word)) + np.uint64(0x9E3779B97F4A7C15)
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        bits ^= bits >> np.uint64(31)
    return np.float64(bits >> np.uint64(11)) * 2.0**-53


def nested_order(subject_ids: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.int64]:
    """A permutation of the patients; the first n are the subset of size n, so that subsets are nested.

    The order of any two patients depends on these patients and the seed alone.
    """
    return hashed_order(subject_ids.tolist(), f"subset/{seed}")


def hashed_order(values: Iterable[object], salt: str) -> npt.NDArray[np.int64]:
    """A permutation of the values by their salted md5."""
    return np.argsort(np.array(_digests(values, salt)), kind="stable")


def hashed_uniform(values: npt.NDArray[np.int64], salt: str) -> npt.NDArray[np.float64]:
    """A number in [0, 1) per value, from the first 13 hex digits, which a float64 holds exactly."""
    return np.array([int(digest[:13], 16) / 16**13 for digest in _digests(values.tolist(), salt)])


def _digests(values: Iterable[object], salt: str) -> list[str]:
    """Salted md5 as hex text, which is the same on every engine and machine."""
    return [hashlib.md5(f"{salt}/{value}".encode()).hexdigest() for value in values]
