"""Pairs of codes: for each code, the earlier codes after which it is incident most above expectation.

The observed number of dates with both codes is compared with that expected if codes were independent, given
how many incident codes follow each date (Norén et al. 2010, doi:10.1007/s10618-009-0152-3).
"""

# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit

from claimscale.tokens.pretraining_inputs import EpochSamples
from claimscale.tokens.special_tokens import FIRST_CODE

DATES = 4
"""Dates of each patient that are counted: the epochs of pretraining from the first on."""
LEAST_SCORE = 4.0
"""Least (observed - expected) / sqrt(expected + 1) of a pair, in patients rather than dates: about one false
pair in 30,000 that are compared."""
SHRINKAGE = 20
"""Dates without the later code that are added to those observed after each earlier code."""
ABSENT = -np.inf
COUNTS_AT_ONCE = 1 << 26
"""Most counts of pairs in memory."""


@dataclass(frozen=True)
class CodePairs:
    """The earlier codes of each of V codes, at most K.

    Attributes:
        earlier: int64 [V, K], tokens; V where a code has fewer pairs.
        log_rates: float32 [V, K], log of the risk within the horizon that an earlier code adds; ABSENT where
            there is no pair.
    """

    earlier: np.ndarray
    log_rates: np.ndarray

    @classmethod
    def none(cls, vocabulary: int, per_code: int) -> CodePairs:
        shape = vocabulary, per_code
        return cls(np.full(shape, vocabulary), np.full(shape, ABSENT, np.float32))


class _Dates(NamedTuple):
    """Recorded codes and later incident codes of n dates, as tokens and offsets [n + 1].

    `counts` bool [n]: whether the horizon is observed; other dates have no incident codes.
    """

    counts: np.ndarray
    token: np.ndarray
    offsets: np.ndarray
    new: np.ndarray
    new_offsets: np.ndarray


class _Totals(NamedTuple):
    """Of each code, int64 [V]: dates with it, incident codes after them, and dates after which it is new."""

    recorded: np.ndarray
    followed: np.ndarray
    cases: np.ndarray


def code_pairs(samples: EpochSamples, vocabulary: int, per_code: int) -> CodePairs:
    """The strongest pairs of each code, at most `per_code`, in samples with incident codes.

    The rate of a pair is the excess of observed over expected dates among the dates with the earlier code,
    divided by how many pairs of the later code are recorded together on average: pairs of related codes share
    what they explain.
    """
    dates = [_dates_of(samples, epoch) for epoch in range(DATES)]
    totals = _Totals(*np.zeros((3, vocabulary), np.int64))
    for part in dates:
        _add_totals(part, np.full(vocabulary, -1), totals)
    found = CodePairs.none(vocabulary, per_code)
    for block in _blocks(vocabulary):
        observed = np.zeros((vocabulary, len(block)), np.int32)
        for part in dates:
            _add_pairs(part, np.full(vocabulary, -1), block.start, observed)
        _choose(observed, block, totals, found)
    _share(dates, found)
    return found


def _dates_of(samples: EpochSamples, epoch: int) -> _Dates:
    sample = samples(epoch)
    sequences, incident = sample.sequences, sample.incident
    assert incident is not None
    new = incident.new
    return _Dates(incident.has_full_horizon, sequences.token, sequences.offsets, new.token, new.offsets)


def _blocks(vocabulary: int) -> Iterator[range]:
    step = max(1, COUNTS_AT_ONCE // vocabulary)
    for start in range(FIRST_CODE, vocabulary, step):
        yield range(start, min(start + step, vocabulary))


def _choose(observed: np.ndarray, block: range, totals: _Totals, found: CodePairs) -> None:
    """Write the strongest pairs of the codes of a block."""
    all_new = max(int(totals.cases.sum()), 1)
    for place, code in enumerate(block):
        expected = totals.followed * (totals.cases[code] / all_new)
        excess = observed[:, place] - expected
        # The dates of one patient are counted as one observation.
        score = excess / np.sqrt((expected + 1) * DATES)
        score[:FIRST_CODE] = score[code] = -np.inf  # whether a code returns is learnt elsewhere
        strongest = np.argsort(-score, kind="stable")[: found.earlier.shape[1]]
        strongest = strongest[score[strongest] > LEAST_SCORE]
        found.earlier[code, : len(strongest)] = strongest
        rate = excess[strongest] / (totals.recorded[strongest] + SHRINKAGE)
        found.log_rates[code, : len(strongest)] = np.log(rate)


def _share(dates: list[_Dates], found: CodePairs) -> None:
    """Divide the rates of each code by the mean number of its recorded pairs, where there is any."""
    pairs, cases = np.zeros((2, len(found.earlier)), np.int64)
    for part in dates:
        _add_recorded_pairs(part, np.full(len(pairs) + 1, -1), found.earlier, pairs, cases)
    found.log_rates[:] -= np.log(np.maximum(pairs, 1) / np.maximum(cases, 1))[:, None]


@njit(cache=True)
def _add_totals(dates, last_date, totals):
    for date in range(len(dates.offsets) - 1):
        if not dates.counts[date]:
            continue
        new = dates.new_offsets[date + 1] - dates.new_offsets[date]
        for place in range(dates.offsets[date], dates.offsets[date + 1]):
            token = dates.token[place]
            if last_date[token] != date:
                last_date[token] = date
                totals.recorded[token] += 1
                totals.followed[token] += new
        for place in range(dates.new_offsets[date], dates.new_offsets[date + 1]):
            totals.cases[dates.new[place]] += 1


@njit(cache=True)
def _add_pairs(dates, last_date, first, observed):
    """Count the dates with each recorded code after which a code of the block is new."""
    columns = observed.shape[1]
    for date in range(len(dates.offsets) - 1):
        for place in range(dates.offsets[date], dates.offsets[date + 1]):
            token = dates.token[place]
            if last_date[token] == date:
                continue
            last_date[token] = date
            for later in range(dates.new_offsets[date], dates.new_offsets[date + 1]):
                column = dates.new[later] - first
                if 0 <= column < columns:
                    observed[token, column] += 1


@njit(cache=True)
def _add_recorded_pairs(dates, last_date, earlier, pairs, cases):
    """Add for each code its recorded pairs before it is new, and how often there is any."""
    for date in range(len(dates.offsets) - 1):
        for place in range(dates.offsets[date], dates.offsets[date + 1]):
            last_date[dates.token[place]] = date
        for place in range(dates.new_offsets[date], dates.new_offsets[date + 1]):
            code, recorded = dates.new[place], 0
            for earlier_code in earlier[code]:
                recorded += last_date[earlier_code] == date
            pairs[code] += recorded
            cases[code] += recorded > 0
