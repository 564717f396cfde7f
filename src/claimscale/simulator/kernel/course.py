"""The monthly course of a patient: onset, escalation and end of conditions, contacts, death and loss."""

from __future__ import annotations

import numpy as np

from claimscale.constants import DAYS_PER_YEAR
from claimscale.simulator.kernel.compiled import inner
from claimscale.simulator.kernel.random_numbers import pick, stream, uniform
from claimscale.simulator.kernel.state import ABSENT, DEAD, ENROLLED, LOST, NO_DRUG, Person
from claimscale.simulator.kernel.treatment import replace_contraindicated, start_line

RECENT = 60
"""Months before month 0 that are simulated one by one; earlier ones are simulated in steps of `LONG_STEP`."""
LONG_STEP = 6
MIDDLE = 51
"""Month of the published age distribution: July 2021."""

ENTER_AT_START = 0.7
"""Share of patients observed from month 0; the others enter in the `LAST_ENTRY` months after it."""
LAST_ENTRY = 42
LOSS_PER_MONTH = 0.0025
TRANSFER_PER_MONTH = 0.0015
"""A patient who moves to another hospital is lost too: claims are visible in one hospital only."""
CONTACT_LOG_ODDS = -1.4
DEATHS_AT_70 = (0.004, 0.002)
"""Deaths per year at age 70 of men and women without any condition."""
GROWTH_OF_DEATHS = 0.09
"""Increase of the log hazard of death per year of age."""
LEAST_ADHERENCE, MOST_ADHERENCE = 0.12, 0.74
"""Range of a patient's probability of a refill in a month with contact. Patients differ, and chronic drugs
are often prescribed for two or three months."""

DAYS_PER_MONTH = DAYS_PER_YEAR / 12


