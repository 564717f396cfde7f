"""What happens to a patient, month by month: diseases begin, grow worse and end; treatment; death."""

from __future__ import annotations

import numpy as np

from claimscale.simulator.kernel.compiled import inner
from claimscale.simulator.kernel.draws import pick, stream, uniform
from claimscale.simulator.kernel.state import ABSENT, DEAD, ENROLLED, LOST, NO_DRUG, Person
from claimscale.simulator.kernel.treatment import change_unsuitable, start_line

RECENT = 60
"""Months before month 0 that are lived one by one; earlier ones, from birth on, `LONG_STEP` at a time."""
LONG_STEP = 6
MIDDLE = 51
"""Month at which patients have the ages of the published distribution: July 2021."""

ENTER_AT_START = 0.7
"""Share of patients known from the first month; the others enter in the `LAST_ENTRY` months after it."""
LAST_ENTRY = 42
LOSS_PER_MONTH = 0.0025
TRANSFER_PER_MONTH = 0.0015
"""A patient who moves to another hospital is lost as well: claims are seen in one hospital only."""
CONTACT_LOG_ODDS = -1.4
DEATHS_AT_70 = (0.004, 0.002)
"""Deaths per year of men and women without any condition; they grow by 9 % per year of age."""
GROWTH_OF_DEATHS = 0.09
LEAST_ADHERENCE, MOST_ADHERENCE = 0.12, 0.74
"""A patient's chance of a refill in a month with contact lies between them: patients differ, and a chronic
drug is often prescribed for two or three months."""

DAYS_PER_MONTH = 365.25 / 12


