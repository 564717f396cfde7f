"""Sequences to batches: which ones, in what order and with what masked is a pure function of seed and step.

A step's sequences are a random draw of all lengths. They are sorted by length and laid flat without padding,
so that those of one length lie side by side; a step too large for the cache or the memory comes in several
parts. Neither the parts nor the ranks that share a step change what is in it or masked.
"""

# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numba import njit

from claimscale.seeded_random import uniform
from claimscale.tokens.sequences import FIRST_CODE, MASK, Sequences

MaskUnit = Literal["token", "code"]

MICROBATCH_TOKENS = 4608
"""The most positions of a part on a CPU: enough to hide calls, few enough for activations to stay cached."""


@dataclass(frozen=True)
class Batch:
    """Sequences laid flat over T positions, one after the other, shortest first.

    `token`, `age_days` and `count` int32 [T], `days` int32 [T] after the sequence's [CLS] (0 or less),
    `lengths` int64 [B], `index` int64 [B] which sequences these are, `source` int64 [T] each position's place
    in the flat arrays of the sequences.
    """

    token: np.ndarray
    age_days: np.ndarray
    days: np.ndarray
    count: np.ndarray
    lengths: np.ndarray
    index: np.ndarray
    source: np.ndarray


@dataclass(frozen=True)
class Masked:
    """A batch's tokens, some codes hidden: `token` int32 [T], `position` int64 [M], `target` int64 [M]."""

    token: np.ndarray
    position: np.ndarray
    target: np.ndarray


