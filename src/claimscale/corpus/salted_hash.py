"""Random orders and draws by salted md5, of each value alone: nothing depends on who else is there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt


def nested_order(subject_ids: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.int64]:
    """A permutation of the patients whose first n are the subset of size n, so that subsets are nested.

    Each patient's place depends on the patient and the seed alone, up to who else is there.
    """
    return hashed_order(subject_ids.tolist(), f"subset/{seed}")


def hashed_order(values: Iterable[object], salt: str) -> npt.NDArray[np.int64]:
    """A permutation of the values by their salted md5."""
    return np.argsort(np.array(_digests(values, salt)), kind="stable")


def uniform(values: npt.NDArray[np.int64], salt: str) -> npt.NDArray[np.float64]:
    """A number in [0, 1) per value, from the first 13 hex digits: as many as a float64 holds exactly."""
    return np.array([int(digest[:13], 16) / 16**13 for digest in _digests(values.tolist(), salt)])


def _digests(values: Iterable[object], salt: str) -> list[str]:
    """Salted md5 as hex text: the same on every engine and machine, which no engine's own hash is."""
    return [hashlib.md5(f"{salt}/{value}".encode()).hexdigest() for value in values]
