"""What Python calls: histories as a log of events, the futures behind an index date, latent states."""

from __future__ import annotations

import numpy as np

from claimscale.simulator.kernel.claims import add, new_claim, write_claim
from claimscale.simulator.kernel.compiled import allocating, entry, inner
from claimscale.simulator.kernel.draws import stream, uniform
from claimscale.simulator.kernel.life import (
    DAYS_PER_MONTH,
    TRANSFER_PER_MONTH,
    be_born,
    contact_chance,
    fall_ill,
    grow_up,
    leave,
    progress,
)
from claimscale.simulator.kernel.state import DEAD, ENROLLED, copy_state, new_state

LOG_COLUMNS = 5
"""Month, day (from 1970), code, suspected (0, 1), setting (OUTPATIENT, STAY)."""
USUAL_EVENTS = 300
"""Events of a patient, roughly: where the log starts."""


@allocating
def with_room(log, rows, more):
    """The log, or a longer copy of it if `more` rows do not fit after the first `rows`."""
    if rows + more <= log.shape[0]:
        return log
    longer = np.empty((2 * (rows + more), log.shape[1]), log.dtype)
    for row in range(rows):
        for column in range(log.shape[1]):
            longer[row, column] = log[row, column]
    return longer


@inner
def copy_claim(claim, log, rows, month, first_day):
    """The claim's events at the end of the log; returns the new number of rows."""
    for position in range(claim.size[0]):
        log[rows, 0] = month
        log[rows, 1] = first_day + claim.days[position]
        log[rows, 2] = claim.codes[position]
        log[rows, 3] = claim.suspected[position]
        log[rows, 4] = claim.setting[0]
        rows += 1
    return rows


@allocating
def live(world, first_days, person, state, claim, until, log, rows):
    """Live from birth to the end of month `until`, adding events to the log, which holds `rows` already.

    `first_days` holds the first day (from 1970) of months 0, 1, ... and of the one after the last, which
    `until` must not pass. The code of a death is the number of codes. Returns the log, a longer copy if need
    be, and its new number of rows.
    """
    everything = np.ones(world.care.size, np.bool_)
    grow_up(world, person, state)
    for month in range(max(0, -int(person.days_old / DAYS_PER_MONTH)), until + 1):
        progress(world, person, state, month, 1)
        fall_ill(world, person, state, month, 1)
        if month < person.entry:
            continue
        log = with_room(log, rows, claim.codes.size + 1)
        day, after = first_days[month], first_days[month + 1]
        moves = uniform(state.generator) < TRANSFER_PER_MONTH
        if uniform(state.generator) < contact_chance(world, state):
            write_claim(world, person, state, claim, month, after - day, everything, True)
            if moves:
                add(world, state, claim, world.referral, False)
            rows = copy_claim(claim, log, rows, month, day)
            day += claim.span[1]
        leave(world, person, state, month, moves)
        if state.status[0] == DEAD:
            log[rows, 0] = month
            log[rows, 1] = day + int(uniform(state.generator) * (after - day))
            log[rows, 2] = world.is_diagnosis.size
            log[rows, 3], log[rows, 4] = 0, 0
            rows += 1
        if state.status[0] != ENROLLED:
            break
    return log, rows


@entry
def live_all(world, first_days, seed, first_patient, patients):
    """The lives of consecutive patients.

    Returns people, int32 [patients, 4]: birth day (from 1970), sex, hospital, rows in the log; and the log,
    int32 [rows, LOG_COLUMNS].
    """
    state, claim = new_state(world), new_claim(world)
    people = np.empty((patients, 4), np.int32)
    log = np.empty((patients * USUAL_EVENTS, LOG_COLUMNS), np.int32)
    rows = 0
    for position in range(patients):
        before = rows
        person = be_born(world, state, seed, first_patient + position)
        log, rows = live(world, first_days, person, state, claim, first_days.size - 2, log, rows)
        people[position, 0] = first_days[0] - person.days_old
        people[position, 1] = person.sex
        people[position, 2] = person.hospital
        people[position, 3] = rows - before
    return people, log[:rows]


