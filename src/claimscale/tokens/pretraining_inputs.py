"""The inputs of pretraining: what was known of each patient before the landmark, or on a sampled earlier
date."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from claimscale.config.training import Pretrain, Tokens
from claimscale.tokens.incident_codes import IncidentCodes, RandomDates, incident_codes, sample_index_dates
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

    def dated(self, settings: Pretrain, seed: int) -> EpochSamples:
        """Samples on another date per patient and epoch, with the codes that are incident after it."""
        rule = RandomDates(self.last_day, settings.horizon_days, settings.calendar_date_share, seed)

        def sample(epoch: int) -> PretrainingSample:
            dates = sample_index_dates(self.store, self.rows, rule, epoch)
            incident = incident_codes(self.store, self.rows, dates, rule.horizon_days, self.withheld_tokens)
            return PretrainingSample(self.on(dates[0]), incident)

        return lru_cache(maxsize=1)(sample)
