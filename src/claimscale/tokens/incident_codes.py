"""Incident codes: those that become known within a horizon after a date and were not in as long before it.

What a model is to learn of claims is what comes next. So pretraining looks at each patient on one of the days
on which something became known, another one in each epoch, and at which codes were new within a year of it.
The time before is a washout, as in studies of new users: a drug of long ago may be begun again.
"""

# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from claimscale.seeded_random import uniform
from claimscale.tokens.sequences import FIRST_CODE

if TYPE_CHECKING:
    from claimscale.tokens.store import TokenStore


@dataclass(frozen=True)
class CodeLists:
    """A list of different tokens for each of n patients: `token` int32 [N], `offsets` int64 [n + 1]."""

    token: np.ndarray
    offsets: np.ndarray

    def pairs(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(row, token), int64 [P] each, of the lists `index`, rows counted in the order of `index`."""
        lengths = self.offsets[index + 1] - self.offsets[index]
        row = np.repeat(np.arange(len(index)), lengths)
        place = np.arange(lengths.sum()) + np.repeat(
            self.offsets[index] - (np.cumsum(lengths) - lengths), lengths
        )
        return row, self.token[place].astype(np.int64)


@dataclass(frozen=True)
class IncidentCodes:
    """Of n patients after one date each.

    `has_full_horizon` bool [n]: whether the horizon after the date lies before the last day that may be known.
    `new`: codes that became known within the horizon; none where not has_full_horizon.
    `known`: codes of the washout before the date, which cannot be new.
    """

    has_full_horizon: np.ndarray
    new: CodeLists
    known: CodeLists

    def counts(self, index: np.ndarray) -> np.ndarray:
        """Incident codes of some of the patients, int64 [n]."""
        return self.new.offsets[index + 1] - self.new.offsets[index]

    def log_odds(self, vocabulary: int) -> np.ndarray:
        """Of each token, the log odds of being new among the patients at risk, float64 [vocabulary]."""
        new = np.bincount(self.new.token, minlength=vocabulary)
        has_full_horizon = np.repeat(self.has_full_horizon, np.diff(self.known.offsets))
        at_risk = self.has_full_horizon.sum() - np.bincount(
            self.known.token[has_full_horizon], minlength=vocabulary
        )
        return np.log((new + 0.5) / (np.maximum(at_risk - new, 0) + 0.5))


def sample_index_dates(
    store: TokenStore, rows: np.ndarray, last_day: int, horizon_days: int, seed: int, epoch: int
) -> tuple[np.ndarray, np.ndarray]:
    """A date for each patient: one of the days on which something became known, drawn evenly.

    Only days at least the horizon before `last_day` count. Patients who have none get `last_day` itself, and
    are not has_full_horizon. Returns days since 1970-01-01, int64 [n], and who is has_full_horizon, bool [n]. What a patient
    gets depends on nothing but the patient, seed and epoch.
    """
    days, has_full_horizon = np.full(len(rows), last_day, np.int64), np.zeros(len(rows), np.bool_)
    _draw_dates(
        store.available, store.offsets, rows, last_day - horizon_days, seed, epoch, days, has_full_horizon
    )
    return days, has_full_horizon


def incident_codes(
    store: TokenStore, rows: np.ndarray, days: np.ndarray, has_full_horizon: np.ndarray, horizon_days: int
) -> IncidentCodes:
    """What each patient had in the washout before a day, and what was new within the horizon after it."""
    room = int((store.offsets[rows + 1] - store.offsets[rows]).sum())
    new, known = np.empty(room, np.int32), np.empty(room, np.int32)
    new_offsets, known_offsets = np.zeros((2, len(rows) + 1), np.int64)
    _split_by_date(
        store.token, store.available, store.offsets, rows, days, has_full_horizon, horizon_days, store.vocabulary.size,
        new, new_offsets, known, known_offsets,
    )  # fmt: skip
    return IncidentCodes(
        has_full_horizon,
        CodeLists(new[: new_offsets[-1]].copy(), new_offsets),
        CodeLists(known[: known_offsets[-1]].copy(), known_offsets),
    )


@njit(cache=True)
def _draw_dates(available, offsets, rows, last_day, seed, epoch, days, has_full_horizon):
    for n in range(rows.size):
        first, stop = offsets[rows[n]], offsets[rows[n] + 1]
        contacts = 0
        for at in range(first, stop):  # stored by available day
            if available[at] > last_day:
                break
            contacts += at == first or available[at] != available[at - 1]
        if not contacts:
            continue
        chosen = int(uniform(seed, epoch, rows[n]) * contacts)
        has_full_horizon[n] = True
        for at in range(first, stop):
            if at == first or available[at] != available[at - 1]:
                chosen -= 1
                if chosen < 0:
                    days[n] = available[at]
                    break


@njit(cache=True)
def _split_by_date(
    token, available, offsets, rows, days, has_full_horizon, horizon, vocabulary,
    new, new_offsets, known, known_offsets,
):  # fmt: skip
    listed = np.full(vocabulary, -1, np.int64)  # per token: the patient in whose lists it was put last
    news, knowns = 0, 0
    for n in range(rows.size):
        for at in range(offsets[rows[n]], offsets[rows[n] + 1]):
            if available[at] > days[n] + horizon or (available[at] > days[n] and not has_full_horizon[n]):
                break
            code = token[at]
            if available[at] <= days[n] - horizon:
                continue
            if listed[code] == n or code < FIRST_CODE:
                continue
            listed[code] = n
            if available[at] <= days[n]:
                known[knowns] = code
                knowns += 1
            else:
                new[news] = code
                news += 1
        new_offsets[n + 1], known_offsets[n + 1] = news, knowns