class Batches:
    """All steps of training on some sequences, each about `batch_tokens` tokens.

    `index` restricts to some of the sequences. Every epoch is a new order of all of them; where the
    patients' sequences differ from epoch to epoch, `in_epoch` gives those of each. Of each step the process
    `rank` of `ranks` gets its share; all shares together are the step that one process would get.
    """

    def __init__(
        self,
        sequences: Sequences,
        batch_tokens: int,
        seed: int,
        index: np.ndarray | None = None,
        microbatch_tokens: int = MICROBATCH_TOKENS,
        rank: int = 0,
        ranks: int = 1,
        in_epoch: Callable[[int], Sequences] | None = None,
    ) -> None:
        self.in_epoch = in_epoch or (lambda epoch: sequences)
        self.seed = seed
        self.rank, self.ranks = rank, ranks
        self.microbatch_tokens = microbatch_tokens
        self.index = np.arange(len(sequences)) if index is None else index
        self.tokens_per_epoch = int(sequences.lengths[self.index].sum())
        longest = int(sequences.lengths[self.index].max(initial=1))
        # A step is no smaller than the longest of these sequences, so that none is empty. Where sequences
        # differ by epoch, a longer one of another epoch may still span steps, which then have nothing to do.
        wanted = round(self.tokens_per_epoch / batch_tokens)
        self.steps_per_epoch = max(1, min(wanted, self.tokens_per_epoch // longest))
        self._epoch = lru_cache(maxsize=1)(self._make_epoch)

    def microbatches(self, step: int) -> list[Batch]:
        """This rank's share of a step, counted from 0 over all epochs, as parts to be added up."""
        sequences = self.in_epoch(step // self.steps_per_epoch)
        return list(microbatches(sequences, self.shard(step), self.microbatch_tokens))

    def shard(self, step: int) -> np.ndarray:
        """Which sequences of a step are this rank's: int64 [n], empty if others have them all."""
        epoch, within = divmod(step, self.steps_per_epoch)
        order, bounds = self._epoch(epoch)
        drawn = order[bounds[within] : bounds[within + 1]]
        return drawn[assigned_to_ranks(self.in_epoch(epoch).lengths[drawn], self.ranks) == self.rank]

    def _make_epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        order = np.random.default_rng([self.seed, epoch]).permutation(self.index)
        lengths = self.in_epoch(epoch).lengths[order]
        before = np.cumsum(lengths) - lengths
        step = before * self.steps_per_epoch // max(1, int(lengths.sum()))
        return order, np.searchsorted(step, np.arange(self.steps_per_epoch + 1))


def microbatches(sequences: Sequences, index: np.ndarray, microbatch_tokens: int) -> Iterator[Batch]:
    """The sequences `index`, shortest first, in batches of at most `microbatch_tokens` (or one sequence).

    As few as that allows, and about equal, so that threads which take one each are done together.
    """
    index = index[np.argsort(sequences.lengths[index], kind="stable")]
    ends = np.cumsum(sequences.lengths[index])
    start = 0
    while start < len(index):
        used = int(ends[start - 1]) if start else 0
        left = int(ends[-1]) - used
        equal = used + left / math.ceil(left / microbatch_tokens)
        fitting = int(np.searchsorted(ends, used + microbatch_tokens, side="right"))
        stop = max(start + 1, min(fitting, int(np.searchsorted(ends, equal)) + 1))
        yield _lay_flat(sequences, index[start:stop])
        start = stop


def assigned_to_ranks(lengths: np.ndarray, ranks: int) -> np.ndarray:
    """The rank that each sequence is given to, [n]: in turn from the longest, back and forth.

    So every rank has the same number of sequences of each length, give or take one.
    """
    if ranks == 1:
        return np.zeros(len(lengths), np.int64)
    turn = np.empty(len(lengths), np.int64)
    turn[np.argsort(-lengths, kind="stable")] = np.arange(len(lengths))
    there, place = turn // ranks % 2 == 0, turn % ranks
    return np.where(there, place, ranks - 1 - place)


def mask_batch(batch: Batch, fraction: float, seed: int, step: int, unit: MaskUnit = "token") -> Masked:
    """Hide about this share of the codes behind [MASK]; never [CLS] or sex, possibly nothing.

    By `position` each code is hidden or not by itself. By `code` all occurrences of a code in a sequence are
    hidden or none, codes being chosen at random until the share is reached, so that a repeat gives nothing
    away. The expected share of each sequence is exact either way.

    Whether a position is hidden depends on the seed, the step and the sequence it is in, never on what else
    is in the batch.
    """
    hidden = np.zeros(len(batch.token), np.bool_)
    if unit == "token":
        _hide_positions(batch.token, batch.source, fraction, seed, step, hidden)
    else:
        ends = np.cumsum(batch.lengths)
        _hide_codes(batch.token, ends - batch.lengths, ends, batch.index, fraction, seed, step, hidden)
    position = np.flatnonzero(hidden)
    token = batch.token.copy()
    token[position] = MASK
    return Masked(token, position, batch.token[position].astype(np.int64))


@njit(cache=True)
def _hide_positions(token, source, fraction, seed, step, hidden):
    for at in range(token.size):
        if token[at] >= FIRST_CODE:
            hidden[at] = uniform(seed, step, source[at]) < fraction


@njit(cache=True)
def _hide_codes(token, firsts, ends, index, fraction, seed, step, hidden):
    for n in range(firsts.size):
        places = firsts[n] + np.flatnonzero(token[firsts[n] : ends[n]] >= FIRST_CODE)
        # Equal codes have equal draws, so sorting brings their occurrences together in a random order.
        key = np.empty(places.size)
        for i in range(places.size):
            key[i] = uniform(seed, step, index[n] * np.int64(1 << 31) + token[places[i]])
        places = places[np.argsort(key, kind="mergesort")]
        # The last code is hidden with the probability that makes the expected share exact.
        part, wanted = uniform(seed, step, -1 - index[n]), fraction * places.size
        start = 0
        while start < places.size:
            stop = start + 1
            while stop < places.size and token[places[stop]] == token[places[start]]:
                stop += 1
            if start + part * (stop - start) >= wanted:
                break
            hidden[places[start:stop]] = True
            start = stop


def _lay_flat(sequences: Sequences, index: np.ndarray) -> Batch:
    lengths = sequences.lengths[index]
    first = np.cumsum(lengths) - lengths
    source = np.arange(int(lengths.sum())) + np.repeat(sequences.offsets[index] - first, lengths)
    age_days = sequences.age_days[source]
    days = age_days - np.repeat(age_days[first], lengths)
    return Batch(sequences.token[source], age_days, days, sequences.count[source], lengths, index, source)
