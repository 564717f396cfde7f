"""What a month with contact leaves in the hospital's books: diagnoses, drugs, tests, fees, a stay."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from claimscale.simulator.kernel.compiled import allocating, inner
from claimscale.simulator.kernel.draws import pick, uniform
from claimscale.simulator.kernel.life import sum_over_present
from claimscale.simulator.kernel.state import ABSENT, NO_DRUG

USUAL_SYNONYM = 0.8
"""How often a diagnosis is written with the patient's usual synonym rather than a fresh choice."""
EVERYDAY, EVERYDAY_IN_STAY = 0.5, 0.8
"""Chance of one more everyday code: a geometric number of them, 1 on average in an outpatient claim."""
RULE_OUT = 0.15
"""Chance that a test is justified by a suspected diagnosis, where the test asks for one."""
MEAN_STAY = 12
"""Days of a hospital stay; a stay ends within its month."""

OUTPATIENT, STAY = 0, 1


class Claim(NamedTuple):
    """The codes of one month, each at most once (and once more as suspected)."""

    codes: np.ndarray  # int32 [2 K]
    days: np.ndarray  # int32 [2 K], day of the month counted from 0; 0 for a diagnosis
    suspected: np.ndarray  # bool [2 K]
    size: np.ndarray  # int32 [1]
    stamps: np.ndarray  # int64 [2, K], serial number of the last claim that held the code
    serial: np.ndarray  # int64 [1]
    span: np.ndarray  # int32 [2], first and last day of the visit or stay, counted from 0
    setting: np.ndarray  # int32 [2], OUTPATIENT or STAY; row of `spelling` that holds in this month


@allocating
def new_claim(world):
    codes = world.is_diagnosis.size
    return Claim(
        np.zeros(2 * codes, np.int32),
        np.zeros(2 * codes, np.int32),
        np.zeros(2 * codes, np.bool_),
        np.zeros(1, np.int32),
        np.zeros((2, codes), np.int64),
        np.zeros(1, np.int64),
        np.zeros(2, np.int32),
        np.zeros(2, np.int32),
    )


@inner
def add_dated(claim, code, suspected, day):
    kind = 1 if suspected else 0
    if claim.stamps[kind, code] == claim.serial[0]:
        return
    claim.stamps[kind, code] = claim.serial[0]
    position = claim.size[0]
    claim.codes[position] = code
    claim.days[position] = day
    claim.suspected[position] = suspected
    claim.size[0] += 1


@inner
def add(world, state, claim, code, suspected):
    """A code as it is spelt this month: diagnoses on the first of the month, all else within the span."""
    day = 0
    if not world.is_diagnosis[code]:
        days = claim.span[1] - claim.span[0] + 1
        day = claim.span[0] + (int(uniform(state.generator) * days) if days > 1 else 0)
    add_dated(claim, world.spelling[claim.setting[1], code], suspected, day)


@inner
def add_test(world, state, claim, code):
    """A test, and perhaps the diagnosis that justifies it."""
    add(world, state, claim, code, False)
    first, last = world.rule_out_offsets[code], world.rule_out_offsets[code + 1]
    if last > first and uniform(state.generator) < RULE_OUT:
        suspect = world.rule_out_codes[first + int(uniform(state.generator) * (last - first))]
        add(world, state, claim, suspect, True)


@inner
def open_claim(world, state, claim, month, days_of_month):
    """Begin the claim of a month with contact: an outpatient visit, or a stay."""
    claim.serial[0] += 1
    claim.size[0] = 0
    claim.setting[1] = world.spelling_of_month[month]
    is_stay = uniform(state.generator) >= np.exp(-sum_over_present(state, world.admits))
    claim.setting[0] = STAY if is_stay else OUTPATIENT
    day = int(uniform(state.generator) * 28)
    claim.span[0], claim.span[1] = day, day
    if is_stay:
        length = int(-np.log(1 - uniform(state.generator)) * MEAN_STAY)
        claim.span[1] = min(day + length, days_of_month - 1)
        add_dated(claim, world.admission, False, claim.span[0])
        add_dated(claim, world.discharge, False, claim.span[1])
        fees, cumulative = world.stay_codes, world.stay_cumulative
    else:
        fees, cumulative = world.visit_codes, world.visit_cumulative
    fee = fees[pick(state.generator, cumulative, 0, fees.size)]
    if state.contacts[0] == 0 and not is_stay:
        fee = world.first_visit
    add(world, state, claim, fee, False)
    state.contacts[0] += 1


@inner
def write_condition(world, person, state, claim, condition):
    """What one condition leaves in a claim: diagnosis, drugs, tests."""
    coding = world.coding[condition]
    if claim.setting[0] == STAY:
        coding = 1 - (1 - coding) ** 2
    if uniform(state.generator) < coding:
        synonym = state.usual[condition]
        if uniform(state.generator) >= USUAL_SYNONYM:
            first, last = world.diagnosis_offsets[condition], world.diagnosis_offsets[condition + 1]
            synonym = pick(state.generator, world.habits[person.hospital], first, last)
        add(world, state, claim, world.diagnosis_codes[synonym], False)
    refill = max(person.adherence, world.least_refill[condition])
    for line in range(world.line_offsets[condition], world.line_offsets[condition] + state.lines[condition]):
        drug = state.drugs[line]
        if drug != NO_DRUG and uniform(state.generator) < refill:
            add(world, state, claim, world.drug_codes[drug], False)
    for test in range(world.test_offsets[condition], world.test_offsets[condition + 1]):
        if uniform(state.generator) < world.test_chances[test]:
            add_test(world, state, claim, world.test_codes[test])


@inner
def write_everyday(world, person, state, claim):
    """Codes of the long tail, which no condition of the patient explains."""
    more = EVERYDAY_IN_STAY if claim.setting[0] == STAY else EVERYDAY
    habits = world.everyday_habits[person.hospital]
    while uniform(state.generator) < more:
        code = world.everyday_codes[pick(state.generator, habits, 0, habits.size)]
        if world.is_diagnosis[code]:
            add(world, state, claim, code, False)
        else:
            add_test(world, state, claim, code)


@inner
def write_claim(world, person, state, claim, month, days_of_month, wanted, with_everyday):
    """The claim of a month with contact, with the codes of the wanted conditions only (bool [C])."""
    open_claim(world, state, claim, month, days_of_month)
    for position in range(state.present_count[0]):
        condition = state.present[position]
        if wanted[condition] and state.onset[condition] != ABSENT:
            write_condition(world, person, state, claim, condition)
    if with_everyday:
        write_everyday(world, person, state, claim)
