"""The claim of a month with contact: diagnoses, drugs, tests, fees and stays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from claimscale.simulator.kernel.compiled import allocating, inner
from claimscale.simulator.kernel.course import sum_over_present
from claimscale.simulator.kernel.random_numbers import pick, uniform
from claimscale.simulator.kernel.state import ABSENT, NO_DRUG

USUAL_SYNONYM = 0.8
"""Probability that a diagnosis is written as the patient's usual synonym and not sampled anew."""
EVERYDAY, EVERYDAY_IN_STAY = 0.5, 0.8
"""Probability of one more everyday code: their number is geometric, with mean 1 in an outpatient claim."""
RULE_OUT = 0.15
"""Probability that a test is justified by a suspected diagnosis, for tests that have such diagnoses."""
MEAN_STAY = 12
"""Mean days of a hospital stay. A stay ends within its month."""

OUTPATIENT, STAY = 0, 1


class Claim(NamedTuple):
    """The codes of one month. Each code occurs at most once as confirmed and once as suspected."""

    codes: np.ndarray  # int32 [2 K]
    days: np.ndarray  # int32 [2 K], day of the month from 0; 0 for a diagnosis
    suspected: np.ndarray  # bool [2 K]
    size: np.ndarray  # int32 [1]
    stamps: np.ndarray  # int64 [2, K], serial number of the last claim with the code
    serial: np.ndarray  # int64 [1]
    span: np.ndarray  # int32 [2], first and last day of the visit or stay, from 0
    setting: np.ndarray  # int32 [2], OUTPATIENT or STAY; row of `revised_codes` for this month


class Included(NamedTuple):
    """What is written to a claim: the codes of these conditions, and everyday codes."""

    conditions: np.ndarray  # bool [C]
    everyday: bool


@allocating
def new_claim(parameters):
    codes = parameters.is_diagnosis.size
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
def add(parameters, state, claim, code, suspected):
    """Add a code in its current revision: diagnoses on the first of the month, others within the span."""
    day = 0
    if not parameters.is_diagnosis[code]:
        days = claim.span[1] - claim.span[0] + 1
        day = claim.span[0] + (int(uniform(state.generator) * days) if days > 1 else 0)
    add_dated(claim, parameters.revised_codes[claim.setting[1], code], suspected, day)


@inner
def add_test(parameters, state, claim, code):
    """Add a test and, with probability RULE_OUT, a suspected diagnosis that justifies it."""
    add(parameters, state, claim, code, False)
    first, last = parameters.rule_out_offsets[code], parameters.rule_out_offsets[code + 1]
    if last > first and uniform(state.generator) < RULE_OUT:
        suspect = parameters.rule_out_codes[first + int(uniform(state.generator) * (last - first))]
        add(parameters, state, claim, suspect, True)


@inner
def open_claim(parameters, state, claim, month, days_of_month):
    """Start the claim of a month with contact: an outpatient visit or a stay."""
    claim.serial[0] += 1
    claim.size[0] = 0
    claim.setting[1] = parameters.revision_of_month[month]
    is_stay = uniform(state.generator) >= np.exp(-sum_over_present(state, parameters.admits))
    claim.setting[0] = STAY if is_stay else OUTPATIENT
    day = int(uniform(state.generator) * 28)
    claim.span[0], claim.span[1] = day, day
    if is_stay:
        length = int(-np.log(1 - uniform(state.generator)) * MEAN_STAY)
        claim.span[1] = min(day + length, days_of_month - 1)
        add_dated(claim, parameters.admission, False, claim.span[0])
        add_dated(claim, parameters.discharge, False, claim.span[1])
        fees, cumulative = parameters.stay_codes, parameters.stay_cumulative
    else:
        fees, cumulative = parameters.visit_codes, parameters.visit_cumulative
    fee = fees[pick(state.generator, cumulative, 0, fees.size)]
    if state.contacts[0] == 0 and not is_stay:
        fee = parameters.first_visit
    add(parameters, state, claim, fee, False)
    state.contacts[0] += 1


@inner
def write_condition(parameters, person, state, claim, condition):
    """Add the diagnosis, drugs and tests of one condition."""
    coding = parameters.coding[condition]
    if claim.setting[0] == STAY:
        coding = 1 - (1 - coding) ** 2
    if uniform(state.generator) < coding:
        synonym = state.usual[condition]
        if uniform(state.generator) >= USUAL_SYNONYM:
            first, last = parameters.diagnosis_offsets[condition], parameters.diagnosis_offsets[condition + 1]
            synonym = pick(state.generator, parameters.habits[person.hospital], first, last)
        add(parameters, state, claim, parameters.diagnosis_codes[synonym], False)
    refill = max(person.adherence, parameters.min_refill[condition])
    for line in range(
        parameters.line_offsets[condition], parameters.line_offsets[condition] + state.lines[condition]
    ):
        drug = state.drugs[line]
        if drug != NO_DRUG and uniform(state.generator) < refill:
            add(parameters, state, claim, parameters.drug_codes[drug], False)
    for test in range(parameters.test_offsets[condition], parameters.test_offsets[condition + 1]):
        if uniform(state.generator) < parameters.test_probabilities[test]:
            add_test(parameters, state, claim, parameters.test_codes[test])


@inner
def write_everyday(parameters, person, state, claim):
    """Add everyday codes, which do not depend on the patient's conditions."""
    more = EVERYDAY_IN_STAY if claim.setting[0] == STAY else EVERYDAY
    habits = parameters.everyday_habits[person.hospital]
    while uniform(state.generator) < more:
        code = parameters.everyday_codes[pick(state.generator, habits, 0, habits.size)]
        if parameters.is_diagnosis[code]:
            add(parameters, state, claim, code, False)
        else:
            add_test(parameters, state, claim, code)


@inner
def write_claim(parameters, person, state, claim, month, days_of_month, included):
    """Fill the claim of a month with contact, with the codes of the conditions in `included` (bool [C])."""
    open_claim(parameters, state, claim, month, days_of_month)
    for position in range(state.present_count[0]):
        condition = state.present[position]
        if included.conditions[condition] and state.onset[condition] != ABSENT:
            write_condition(parameters, person, state, claim, condition)
    if included.everyday:
        write_everyday(parameters, person, state, claim)
