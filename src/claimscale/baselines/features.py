"""Sparse features for the baselines: counts of codes in time windows before the index date.

Per patient and index date: the number of occurrences of each code, and of each group of codes, in the last
30, 180 and 365 days and in the whole history; the time since the last occurrence; use of services; age and
sex. Only events available at the index date count. A tree finds whether a code occurred by a split between 0
and 1; for linear models `linear_features` adds presence as columns.

Matrices are compressed sparse rows, built in two passes over the events: the first counts entries, the second
writes them. No dense array of patients x columns is allocated.
"""

# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse as sparse
from numba import njit

from claimscale.constants import DAYS_PER_YEAR
from claimscale.tokens.code_groups import CodeGroups
from claimscale.tokens.sequences import WINDOWS_DAYS
from claimscale.tokens.special_tokens import FIRST_SEX
from claimscale.tokens.store import TokenStore

PERSON = ("age", "female", "male", "history")
"""Age in years, indicators of sex (both 0 if unknown), and years since the first event."""
SERVICES = ("events", "visits", "distinct codes")
"""Use of services, per window."""


@dataclass(frozen=True)
class FeatureColumns:
    """The columns of a feature matrix: PERSON, one block per window, then the recency of each code.

    A window's block is the counts of all code columns, then SERVICES.
    """

    codes: int

    def window(self, place: int) -> slice:
        """The block of one window."""
        width = self.codes + len(SERVICES)
        return slice(len(PERSON) + place * width, len(PERSON) + (place + 1) * width)

    @property
    def recency(self) -> slice:
        start = self.window(len(WINDOWS_DAYS)).start
        return slice(start, start + self.codes)

    @property
    def width(self) -> int:
        return self.recency.stop


def count_features(
    store: TokenStore,
    groups: CodeGroups,
    rows: np.ndarray,
    cutoff_days: np.ndarray,
    hidden_tokens: np.ndarray,
) -> sparse.csr_matrix:
    """Features of n patients at their index dates, float32 [n, width of FeatureColumns], sparse.

    Recency is 1 / (1 + years since the last occurrence), and 0 for codes that never occurred, which keeps the
    matrix sparse.

    Args:
        rows: patients of the store, int [n].
        cutoff_days: the last day on which events are available, int [n], days since 1970-01-01.
        hidden_tokens: tokens that do not count.
    """
    width, rows = FeatureColumns(groups.count).width, np.asarray(rows, np.int64)
    is_hidden = np.zeros(store.vocabulary.size, np.bool_)
    is_hidden[hidden_tokens] = True
    windows = np.array([np.iinfo(np.int64).max if days is None else days for days in WINDOWS_DAYS])
    events = _Events(store.token, store.age_days, store.available, store.visit, store.offsets)
    births = np.asarray(store.birth_day)[rows].astype(np.int64)
    sexes = np.asarray(store.sex)[rows] - FIRST_SEX
    patients = _PatientRows(rows, births, np.asarray(cutoff_days, np.int64), sexes)
    columns = _TokenColumns(groups.columns, is_hidden, groups.count, windows)
    offsets = np.zeros(len(rows) + 1, np.int64)
    _fill(events, patients, columns, _Entries(offsets, offsets[:0], np.empty(0, np.float32)), False)
    np.cumsum(offsets, out=offsets)
    entries = int(offsets[-1])
    # One type for both index arrays: SciPy would copy the larger one otherwise.
    index_type = np.int32 if max(entries, width) <= np.iinfo(np.int32).max else np.int64
    found = _Entries(offsets.astype(index_type), np.empty(entries, index_type), np.empty(entries, np.float32))
    _fill(events, patients, columns, found, True)
    shape = (len(rows), width)
    matrix = sparse.csr_matrix((found.values, found.indices, found.offsets), shape=shape, copy=False)
    matrix.has_sorted_indices = matrix.has_canonical_format = True
    return matrix


def linear_features(matrix: sparse.csr_matrix, columns: FeatureColumns) -> sparse.csr_matrix:
    """The features for a linear model, float32 [n, 2 x windows + 1 blocks], sparse.

    PERSON, age squared, log(1 + count) of every window, presence (0 or 1) of every window, and recency.
    """
    counts = matrix[:, columns.window(0).start : columns.recency.start]
    logs, seen = counts.copy(), counts.copy()
    logs.data = np.log1p(counts.data)
    seen.data = np.ones_like(counts.data)
    person = matrix[:, : len(PERSON)]
    blocks = [person, age_squared(matrix), logs, seen, matrix[:, columns.recency]]
    return sparse.csr_matrix(sparse.hstack(blocks, format="csr", dtype=np.float32))


