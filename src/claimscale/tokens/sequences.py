"""Model inputs: the codes of each patient known by a cutoff day, the newest kept, as flat arrays."""

# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numba import njit

from claimscale.tokens.special_tokens import CLS, LEADING

if TYPE_CHECKING:
    from claimscale.tokens.store import TokenStore

Deduplicate = Literal["none", "month", "quarter", "year", "history"]
MONTHS = {"month": 1, "quarter": 3, "year": 12}
"""Months in a period of deduplication."""
WINDOWS_DAYS = (30, 180, 365, None)
"""Days before the cutoff in which occurrences are counted, ascending; None is the whole history."""
MAX_COUNT = 255
"""Larger counts are stored as this one."""


@dataclass(frozen=True)
class Sequences:
    """Model inputs of n patients, one after another.

    Attributes:
        token: int32 [T].
        age_days: int32 [T], age at each code; at [CLS] and sex, age at the cutoff.
        offsets: int64 [n + 1], start and end of each sequence.
        count: uint8 [T, windows], number of occurrences that the token represents in each of WINDOWS_DAYS; by
            default one that is older than all windows but the last.
    """

    token: np.ndarray
    age_days: np.ndarray
    offsets: np.ndarray
    count: np.ndarray = field(default_factory=lambda: np.zeros((0, len(WINDOWS_DAYS)), np.uint8))

    def __post_init__(self) -> None:
        if len(self.count) != len(self.token):
            object.__setattr__(self, "count", np.tile(np.array([0, 0, 0, 1], np.uint8), (len(self.token), 1)))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Tokens per sequence, with [CLS] and sex: int64 [n]."""
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

    A sequence holds the codes that were available on the cutoff day and are not hidden. Of the occurrences
    of a code within a calendar month, quarter or year, or the whole history, it holds the latest one,
    because recency is the most informative; and of these the newest `max_length - 2`. `count` has the numbers
    of occurrences.

    Args:
        rows: positions of the patients in the store, int [n].
        cutoff_days: last days on which codes may be available, int [n], days since 1970-01-01.
        hidden_tokens: tokens that are left out.
    """
    rows = np.asarray(rows, np.int64)
    cutoff_days = np.asarray(cutoff_days, np.int64)
    is_hidden = np.zeros(store.vocabulary.size, np.bool_)
    is_hidden[hidden_tokens] = True
    births = np.asarray(store.birth_day)[rows].astype(np.int64)
    counts = np.asarray(store.offsets)[rows + 1] - np.asarray(store.offsets)[rows]
    size = int(np.minimum(counts, max_length - LEADING).sum()) + LEADING * len(rows)
    token, age_days = np.empty((2, size), np.int32)
    count = np.empty((size, len(WINDOWS_DAYS)), np.uint8)
    windows = np.array([np.iinfo(np.int64).max if days is None else days for days in WINDOWS_DAYS])
    offsets = np.zeros(len(rows) + 1, np.int64)
    _select(
        _StoredEvents(store.token, store.age_days, store.available, np.asarray(store.offsets)),
        _Patients(rows, births, cutoff_days, np.asarray(store.sex)[rows].astype(np.int32)),
        _Rules(
            max_length - LEADING,
            is_hidden,
            windows,
            deduplicate == "history",
            *_periods(births, cutoff_days, deduplicate),
        ),
        int(counts.max(initial=0)),
        _Written(token, age_days, count, offsets),
    )
    end = offsets[-1]
    return Sequences(token[:end].copy(), age_days[:end].copy(), offsets, count[:end].copy())


def seen_earlier(sequences: Sequences) -> np.ndarray:
    """Whether the token at each position occurs earlier in its sequence: bool [T]."""
    out = np.empty(len(sequences.token), np.bool_)
    _seen_earlier(sequences.token, sequences.offsets, int(sequences.token.max(initial=0)) + 1, out)
    return out