@inner
def init_patient(parameters, state, seed, patient):
    """Reset the state to birth and sample the patient's attributes."""
    for condition in range(state.onset.size):
        state.onset[condition] = ABSENT
        state.lines[condition] = 0
    state.present_count[0], state.status[0], state.contacts[0] = 0, ENROLLED, 0
    state.age[0], state.is_stale[0] = -1, True
    generator = state.generator
    generator[0] = stream(seed, patient, 0)
    bands = parameters.band_ages.size
    band = pick(generator, parameters.band_cumulative, 0, 2 * bands)
    years = parameters.band_ages[band % bands] + 5 * uniform(generator)
    days_old = int(years * DAYS_PER_YEAR - MIDDLE * DAYS_PER_MONTH)
    hospital = pick(generator, parameters.hospital_cumulative, 0, parameters.hospital_cumulative.size)
    entry = 0
    if uniform(generator) >= ENTER_AT_START:
        entry = 1 + int(uniform(generator) * LAST_ENTRY)
    entry = max(entry, 1 + int(-days_old / DAYS_PER_MONTH) if days_old < 0 else 0)
    adherence = LEAST_ADHERENCE + (MOST_ADHERENCE - LEAST_ADHERENCE) * uniform(generator)
    return Person(days_old, band // bands, hospital, entry, adherence)


@inner
def age_at(parameters, person, month):
    """Whole years."""
    years = int((person.days_old + month * DAYS_PER_MONTH) / DAYS_PER_YEAR)
    return min(max(years, 0), parameters.hazard.shape[1] - 1)


@inner
def burn_in(parameters, person, state):
    """Simulate the unobserved months from birth to month 0."""
    month = -int(person.days_old / DAYS_PER_MONTH)
    while month < 0:
        months = LONG_STEP if month + LONG_STEP <= -RECENT else 1
        progress(parameters, person, state, month, months)
        onset(parameters, person, state, month, months)
        month += months


@inner
def progress(parameters, person, state, month, months):
    """End episodes and their later stages, stop drugs and escalate treatment."""
    position = 0
    while position < state.present_count[0]:
        condition = state.present[position]
        stage_of = parameters.stage_of[condition]
        has_ended = stage_of >= 0 and state.onset[stage_of] == ABSENT
        if parameters.recovery[condition] > 0 and not has_ended:
            has_ended = uniform(state.generator) >= np.exp(-parameters.recovery[condition] * months)
        if has_ended:
            state.onset[condition] = ABSENT
            state.lines[condition] = 0
            state.present_count[0] -= 1
            state.present[position] = state.present[state.present_count[0]]
            state.is_stale[0] = True
            continue
        position += 1
        first = parameters.line_offsets[condition]
        if parameters.stopping[condition] > 0:
            for line in range(first, first + state.lines[condition]):
                if uniform(state.generator) >= np.exp(-parameters.stopping[condition] * months):
                    state.drugs[line] = NO_DRUG
        lines = parameters.line_offsets[condition + 1] - first
        can_escalate = state.lines[condition] < lines and parameters.escalation[condition] > 0
        if can_escalate and uniform(state.generator) >= np.exp(-parameters.escalation[condition] * months):
            start_line(parameters, person, state, condition, month)


@inner
def can_start(parameters, state, condition, month):
    """Whether a condition can start: it is absent, exists by now, and its earlier stage is present."""
    if state.onset[condition] != ABSENT or month < parameters.appears[condition]:
        return False
    stage_of = parameters.stage_of[condition]
    return stage_of < 0 or state.onset[stage_of] != ABSENT


@inner
def multiply_ratio(state, condition, ratio):
    if state.raised[condition] == 0.0:
        state.raised[condition] = ratio
        state.touched[state.touched_count[0]] = condition
        state.touched_count[0] += 1
    else:
        state.raised[condition] *= ratio


@inner
def update_hazards(parameters, person, state, month):
    """Update `base` when the age changes, and `raised` each quarter and when the conditions change."""
    age = age_at(parameters, person, month)
    if age != state.age[0]:
        state.age[0] = age
        for condition in range(state.base.size):
            state.base[condition] = (
                parameters.hazard[person.sex, age, condition]
                * parameters.case_mix[person.hospital, condition]
            )
    if not state.is_stale[0] and month % 3 != 0:
        return
    state.is_stale[0] = False
    for position in range(state.touched_count[0]):
        state.raised[state.touched[position]] = 0.0
    state.touched_count[0] = 0
    for position in range(parameters.new_conditions.size):
        multiply_ratio(state, parameters.new_conditions[position], 1.0)
    for position in range(state.present_count[0]):
        condition = state.present[position]
        duration = month - state.onset[condition]
        for effect in range(parameters.effect_offsets[condition], parameters.effect_offsets[condition + 1]):
            ramp = duration / parameters.effect_delays[effect]
            weight = parameters.effect_weights[effect]
            ratio = parameters.effect_ratios[effect] if ramp >= 1.0 else np.exp(weight * ramp)
            multiply_ratio(state, parameters.effect_targets[effect], ratio)


@inner
def onset(parameters, person, state, month, months):
    """Start at most one condition; hazards compete and are raised by the patient's conditions.

    The sum over all conditions is precomputed; only present and raised conditions are corrected.
    """
    update_hazards(parameters, person, state, month)
    of_year = (month + 3) % 12
    season = parameters.season[of_year]
    total = parameters.baseline_total[person.hospital, person.sex, state.age[0], of_year]
    for position in range(state.present_count[0]):
        condition = state.present[position]
        if parameters.in_baseline[condition]:
            total -= state.base[condition] * season[condition]
    for position in range(state.touched_count[0]):
        target = state.touched[position]
        if can_start(parameters, state, target, month):
            excess = state.raised[target] - (1.0 if parameters.in_baseline[target] else 0.0)
            total += excess * state.base[target] * season[target]
    if uniform(state.generator) >= np.exp(-max(total, 0.0) * months):
        start_condition(parameters, person, state, choose_condition(parameters, state, month), month)


@inner
def choose_condition(parameters, state, month):
    """Sample which of the competing conditions starts."""
    total, last, season = 0.0, 0, parameters.season[(month + 3) % 12]
    for condition in range(state.hazards.size):
        hazard = 0.0
        if can_start(parameters, state, condition, month):
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
def start_condition(parameters, person, state, condition, month):
    """Start a condition: sample the usual synonym, replace contraindicated drugs, perhaps start treatment."""
    state.onset[condition] = month
    state.present[state.present_count[0]] = condition
    state.present_count[0] += 1
    state.is_stale[0] = True
    first, last = parameters.diagnosis_offsets[condition], parameters.diagnosis_offsets[condition + 1]
    state.usual[condition] = pick(state.generator, parameters.habits[person.hospital], first, last)
    replace_contraindicated(parameters, person, state, month)
    has_lines = parameters.line_offsets[condition + 1] > parameters.line_offsets[condition]
    if has_lines and uniform(state.generator) < parameters.treated[condition]:
        start_line(parameters, person, state, condition, month)


@inner
def sum_over_present(state, values):
    total = 0.0
    for position in range(state.present_count[0]):
        total += values[state.present[position]]
    return total


@inner
def contact_probability(parameters, state):
    """Probability of a contact with the hospital this month."""
    return 1 / (1 + np.exp(-CONTACT_LOG_ODDS - sum_over_present(state, parameters.care)))


@inner
def cohort_exit(parameters, person, state, month, moves):
    """At the end of the month, the patient may die, move to another hospital or be lost."""
    log_ratio = GROWTH_OF_DEATHS * (age_at(parameters, person, month) - 70) + sum_over_present(
        state, parameters.mortality
    )
    if uniform(state.generator) < 1 - np.exp(-DEATHS_AT_70[person.sex] / 12 * np.exp(log_ratio)):
        state.status[0] = DEAD
    elif moves or uniform(state.generator) < LOSS_PER_MONTH:
        state.status[0] = LOST
