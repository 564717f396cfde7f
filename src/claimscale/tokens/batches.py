"""Batches: the sequences of a step, their order and their masks are functions of the seed and the step.

A step's sequences are a random sample of all lengths. They are sorted by length and laid flat without
padding, so that sequences of one length are neighbours. A step that exceeds the cache or the memory is split
into microbatches. Neither microbatches nor ranks change which sequences a step has, or what is masked.
"""

# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numba import njit

from claimscale.seeded_random import uniform
from claimscale.tokens.sequences import Sequences
from claimscale.tokens.special_tokens import CLS, FIRST_CODE, FIRST_SEX, LEADING, MASK

MaskUnit = Literal["token", "code"]

FILLER = -1
"""The number of a sequence that only fills a batch."""
SEQUENCE_MULTIPLE = 16
"""Matrix products of fewer rows, or of a remainder, may be summed in another order on a CPU."""
MICROBATCH_TOKENS = 4608
"""Most tokens of a microbatch on a CPU: enough to amortise calls, few enough for activations to stay
cached."""


@dataclass(frozen=True)
class Batch:
    """B sequences, shortest first, as T positions without padding.

    Attributes:
        token, age_days: int32 [T].
        count: uint8 [T, windows], see `Sequences`.
        days: int32 [T], days after the sequence's [CLS] (0 or less).
        lengths: int64 [B].
        index: int64 [B], the number of each sequence.
        source: int64 [T], each position's place in the flat arrays of the sequences.
    """

    token: np.ndarray
    age_days: np.ndarray
    days: np.ndarray
    count: np.ndarray
    lengths: np.ndarray
    index: np.ndarray
    source: np.ndarray


class HasLengths(Protocol):
    """Sequences of any kind, as far as their order and their steps need them: lengths int64 [n]."""

    def __len__(self) -> int: ...

    @property
    def lengths(self) -> np.ndarray: ...


@dataclass(frozen=True)
class Masked:
    """A batch's tokens with some codes masked: `token` int32 [T], `position` int64 [M], `target` int64
    [M]."""

    token: np.ndarray
    position: np.ndarray
    target: np.ndarray