def age_squared(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """The squared decades from age 60, float32 [n, 1], so that risk need not be linear in age.

    The shift keeps age and its square nearly uncorrelated. Every patient has an age, so it costs no sparsity.
    """
    decades = matrix[:, :1].toarray() / 10 - 6
    return sparse.csr_matrix((decades**2).astype(np.float32))


def support(matrix: sparse.csr_matrix) -> npt.NDArray[np.int64]:
    """The number of patients with an entry in each column, int64 [columns]; entries must not be 0."""
    counts = np.zeros(matrix.get_shape()[1], np.int64)
    _count_columns(matrix.indices, counts)
    return counts


@njit(cache=True)
def _count_columns(columns, counts):
    """Add the entries of each column; NumPy's `bincount` would copy the columns as int64."""
    for column in columns:
        counts[column] += 1


class _Events(NamedTuple):
    """Arrays of the token store."""

    token: np.ndarray
    age_days: np.ndarray
    available: np.ndarray
    visit: np.ndarray
    offsets: np.ndarray


class _PatientRows(NamedTuple):
    """Per row of the matrix: row in the store, birth day, last available day, position in SEXES."""

    rows: np.ndarray
    births: np.ndarray
    cutoffs: np.ndarray
    sexes: np.ndarray


class _TokenColumns(NamedTuple):
    """Columns of each token, int32 [tokens, levels], -1 for none; hidden tokens; code columns; windows."""

    of_token: np.ndarray
    is_hidden: np.ndarray
    codes: int
    windows: np.ndarray


class _Entries(NamedTuple):
    """The arrays of a compressed sparse matrix."""

    offsets: np.ndarray
    indices: np.ndarray
    values: np.ndarray


class _Counts(NamedTuple):
    """One patient's counts. An event counts in the narrowest window that includes it."""

    codes: np.ndarray  # int32 [codes, windows]
    latest: np.ndarray  # int64 [codes], days since the last occurrence, -1 if none
    services: np.ndarray  # int64 [windows, SERVICES]
    touched: np.ndarray  # int32 [codes], columns with a count


@njit(cache=True)
def _fill(events, patients, columns, entries, write):
    """Write every row, columns ascending; if not `write`, count the entries of row n into offsets[n + 1]."""
    windows = columns.windows.size
    counts = _Counts(
        np.zeros((columns.codes, windows), np.int32),
        np.full(columns.codes, -1, np.int64),
        np.zeros((windows, len(SERVICES)), np.int64),
        np.empty(columns.codes, np.int32),
    )
    for n in range(patients.rows.size):
        touched, first_day = _count(events, patients, n, columns, counts)
        cutoff, sex = patients.cutoffs[n], patients.sexes[n]
        age, history = cutoff - patients.births[n], cutoff - first_day
        person = (
            age / DAYS_PER_YEAR,
            1.0 if sex == 0 else 0.0,
            1.0 if sex == 1 else 0.0,
            history / DAYS_PER_YEAR,
        )
        seen = counts.touched[:touched]
        if write:
            _write(person, np.sort(seen), counts, columns.is_hidden.size, entries, entries.offsets[n])
        else:
            entries.offsets[n + 1] = _size(person, seen, counts)
        for column in seen:
            counts.codes[column] = 0
            counts.latest[column] = -1
        counts.services[:] = 0


@njit(cache=True)
def _count(events, patients, n, columns, counts):
    """Count one patient's events; returns the number of touched columns and the day of the first event."""
    birth, cutoff = patients.births[n], patients.cutoffs[n]
    touched, first_day, last_visit = 0, cutoff, -1
    for at in range(events.offsets[patients.rows[n]], events.offsets[patients.rows[n] + 1]):
        if events.available[at] > cutoff:
            break  # events are stored by available day
        token = events.token[at]
        if columns.is_hidden[token]:
            continue
        day = birth + events.age_days[at]
        first_day = min(first_day, day)
        ago = max(cutoff - day, 0)
        place = 0
        while ago >= columns.windows[place]:
            place += 1
        counts.services[place, 0] += 1
        counts.services[place, 1] += events.visit[at] != last_visit
        last_visit = events.visit[at]
        for level in range(columns.of_token.shape[1]):
            column = columns.of_token[token, level]
            if column < 0:
                continue
            if counts.latest[column] < 0:
                counts.touched[touched] = column
                touched += 1
                counts.latest[column] = ago
            counts.codes[column, place] += 1
            counts.latest[column] = min(counts.latest[column], ago)
    return touched, first_day


@njit(cache=True)
def _size(person, seen, counts):
    """The number of entries of a row."""
    windows = counts.services.shape[0]
    size = 0
    for value in person:
        size += value != 0
    place = 0
    while place < windows and counts.services[place, 0] == 0:
        place += 1
    size += len(SERVICES) * (windows - place)
    for column in seen:
        place = 0
        while counts.codes[column, place] == 0:
            place += 1
        size += windows - place + 1
    return size


@njit(cache=True)
def _write(person, seen, counts, tokens, entries, end):
    """Write one row from position `end`: person, windows (each includes the narrower ones), recency."""
    indices, values, services, codes = entries.indices, entries.values, counts.services, counts.codes
    for k in range(len(PERSON)):
        if person[k] != 0:
            indices[end], values[end] = k, person[k]
            end += 1
    for column in seen:
        if column < tokens:  # a code itself, not a group
            place = 0
            while codes[column, place] == 0:
                place += 1
            services[place, 2] += 1
    start = len(PERSON)
    for place in range(services.shape[0]):
        if place:
            services[place] += services[place - 1]
        for column in seen:
            if place:
                codes[column, place] += codes[column, place - 1]
            if codes[column, place]:
                indices[end], values[end] = start + column, codes[column, place]
                end += 1
        for k in range(len(SERVICES)):
            if services[place, k]:
                indices[end], values[end] = start + codes.shape[0] + k, services[place, k]
                end += 1
        start += codes.shape[0] + len(SERVICES)
    for column in seen:
        indices[end], values[end] = start + column, 1 / (1 + counts.latest[column] / DAYS_PER_YEAR)
        end += 1
