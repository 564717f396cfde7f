"""A patient's fixed attributes and monthly state.

Arrays are copied by loops, which numba compiles ten times as fast as slices.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from claimscale.simulator.kernel.compiled import allocating, inner

ABSENT = -10_000
"""Onset of a condition that the patient does not have."""
NO_DRUG = -1
"""Drug of a treatment line that was stopped or had no suitable drug."""
ENROLLED, DEAD, LOST = 0, 1, 2


class Person(NamedTuple):
    """Fixed attributes: days from birth to month 0 (negative if born later), sex (0 man, 1 woman), hospital,
    month of entry, probability of a refill."""

    days_old: int
    sex: int
    hospital: int
    entry: int
    adherence: float


class State(NamedTuple):
    """Attributes that change, as arrays that functions can write to."""

    onset: np.ndarray  # int32 [C], month of onset or ABSENT
    usual: np.ndarray  # int32 [C], the patient's usual synonym, position in `diagnosis_codes`
    lines: np.ndarray  # int32 [C], number of treatment lines started
    drugs: np.ndarray  # int32 [L], drug of each started line, position in `drug_codes`, or NO_DRUG
    present: np.ndarray  # int32 [C], the patient's conditions, unordered
    present_count: np.ndarray  # int32 [1], number of them
    status: np.ndarray  # int32 [1], ENROLLED, DEAD or LOST
    contacts: np.ndarray  # int32 [1], months with contact so far
    generator: np.ndarray  # uint64 [1]
    base: np.ndarray  # float64 [C], monthly hazards at this age and hospital, before season and causes
    age: np.ndarray  # int32 [1], the age of `base`
    raised: np.ndarray  # float64 [C], hazard ratio of the conditions in `touched`; 0 for others
    touched: np.ndarray  # int32 [C], conditions whose hazard others change
    touched_count: np.ndarray  # int32 [1], number of them
    is_stale: np.ndarray  # bool [1], whether `raised` is out of date
    hazards: np.ndarray  # float64 [C], scratch


@allocating
def new_state(parameters):
    conditions = parameters.care.size
    return State(
        np.full(conditions, ABSENT, np.int32),
        np.zeros(conditions, np.int32),
        np.zeros(conditions, np.int32),
        np.zeros(parameters.drug_offsets.size - 1, np.int32),
        np.zeros(conditions, np.int32),
        np.zeros(1, np.int32),
        np.zeros(1, np.int32),
        np.zeros(1, np.int32),
        np.zeros(1, np.uint64),
        np.zeros(conditions),
        np.zeros(1, np.int32),
        np.zeros(conditions),
        np.zeros(conditions, np.int32),
        np.zeros(1, np.int32),
        np.ones(1, np.bool_),
        np.zeros(conditions),
    )


@inner
def copy_state(source, target):
    """Copy all fields but the generator: each future has its own stream."""
    for condition in range(source.onset.size):
        target.onset[condition] = source.onset[condition]
        target.usual[condition] = source.usual[condition]
        target.lines[condition] = source.lines[condition]
        target.base[condition] = source.base[condition]
        target.raised[condition] = source.raised[condition]
    for position in range(source.present_count[0]):
        target.present[position] = source.present[position]
    for line in range(source.drugs.size):
        target.drugs[line] = source.drugs[line]
    for position in range(source.touched_count[0]):
        target.touched[position] = source.touched[position]
    target.age[0] = source.age[0]
    target.touched_count[0] = source.touched_count[0]
    target.is_stale[0] = source.is_stale[0]
    target.present_count[0] = source.present_count[0]
    target.status[0] = source.status[0]
    target.contacts[0] = source.contacts[0]