class Batches:
    """All steps of training on some sequences, each of about `batch_tokens` tokens.

    Every epoch is a new order of all sequences. Of each step the process `rank` of `ranks` gets a shard; the
    shards together are the step of a single process.

    Args:
        sequences: the sequences, or a function that returns those of an epoch.
        index: the sequences to use; all by default.
    """

    def __init__(
        self,
        sequences: Sequences | Callable[[int], HasLengths],
        batch_tokens: int,
        seed: int,
        index: np.ndarray | None = None,
        microbatch_tokens: int = MICROBATCH_TOKENS,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        self.in_epoch: Callable[[int], HasLengths] = (
            (lambda epoch: sequences) if isinstance(sequences, Sequences) else sequences
        )
        first = self.in_epoch(0)
        self.seed = seed
        self.rank, self.ranks = rank, ranks
        self.microbatch_tokens = microbatch_tokens
        self.index = np.arange(len(first)) if index is None else index
        self.tokens_per_epoch = int(first.lengths[self.index].sum())
        longest = int(first.lengths[self.index].max(initial=1))
        # A step is no smaller than the longest sequence, so that none is empty. Where sequences differ by
        # epoch, a longer one of another epoch may span several steps, of which all but one are then empty.
        wanted = round(self.tokens_per_epoch / batch_tokens)
        self.steps_per_epoch = max(1, min(wanted, self.tokens_per_epoch // longest))
        self._epoch = lru_cache(maxsize=1)(self._make_epoch)

    def microbatches(self, step: int) -> list[Batch]:
        """This rank's shard of a step (counted from 0 over all epochs), as microbatches to be summed."""
        sequences = self.in_epoch(step // self.steps_per_epoch)
        assert isinstance(sequences, Sequences), "others have batches of their own"
        return list(microbatches(sequences, self.shard(step), self.microbatch_tokens))

    def shard(self, step: int) -> np.ndarray:
        """The sequences of a step that this rank gets: int64 [n], possibly empty."""
        epoch, within = divmod(step, self.steps_per_epoch)
        order, bounds = self._epoch(epoch)
        chosen = order[bounds[within] : bounds[within + 1]]
        return chosen[assigned_to_ranks(self.in_epoch(epoch).lengths[chosen], self.ranks) == self.rank]

    def _make_epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        order = np.random.default_rng([self.seed, epoch]).permutation(self.index)
        lengths = self.in_epoch(epoch).lengths[order]
        before = np.cumsum(lengths) - lengths
        step = before * self.steps_per_epoch // max(1, int(lengths.sum()))
        return order, np.searchsorted(step, np.arange(self.steps_per_epoch + 1))


def microbatches(sequences: Sequences, index: np.ndarray, microbatch_tokens: int) -> Iterator[Batch]:
    """The sequences `index`, shortest first, in batches of at most `microbatch_tokens` (or one sequence).

    The number of batches is minimal and their sizes are about equal, so that parallel threads end together.
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


def with_fillers(batch: Batch) -> Batch:
    """The batch with empty sequences ahead, so that their number is a multiple of SEQUENCE_MULTIPLE.

    An empty sequence is [CLS] and a sex; its number in `index` is -1. Its positions have no `source`.
    """
    fillers = -len(batch.lengths) % SEQUENCE_MULTIPLE

    def ahead(values: np.ndarray, empty: list[int]) -> np.ndarray:
        return np.concatenate([np.tile(np.array(empty, values.dtype), fillers), values])

    no_count = np.zeros((LEADING * fillers, batch.count.shape[1]), np.uint8)
    no_count[:, -1] = 1
    return replace(
        batch,
        token=ahead(batch.token, [CLS, FIRST_SEX]),
        age_days=ahead(batch.age_days, [0] * LEADING),
        days=ahead(batch.days, [0] * LEADING),
        count=np.concatenate([no_count, batch.count]),
        lengths=ahead(batch.lengths, [LEADING]),
        index=ahead(batch.index, [FILLER]),
    )


def assigned_to_ranks(lengths: np.ndarray, ranks: int) -> np.ndarray:
    """The rank of each sequence, [n]: in turn from the longest, back and forth.

    Every rank gets the same number of sequences of each length, give or take one.
    """
    if ranks == 1:
        return np.zeros(len(lengths), np.int64)
    turn = np.empty(len(lengths), np.int64)
    turn[np.argsort(-lengths, kind="stable")] = np.arange(len(lengths))
    forth, place = turn // ranks % 2 == 0, turn % ranks
    return np.where(forth, place, ranks - 1 - place)


def mask_batch(batch: Batch, fraction: float, seed: int, step: int, unit: MaskUnit = "token") -> Masked:
    """Replace about this share of the codes by [MASK]; never [CLS] or sex, possibly nothing.

    With unit `token`, each token is masked or not by itself. With `code`, all occurrences of a code in a
    sequence are masked or none, so that a repeat cannot be copied; codes are chosen at random until the
    share is reached. The expected share of each sequence is exact in both cases.

    Whether a position is masked depends on the seed, the step and its sequence, and not on the rest of the
    batch.
    """
    is_masked = np.zeros(len(batch.token), np.bool_)
    key = _Key(seed, step)
    if unit == "token":
        _mask_tokens(batch.token, batch.source, fraction, key, is_masked)
    else:
        ends = np.cumsum(batch.lengths)
        spans = _Spans(ends - batch.lengths, ends, batch.index)
        _mask_codes(batch.token, spans, fraction, key, is_masked)
    position = np.flatnonzero(is_masked)
    token = batch.token.copy()
    token[position] = MASK
    return Masked(token, position, batch.token[position].astype(np.int64))


class _Key(NamedTuple):
    seed: int
    step: int


class _Spans(NamedTuple):
    """Start, end and number of each sequence."""

    starts: np.ndarray
    ends: np.ndarray
    numbers: np.ndarray


@njit(cache=True, nogil=True)
def _mask_tokens(token, source, fraction, key, is_masked):
    for at in range(token.size):
        if token[at] >= FIRST_CODE:
            is_masked[at] = uniform(key.seed, key.step, source[at]) < fraction


@njit(cache=True, nogil=True)
def _mask_codes(token, spans, fraction, key, is_masked):
    for n in range(spans.starts.size):
        first, number = spans.starts[n], spans.numbers[n]
        places = first + np.flatnonzero(token[first : spans.ends[n]] >= FIRST_CODE)
        # Equal codes have equal numbers, so sorting joins their occurrences in a random order of codes.
        order = np.empty(places.size)
        for i in range(places.size):
            order[i] = uniform(key.seed, key.step, number * np.int64(1 << 31) + token[places[i]])
        places = places[np.argsort(order, kind="mergesort")]
        # The last code is masked with the probability that makes the expected share exact.
        part, wanted = uniform(key.seed, key.step, -1 - number), fraction * places.size
        start = 0
        while start < places.size:
            stop = start + 1
            while stop < places.size and token[places[stop]] == token[places[start]]:
                stop += 1
            if start + part * (stop - start) >= wanted:
                break
            is_masked[places[start:stop]] = True
            start = stop


def _lay_flat(sequences: Sequences, index: np.ndarray) -> Batch:
    lengths = sequences.lengths[index]
    total = int(lengths.sum())
    token, age_days, days = np.empty((3, total), np.int32)
    count = np.empty((total, sequences.count.shape[1]), np.uint8)
    source = np.empty(total, np.int64)
    batch = Batch(token, age_days, days, count, lengths, index, source)
    columns = sequences.token, sequences.age_days, sequences.count, sequences.offsets
    _copy_flat(columns, index, (token, age_days, days, count, source))
    return batch


@njit(cache=True, nogil=True)
def _copy_flat(sequences, index, batch):
    token, age_days, count, offsets = sequences
    out_token, out_age, out_days, out_count, source = batch
    end = 0
    for n in range(index.size):
        first, stop = offsets[index[n]], offsets[index[n] + 1]
        newest = age_days[first]
        for at in range(first, stop):
            out_token[end] = token[at]
            out_age[end] = age_days[at]
            out_days[end] = age_days[at] - newest
            source[end] = at
            for place in range(count.shape[1]):
                out_count[end, place] = count[at, place]
            end += 1
