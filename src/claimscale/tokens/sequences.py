"""What a model sees of each patient: codes known by a cutoff day, newest kept, as flat arrays."""

# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from claimscale.tokens.store import TokenStore

PAD, CLS, MASK = 0, 1, 2
FIRST_CODE = 6
"""Lower tokens are [PAD], [CLS], [MASK] and the three of sex."""
LEADING = 2
"""Every sequence starts with [CLS] and sex."""
Deduplicate = Literal["none", "month", "quarter", "year", "history"]


@dataclass(frozen=True)
class Sequences:
    """Model inputs of n patients, one after another.

    `token` int32 [T]; `age_days` int32 [T], age at each code, at [CLS] and sex the age at the cutoff;
    `offsets` int64 [n + 1]; `count` int32 [T], how many occurrences of the code each position stands for,
    itself included: 1 unless told.
    """

    token: np.ndarray
    age_days: np.ndarray
    offsets: np.ndarray
    count: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))

    def __post_init__(self) -> None:
        if len(self.count) != len(self.token):
            object.__setattr__(self, "count", np.ones(len(self.token), np.int32))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Tokens per sequence, [CLS] and sex among them: int64 [n]."""
        return np.diff(self.offsets)


def select_inputs(
    store: TokenStore,
    rows: np.ndarray,
    cutoff_days: np.ndarray,
    max_length: int,
    deduplicate: Deduplicate,
    hidden_tokens: np.ndarray,
) -> Sequences:
    """One sequence per row: [CLS], sex, then the patient's codes in stored order.

    Kept are codes that were available on the cutoff day or before and are not among the tokens `hidden_tokens`; of
    repeats of a code within a calendar month, quarter or year, or ever, the latest, because how long ago a
    code was last seen tells most; of those the newest `max_length - 2`, each with the number of repeats.
    `rows` are patients' positions in the store, `cutoff_days` days since 1970-01-01, each [n].
    """
    rows = np.asarray(rows, np.int64)
    cutoff_days = np.asarray(cutoff_days, np.int64)
    is_hidden = np.zeros(store.vocabulary.size, np.bool_)
    is_hidden[hidden_tokens] = True
    births = np.asarray(store.birth_day)[rows].astype(np.int64)
    periods, first_day = _periods(births, cutoff_days, deduplicate)
    counts = np.asarray(store.offsets)[rows + 1] - np.asarray(store.offsets)[rows]
    room = int(np.minimum(counts, max_length - LEADING).sum()) + LEADING * len(rows)
    token, age_days, count = np.empty((3, room), np.int32)
    offsets = np.zeros(len(rows) + 1, np.int64)
    _select(
        store.token, store.age_days, store.available, store.offsets, rows, births, cutoff_days,
        np.asarray(store.sex)[rows].astype(np.int32), max_length - LEADING, periods, first_day, is_hidden,
        np.empty(int(counts.max(initial=0)), np.int64), token, age_days, count, offsets,
    )  # fmt: skip
    end = offsets[-1]
    return Sequences(token[:end].copy(), age_days[:end].copy(), offsets, count[:end].copy())


def seen_earlier(sequences: Sequences) -> np.ndarray:
    """Whether each position's token occurs earlier in its own sequence: bool [T]."""
    out = np.empty(len(sequences.token), np.bool_)
    _seen_earlier(sequences.token, sequences.offsets, int(sequences.token.max(initial=0)) + 1, out)
    return out


def _periods(births: np.ndarray, cutoffs: np.ndarray, deduplicate: Deduplicate) -> tuple[np.ndarray, int]:
    """The period of every day from the first birth to the last cutoff, and that first day.

    With `deduplicate="none"` the table is empty: nothing counts as a repeat.
    """
    if deduplicate == "none" or not len(births):
        return np.empty(0, np.int32), 0
    first, last = int(births.min()), int(cutoffs.max())
    months = np.arange(first, last + 1).astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    if deduplicate == "history":
        return np.zeros(len(months), np.int32), first
    length = {"month": 1, "quarter": 3, "year": 12}[deduplicate]
    return (months // length).astype(np.int32), first


@njit(cache=True)
def _select(
    all_token, all_age, all_available, all_offsets, rows, births, cutoffs, sexes, room, periods, first_day,
    is_hidden, kept, token, age_days, counted, offsets,
):  # fmt: skip
    last_kept = np.full(is_hidden.size, -1, np.int64)  # per token: the occurrence kept last in this patient
    kept_before = np.empty(kept.size, np.int64)  # per kept occurrence: the one of the same token kept before
    kept_period = np.empty(kept.size, np.int32)
    kept_count = np.empty(kept.size, np.int32)
    last_period = periods.size - 1
    end = 0
    for n in range(rows.size):
        first, stop = all_offsets[rows[n]], all_offsets[rows[n] + 1]
        while stop > first and all_available[stop - 1] > cutoffs[n]:
            stop -= 1  # stored by available day
        count = 0
        for at in range(stop - 1, first - 1, -1):
            if count == room and not periods.size:
                break
            code = all_token[at]
            if is_hidden[code]:
                continue
            if periods.size:
                # A late claim can be older than one known before it, so all kept occurrences are compared.
                day = births[n] + all_age[at] - first_day
                period = periods[min(max(day, 0), last_period)]
                match = last_kept[code]
                while match >= 0 and kept_period[match] != period:
                    match = kept_before[match]
                if match >= 0:
                    kept_count[match] += 1
                if match >= 0 or count == room:
                    continue
                kept_before[count] = last_kept[code]
                last_kept[code] = count
                kept_period[count] = period
            kept[count], kept_count[count] = at, 1
            count += 1
        token[end], token[end + 1] = CLS, sexes[n]
        age_days[end : end + 2] = cutoffs[n] - births[n]
        counted[end : end + 2] = 1
        end += 2
        for i in range(count - 1, -1, -1):
            token[end] = all_token[kept[i]]
            age_days[end] = all_age[kept[i]]
            counted[end] = kept_count[i]
            end += 1
            last_kept[all_token[kept[i]]] = -1
        offsets[n + 1] = end


@njit(cache=True)
def _seen_earlier(token, offsets, vocabulary, out):
    last_sequence = np.full(vocabulary, -1, np.int64)
    for n in range(offsets.size - 1):
        for at in range(offsets[n], offsets[n + 1]):
            out[at] = last_sequence[token[at]] == n
            last_sequence[token[at]] = n
