"""Drugs: which one a line begins with, and when it must be changed."""

from __future__ import annotations

from claimscale.simulator.kernel.compiled import inner
from claimscale.simulator.kernel.draws import pick
from claimscale.simulator.kernel.state import ABSENT, NO_DRUG

TRIES = 4
"""Drugs that a doctor thinks of before leaving a line without one."""


@inner
def start_line(world, person, state, condition, month):
    """Begin the condition's next treatment line."""
    line = world.line_offsets[condition] + state.lines[condition]
    state.drugs[line] = choose_drug(world, person, state, line, month)
    state.lines[condition] += 1


@inner
def choose_drug(world, person, state, line, month):
    """A drug of the hospital's formulary that is on the market and not contraindicated, or NO_DRUG."""
    formulary = world.formulary[person.hospital]
    for _ in range(TRIES):
        drug = pick(state.generator, formulary, world.drug_offsets[line], world.drug_offsets[line + 1])
        if is_suitable(world, state, drug, month):
            return drug
    return NO_DRUG


@inner
def is_suitable(world, state, drug, month):
    if month < world.launched[drug]:
        return False
    for position in range(world.contraindication_offsets[drug], world.contraindication_offsets[drug + 1]):
        if state.onset[world.contraindications[position]] != ABSENT:
            return False
    return True


@inner
def change_unsuitable(world, person, state, month):
    """Drugs that a new condition forbids are changed or stopped."""
    for position in range(state.present_count[0]):
        treated = state.present[position]
        first = world.line_offsets[treated]
        for line in range(first, first + state.lines[treated]):
            drug = state.drugs[line]
            if drug != NO_DRUG and not is_suitable(world, state, drug, month):
                state.drugs[line] = choose_drug(world, person, state, line, month)
