"""One patient, month by month: the compiled heart of the simulator.

A month goes: episodes end and treatment escalates, at most one condition begins, the patient may see the
hospital (then a claim is written), and may die or be lost. `live_all` records these months and
`foresee` lives many futures through the same functions.

Random numbers come from splitmix64 (Steele, Lea & Flood 2014), one stream per (seed, patient, number): a
patient is the same whichever shard or worker simulates it. Arrays are copied by loops: numba compiles
those ten times as fast as slices.

All compiled code stands in this one file and takes no constant from another: numba's cache of a function
is renewed when its own file changes, and only then.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

BURN_IN = 96
"""Months lived through before the first claim, so that diseases of long standing exist."""
ABSENT = -10_000
"""Onset of a condition that the patient does not have."""
ENROLLED, DEAD, LOST = 0, 1, 2

ENTER_AT_START = 0.7
"""Share of patients known from the first month; the others enter in the `LAST_ENTRY` months after it."""
LAST_ENTRY = 42
LOSS_PER_MONTH = 0.002
CONTACT_LOG_ODDS = -2.0
USUAL_SYNONYM = 0.8
"""How often a diagnosis is written with the patient's usual synonym rather than a fresh choice."""
REFILL = 0.7
EVERYDAY = 0.5
"""Chance of one more everyday code in a contact: a geometric number of them, 1 on average."""
RULE_OUT = 0.15
DEATHS_AT_70 = (0.008, 0.004)
"""Deaths per year of men and women without any condition; they grow by 9 % per year of age."""

DAYS_PER_MONTH = 365.25 / 12
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
FIRST_MIX = np.uint64(0xBF58476D1CE4E5B9)
SECOND_MIX = np.uint64(0x94D049BB133111EB)

