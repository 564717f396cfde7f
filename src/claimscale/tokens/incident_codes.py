"""Incident codes: codes that become known within a horizon after a date, and were not known as long before
it.

Pretraining predicts them, for each patient and epoch after a random date. The time before the date is a
washout, as in new-user studies: a drug taken long ago may be started again.
"""

# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numba import njit

from claimscale.seeded_random import uniform
from claimscale.tokens.special_tokens import FIRST_CODE

if TYPE_CHECKING:
    from claimscale.tokens.store import TokenStore


@dataclass(frozen=True)
class CodeLists:
    """A list of distinct tokens for each of n patients: `token` int32 [N], `offsets` int64 [n + 1]."""

    token: np.ndarray
    offsets: np.ndarray

    def pairs(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(row, token), int64 [P] each, of the lists `index`; rows are positions in `index`."""
        lengths = self.offsets[index + 1] - self.offsets[index]
        row = np.repeat(np.arange(len(index)), lengths)
        starts = self.offsets[index] - (np.cumsum(lengths) - lengths)
        position = np.arange(lengths.sum()) + np.repeat(starts, lengths)
        return row, self.token[position].astype(np.int64)


@dataclass(frozen=True)
class IncidentCodes:
    """The incident codes of n patients, each after one date.

    Attributes:
        has_full_horizon: bool [n], whether the horizon ends by the last day of the data.
        new: codes that became known within the horizon; none without a full horizon.
        known: codes of the washout before the date, which cannot be incident.
    """

    has_full_horizon: np.ndarray
    new: CodeLists
    known: CodeLists

    def counts(self, index: np.ndarray) -> np.ndarray:
        """Number of incident codes of some of the patients, int64 [n]."""
        return self.new.offsets[index + 1] - self.new.offsets[index]

    def log_odds(self, vocabulary: int) -> np.ndarray:
        """Log odds of each token to be incident, among the patients at risk: float64 [vocabulary]."""
        new = np.bincount(self.new.token, minlength=vocabulary)
        counted = np.repeat(self.has_full_horizon, np.diff(self.known.offsets))
        known = np.bincount(self.known.token[counted], minlength=vocabulary)
        at_risk = self.has_full_horizon.sum() - known
        return np.log((new + 0.5) / (np.maximum(at_risk - new, 0) + 0.5))


@dataclass(frozen=True)
class RandomDates:
    """How random dates are sampled: see `sample_index_dates`. `last_day` counts from 1970-01-01."""

    last_day: int
    horizon_days: int
    calendar_share: float
    seed: int


def contact_counts(store: TokenStore, rows: np.ndarray, rule: RandomDates) -> np.ndarray:
    """The number of days of each patient that `sample_index_dates` samples from: int64 [n].

    It is the same in every epoch.
    """
    contacts = np.zeros(len(rows), np.int64)
    stored = _Stored(store.token, store.available, np.asarray(store.offsets))
    _count_contacts(stored, rows, rule.last_day - rule.horizon_days, contacts)
    return contacts


def sample_index_dates(
    store: TokenStore,
    rows: np.ndarray,
    rule: RandomDates,
    epoch: int,
    contacts: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """A date for each patient, sampled uniformly from the days on which something became known.

    `calendar_share` of the dates are sampled from all days since the first of these instead: a model must
    answer on any day, also for patients without a recent contact. Only days at least the horizon before
    `last_day` count. Patients without such a day get `last_day`, and no full horizon. The date depends on the
    patient, the seed and the epoch alone. `contacts` are the `contact_counts`, where they are at hand.

    Returns:
        The dates, days since 1970-01-01, int64 [n]; and who has a full horizon, bool [n].
    """
    days, has_full_horizon = np.full(len(rows), rule.last_day, np.int64), np.zeros(len(rows), np.bool_)
    stored = _Stored(store.token, store.available, np.asarray(store.offsets))
    last_date, dates = rule.last_day - rule.horizon_days, _Dates(days, has_full_horizon)
    contacts = contact_counts(store, rows, rule) if contacts is None else contacts
    key = _Key(rule.seed, epoch)
    _sample_dates(stored, rows, contacts, last_date, rule.calendar_share, key, dates)
    return days, has_full_horizon


def incident_codes(
    store: TokenStore,
    rows: np.ndarray,
    dates: tuple[np.ndarray, np.ndarray],
    horizon_days: int,
    withheld_tokens: np.ndarray,
) -> IncidentCodes:
    """The codes of each patient in the washout before a date, and the new ones within the horizon after it.

    `dates` are those of `sample_index_dates`. Tokens that are withheld are in neither list.
    """
    is_withheld = np.zeros(store.vocabulary.size, np.bool_)
    is_withheld[withheld_tokens] = True
    size = int((store.offsets[rows + 1] - store.offsets[rows]).sum())
    new, known = (_Lists(np.empty(size, np.int32), np.zeros(len(rows) + 1, np.int64)) for _ in range(2))
    stored = _Stored(store.token, store.available, np.asarray(store.offsets))
    _split_by_date(stored, rows, _Dates(*dates), horizon_days, is_withheld, new, known)
    return IncidentCodes(
        dates[1],
        *(CodeLists(lists.token[: lists.offsets[-1]].copy(), lists.offsets) for lists in (new, known)),
    )


class _Stored(NamedTuple):
    """Arrays of the token store."""

    token: np.ndarray
    available: np.ndarray
    offsets: np.ndarray


class _Dates(NamedTuple):
    days: np.ndarray
    has_full_horizon: np.ndarray


class _Key(NamedTuple):
    seed: int
    epoch: int


class _Lists(NamedTuple):
    """The arrays of `CodeLists`."""

    token: np.ndarray
    offsets: np.ndarray


@njit(cache=True, nogil=True)
def _count_contacts(stored, rows, last_day, contacts):
    available = stored.available
    for n in range(rows.size):
        first, stop = stored.offsets[rows[n]], stored.offsets[rows[n] + 1]
        for at in range(first, stop):  # stored by available day
            if available[at] > last_day:
                break
            contacts[n] += at == first or available[at] != available[at - 1]


@njit(cache=True, nogil=True)
def _sample_dates(stored, rows, contacts, last_day, calendar_share, key, dates):
    available = stored.available
    for n in range(rows.size):
        if not contacts[n]:
            continue
        first, stop = stored.offsets[rows[n]], stored.offsets[rows[n] + 1]
        dates.has_full_horizon[n] = True
        share = uniform(key.seed, key.epoch, rows[n])
        if share < calendar_share:
            dates.days[n] = available[first] + int(share / calendar_share * (last_day + 1 - available[first]))
            continue
        chosen = int((share - calendar_share) / (1 - calendar_share) * contacts[n])
        for at in range(first, stop):
            if at == first or available[at] != available[at - 1]:
                chosen -= 1
                if chosen < 0:
                    dates.days[n] = available[at]
                    break


@njit(cache=True, nogil=True)
def _split_by_date(stored, rows, dates, horizon, is_withheld, new, known):
    listed = np.full(is_withheld.size, -1, np.int64)  # per token: the last patient in whose lists it is
    news, knowns = 0, 0
    for n in range(rows.size):
        day, last = dates.days[n], dates.days[n]
        if dates.has_full_horizon[n]:
            last += horizon
        for at in range(stored.offsets[rows[n]], stored.offsets[rows[n] + 1]):
            code, available = stored.token[at], stored.available[at]
            if available > last:
                break
            if available <= day - horizon or listed[code] == n or code < FIRST_CODE or is_withheld[code]:
                continue
            listed[code] = n
            if available <= day:
                known.token[knowns] = code
                knowns += 1
            else:
                new.token[news] = code
                news += 1
        new.offsets[n + 1], known.offsets[n + 1] = news, knowns