def _periods(births: np.ndarray, cutoffs: np.ndarray, deduplicate: Deduplicate) -> tuple[np.ndarray, int]:
    """The period of every day from the first birth to the last cutoff, and that first day.

    With `deduplicate` "none" or "history" the table is empty.
    """
    if deduplicate in ("none", "history") or not len(births):
        return np.empty(0, np.int32), 0
    first, last = int(births.min()), int(cutoffs.max())
    months = np.arange(first, last + 1).astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    return (months // MONTHS[deduplicate]).astype(np.int32), first


class _StoredEvents(NamedTuple):
    """Arrays of the token store."""

    token: np.ndarray
    age_days: np.ndarray
    available: np.ndarray
    offsets: np.ndarray


class _Patients(NamedTuple):
    """Per sequence: position in the store, birth day, cutoff day, token of the sex."""

    rows: np.ndarray
    births: np.ndarray
    cutoffs: np.ndarray
    sexes: np.ndarray


class _Rules(NamedTuple):
    """Most codes of a sequence; hidden tokens; windows; whether the whole history is one period; otherwise
    the period of each day since `first_day`."""

    room: int
    is_hidden: np.ndarray
    windows: np.ndarray
    is_whole: bool
    periods: np.ndarray
    first_day: int


class _Kept(NamedTuple):
    """The occurrences kept of one patient, newest first."""

    position: np.ndarray
    period: np.ndarray
    counts: np.ndarray  # [occurrences, windows]
    previous: np.ndarray  # the occurrence of the same token that was kept before, -1 if none
    last: np.ndarray  # per token: the occurrence that was kept last, -1 if none


class _Written(NamedTuple):
    """The arrays of `Sequences`."""

    token: np.ndarray
    age_days: np.ndarray
    counts: np.ndarray
    offsets: np.ndarray


@njit(cache=True, nogil=True)
def _select(stored, patients, rules, longest, out):
    kept = _Kept(
        np.empty(longest, np.int64), np.empty(longest, np.int32),
        np.empty((longest, rules.windows.size), np.uint8),
        np.empty(longest, np.int64), np.full(rules.is_hidden.size, -1, np.int64),
    )  # fmt: skip
    end = 0
    for n in range(patients.rows.size):
        stop = _known_by(stored, patients, n)
        if rules.is_whole:
            count = _keep_latest(stored, patients, n, stop, rules, kept)
        else:
            count = _keep(stored, patients, n, stop, rules, kept)
        out.token[end], out.token[end + 1] = CLS, patients.sexes[n]
        out.age_days[end : end + 2] = patients.cutoffs[n] - patients.births[n]
        out.counts[end : end + 2, :-1] = 0
        out.counts[end : end + 2, -1] = 1
        end += 2
        for i in range(count - 1, -1, -1):
            at = kept.position[i]
            out.token[end] = stored.token[at]
            out.age_days[end] = stored.age_days[at]
            out.counts[end] = kept.counts[i]
            kept.last[stored.token[at]] = -1
            end += 1
        out.offsets[n + 1] = end


@njit(cache=True, nogil=True)
def _known_by(stored, patients, n):
    """The end of the patient's events that were available on the cutoff day."""
    low, high = stored.offsets[patients.rows[n]], stored.offsets[patients.rows[n] + 1]
    while low < high:  # stored by available day
        middle = (low + high) // 2
        if stored.available[middle] > patients.cutoffs[n]:
            high = middle
        else:
            low = middle + 1
    return low


@njit(cache=True, nogil=True)
def _keep_latest(stored, patients, n, stop, rules, kept):
    """As `_keep` where all occurrences of a code are one token, which is most of the time of an epoch."""
    first, cutoff_age = stored.offsets[patients.rows[n]], patients.cutoffs[n] - patients.births[n]
    last = rules.windows.size - 1
    count = 0
    for at in range(stop - 1, first - 1, -1):
        code = stored.token[at]
        if rules.is_hidden[code]:
            continue
        match = kept.last[code]
        if match < 0:
            if count == rules.room:
                continue
            match = count
            kept.last[code] = match
            kept.position[match] = at
            kept.counts[match] = 0
            count += 1
        ago = cutoff_age - stored.age_days[at]
        place = last  # windows ascend: most occurrences are in the last one only
        while place >= 0 and ago < rules.windows[place]:
            if kept.counts[match, place] < MAX_COUNT:
                kept.counts[match, place] += 1
            place -= 1
    return count


@njit(cache=True, nogil=True)
def _keep(stored, patients, n, stop, rules, kept):
    """Choose the occurrences of one patient, from the newest to the oldest; returns their number."""
    first = stored.offsets[patients.rows[n]]
    count = 0
    for at in range(stop - 1, first - 1, -1):
        if count == rules.room and not rules.periods.size:
            break
        code = stored.token[at]
        if rules.is_hidden[code]:
            continue
        day = patients.births[n] + stored.age_days[at]
        ago = patients.cutoffs[n] - day
        if rules.periods.size:
            # A late claim can be older than one known before it, so all kept occurrences are compared.
            period = rules.periods[min(max(day - rules.first_day, 0), rules.periods.size - 1)]
            match = kept.last[code]
            while match >= 0 and kept.period[match] != period:
                match = kept.previous[match]
            if match >= 0:
                _count(kept.counts[match], ago, rules.windows)
            if match >= 0 or count == rules.room:
                continue
            kept.previous[count] = kept.last[code]
            kept.last[code] = count
            kept.period[count] = period
        kept.position[count] = at
        kept.counts[count] = 0
        _count(kept.counts[count], ago, rules.windows)
        count += 1
    return count


@njit(cache=True, nogil=True)
def _count(counts, ago, windows):
    """Count an occurrence so many days ago in every window that includes it."""
    for place in range(windows.size):
        if ago < windows[place] and counts[place] < MAX_COUNT:
            counts[place] += 1


@njit(cache=True)
def _seen_earlier(token, offsets, vocabulary, out):
    last_sequence = np.full(vocabulary, -1, np.int64)
    for n in range(offsets.size - 1):
        for at in range(offsets[n], offsets[n + 1]):
            out[at] = last_sequence[token[at]] == n
            last_sequence[token[at]] = n