INNER = {"cache": True, "error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""For functions that only compiled code calls: no wrappers for Python need be compiled."""


class Person(NamedTuple):
    """What never changes: days from birth to month 0, sex (0 man, 1 woman), hospital, month of entry."""

    days_old: int
    sex: int
    hospital: int
    entry: int


class State(NamedTuple):
    """What changes, as arrays so that functions can write to it."""

    onset: np.ndarray  # int32 [C], month of onset or ABSENT
    usual: np.ndarray  # int32 [C], the patient's synonym, position in `diagnosis_codes`
    lines: np.ndarray  # int32 [C], treatment lines begun
    drugs: np.ndarray  # int32 [L], drug of each line begun, position in `drug_codes`
    status: np.ndarray  # int32 [1], ENROLLED, DEAD or LOST
    generator: np.ndarray  # uint64 [1]
    hazards: np.ndarray  # float64 [C], scratch


class Claim(NamedTuple):
    """The codes of one month, each at most once (and once more as suspected)."""

    codes: np.ndarray  # int32 [2 K]
    suspected: np.ndarray  # bool [2 K]
    size: np.ndarray  # int32 [1]
    stamps: np.ndarray  # int64 [2, K], serial number of the last claim that held the code
    serial: np.ndarray  # int64 [1]


@njit(**INNER)
def mix(value):
    value = (value ^ (value >> np.uint64(30))) * FIRST_MIX
    value = (value ^ (value >> np.uint64(27))) * SECOND_MIX
    return value ^ (value >> np.uint64(31))


@njit(**INNER)
def stream(seed, patient, number):
    """Start of the stream with this number; number 0 is the patient's own life."""
    start = mix(np.uint64(seed) + GOLDEN)
    start = mix(start + np.uint64(patient) * GOLDEN)
    return mix(start + np.uint64(number) * GOLDEN)


@njit(**INNER)
def uniform(state):
    """The next random number of the state's stream, in [0, 1)."""
    state.generator[0] += GOLDEN
    return (mix(state.generator[0]) >> np.uint64(11)) * 2.0**-53


@njit(**INNER)
def pick(state, cumulative, start, stop):
    """A position in [start, stop) by cumulative weights that end in 1."""
    threshold = uniform(state)
    position = start
    while position < stop - 1 and cumulative[position] <= threshold:
        position += 1
    return position


@njit(**INNER)
def new_state(world):
    conditions = world.care.size
    return State(
        np.zeros(conditions, np.int32),
        np.zeros(conditions, np.int32),
        np.zeros(conditions, np.int32),
        np.zeros(world.drug_offsets.size - 1, np.int32),
        np.zeros(1, np.int32),
        np.zeros(1, np.uint64),
        np.zeros(conditions),
    )


@njit(**INNER)
def new_claim(world):
    codes = world.is_diagnosis.size
    return Claim(
        np.zeros(2 * codes, np.int32),
        np.zeros(2 * codes, np.bool_),
        np.zeros(1, np.int32),
        np.zeros((2, codes), np.int64),
        np.zeros(1, np.int64),
    )


@njit(**INNER)
def be_born(world, state, seed, patient):
    """Reset the state to a life's beginning and draw who the patient is."""
    for condition in range(state.onset.size):
        state.onset[condition] = ABSENT
        state.lines[condition] = 0
    state.status[0] = ENROLLED
    state.generator[0] = stream(seed, patient, 0)
    bands = world.birth_cumulative.size // 2
    band = pick(state, world.birth_cumulative, 0, 2 * bands)
    years = world.youngest + 5 * (band % bands + uniform(state))
    hospital = pick(state, world.hospital_cumulative, 0, world.hospital_cumulative.size)
    entry = 0
    if uniform(state) >= ENTER_AT_START:
        entry = 1 + int(uniform(state) * LAST_ENTRY)
    return Person(int(years * 365.25), band // bands, hospital, entry)


@njit(**INNER)
def age_at(world, person, month):
    """Whole years."""
    years = int((person.days_old + month * DAYS_PER_MONTH) / 365.25)
    return min(max(years, 0), world.hazard.shape[1] - 1)


@njit(**INNER)
def start_line(world, person, state, condition):
    """Begin the condition's next treatment line with a drug of the hospital's formulary."""
    line = world.line_offsets[condition] + state.lines[condition]
    formulary = world.formulary[person.hospital]
    state.drugs[line] = pick(state, formulary, world.drug_offsets[line], world.drug_offsets[line + 1])
    state.lines[condition] += 1


@njit(**INNER)
def progress(world, person, state):
    """Episodes end; treatment escalates."""
    for condition in range(world.care.size):
        if state.onset[condition] == ABSENT:
            continue
        if world.recovery[condition] > 0 and uniform(state) < world.recovery[condition]:
            state.onset[condition] = ABSENT
            state.lines[condition] = 0
            continue
        lines = world.line_offsets[condition + 1] - world.line_offsets[condition]
        if state.lines[condition] < lines and uniform(state) < world.escalation[condition]:
            start_line(world, person, state, condition)


@njit(**INNER)
def fall_ill(world, person, state, month):
    """At most one condition begins: hazards compete, raised by the conditions that the patient has."""
    hazards, age = state.hazards, age_at(world, person, month)
    for condition in range(hazards.size):
        hazards[condition] = world.hazard[person.sex, age, condition]
    for condition in range(hazards.size):
        if state.onset[condition] == ABSENT:
            continue
        duration = month - state.onset[condition]
        for effect in range(world.effect_offsets[condition], world.effect_offsets[condition + 1]):
            ramp = min(duration / world.effect_delays[effect], 1.0)
            hazards[world.effect_targets[effect]] *= np.exp(ramp * world.effect_weights[effect])
    total = 0.0
    for condition in range(hazards.size):
        if state.onset[condition] != ABSENT:
            hazards[condition] = 0.0
        total += hazards[condition]
    if uniform(state) >= 1 - np.exp(-total):
        return
    threshold = uniform(state) * total
    begun = 0
    while begun < hazards.size - 1 and threshold >= hazards[begun]:
        threshold -= hazards[begun]
        begun += 1
    begin(world, person, state, begun, month)


@njit(**INNER)
def begin(world, person, state, condition, month):
    """The condition begins: the patient's usual synonym is settled, and perhaps the first drug."""
    state.onset[condition] = month
    first, last = world.diagnosis_offsets[condition], world.diagnosis_offsets[condition + 1]
    state.usual[condition] = pick(state, world.habits[person.hospital], first, last)
    has_lines = world.line_offsets[condition + 1] > world.line_offsets[condition]
    if has_lines and uniform(state) < world.treated[condition]:
        start_line(world, person, state, condition)


@njit(**INNER)
def contact_chance(world, state):
    """Chance that the patient sees the hospital this month."""
    log_odds = CONTACT_LOG_ODDS
    for condition in range(world.care.size):
        if state.onset[condition] != ABSENT:
            log_odds += world.care[condition]
    return 1 / (1 + np.exp(-log_odds))


@njit(**INNER)
def leave(world, person, state, month):
    """The patient may die or be lost to follow-up at the end of the month."""
    log_ratio = 0.09 * (age_at(world, person, month) - 70)
    for condition in range(world.care.size):
        if state.onset[condition] != ABSENT:
            log_ratio += world.mortality[condition]
    if uniform(state) < 1 - np.exp(-DEATHS_AT_70[person.sex] / 12 * np.exp(log_ratio)):
        state.status[0] = DEAD
    elif uniform(state) < LOSS_PER_MONTH:
        state.status[0] = LOST


@njit(**INNER)
def add(claim, code, suspected):
    kind = 1 if suspected else 0
    if claim.stamps[kind, code] == claim.serial[0]:
        return
    claim.stamps[kind, code] = claim.serial[0]
    claim.codes[claim.size[0]] = code
    claim.suspected[claim.size[0]] = suspected
    claim.size[0] += 1


@njit(**INNER)
def add_test(world, state, claim, code):
    """A test, and perhaps the diagnosis that justifies it."""
    add(claim, code, False)
    first, last = world.rule_out_offsets[code], world.rule_out_offsets[code + 1]
    if last > first and uniform(state) < RULE_OUT:
        add(claim, world.rule_out_codes[first + int(uniform(state) * (last - first))], True)


@njit(**INNER)
def write_condition(world, person, state, claim, condition):
    """What one condition leaves in a claim: diagnosis, drugs, tests."""
    if uniform(state) < world.coding[condition]:
        synonym = state.usual[condition]
        if uniform(state) >= USUAL_SYNONYM:
            first, last = world.diagnosis_offsets[condition], world.diagnosis_offsets[condition + 1]
            synonym = pick(state, world.habits[person.hospital], first, last)
        add(claim, world.diagnosis_codes[synonym], False)
    for line in range(world.line_offsets[condition], world.line_offsets[condition] + state.lines[condition]):
        if uniform(state) < REFILL:
            add(claim, world.drug_codes[state.drugs[line]], False)
    for test in range(world.test_offsets[condition], world.test_offsets[condition + 1]):
        if uniform(state) < world.test_chances[test]:
            add_test(world, state, claim, world.test_codes[test])


@njit(**INNER)
def write_claim(world, person, state, claim, wanted):
    """The codes of a month with contact, of the wanted conditions only (bool [C])."""
    claim.serial[0] += 1
    claim.size[0] = 0
    visit = pick(state, world.visit_cumulative, 0, world.visit_codes.size)
    add(claim, world.visit_codes[visit], False)
    for condition in range(world.care.size):
        if wanted[condition] and state.onset[condition] != ABSENT:
            write_condition(world, person, state, claim, condition)
    while uniform(state) < EVERYDAY:
        code = world.everyday_codes[pick(state, world.everyday_cumulative, 0, world.everyday_codes.size)]
        if world.is_diagnosis[code]:
            add(claim, code, False)
        else:
            add_test(world, state, claim, code)


@njit(**INNER)
def visit_day(state):
    """Day of the month, counted from 0."""
    return int(uniform(state) * 28)


@njit(**INNER)
def with_room(log, rows, more):
    """The log, or a longer copy of it if `more` rows do not fit after the first `rows`."""
    if rows + more <= log.shape[0]:
        return log
    longer = np.empty((2 * (rows + more), log.shape[1]), log.dtype)
    for row in range(rows):
        for column in range(log.shape[1]):
            longer[row, column] = log[row, column]
    return longer


@njit(**INNER)
def live(world, first_days, person, state, claim, until, log, rows):
    """Live from the burn-in to the end of month `until`, adding (month, day, code, suspected) to the log.

    `first_days` holds the first day (from 1970) of months 0, 1, ... and of the one after the last, which
    `until` must not pass. The code of a death is the number of codes. The log, int32 [.., 4], holds `rows`
    rows already. Returns the log, a longer copy if need be, and its new number of rows.
    """
    everything = np.ones(world.care.size, np.bool_)
    for month in range(-BURN_IN, until + 1):
        progress(world, person, state)
        fall_ill(world, person, state, month)
        if month < person.entry:
            continue
        log = with_room(log, rows, claim.codes.size + 1)
        day = first_days[month]
        if uniform(state) < contact_chance(world, state):
            day += visit_day(state)
            write_claim(world, person, state, claim, everything)
            for position in range(claim.size[0]):
                code = claim.codes[position]
                log[rows, 0] = month
                log[rows, 1] = first_days[month] if world.is_diagnosis[code] else day
                log[rows, 2] = code
                log[rows, 3] = claim.suspected[position]
                rows += 1
        leave(world, person, state, month)
        if state.status[0] == DEAD:
            log[rows, 0] = month
            log[rows, 1] = day + int(uniform(state) * (first_days[month + 1] - day))
            log[rows, 2] = world.is_diagnosis.size
            log[rows, 3] = 0
            rows += 1
        if state.status[0] != ENROLLED:
            break
    return log, rows


@njit(cache=True, nogil=True)
def live_all(world, first_days, seed, first_patient, patients):
    """The lives of consecutive patients.

    Returns people, int32 [patients, 4]: birth day (from 1970), sex, hospital, rows in the log; and the log,
    int32 [rows, 4], see `live`.
    """
    state, claim = new_state(world), new_claim(world)
    people = np.empty((patients, 4), np.int32)
    log = np.empty((patients * 200, 4), np.int32)
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


@njit(**INNER)
def copy_state(source, target):
    """All but the generator, which each future has for itself."""
    target.status[0] = source.status[0]
    for condition in range(source.onset.size):
        target.onset[condition] = source.onset[condition]
        target.usual[condition] = source.usual[condition]
        target.lines[condition] = source.lines[condition]
    for line in range(source.drugs.size):
        target.drugs[line] = source.drugs[line]


@njit(**INNER)
def outcome_days(world, claim, is_outcome, first_day, day):
    """First and last day of the claim's outcome codes, suspected ones left out; 0, 0 if there is none."""
    earliest, latest = 0, 0
    for position in range(claim.size[0]):
        code = claim.codes[position]
        if is_outcome[code] and not claim.suspected[position]:
            coded = first_day if world.is_diagnosis[code] else day
            earliest = coded if earliest == 0 else min(earliest, coded)
            latest = max(latest, coded)
    return earliest, latest


@njit(**INNER)
def future(world, first_days, person, state, claim, start, landmark, is_outcome, writers, window, confirm):
    """One future from month `start` on: its weight, and whether its label is positive.

    `window` holds the first and last day that the first outcome code may have.
    """
    weight, first = 1.0, 0
    for month in range(start, first_days.size - 1):
        if first == 0 and first_days[month] > window[1]:
            break
        progress(world, person, state)
        fall_ill(world, person, state, month)
        chance = contact_chance(world, state)
        is_waiting = first_days[month + 1] - 1 < landmark
        if is_waiting:
            weight *= 1 - chance
        elif uniform(state) < chance:
            day = first_days[month] + visit_day(state)
            write_claim(world, person, state, claim, writers)
            earliest, latest = outcome_days(world, claim, is_outcome, first_days[month], day)
            if earliest > 0:
                if first == 0:
                    first = earliest
                    if first < window[0] or first > window[1]:
                        return weight, False
                if confirm == 0 or latest >= first + confirm:
                    return weight, True
        leave(world, person, state, month)
        if state.status[0] == DEAD and is_waiting:
            return 0.0, False  # a recorded death would have been the last event before the landmark
        if state.status[0] != ENROLLED:
            break
    return weight, False


@njit(cache=True, nogil=True)
def foresee(
    world,
    first_days,
    seed,
    subjects,
    prediction_days,
    landmark,
    is_outcome,
    writers,
    gap,
    horizon,
    confirm,
    futures,
):
    """See `Oracle.risk`; `confirm` is 0 where no confirmation is asked for."""
    base, state, claim = new_state(world), new_state(world), new_claim(world)
    log = np.empty((4096, 4), np.int32)
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
        for number in range(futures):
            copy_state(base, state)
            state.generator[0] = stream(seed, subjects[row], number + 1)
            weights[number], labels[number] = future(
                world, first_days, person, state, claim, start, landmark, is_outcome, writers, window, confirm
            )
        total = weights.sum()
        if total > 0:
            risks[row] = (weights * labels).sum() / total
            errors[row] = np.sqrt(((weights * (labels - risks[row])) ** 2).sum()) / total
    return risks, errors
