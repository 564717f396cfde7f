"""Entry points for Python: histories as a log of events, Monte Carlo risks, latent states."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from claimscale.simulator.kernel.claims import Included, add, new_claim, write_claim
from claimscale.simulator.kernel.compiled import allocating, entry, inner
from claimscale.simulator.kernel.course import (
    DAYS_PER_MONTH,
    TRANSFER_PER_MONTH,
    burn_in,
    cohort_exit,
    contact_probability,
    init_patient,
    onset,
    progress,
)
from claimscale.simulator.kernel.random_numbers import stream, uniform
from claimscale.simulator.kernel.state import DEAD, ENROLLED, copy_state, new_state

LOG_COLUMNS = 5
"""Month, day since 1970-01-01, code, suspected (0, 1), setting (OUTPATIENT, STAY)."""
USUAL_EVENTS = 300
"""Approximate events per patient: the initial size of the log."""


class LabelWindow(NamedTuple):
    """The label rule of `Oracle.risk` in the kernel's terms; `confirmation` is 0 if none is required."""

    is_outcome: np.ndarray  # bool [K]
    included: Included  # what can write an outcome code: other codes need not be sampled
    gap: int
    horizon: int
    confirmation: int


@allocating
def grow_log(log, rows, more):
    """Return the log, or a longer copy if `more` rows do not fit after the first `rows`."""
    if rows + more <= log.shape[0]:
        return log
    longer = np.empty((2 * (rows + more), log.shape[1]), log.dtype)
    for row in range(rows):
        for column in range(log.shape[1]):
            longer[row, column] = log[row, column]
    return longer


@inner
def log_claim(claim, log, rows, month, first_day):
    """Append the claim's events to the log; return the new number of rows."""
    for position in range(claim.size[0]):
        log[rows, 0] = month
        log[rows, 1] = first_day + claim.days[position]
        log[rows, 2] = claim.codes[position]
        log[rows, 3] = claim.suspected[position]
        log[rows, 4] = claim.setting[0]
        rows += 1
    return rows


@allocating
def simulate_history(parameters, first_days, person, state, claim, until, log, rows):
    """Simulate one patient from birth to the end of month `until` and append the events to the log.

    `first_days` holds the first day (since 1970-01-01) of months 0, 1, ... and of the month after the last.
    The code of a death is the number of codes. Returns the log (a longer copy if needed) and its rows.
    """
    everything = Included(np.ones(parameters.care.size, np.bool_), True)
    burn_in(parameters, person, state)
    for month in range(max(0, -int(person.days_old / DAYS_PER_MONTH)), until + 1):
        progress(parameters, person, state, month, 1)
        onset(parameters, person, state, month, 1)
        if month < person.entry:
            continue
        log = grow_log(log, rows, claim.codes.size + 1)
        day, after = first_days[month], first_days[month + 1]
        moves = uniform(state.generator) < TRANSFER_PER_MONTH
        if uniform(state.generator) < contact_probability(parameters, state):
            write_claim(parameters, person, state, claim, month, after - day, everything)
            if moves:
                add(parameters, state, claim, parameters.referral, False)
            rows = log_claim(claim, log, rows, month, day)
            day += claim.span[1]
        cohort_exit(parameters, person, state, month, moves)
        if state.status[0] == DEAD:
            log[rows, 0] = month
            log[rows, 1] = day + int(uniform(state.generator) * (after - day))
            log[rows, 2] = parameters.is_diagnosis.size
            log[rows, 3], log[rows, 4] = 0, 0
            rows += 1
        if state.status[0] != ENROLLED:
            break
    return log, rows


@entry
def simulate_histories(parameters, first_days, seed, first_patient, patients):
    """Simulate consecutive patients.

    Returns people, int32 [patients, 4]: birth day since 1970-01-01, sex, hospital, rows in the log; and the
    log, int32 [rows, LOG_COLUMNS].
    """
    state, claim = new_state(parameters), new_claim(parameters)
    people = np.empty((patients, 4), np.int32)
    log = np.empty((patients * USUAL_EVENTS, LOG_COLUMNS), np.int32)
    rows = 0
    for position in range(patients):
        before = rows
        person = init_patient(parameters, state, seed, first_patient + position)
        log, rows = simulate_history(
            parameters, first_days, person, state, claim, first_days.size - 2, log, rows
        )
        people[position, 0] = first_days[0] - person.days_old
        people[position, 1] = person.sex
        people[position, 2] = person.hospital
        people[position, 3] = rows - before
    return people, log[:rows]