@entry
def states_at(world, first_days, seed, patients, month):
    """Which conditions patients 1 to `patients` have at the end of a month, bool [patients, C], and who of
    them is then alive and in sight, bool [patients]."""
    state, claim = new_state(world), new_claim(world)
    log = np.empty((4096, LOG_COLUMNS), np.int32)
    has = np.zeros((patients, world.care.size), np.bool_)
    in_sight = np.zeros(patients, np.bool_)
    for patient in range(patients):
        person = be_born(world, state, seed, 1 + patient)
        log, _ = live(world, first_days, person, state, claim, month, log, 0)
        in_sight[patient] = state.status[0] == ENROLLED and person.entry <= month
        for position in range(state.present_count[0]):
            has[patient, state.present[position]] = True
    return has, in_sight


@inner
def outcome_days(claim, is_outcome, first_day):
    """First and last day of the claim's outcome codes, suspected ones left out; 0, 0 if there is none."""
    earliest, latest = 0, 0
    for position in range(claim.size[0]):
        if is_outcome[claim.codes[position]] and not claim.suspected[position]:
            day = first_day + claim.days[position]
            earliest = day if earliest == 0 else min(earliest, day)
            latest = max(latest, day)
    return earliest, latest


@inner
def future(world, first_days, person, state, claim, start, question):
    """One future from month `start` on: its weight, and whether its label is positive. See `foresee`."""
    landmark, is_outcome, writers, with_everyday, first_allowed, last_allowed, confirm = question
    weight, first = 1.0, 0
    for month in range(start, first_days.size - 1):
        if first == 0 and first_days[month] > last_allowed:
            break
        progress(world, person, state, month, 1)
        fall_ill(world, person, state, month, 1)
        chance = contact_chance(world, state)
        moves = uniform(state.generator) < TRANSFER_PER_MONTH
        is_waiting = first_days[month + 1] - 1 < landmark
        if is_waiting:
            weight *= 1 - chance
        elif uniform(state.generator) < chance:
            days_of_month = first_days[month + 1] - first_days[month]
            write_claim(world, person, state, claim, month, days_of_month, writers, with_everyday)
            earliest, latest = outcome_days(claim, is_outcome, first_days[month])
            if earliest > 0:
                if first == 0:
                    first = earliest
                    if first < first_allowed or first > last_allowed:
                        return weight, False
                if confirm == 0 or latest >= first + confirm:
                    return weight, True
        leave(world, person, state, month, moves)
        if state.status[0] == DEAD and is_waiting:
            return 0.0, False  # a recorded death would have been the last event before the landmark
        if state.status[0] != ENROLLED:
            break
    return weight, False


@entry
def foresee(
    world,
    first_days,
    seed,
    subjects,
    prediction_days,
    landmark,
    is_outcome,
    writers,
    with_everyday,
    gap,
    horizon,
    confirm,
    futures,
):
    """See `Oracle.risk`; `confirm` is 0 where no confirmation is asked for, `with_everyday` says whether the
    long tail of codes can hold an outcome."""
    base, state, claim = new_state(world), new_state(world), new_claim(world)
    log = np.empty((4096, LOG_COLUMNS), np.int32)
    weights, labels = np.empty(futures), np.empty(futures)
    risks, errors = np.zeros(subjects.size), np.zeros(subjects.size)
    for row in range(subjects.size):
        index = prediction_days[row]
        start = np.searchsorted(first_days, index + 1, side="right") - 1  # first month that is not yet known
        person = be_born(world, base, seed, subjects[row])
        log, _ = live(world, first_days, person, base, claim, start - 1, log, 0)
        if base.status[0] != ENROLLED:
            continue
        window = (index + gap + 1, index + gap + horizon)
        question = (landmark, is_outcome, writers, with_everyday, window[0], window[1], confirm)
        for number in range(futures):
            copy_state(base, state)
            state.generator[0] = stream(seed, subjects[row], number + 1)
            weights[number], labels[number] = future(world, first_days, person, state, claim, start, question)
        total = weights.sum()
        if total > 0:
            risks[row] = (weights * labels).sum() / total
            errors[row] = np.sqrt(((weights * (labels - risks[row])) ** 2).sum()) / total
    return risks, errors
