"""Counted codes as sparse features for the baselines.

Per patient and index date: how often each code, and each coarser group of codes, was seen in the last
30, 180 and 365 days and in all history (the protocol's windows), how long ago it was last seen, use of
services, age and sex. Only events available at the index date count. Whether a code was seen at all in a
window is no column of its own here: a tree finds it by splitting a count between 0 and 1. A linear model
cannot, so `linear_features` adds it.

Matrices are compressed sparse rows throughout and are built in two passes over the events, the first of
which only counts entries; nothing of size patients x columns is ever made.
"""

# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sparse
from numba import njit

from claimscale.tokens.code_groups import CodeGroups
from claimscale.tokens.store import TokenStore
from claimscale.tokens.vocabulary import FIRST_SEX, SEXES

WINDOWS_DAYS = (30, 180, 365, None)
"""Days before the index date, ascending; None is all history."""

DAYS_PER_YEAR = 365.25
PERSON = ("age", "female", "male", "history")
"""Age in years, indicators of sex (both 0 if unknown), and years since the first event."""
SERVICES = ("events", "visits", "distinct codes")
"""Use of services, per window."""


@dataclass(frozen=True)
class FeatureColumns:
    """Where the columns of a feature matrix lie: the person, one block per window, then recency.

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
    """Features of n patients at their index dates, float32 [n, FeatureColumns(groups.count).width], sparse.

    `rows` [n] are patients of the store, `cutoff_days` [n] their last allowed available day (days since
    1970-01-01), `hidden_tokens` the tokens never to be counted. Closeness is 1 / (1 + years since last seen): it
    falls as days since last grow, and leaves 'never' at zero, so that the matrix stays sparse; trees split
    on order alone and lose nothing by it.
    """
    layout, rows = FeatureColumns(groups.count), np.asarray(rows, np.int64)
    cutoffs = np.asarray(cutoff_days, np.int64)
    births = np.asarray(store.birth_day)[rows].astype(np.int64)
    is_hidden = np.zeros(store.vocabulary.size, np.bool_)
    is_hidden[hidden_tokens] = True
    windows = np.array([np.iinfo(np.int64).max if days is None else days for days in WINDOWS_DAYS])
    events = (store.token, store.age_days, store.available, store.visit, store.offsets)
    patients = (rows, births, cutoffs, np.asarray(store.sex)[rows] - FIRST_SEX)
    offsets = np.zeros(len(rows) + 1, np.int64)
    _count_entries(*events, *patients, is_hidden, groups.columns, groups.count, windows, offsets)
    np.cumsum(offsets, out=offsets)
    entries = int(offsets[-1])
    # One type for both: SciPy would copy the larger array otherwise.
    index_type = np.int32 if max(entries, layout.width) <= np.iinfo(np.int32).max else np.int64
    offsets, indices = offsets.astype(index_type), np.empty(entries, index_type)
    values = np.empty(entries, np.float32)
    _fill(*events, *patients, is_hidden, groups.columns, groups.count, windows, offsets, indices, values)
    return _assembled(values, indices, offsets, layout.width)


def linear_features(matrix: sparse.csr_matrix, layout: FeatureColumns) -> sparse.csr_matrix:
    """The same features as a linear model needs them: float32 [n, 2 x windows + 1 blocks], sparse.

    The person with age squared, then every window's log(1 + count), its presence (0 or 1), and recency.
    """
    counts = matrix[:, layout.window(0).start : layout.recency.start]
    logs, seen = counts.copy(), counts.copy()
    logs.data = np.log1p(counts.data)
    seen.data = np.ones_like(counts.data)
    person = matrix[:, : len(PERSON)]
    blocks = [person, age_squared(matrix), logs, seen, matrix[:, layout.recency]]
    return sparse.csr_matrix(sparse.hstack(blocks, format="csr", dtype=np.float32))


def age_squared(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """The square of decades from age 60, float32 [n, 1]; a linear model may bend its risk by it.

    Age is known of everybody, so that a shift costs no sparsity; it keeps age and its square apart.
    """
    decades = matrix[:, :1].toarray() / 10 - 6
    return sparse.csr_matrix((decades**2).astype(np.float32))


def support(matrix: sparse.csr_matrix) -> npt.NDArray[np.int64]:
    """How many patients have anything in each column: int64 [columns]. Entries must be other than zero."""
    return np.bincount(matrix.indices, minlength=matrix.get_shape()[1])


def _assembled(values: np.ndarray, indices: np.ndarray, offsets: np.ndarray, width: int) -> sparse.csr_matrix:
    matrix = sparse.csr_matrix((values, indices, offsets), shape=(len(offsets) - 1, width), copy=False)
    matrix.has_sorted_indices = matrix.has_canonical_format = True  # as the second pass writes them
    return matrix


@njit(cache=True)
def _innermost(ago, windows):
    """The narrowest of the ascending windows that an event so many days ago lies in."""
    place = 0
    while ago >= windows[place]:
        place += 1
    return place


@njit(cache=True)
def _person_entries(age, sex, history):
    """How many of PERSON are not zero; sex is a place in SEXES, of which the last is unknown."""
    return (age != 0) + (sex < len(SEXES) - 1) + (history != 0)


@njit(cache=True)
def _count_entries(
    token, age_days, available, visit, all_offsets, rows, births, cutoffs, sexes, is_hidden, columns, codes,
    windows, entries,
):  # fmt: skip
    """How many entries each row of the matrix has, into entries[1:]."""
    innermost = np.full(codes, windows.size, np.int8)  # per column: narrowest window it is seen in
    touched = np.empty(codes, np.int32)
    for n in range(rows.size):
        count, first_day, narrowest = 0, cutoffs[n], windows.size
        for at in range(all_offsets[rows[n]], all_offsets[rows[n] + 1]):
            if available[at] > cutoffs[n]:
                break  # stored by available day
            if is_hidden[token[at]]:
                continue
            day = births[n] + age_days[at]
            first_day = min(first_day, day)
            place = _innermost(cutoffs[n] - day, windows)
            narrowest = min(narrowest, place)
            for k in range(columns.shape[1]):
                column = columns[token[at], k]
                if column < 0:
                    continue
                if innermost[column] == windows.size:
                    touched[count] = column
                    count += 1
                innermost[column] = min(innermost[column], place)
        found = _person_entries(cutoffs[n] - births[n], sexes[n], cutoffs[n] - first_day)
        found += len(SERVICES) * (windows.size - narrowest)
        for i in range(count):
            found += windows.size - innermost[touched[i]] + 1
            innermost[touched[i]] = windows.size
        entries[n + 1] = found


@njit(cache=True)
def _fill(
    token, age_days, available, visit, all_offsets, rows, births, cutoffs, sexes, is_hidden, columns, codes,
    windows, offsets, indices, values,
):  # fmt: skip
    """Write every row, columns ascending."""
    counts = np.zeros((codes, windows.size), np.int32)  # per column and innermost window
    latest = np.full(codes, -1, np.int64)  # day last seen, -1 if not yet
    services = np.zeros((windows.size, len(SERVICES)), np.int64)
    touched = np.empty(codes, np.int32)
    for n in range(rows.size):
        count, first_day, last_visit = 0, cutoffs[n], -1
        for at in range(all_offsets[rows[n]], all_offsets[rows[n] + 1]):
            if available[at] > cutoffs[n]:
                break
            if is_hidden[token[at]]:
                continue
            day = births[n] + age_days[at]
            ago = max(cutoffs[n] - day, 0)
            first_day = min(first_day, day)
            place = _innermost(ago, windows)
            services[place, 0] += 1
            services[place, 1] += visit[at] != last_visit
            last_visit = visit[at]
            for k in range(columns.shape[1]):
                column = columns[token[at], k]
                if column < 0:
                    continue
                if latest[column] < 0:
                    touched[count] = column
                    count += 1
                    latest[column] = ago
                counts[column, place] += 1
                latest[column] = min(latest[column], ago)
        end = _write_person(
            cutoffs[n] - births[n], sexes[n], cutoffs[n] - first_day, offsets[n], indices, values
        )
        seen = np.sort(touched[:count])
        for column in seen:
            total, is_code = 0, column < is_hidden.size
            for place in range(windows.size):
                services[place, 2] += is_code and total == 0 and counts[column, place] > 0
                total += counts[column, place]
        _write_codes(seen, counts, latest, services, codes, end, indices, values)
        for column in seen:
            counts[column] = 0
            latest[column] = -1
        services[:] = 0


@njit(cache=True)
def _write_person(age, sex, history, end, indices, values):
    person = (
        age / DAYS_PER_YEAR,
        1.0 if sex == 0 else 0.0,
        1.0 if sex == 1 else 0.0,
        history / DAYS_PER_YEAR,
    )
    for k in range(len(PERSON)):
        if person[k] != 0:
            indices[end], values[end] = k, person[k]
            end += 1
    return end


@njit(cache=True)
def _write_codes(seen, counts, latest, services, codes, end, indices, values):
    """One row's windows, each including the narrower ones, then recency."""
    start = len(PERSON)
    for place in range(services.shape[0]):
        if place:
            services[place] += services[place - 1]
        for column in seen:
            if place:
                counts[column, place] += counts[column, place - 1]
            if counts[column, place]:
                indices[end], values[end] = start + column, counts[column, place]
                end += 1
        for k in range(len(SERVICES)):
            if services[place, k]:
                indices[end], values[end] = start + codes + k, services[place, k]
                end += 1
        start += codes + len(SERVICES)
    for column in seen:
        indices[end], values[end] = start + column, 1 / (1 + latest[column] / DAYS_PER_YEAR)
        end += 1