@inner
def be_born(world, state, seed, patient):
    """Reset the state to a life's beginning and draw who the patient is."""
    for condition in range(state.onset.size):
        state.onset[condition] = ABSENT
        state.lines[condition] = 0
    state.present_count[0], state.status[0], state.contacts[0] = 0, ENROLLED, 0
    state.age[0], state.is_stale[0] = -1, True
    generator = state.generator
    generator[0] = stream(seed, patient, 0)
    bands = world.band_ages.size
    band = pick(generator, world.band_cumulative, 0, 2 * bands)
    years = world.band_ages[band % bands] + 5 * uniform(generator)
    days_old = int(years * 365.25 - MIDDLE * DAYS_PER_MONTH)
    hospital = pick(generator, world.hospital_cumulative, 0, world.hospital_cumulative.size)
    entry = 0
    if uniform(generator) >= ENTER_AT_START:
        entry = 1 + int(uniform(generator) * LAST_ENTRY)
    entry = max(entry, 1 + int(-days_old / DAYS_PER_MONTH) if days_old < 0 else 0)
    adherence = LEAST_ADHERENCE + (MOST_ADHERENCE - LEAST_ADHERENCE) * uniform(generator)
    return Person(days_old, band // bands, hospital, entry, adherence)


@inner
def age_at(world, person, month):
    """Whole years."""
    years = int((person.days_old + month * DAYS_PER_MONTH) / 365.25)
    return min(max(years, 0), world.hazard.shape[1] - 1)


@inner
def grow_up(world, person, state):
    """Live from birth to month 0, of which nothing is seen yet."""
    month = -int(person.days_old / DAYS_PER_MONTH)
    while month < 0:
        months = LONG_STEP if month + LONG_STEP <= -RECENT else 1
        progress(world, person, state, month, months)
        fall_ill(world, person, state, month, months)
        month += months


@inner
def progress(world, person, state, month, months):
    """Episodes end, and with them their later stages; drugs are stopped; treatment escalates."""
    position = 0
    while position < state.present_count[0]:
        condition = state.present[position]
        stage_of = world.stage_of[condition]
        has_ended = stage_of >= 0 and state.onset[stage_of] == ABSENT
        if world.recovery[condition] > 0 and not has_ended:
            has_ended = uniform(state.generator) >= np.exp(-world.recovery[condition] * months)
        if has_ended:
            state.onset[condition] = ABSENT
            state.lines[condition] = 0
            state.present_count[0] -= 1
            state.present[position] = state.present[state.present_count[0]]
            state.is_stale[0] = True
            continue
        position += 1
        first = world.line_offsets[condition]
        if world.stopping[condition] > 0:
            for line in range(first, first + state.lines[condition]):
                if uniform(state.generator) >= np.exp(-world.stopping[condition] * months):
                    state.drugs[line] = NO_DRUG
        lines = world.line_offsets[condition + 1] - first
        can_escalate = state.lines[condition] < lines and world.escalation[condition] > 0
        if can_escalate and uniform(state.generator) >= np.exp(-world.escalation[condition] * months):
            start_line(world, person, state, condition, month)


@inner
def is_open(world, state, condition, month):
    """Whether it could begin: it is absent, known to the world, and the stage before it is present."""
    if state.onset[condition] != ABSENT or month < world.appears[condition]:
        return False
    stage_of = world.stage_of[condition]
    return stage_of < 0 or state.onset[stage_of] != ABSENT


@inner
def raise_one(state, condition, ratio):
    if state.raised[condition] == 0.0:
        state.raised[condition] = ratio
        state.touched[state.touched_count[0]] = condition
        state.touched_count[0] += 1
    else:
        state.raised[condition] *= ratio


@inner
def bring_up_to_date(world, person, state, month):
    """Renew `base` with the patient's age, `raised` each quarter and whenever the conditions have changed."""
    age = age_at(world, person, month)
    if age != state.age[0]:
        state.age[0] = age
        for condition in range(state.base.size):
            state.base[condition] = (
                world.hazard[person.sex, age, condition] * world.focus[person.hospital, condition]
            )
    if not state.is_stale[0] and month % 3 != 0:
        return
    state.is_stale[0] = False
    for position in range(state.touched_count[0]):
        state.raised[state.touched[position]] = 0.0
    state.touched_count[0] = 0
    for position in range(world.new_conditions.size):
        raise_one(state, world.new_conditions[position], 1.0)
    for position in range(state.present_count[0]):
        condition = state.present[position]
        duration = month - state.onset[condition]
        for effect in range(world.effect_offsets[condition], world.effect_offsets[condition + 1]):
            ramp = duration / world.effect_delays[effect]
            weight = world.effect_weights[effect]
            ratio = world.effect_ratios[effect] if ramp >= 1.0 else np.exp(weight * ramp)
            raise_one(state, world.effect_targets[effect], ratio)


@inner
def fall_ill(world, person, state, month, months):
    """At most one condition begins: hazards compete, raised by the conditions that the patient has.

    The sum over all conditions is known beforehand but for the few that are present or raised.
    """
    bring_up_to_date(world, person, state, month)
    of_year = (month + 3) % 12
    season = world.season[of_year]
    total = world.undisturbed[person.hospital, person.sex, state.age[0], of_year]
    for position in range(state.present_count[0]):
        condition = state.present[position]
        if world.is_undisturbed[condition]:
            total -= state.base[condition] * season[condition]
    for position in range(state.touched_count[0]):
        target = state.touched[position]
        if is_open(world, state, target, month):
            excess = state.raised[target] - (1.0 if world.is_undisturbed[target] else 0.0)
            total += excess * state.base[target] * season[target]
    if uniform(state.generator) >= np.exp(-max(total, 0.0) * months):
        begin(world, person, state, choose_condition(world, state, month), month)


@inner
def choose_condition(world, state, month):
    """Which of the competing conditions begins."""
    total, last, season = 0.0, 0, world.season[(month + 3) % 12]
    for condition in range(state.hazards.size):
        hazard = 0.0
        if is_open(world, state, condition, month):
            hazard = state.base[condition] * season[condition]
            if state.raised[condition] > 0.0:
                hazard *= state.raised[condition]
        state.hazards[condition] = hazard
        total += hazard
        if hazard > 0.0:
            last = condition
    threshold = uniform(state.generator) * total
    for condition in range(last):
        threshold -= state.hazards[condition]
        if threshold < 0.0:
            return condition
    return last


@inner
def begin(world, person, state, condition, month):
    """It begins: the usual synonym is settled, drugs that it forbids are changed, perhaps one is added."""
    state.onset[condition] = month
    state.present[state.present_count[0]] = condition
    state.present_count[0] += 1
    state.is_stale[0] = True
    first, last = world.diagnosis_offsets[condition], world.diagnosis_offsets[condition + 1]
    state.usual[condition] = pick(state.generator, world.habits[person.hospital], first, last)
    change_unsuitable(world, person, state, month)
    has_lines = world.line_offsets[condition + 1] > world.line_offsets[condition]
    if has_lines and uniform(state.generator) < world.treated[condition]:
        start_line(world, person, state, condition, month)


@inner
def sum_over_present(state, values):
    total = 0.0
    for position in range(state.present_count[0]):
        total += values[state.present[position]]
    return total


@inner
def contact_chance(world, state):
    """Chance that the patient sees the hospital this month."""
    return 1 / (1 + np.exp(-CONTACT_LOG_ODDS - sum_over_present(state, world.care)))


@inner
def leave(world, person, state, month, moves):
    """The patient may die at the end of the month, move to another hospital or be lost."""
    log_ratio = GROWTH_OF_DEATHS * (age_at(world, person, month) - 70) + sum_over_present(
        state, world.mortality
    )
    if uniform(state.generator) < 1 - np.exp(-DEATHS_AT_70[person.sex] / 12 * np.exp(log_ratio)):
        state.status[0] = DEAD
    elif moves or uniform(state.generator) < LOSS_PER_MONTH:
        state.status[0] = LOST
