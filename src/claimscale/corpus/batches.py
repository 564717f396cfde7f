"""Sequences to batches: which ones, in what order and with what masked is a pure function of seed and step.

A step's sequences are a random draw of all lengths. They are sorted by length and laid flat without padding,
so that those of one length lie side by side; a step too large for the cache or the memory comes in several
parts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from claimscale.corpus.sequences import FIRST_CODE, MASK, Sequences

PART_POSITIONS = 4096
"""Positions per part on a CPU: large enough to hide calls, small enough for activations to stay in cache."""


@dataclass(frozen=True)
class Batch:
    """Sequences laid flat over T positions, one after the other, shortest first.

    `token` and `age_days` int32 [T], `days` int32 [T] after the sequence's [CLS] (0 or less), `lengths` int64
    [B], `index` int64 [B] which sequences these are, `source` int64 [T] each position's place in the flat
    arrays of the sequences.
    """

    token: np.ndarray
    age_days: np.ndarray
    days: np.ndarray
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

    `index` restricts to some of the sequences. Every epoch is a new order of all of them.
    """

    def __init__(
        self,
        sequences: Sequences,
        batch_tokens: int,
        seed: int,
        index: np.ndarray | None = None,
        part_positions: int = PART_POSITIONS,
    ) -> None:
        self.sequences = sequences
        self.seed = seed
        self.part_positions = part_positions
        self.index = np.arange(len(sequences)) if index is None else index
        self.tokens_per_epoch = int(sequences.lengths[self.index].sum())
        longest = int(sequences.lengths[self.index].max(initial=1))
        # A step never shrinks below the longest sequence, so that none is empty.
        wanted = round(self.tokens_per_epoch / batch_tokens)
        self.steps_per_epoch = max(1, min(wanted, self.tokens_per_epoch // longest))
        self._epoch = lru_cache(maxsize=1)(self._make_epoch)

    def parts(self, step: int) -> list[Batch]:
        """The batch of a step, counted from 0 over all epochs, as parts to be added up."""
        epoch, within = divmod(step, self.steps_per_epoch)
        order, bounds = self._epoch(epoch)
        return list(in_parts(self.sequences, order[bounds[within] : bounds[within + 1]], self.part_positions))

    def _make_epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        order = np.random.default_rng([self.seed, epoch]).permutation(self.index)
        lengths = self.sequences.lengths[order]
        before = np.cumsum(lengths) - lengths
        step = before * self.steps_per_epoch // max(1, self.tokens_per_epoch)
        return order, np.searchsorted(step, np.arange(self.steps_per_epoch + 1))


def in_parts(sequences: Sequences, index: np.ndarray, part_positions: int) -> Iterator[Batch]:
    """The sequences `index`, shortest first, in batches of at most `part_positions` (or one sequence)."""
    index = index[np.argsort(sequences.lengths[index], kind="stable")]
    ends = np.cumsum(sequences.lengths[index])
    start = 0
    while start < len(index):
        used = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, used + part_positions, side="right")))
        yield _lay_flat(sequences, index[start:stop])
        start = stop


def mask_batch(batch: Batch, fraction: float, seed: int, step: int) -> Masked:
    """Hide this share of the codes behind [MASK], at least one; never [CLS] or sex.

    The choice depends on the seed, the step and the sequences only. The batch must hold a code.
    """
    codes = np.flatnonzero(batch.token >= FIRST_CODE)
    draw = np.random.default_rng([seed, step, int(batch.index[0])]).random(len(codes))
    chosen = draw < fraction
    if not chosen.any():
        chosen[np.argmin(draw)] = True
    position = codes[chosen]
    token = batch.token.copy()
    token[position] = MASK
    return Masked(token, position, batch.token[position].astype(np.int64))


def _lay_flat(sequences: Sequences, index: np.ndarray) -> Batch:
    lengths = sequences.lengths[index]
    first = np.cumsum(lengths) - lengths
    source = np.arange(int(lengths.sum())) + np.repeat(sequences.offsets[index] - first, lengths)
    age_days = sequences.age_days[source]
    days = age_days - np.repeat(age_days[first], lengths)
    return Batch(sequences.token[source], age_days, days, lengths, index, source)
