"""The simulated country as flat arrays for the kernel.

`country/` and `practice.yaml` are written for people; the kernel needs arrays. Lists of unequal length become
one flat array and its offsets: the diagnoses of condition c are `diagnosis_codes[offsets[c]:offsets[c + 1]]`.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from claimscale.simulator import ages, description as descriptions
from claimscale.simulator.ages import SEXES
from claimscale.simulator.description import AGES, Condition, Description
from claimscale.simulator.hospitals import Hospitals, cumulative, draw, everyday_habits, preferences, zipf
from claimscale.simulator.months import MONTHS, month_number

ADMISSION, DISCHARGE = "VISIT//ADMISSION", "VISIT//DISCHARGE"
FIRST_VISIT, REFERRAL = "KUBUN//A000", "KUBUN//B009"

SHORT, SHORT_REFILL = 18, 0.85
"""Drugs of conditions of so many months at most are prescribed for a month or less: most contacts refill."""

ALWAYS = -(10**6)
"""The month from which on what is not new has been there."""

EVERYDAY_EXPONENT = 1.3
"""The long tail: the code of rank r is used as often as 1 / r ** 1.3."""


class World(NamedTuple):
    """All the kernel knows. C conditions, K codes, L treatment lines, H hospitals, B age bands, R revisions;
    cumulative preferences run from above 0 to 1 within each group: a condition's synonyms, a line's drugs."""

    hazard: np.ndarray  # float64 [2, AGES, C], monthly, before causes
    focus: np.ndarray  # float64 [H, C], how many of the condition's patients the hospital draws
    season: np.ndarray  # float64 [12, C], from January
    undisturbed: np.ndarray  # float64 [H, 2, AGES, 12], sum of the hazards of those that are always possible:
    is_undisturbed: np.ndarray  # bool [C], neither a later stage nor new to the world
    stage_of: np.ndarray  # int32 [C], the condition whose stage it is, or -1
    appears: np.ndarray  # int32 [C], first month of conditions that are new to the world
    new_conditions: np.ndarray  # int32, those conditions
    effect_offsets: np.ndarray  # int32 [C + 1]: condition -> its effects on others
    effect_targets: np.ndarray  # int32, conditions
    effect_weights: np.ndarray  # float64, log hazard ratios in full
    effect_ratios: np.ndarray  # float64, hazard ratios in full
    effect_delays: np.ndarray  # float64, months until the ratio is full, at least 1
    recovery: np.ndarray  # float64 [C], rate per month at which an episode ends; 0 if chronic
    care: np.ndarray  # float64 [C]
    mortality: np.ndarray  # float64 [C]
    admits: np.ndarray  # float64 [C], stays per month with contact
    coding: np.ndarray  # float64 [C]
    diagnosis_offsets: np.ndarray  # int32 [C + 1]
    diagnosis_codes: np.ndarray  # int32
    habits: np.ndarray  # float64 [H, diagnoses], cumulative
    treated: np.ndarray  # float64 [C]
    escalation: np.ndarray  # float64 [C], per month
    stopping: np.ndarray  # float64 [C], per month and drug
    least_refill: (
        np.ndarray
    )  # float64 [C], chance of a refill in a month with contact, however careless the patient
    line_offsets: np.ndarray  # int32 [C + 1]: condition -> lines
    drug_offsets: np.ndarray  # int32 [L + 1]: line -> drugs
    drug_codes: np.ndarray  # int32
    launched: np.ndarray  # int32, per drug of a line: first month on the market
    contraindication_offsets: np.ndarray  # int32, per drug of a line
    contraindications: np.ndarray  # int32, conditions
    formulary: np.ndarray  # float64 [H, drugs], cumulative
    test_offsets: np.ndarray  # int32 [C + 1]
    test_codes: np.ndarray  # int32
    test_chances: np.ndarray  # float64
    rule_out_offsets: np.ndarray  # int32 [K + 1]: test -> suspected diagnoses
    rule_out_codes: np.ndarray  # int32
    everyday_codes: np.ndarray  # int32
    everyday_habits: np.ndarray  # float64 [H, everyday codes], cumulative
    visit_codes: np.ndarray  # int32
    visit_cumulative: np.ndarray  # float64
    stay_codes: np.ndarray  # int32
    stay_cumulative: np.ndarray  # float64
    admission: int  # codes with a meaning of their own
    discharge: int
    first_visit: int
    referral: int
    is_diagnosis: np.ndarray  # bool [K]
    spelling: np.ndarray  # int32 [R + 1, K]: how a code is written after each revision
    spelling_of_month: np.ndarray  # int32 [MONTHS], row of `spelling`
    hospital_cumulative: np.ndarray  # float64 [H]
    band_ages: np.ndarray  # int32 [B], first age of each band
    band_cumulative: np.ndarray  # float64 [2 B], men's bands then women's


class Country(NamedTuple):
    """The arrays and what their indices mean."""

    world: World
    conditions: list[str]
    codes: list[str]
    hospitals: Hospitals


def build(hospitals: int, seed: int, youngest: int = 0) -> Country:
    """The country with this many of its hospitals, drawn by the seed.

    `youngest` leaves out the age bands below it: patients are at least so old in the middle of 2021.
    Raises BadInput unless there are 1 to 519 hospitals.
    """
    description = _description()
    departments = sorted(set(description.departments.values()))
    drawn = draw(hospitals, seed, len(departments))
    conditions = list(description.conditions.values())
    codes = _all_codes(description)
    parts = {
        **_diseases(description, drawn, departments),
        **_care(conditions, codes, drawn, description),
        **_everyday(description, codes, drawn),
        **_spellings(description, codes),
        "hospital_cumulative": cumulative(drawn.sizes),
        **ages.bands(youngest),
    }
    return Country(World(**parts), list(description.conditions), codes, drawn)


@functools.cache
def _description() -> Description:
    return descriptions.read()


def _all_codes(description: Description) -> list[str]:
    """Every code of the country, sorted: the order must not depend on that of the files."""
    conditions, practice = description.conditions.values(), description.practice
    diagnoses = {code for condition in conditions for code in condition.diagnoses}
    diagnoses |= {code for group in practice.rule_outs.values() for code in group}
    drugs = {code for condition in conditions for line in condition.drugs for code in line}
    fees = {code for condition in conditions for code in condition.tests}
    fees |= set(practice.visits) | set(practice.stays) | set(practice.rule_outs)
    codes = {f"ICD10//{code}" for code in diagnoses} | {f"ATC//{code}" for code in drugs}
    codes |= {f"KUBUN//{code}" for code in fees} | set(_everyday_codes(description))
    codes |= {code for pairs in practice.revisions.values() for pair in pairs.items() for code in pair}
    return sorted(codes | {ADMISSION, DISCHARGE, FIRST_VISIT, REFERRAL})


def _everyday_codes(description: Description) -> list[str]:
    """Diagnoses, drugs and tests in turn, so that each kind has frequent and rare codes."""
    everyday = description.practice.everyday
    kinds = {"ICD10": everyday.diagnoses, "ATC": everyday.drugs, "KUBUN": everyday.tests}
    ranked = [
        (rank / len(codes), f"{system}//{code}")
        for system, codes in kinds.items()
        for rank, code in enumerate(codes)
    ]
    return [code for _, code in sorted(ranked)]


def _diseases(description: Description, drawn: Hospitals, departments: list[str]) -> dict[str, np.ndarray]:
    """Hazards and how conditions act on each other."""
    conditions = list(description.conditions.values())
    position = {name: number for number, name in enumerate(description.conditions)}
    effects: list[list[tuple[int, float, float]]] = [[] for _ in conditions]
    for target, condition in enumerate(conditions):
        causes = {**condition.causes}
        if condition.stage_of:  # the earlier stage makes the later one possible, whatever else it does to it
            causes.setdefault(condition.stage_of, [0.0, 0.0])
        for parent, (weight, years) in causes.items():
            effects[position[parent]].append((target, weight, max(12 * years, 1.0)))
    hazard = np.stack([_hazards(conditions, sex) for sex in SEXES])
    column = [departments.index(description.departments[name]) for name in description.conditions]
    focus = drawn.departments[:, column]
    season = np.ones((12, len(conditions)))
    for number, condition in enumerate(conditions):
        if condition.season:
            peak, strength = condition.season
            season[:, number] += strength * np.cos(2 * np.pi * (np.arange(1, 13) - peak) / 12)
    stage_of = np.array([position[c.stage_of] if c.stage_of else -1 for c in conditions], np.int32)
    appears = np.array([month_number(c.appears) if c.appears else ALWAYS for c in conditions], np.int32)
    is_undisturbed = (stage_of < 0) & (appears == ALWAYS)
    return {
        "hazard": hazard,
        "focus": focus,
        "season": season,
        "undisturbed": np.einsum("sac,hc,mc->hsam", hazard * is_undisturbed, focus, season, optimize=True),
        "is_undisturbed": is_undisturbed,
        "stage_of": stage_of,
        "appears": appears,
        "new_conditions": np.flatnonzero(appears != ALWAYS).astype(np.int32),
        "effect_offsets": _offsets(effects),
        "effect_targets": np.array([effect[0] for group in effects for effect in group], np.int32),
        "effect_weights": np.array([effect[1] for group in effects for effect in group]),
        "effect_ratios": np.exp([effect[1] for group in effects for effect in group]),
        "effect_delays": np.array([effect[2] for group in effects for effect in group]),
        "recovery": np.array([1 / condition.lasts if condition.lasts else 0.0 for condition in conditions]),
        "care": np.array([condition.care for condition in conditions]),
        "mortality": np.array([condition.mortality for condition in conditions]),
        "admits": np.array([condition.admits for condition in conditions]),
    }


def _hazards(conditions: list[Condition], sex: str) -> np.ndarray:
    """Monthly hazards before causes, [AGES, C]; incidence no longer grows after 90."""
    ages = np.arange(AGES)[:, None]
    incidences = [condition.incidence for condition in conditions]
    at_70 = np.array([i.at_70 * (i.women if sex == "F" else i.men) for i in incidences])
    yearly = at_70 * np.array([i.per_decade for i in incidences]) ** ((np.minimum(ages, 90) - 70) / 10)
    is_age = (ages >= [i.from_age for i in incidences]) & (ages <= [i.until_age for i in incidences])
    return np.where(is_age, yearly, 0.0) / 12


def _care(
    conditions: list[Condition], codes: list[str], drawn: Hospitals, description: Description
) -> dict[str, np.ndarray]:
    """How each condition is coded, treated and examined."""
    index = {code: number for number, code in enumerate(codes)}
    names = list(description.conditions)
    forbidden = description.practice.contraindicated
    diagnoses = [[index[f"ICD10//{code}"] for code in condition.diagnoses] for condition in conditions]
    line_drugs = [line for condition in conditions for line in condition.drugs]
    lines = [[index[f"ATC//{drug}"] for drug in line] for line in line_drugs]
    tests = [[index[f"KUBUN//{code}"] for code in condition.tests] for condition in conditions]
    drugs = [drug for line in line_drugs for drug in line]
    launched = {drug: month_number(month) for drug, month in description.practice.launched.items()}
    contraindications = [
        sorted(
            {
                names.index(name)
                for prefix in forbidden
                if drug.startswith(prefix)
                for name in forbidden[prefix]
            }
        )
        for drug in drugs
    ]
    return {
        "coding": np.array([condition.coding for condition in conditions]),
        "diagnosis_offsets": _offsets(diagnoses),
        "diagnosis_codes": _flat(diagnoses),
        "habits": preferences(diagnoses, drawn.numbers),
        "treated": np.array([condition.treated for condition in conditions]),
        "escalation": np.array([condition.escalates / 12 for condition in conditions]),
        "stopping": np.array([condition.stops / 12 for condition in conditions]),
        "least_refill": np.array([SHORT_REFILL if c.lasts and c.lasts <= SHORT else 0.0 for c in conditions]),
        "line_offsets": _offsets([condition.drugs for condition in conditions]),
        "drug_offsets": _offsets(lines),
        "drug_codes": _flat(lines),
        "launched": np.array([launched.get(drug, ALWAYS) for drug in drugs], np.int32),
        "contraindication_offsets": _offsets(contraindications),
        "contraindications": _flat(contraindications),
        "formulary": preferences(lines, drawn.numbers),
        "test_offsets": _offsets(tests),
        "test_codes": _flat(tests),
        "test_chances": np.array([chance for condition in conditions for chance in condition.tests.values()]),
    }


def _everyday(description: Description, codes: list[str], drawn: Hospitals) -> dict[str, np.ndarray | int]:
    """Codes that belong to no condition: rule-outs, the long tail, fees."""
    index = {code: number for number, code in enumerate(codes)}
    practice = description.practice
    rule_outs = [
        [index[f"ICD10//{code}"] for code in practice.rule_outs.get(code.removeprefix("KUBUN//"), [])]
        for code in codes
    ]
    everyday = [index[code] for code in _everyday_codes(description)]
    return {
        "rule_out_offsets": _offsets(rule_outs),
        "rule_out_codes": _flat(rule_outs),
        "everyday_codes": np.array(everyday, np.int32),
        "everyday_habits": everyday_habits(len(everyday), drawn.numbers, EVERYDAY_EXPONENT),
        "visit_codes": np.array([index[f"KUBUN//{code}"] for code in practice.visits], np.int32),
        "visit_cumulative": cumulative(zipf(len(practice.visits))),
        "stay_codes": np.array([index[f"KUBUN//{code}"] for code in practice.stays], np.int32),
        "stay_cumulative": cumulative(zipf(len(practice.stays))),
        "admission": index[ADMISSION],
        "discharge": index[DISCHARGE],
        "first_visit": index[FIRST_VISIT],
        "referral": index[REFERRAL],
        "is_diagnosis": np.array([code.startswith("ICD10//") for code in codes]),
    }


def _spellings(description: Description, codes: list[str]) -> dict[str, np.ndarray]:
    """What each revision makes of each code; a code may be replaced more than once."""
    index = {code: number for number, code in enumerate(codes)}
    spelling = [np.arange(len(codes), dtype=np.int32)]
    of_month = np.zeros(MONTHS, np.int32)
    for year_month, replaced in sorted(description.practice.revisions.items()):
        renamed = np.arange(len(codes), dtype=np.int32)
        for old, new in replaced.items():
            renamed[index[old]] = index[new]
        spelling.append(renamed[spelling[-1]])
        of_month[max(month_number(year_month), 0) :] = len(spelling) - 1
    return {"spelling": np.array(spelling), "spelling_of_month": of_month}


def _offsets(groups: list) -> np.ndarray:
    return np.concatenate([[0], np.cumsum([len(group) for group in groups])]).astype(np.int32)


def _flat(groups: list[list[int]]) -> np.ndarray:
    return np.array([member for group in groups for member in group], np.int32)
