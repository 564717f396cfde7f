"""The inputs of pretraining: what was known of each patient before the landmark, or on a sampled earlier
date."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from claimscale.config.training import Tokens
from claimscale.tokens.incident_codes import IncidentCodes, incident_codes, sample_index_dates
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

    `last_day` counts from 1970-01-01.
    """

    store: TokenStore
    rows: np.ndarray
    last_day: int
    tokens: Tokens

    def on(self, days: np.ndarray) -> Sequences:
        """What was known of each patient on a day, [n]."""
        nothing = np.zeros(0, np.int32)
        tokens = self.tokens
        return select_inputs(self.store, self.rows, days, tokens.max_length, tokens.deduplicate, nothing)

    def on_last_day(self) -> Sequences:
        """What was known of each patient on the last day."""
        return self.on(np.full(len(self.rows), self.last_day, np.int64))

    def dated(self, horizon_days: int, seed: int) -> EpochSamples:
        """Samples on another date per patient and epoch, with the codes that are incident after it."""

        def sample(epoch: int) -> PretrainingSample:
            days, full = sample_index_dates(self.store, self.rows, self.last_day, horizon_days, seed, epoch)
            incident = incident_codes(self.store, self.rows, days, full, horizon_days)
            return PretrainingSample(self.on(days), incident)

        return lru_cache(maxsize=1)(sample)
