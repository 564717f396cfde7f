"""Patients of a source on their index dates, with risks and outcomes, for validation and monitoring."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from claimscale.inference.package import ModelPackage
from claimscale.inference.patients import PatientShard
from claimscale.inference.reference import MEASURES, measures_of
from claimscale.tokens.special_tokens import FIRST_SEX
from claimscale.tokens.store import TokenStore


@dataclass
class ScoredDates:
    """Eligible patients and dates, n of them, in the order in which they were added."""

    code_days: int | None = None
    """Days before the index date that `patients_with_code` and `recent_unread` count; None for all."""
    _subject: list[np.ndarray] = field(default_factory=list)
    _risk: list[np.ndarray] = field(default_factory=list)
    _label: list[np.ndarray] = field(default_factory=list)
    _sex: list[np.ndarray] = field(default_factory=list)
    _measures: dict[str, list[np.ndarray]] = field(default_factory=lambda: {name: [] for name in MEASURES})
    _recent_unread: list[np.ndarray] = field(default_factory=list)
    patients_with_code: NDArray[np.int64] | None = None
    """By token, the patients who have it, int64 [V]; None before the first date."""

    def add(self, package: ModelPackage, shard: PatientShard, part: pa.Table) -> None:
        """Score index dates of the shard's patients, sorted by patient and day."""
        store = shard.store
        rows = np.searchsorted(store.subjects, part["subject_id"].to_numpy())
        days = part["index_day"].to_numpy().astype(np.int64)
        self._subject.append(part["subject_id"].to_numpy())
        self._risk.append(package.risks(store, rows, days))
        self._label.append(part["boolean_value"].to_numpy(zero_copy_only=False))
        self._sex.append(store.sex[rows] - FIRST_SEX)
        for name, values in measures_of(shard, rows, days).items():
            self._measures[name].append(values)
        self._recent_unread.append(shard.unread_share(rows, days, self.code_days))
        # A patient counts once, at the last of several dates.
        last = np.append(np.diff(rows) != 0, True) if len(rows) else np.zeros(0, bool)
        count = patients_with_code(store, rows[last], days[last], package.vocabulary.size, self.code_days)
        before = self.patients_with_code
        self.patients_with_code = count if before is None else before + count

    @property
    def risks(self) -> NDArray[np.float64]:
        return np.concatenate(self._risk)

    @property
    def labels(self) -> NDArray[np.bool_]:
        return np.concatenate(self._label).astype(bool)

    @property
    def sexes(self) -> NDArray[np.int64]:
        """Places in SEXES."""
        return np.concatenate(self._sex)

    @property
    def subjects(self) -> NDArray[np.int64]:
        return np.concatenate(self._subject)

    @property
    def patient(self) -> NDArray[np.int64]:
        """The patients, numbered from 0."""
        return np.unique(self.subjects, return_inverse=True)[1].astype(np.int64)

    @property
    def recent_unread(self) -> NDArray[np.float64]:
        """Share of the events in `code_days` that have no token."""
        return np.concatenate(self._recent_unread)

    def measure(self, name: str) -> NDArray[np.float64]:
        """One of MEASURES."""
        return np.concatenate(self._measures[name])


def patients_with_code(
    store: TokenStore, rows: np.ndarray, days: np.ndarray, size: int, window: int | None = None
) -> NDArray[np.int64]:
    """How many of the patients `rows`, each once, have each token by their day, int64 [size].

    With a `window`, only codes that became known in so many days up to the day count.
    """
    lengths = store.offsets[rows + 1] - store.offsets[rows]
    starts = np.repeat(store.offsets[rows] - np.cumsum(lengths) + lengths, lengths)
    places = starts + np.arange(lengths.sum())
    age = np.repeat(days, lengths) - store.available[places]
    is_known = (age >= 0) & (age < (window or np.inf))
    pairs = np.repeat(np.arange(len(rows)), lengths)[is_known] * size + store.token[places[is_known]]
    return np.bincount(np.unique(pairs) % size, minlength=size)
