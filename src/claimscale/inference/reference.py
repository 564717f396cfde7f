"""What a package's training patients were like, and which new patients are unlike them.

A model has learnt nothing about patients beyond its training data. Such patients are scored all the same, and
marked.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from claimscale.config.base import Number, Settings
from claimscale.constants import DAYS_PER_YEAR
from claimscale.inference.patients import PatientShard

TAIL = 0.005
"""Share of the training patients beyond each end of a range."""
FEWEST_PATIENTS = 2000
"""With fewer training patients, an end of a range would be the value of less than ten of them."""
MEASURES = ("age_years", "history_years", "codes", "unread_share")


class Range(Settings):
    """The middle 99 % of the training patients."""

    low: Number
    """Value below which are 0.5 % of them."""
    high: Number
    """Value above which are 0.5 % of them."""


class Reference(Settings):
    """`reference.json`: ranges of the training patients, and the share of each type of code."""

    patients: int
    """Index dates that the ranges come from."""
    ranges: Annotated[dict[str, Range], Field(max_length=16)] = {}
    """By measure; empty with fewer than 2,000 index dates."""
    sex: dict[str, Number] = {}
    """Share of each sex."""
    mean: dict[str, Number] = {}
    """Mean of each measure."""
    risk_deciles: Annotated[list[Number], Field(max_length=9)] = []
    """The nine deciles of the risks of the study's test patients."""

    def outside(self, measures: dict[str, np.ndarray]) -> list[str | None]:
        """The measures of each patient beyond the range of training, separated by spaces, or None."""
        marks = {
            name: (values < self.ranges[name].low) | (values > self.ranges[name].high)
            for name, values in measures.items()
            if name in self.ranges
        }
        count = len(next(iter(measures.values()), ()))
        return [" ".join(name for name in marks if marks[name][row]) or None for row in range(count)]


def measures_of(shard: PatientShard, rows: np.ndarray, index_days: np.ndarray) -> dict[str, np.ndarray]:
    """MEASURES of patients at their index days, float64 [n] each.

    `history_years` are those since the first known event with a token, `codes` the known events with one.
    """
    store = shard.store
    births = store.birth_day[rows].astype(np.float64)
    known = shard.known_events(rows, index_days)
    first = np.minimum(store.offsets[rows], max(len(store.token) - 1, 0))
    first_day = births + store.age_days[first] if len(store.token) else index_days.astype(np.float64)
    history = np.where(known > 0, index_days - first_day, 0)
    return {
        "age_years": (index_days - births) / DAYS_PER_YEAR,
        "history_years": history / DAYS_PER_YEAR,
        "codes": known.astype(np.float64),
        "unread_share": shard.unread_share(rows, index_days),
    }


def reference_of(
    measures: dict[str, np.ndarray], sexes: dict[str, float], test_risks: np.ndarray
) -> Reference:
    """The reference from the measures of training patients and the risks of test patients, float64 each."""
    patients = len(next(iter(measures.values()), ()))
    mean = {name: float(values.mean()) for name, values in measures.items()} if patients else {}
    ranges = {}
    if patients >= FEWEST_PATIENTS:
        ends = {name: np.quantile(values, [TAIL, 1 - TAIL]) for name, values in measures.items()}
        ranges = {name: Range(low=float(low), high=float(high)) for name, (low, high) in ends.items()}
    deciles = np.quantile(test_risks, np.arange(1, 10) / 10).tolist() if len(test_risks) else []
    return Reference(patients=patients, ranges=ranges, sex=sexes, mean=mean, risk_deciles=deciles)
