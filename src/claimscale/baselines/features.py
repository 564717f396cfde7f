"""Counted codes as sparse features for the baselines.

Per patient and index date: how often each code, and each coarser group of codes, was seen in the last
30, 180 and 365 days and in all history (the protocol's windows), the days since it was last seen, then
sex, age and the numbers of events and visits. Only events available at the index date count.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse

from claimscale import codes
from claimscale.corpus.tokens import TokenStore
from claimscale.corpus.vocabulary import Vocabulary

WINDOWS_DAYS = (30, 180, 365, None)
"""Days before the index date; None is all history."""

ROLL_UPS = ({"ICD10": 3, "ICD9CM": 3, "ATC": 4}, {"ATC": 3})
"""Coarser groups beside the full codes: characters for diagnoses, levels for ATC."""

DAYS_PER_YEAR = 365.25


@dataclass(frozen=True)
class CodeGroups:
    """Columns that tokens count towards: each token itself, then its groups.

    `columns[token, k]` is the k-th column of a token, or -1 where it has none; shape (tokens, 1 + roll-ups).
    """

    columns: np.ndarray
    count: int

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> CodeGroups:
        columns = np.full((vocabulary.size, 1 + len(ROLL_UPS)), -1, dtype=np.int32)
        columns[:, 0] = np.arange(vocabulary.size)
        next_column = vocabulary.size
        for k, depths in enumerate(ROLL_UPS, start=1):
            known: dict[tuple[str, int], int] = {}
            for token, (code, kind) in enumerate(zip(vocabulary.codes, vocabulary.types, strict=True)):
                system = code.partition("//")[0]
                if system not in depths:
                    continue
                key = (codes.roll_up(code, depths), int(kind))
                if key not in known:
                    known[key] = next_column
                    next_column += 1
                columns[token, k] = known[key]
        return cls(columns, next_column)


def count_features(
    store: TokenStore, rows: np.ndarray, cutoff_days: np.ndarray, strip: np.ndarray
) -> sparse.csr_matrix:
    """Features of n patients at their index dates, float32 [n, features], sparse.

    `rows` [n] are patients of the store, `cutoff_days` [n] their last allowed available day (days since
    1970-01-01), `strip` the tokens never to be counted.
    """
    groups = CodeGroups.of(store.vocabulary)
    events, sample = _events_up_to(store, rows, cutoff_days, strip)
    token = store.token[events].astype(np.int64)
    days_ago = cutoff_days[sample] - (store.age_days[events] + store.birth_day[rows[sample]])
    blocks = [_demographics(store, rows, cutoff_days)]
    for window in WINDOWS_DAYS:
        inside = slice(None) if window is None else days_ago < window
        blocks.append(_counts(groups, sample[inside], token[inside], len(rows)))
        blocks.append(_utilisation(store, events[inside], sample[inside], len(rows)))
    blocks.append(_recency(groups, sample, token, days_ago, len(rows)))
    return sparse.csr_matrix(sparse.hstack(blocks, format="csr", dtype=np.float32))


def _events_up_to(
    store: TokenStore, rows: np.ndarray, cutoff_days: np.ndarray, strip: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Positions in the store of all usable events, and the sample each belongs to."""
    starts = np.asarray(store.offsets[rows])
    lengths = np.asarray(store.offsets[rows + 1]) - starts
    sample = np.repeat(np.arange(len(rows)), lengths)
    first_of_sample = np.repeat(np.cumsum(lengths) - lengths, lengths)
    events = np.arange(lengths.sum()) - first_of_sample + np.repeat(starts, lengths)
    usable = store.available[events] <= cutoff_days[sample]
    if len(strip):
        usable &= ~np.isin(store.token[events], strip)
    return events[usable], sample[usable]


def _demographics(store: TokenStore, rows: np.ndarray, cutoff_days: np.ndarray) -> sparse.csr_matrix:
    age_years = (cutoff_days - store.birth_day[rows]) / DAYS_PER_YEAR
    return sparse.csr_matrix(np.stack([age_years, store.sex[rows]], axis=1).astype(np.float32))


def _counts(groups: CodeGroups, sample: np.ndarray, token: np.ndarray, samples: int) -> sparse.csr_matrix:
    """How often each column was seen; repeated entries of a sparse matrix add up."""
    columns = groups.columns[token]
    counted = columns >= 0
    row = np.broadcast_to(sample[:, None], columns.shape)[counted]
    ones = np.ones(len(row), dtype=np.float32)
    counts = sparse.coo_matrix((ones, (row, columns[counted])), shape=(samples, groups.count))
    return sparse.csr_matrix(counts)


def _recency(
    groups: CodeGroups, sample: np.ndarray, token: np.ndarray, days_ago: np.ndarray, samples: int
) -> sparse.csr_matrix:
    """Closeness of the last sight of each column: 1 on the index date, 1/2 a year before, 0 if never.

    A decreasing function of days-since-last keeps 'never' at zero, so that the matrix stays sparse;
    trees split on order alone and lose nothing by it.
    """
    columns = groups.columns[token]
    counted = columns >= 0
    key = np.broadcast_to(sample[:, None], columns.shape)[counted].astype(np.int64) * groups.count
    key += columns[counted]
    ago = np.broadcast_to(days_ago[:, None], columns.shape)[counted]
    order = np.lexsort((ago, key))
    key, ago = key[order], ago[order]
    latest = np.ones(len(key), dtype=bool)
    latest[1:] = key[1:] != key[:-1]
    closeness = (1 / (1 + np.maximum(ago[latest], 0) / 365)).astype(np.float32)
    return sparse.csr_matrix(
        (closeness, (key[latest] // groups.count, key[latest] % groups.count)), shape=(samples, groups.count)
    )


def _utilisation(
    store: TokenStore, events: np.ndarray, sample: np.ndarray, samples: int
) -> sparse.csr_matrix:
    """Numbers of events and of distinct visits."""
    event_count = np.bincount(sample, minlength=samples)
    visit_key = sample.astype(np.int64) << 32 | store.visit[events]
    visit_count = np.bincount(np.unique(visit_key) >> 32, minlength=samples)
    return sparse.csr_matrix(np.stack([event_count, visit_count], axis=1).astype(np.float32))
