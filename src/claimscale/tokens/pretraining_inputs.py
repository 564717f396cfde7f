"""The inputs of pretraining: what was known of each patient before the landmark, or on a sampled earlier
date."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import pairwise

import numpy as np

from claimscale.config.training import Pretrain, Tokens
from claimscale.tokens.incident_codes import (
    CodeLists,
    IncidentCodes,
    RandomDates,
    contact_counts,
    incident_codes,
    sample_index_dates,
)
from claimscale.tokens.sequences import Sequences, select_inputs
from claimscale.tokens.store import TokenStore


@dataclass(frozen=True)
class PretrainingSample:
    """Sequences of n patients and, if they are predicted, their incident codes."""

    sequences: Sequences
    incident: IncidentCodes | None = None


EpochSamples = Callable[[int], PretrainingSample]
"""The sample of the same patients, in the same order, of an epoch (counted from 0)."""


def static(sequences: Sequences) -> EpochSamples:
    """The same sequences in every epoch."""
    sample = PretrainingSample(sequences)
    return lambda epoch: sample


@dataclass(frozen=True)
class PatientHistories:
    """The histories of some patients: their `rows` [n] in the store, and the last day of the data.

    `last_day` counts from 1970-01-01. `withheld_tokens` are neither shown nor predicted.
    """

    store: TokenStore
    rows: np.ndarray
    last_day: int
    tokens: Tokens
    withheld_tokens: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))

    def on(self, days: np.ndarray) -> Sequences:
        """What was known of each patient on a day, [n]."""
        length, deduplicate = self.tokens.max_length, self.tokens.deduplicate
        return select_inputs(self.store, self.rows, days, length, deduplicate, self.withheld_tokens)

    def on_last_day(self) -> Sequences:
        """What was known of each patient on the last day."""
        return self.on(np.full(len(self.rows), self.last_day, np.int64))

    def dated(self, settings: Pretrain, seed: int) -> DatedSamples:
        """Samples on another date per patient and epoch, with the codes that are incident after it."""
        rule = RandomDates(self.last_day, settings.horizon_days, settings.calendar_date_share, seed)
        return DatedSamples(self, rule)


@dataclass(frozen=True)
class DatedSamples:
    """See `PatientHistories.dated`. `threads` share the patients of an epoch; the sample is the same."""

    histories: PatientHistories
    rule: RandomDates
    threads: int = 1

    def parallel(self, threads: int) -> DatedSamples:
        return replace(self, threads=threads)

    def __call__(self, epoch: int) -> PretrainingSample:
        return self._newest(epoch)

    @cached_property
    def _newest(self) -> EpochSamples:
        return lru_cache(maxsize=1)(self._sample)

    @cached_property
    def _parts(self) -> list[tuple[PatientHistories, np.ndarray]]:
        """The patients of each thread, and their numbers of contacts."""
        rows = self.histories.rows
        ends = np.linspace(0, len(rows), min(self.threads, max(1, len(rows))) + 1).astype(int)
        parts = [replace(self.histories, rows=rows[first:stop]) for first, stop in pairwise(ends)]
        return [(part, contact_counts(part.store, part.rows, self.rule)) for part in parts]

    def _sample(self, epoch: int) -> PretrainingSample:
        def of_part(part: tuple[PatientHistories, np.ndarray]) -> PretrainingSample:
            histories, contacts = part
            dates = sample_index_dates(histories.store, histories.rows, self.rule, epoch, contacts)
            horizon, withheld = self.rule.horizon_days, histories.withheld_tokens
            incident = incident_codes(histories.store, histories.rows, dates, horizon, withheld)
            return PretrainingSample(histories.on(dates[0]), incident)

        if len(self._parts) == 1:
            return of_part(self._parts[0])
        with ThreadPoolExecutor(len(self._parts), "epoch") as pool:
            return _joined(list(pool.map(of_part, self._parts)))


def _joined(parts: list[PretrainingSample]) -> PretrainingSample:
    """The samples of different patients as one."""
    sequences = [part.sequences for part in parts]
    whole = Sequences(
        np.concatenate([one.token for one in sequences]),
        np.concatenate([one.age_days for one in sequences]),
        _joined_offsets([one.offsets for one in sequences]),
        np.concatenate([one.count for one in sequences]),
    )
    incident = [part.incident for part in parts if part.incident is not None]
    if not incident:
        return PretrainingSample(whole)
    has_full_horizon = np.concatenate([one.has_full_horizon for one in incident])
    new, known = _joined_lists([one.new for one in incident]), _joined_lists([one.known for one in incident])
    return PretrainingSample(whole, IncidentCodes(has_full_horizon, new, known))


def _joined_lists(parts: list[CodeLists]) -> CodeLists:
    return CodeLists(
        np.concatenate([part.token for part in parts]), _joined_offsets([part.offsets for part in parts])
    )


def _joined_offsets(parts: list[np.ndarray]) -> np.ndarray:
    ends = np.cumsum([0, *(part[-1] for part in parts)])
    moved = [part[1:] + end for part, end in zip(parts, ends[:-1], strict=True)]
    return np.concatenate([parts[0][:1], *moved])
