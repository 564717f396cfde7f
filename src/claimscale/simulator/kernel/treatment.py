"""Drugs: the choice for a treatment line, and its replacement."""

from __future__ import annotations

from claimscale.simulator.kernel.compiled import inner
from claimscale.simulator.kernel.random_numbers import pick
from claimscale.simulator.kernel.state import ABSENT, NO_DRUG

TRIES = 4
"""Sampled drugs before a line is left without one."""


@inner
def start_line(parameters, person, state, condition, month):
    """Start the condition's next treatment line."""
    line = parameters.line_offsets[condition] + state.lines[condition]
    state.drugs[line] = choose_drug(parameters, person, state, line, month)
    state.lines[condition] += 1


@inner
def choose_drug(parameters, person, state, line, month):
    """Sample a drug of the hospital's formulary that is on the market and not contraindicated, or NO_DRUG."""
    formulary = parameters.formulary[person.hospital]
    for _ in range(TRIES):
        drug = pick(
            state.generator, formulary, parameters.drug_offsets[line], parameters.drug_offsets[line + 1]
        )
        if is_suitable(parameters, state, drug, month):
            return drug
    return NO_DRUG


@inner
def is_suitable(parameters, state, drug, month):
    """Whether a drug is on the market and not contraindicated."""
    if month < parameters.launched[drug]:
        return False
    for position in range(
        parameters.contraindication_offsets[drug], parameters.contraindication_offsets[drug + 1]
    ):
        if state.onset[parameters.contraindications[position]] != ABSENT:
            return False
    return True


@inner
def replace_contraindicated(parameters, person, state, month):
    """Replace or stop drugs that a new condition contraindicates."""
    for position in range(state.present_count[0]):
        treated = state.present[position]
        first = parameters.line_offsets[treated]
        for line in range(first, first + state.lines[treated]):
            drug = state.drugs[line]
            if drug != NO_DRUG and not is_suitable(parameters, state, drug, month):
                state.drugs[line] = choose_drug(parameters, person, state, line, month)