@entry
def states_at(parameters, first_days, seed, patients, month):
    """The conditions of patients 1 to `patients` at the end of a month, bool [patients, C], and whether they
    are then alive and under observation, bool [patients]."""
    state, claim = new_state(parameters), new_claim(parameters)
    log = np.empty((4096, LOG_COLUMNS), np.int32)
    has = np.zeros((patients, parameters.care.size), np.bool_)
    observed = np.zeros(patients, np.bool_)
    for patient in range(patients):
        person = init_patient(parameters, state, seed, 1 + patient)
        log, _ = simulate_history(parameters, first_days, person, state, claim, month, log, 0)
        observed[patient] = state.status[0] == ENROLLED and person.entry <= month
        for position in range(state.present_count[0]):
            has[patient, state.present[position]] = True
    return has, observed


@inner
def outcome_days(claim, is_outcome, first_day):
    """First and last day of the claim's confirmed outcome codes; 0, 0 if there are none."""
    earliest, latest = 0, 0
    for position in range(claim.size[0]):
        if is_outcome[claim.codes[position]] and not claim.suspected[position]:
            day = first_day + claim.days[position]
            earliest = day if earliest == 0 else min(earliest, day)
            latest = max(latest, day)
    return earliest, latest


@inner
def simulate_future(parameters, first_days, person, state, claim, start, index, rule):
    """Simulate one future from month `start` on; return whether its label is positive."""
    first_allowed, last_allowed = index + rule.gap + 1, index + rule.gap + rule.horizon
    first = 0
    for month in range(start, first_days.size - 1):
        if first == 0 and first_days[month] > last_allowed:
            break
        progress(parameters, person, state, month, 1)
        onset(parameters, person, state, month, 1)
        probability = contact_probability(parameters, state)
        moves = uniform(state.generator) < TRANSFER_PER_MONTH
        if uniform(state.generator) < probability:
            days_of_month = first_days[month + 1] - first_days[month]
            write_claim(parameters, person, state, claim, month, days_of_month, rule.included)
            earliest, latest = outcome_days(claim, rule.is_outcome, first_days[month])
            if earliest > 0:
                if first == 0:
                    first = earliest
                    if first < first_allowed or first > last_allowed:
                        return False
                if rule.confirmation == 0 or latest >= first + rule.confirmation:
                    return True
        cohort_exit(parameters, person, state, month, moves)
        if state.status[0] != ENROLLED:
            break
    return False


@entry
def monte_carlo_risk(parameters, first_days, seed, subjects, index_days, rule, futures):
    """Risks and their standard errors, float64 [n]: see `Oracle.risk`. `rule` is a LabelWindow."""
    base, state, claim = new_state(parameters), new_state(parameters), new_claim(parameters)
    log = np.empty((4096, LOG_COLUMNS), np.int32)
    risks, errors = np.zeros(subjects.size), np.zeros(subjects.size)
    for row in range(subjects.size):
        index = index_days[row]
        start = np.searchsorted(first_days, index + 1, side="right") - 1  # first month that is not yet known
        person = init_patient(parameters, base, seed, subjects[row])
        log, _ = simulate_history(parameters, first_days, person, base, claim, start - 1, log, 0)
        if base.status[0] != ENROLLED:
            continue
        positive = 0
        for number in range(futures):
            copy_state(base, state)
            state.generator[0] = stream(seed, subjects[row], number + 1)
            positive += simulate_future(parameters, first_days, person, state, claim, start, index, rule)
        risks[row] = positive / futures
        errors[row] = np.sqrt(risks[row] * (1 - risks[row]) / futures)
    return risks, errors
