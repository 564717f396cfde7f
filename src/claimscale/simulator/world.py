"""The simulated country as flat arrays: conditions and codes, and the habits of its hospitals.

`conditions.yaml` is written for people; the kernel needs arrays. Lists of unequal length become one
flat array and its offsets: the diagnoses of condition c are `diagnosis_codes[offsets[c]:offsets[c + 1]]`.
"""

from __future__ import annotations

import importlib.resources
from typing import Annotated, NamedTuple

import numpy as np
import yaml
from pydantic import Field

from claimscale.errors import BadInput
from claimscale.study import Settings

AGES = 111
"""Ages in whole years, 0 to 110."""
SEXES = ("M", "F")

Probability = Annotated[float, Field(ge=0, le=1)]

# Patients from 50 in outpatient care of hospitals with 200 beds or more, in percent of all ages,
# by 5-year band (50-54 ... 85-89, 90 and over): NDB Open Data no. 9, A002, fiscal year 2022.
PATIENTS_BY_AGE = {
    "M": (2.8, 3.1, 3.6, 4.3, 6.1, 5.7, 4.5, 2.6, 1.1),
    "F": (3.9, 3.6, 3.6, 4.1, 5.8, 5.6, 4.7, 3.2, 1.9),
}
YOUNGEST = 50

HABIT_CONCENTRATION = 2.5
"""Small: hospitals differ much in the synonyms and drugs they prefer. Large: all follow the nation."""


class Incidence(Settings):
    at_70: Annotated[float, Field(gt=0)]
    per_decade: Annotated[float, Field(gt=0)]
    women: Annotated[float, Field(ge=0)]
    from_age: Annotated[int, Field(ge=0, lt=AGES)]


class Condition(Settings):
    """One disease or stage; see the head of `conditions.yaml`."""

    incidence: Incidence
    causes: dict[str, Annotated[list[float], Field(min_length=2, max_length=2)]] = Field(default_factory=dict)
    lasts: Annotated[float, Field(ge=1)] | None = None
    diagnoses: Annotated[list[str], Field(min_length=1)]
    coding: Probability = 0.5
    drugs: list[Annotated[list[str], Field(min_length=1)]] = Field(default_factory=list)
    treated: Probability = 0.0
    escalates: Annotated[float, Field(ge=0)] = 0.0
    tests: dict[str, Probability] = Field(default_factory=dict)
    care: float = 0.0
    mortality: float = 0.0


class Everyday(Settings):
    diagnoses: list[str]
    drugs: list[str]
    tests: list[str]


class Description(Settings):
    conditions: dict[str, Condition]
    rule_outs: dict[str, list[str]]
    everyday: Everyday
    visits: Annotated[list[str], Field(min_length=1)]


class World(NamedTuple):
    """All the kernel knows. C conditions, K codes, L treatment lines, H hospitals; cumulative
    preferences run from above 0 to 1 within each group (a condition's synonyms, a line's drugs)."""

    hazard: np.ndarray  # float64 [2, AGES, C], monthly, before causes
    effect_offsets: np.ndarray  # int32 [C + 1]: condition -> its effects on others
    effect_targets: np.ndarray  # int32, conditions
    effect_weights: np.ndarray  # float64, log hazard ratios
    effect_delays: np.ndarray  # float64, months until the weight is full, at least 1
    recovery: np.ndarray  # float64 [C], chance per month that an episode ends; 0 if chronic
    care: np.ndarray  # float64 [C]
    mortality: np.ndarray  # float64 [C]
    coding: np.ndarray  # float64 [C]
    diagnosis_offsets: np.ndarray  # int32 [C + 1]
    diagnosis_codes: np.ndarray  # int32
    habits: np.ndarray  # float64 [H, diagnoses], cumulative
    treated: np.ndarray  # float64 [C]
    escalation: np.ndarray  # float64 [C], per month
    line_offsets: np.ndarray  # int32 [C + 1]: condition -> lines
    drug_offsets: np.ndarray  # int32 [L + 1]: line -> drugs
    drug_codes: np.ndarray  # int32
    formulary: np.ndarray  # float64 [H, drugs], cumulative
    test_offsets: np.ndarray  # int32 [C + 1]
    test_codes: np.ndarray  # int32
    test_chances: np.ndarray  # float64
    rule_out_offsets: np.ndarray  # int32 [K + 1]: test -> suspected diagnoses
    rule_out_codes: np.ndarray  # int32
    everyday_codes: np.ndarray  # int32
    everyday_cumulative: np.ndarray  # float64
    visit_codes: np.ndarray  # int32
    visit_cumulative: np.ndarray  # float64
    is_diagnosis: np.ndarray  # bool [K]
    hospital_cumulative: np.ndarray  # float64 [H]
    birth_cumulative: np.ndarray  # float64 [2 * bands], men's bands then women's
    youngest: int  # first age of the first band


class Country(NamedTuple):
    """The arrays and what their indices mean."""

    world: World
    conditions: list[str]
    codes: list[str]


def build(hospitals: int, seed: int) -> Country:
    """The country with this many hospitals, whose sizes and habits follow from the seed.

    Raises BadInput if there is no hospital.
    """
    if hospitals < 1:
        raise BadInput(f"source.hospitals: {hospitals} is not a positive number of hospitals")
    description = _describe()
    conditions = list(description.conditions.values())
    codes = _all_codes(description)
    index = {code: position for position, code in enumerate(codes)}
    names = {name: position for position, name in enumerate(description.conditions)}
    effects: list[list[tuple[int, float, float]]] = [[] for _ in conditions]
    for target, condition in enumerate(conditions):
        for parent, (weight, years) in condition.causes.items():
            effects[names[parent]].append((target, weight, max(12 * years, 1.0)))
    diagnoses = [[index[f"ICD10//{code}"] for code in condition.diagnoses] for condition in conditions]
    lines = [[index[f"ATC//{code}"] for code in line] for condition in conditions for line in condition.drugs]
    tests = [[index[f"KUBUN//{code}"] for code in condition.tests] for condition in conditions]
    rule_outs = [
        [index[f"ICD10//{code}"] for code in description.rule_outs.get(code.removeprefix("KUBUN//"), [])]
        for code in codes
    ]
    everyday = [index[code] for code in _everyday_codes(description.everyday)]
    visits = [index[f"KUBUN//{code}"] for code in description.visits]
    random = np.random.default_rng([seed, hospitals])
    world = World(
        hazard=np.stack([_hazards(conditions, sex) for sex in SEXES]),
        effect_offsets=_offsets(effects),
        effect_targets=np.array([effect[0] for group in effects for effect in group], np.int32),
        effect_weights=np.array([effect[1] for group in effects for effect in group]),
        effect_delays=np.array([effect[2] for group in effects for effect in group]),
        recovery=np.array([1 / condition.lasts if condition.lasts else 0.0 for condition in conditions]),
        care=np.array([condition.care for condition in conditions]),
        mortality=np.array([condition.mortality for condition in conditions]),
        coding=np.array([condition.coding for condition in conditions]),
        diagnosis_offsets=_offsets(diagnoses),
        diagnosis_codes=_flat(diagnoses),
        habits=_preferences(diagnoses, hospitals, random),
        treated=np.array([condition.treated for condition in conditions]),
        escalation=np.array([condition.escalates / 12 for condition in conditions]),
        line_offsets=_offsets([condition.drugs for condition in conditions]),
        drug_offsets=_offsets(lines),
        drug_codes=_flat(lines),
        formulary=_preferences(lines, hospitals, random),
        test_offsets=_offsets(tests),
        test_codes=_flat(tests),
        test_chances=np.array([chance for condition in conditions for chance in condition.tests.values()]),
        rule_out_offsets=_offsets(rule_outs),
        rule_out_codes=_flat(rule_outs),
        everyday_codes=np.array(everyday, np.int32),
        everyday_cumulative=_cumulative(_zipf(len(everyday))),
        visit_codes=np.array(visits, np.int32),
        visit_cumulative=_cumulative(_zipf(len(visits))),
        is_diagnosis=np.array([code.startswith("ICD10//") for code in codes]),
        hospital_cumulative=_cumulative(_zipf(hospitals) ** 1.2),
        birth_cumulative=_cumulative(np.array(PATIENTS_BY_AGE["M"] + PATIENTS_BY_AGE["F"])),
        youngest=YOUNGEST,
    )
    return Country(world, list(description.conditions), codes)


def _describe() -> Description:
    text = importlib.resources.files("claimscale.simulator").joinpath("conditions.yaml").read_text("utf-8")
    return Description.model_validate(yaml.safe_load(text))


def _all_codes(description: Description) -> list[str]:
    """Every code of the country, sorted: the order must not depend on that of the file."""
    conditions = description.conditions.values()
    diagnoses = {code for condition in conditions for code in condition.diagnoses}
    diagnoses |= {code for group in description.rule_outs.values() for code in group}
    drugs = {code for condition in conditions for line in condition.drugs for code in line}
    tests = {code for condition in conditions for code in condition.tests}
    tests |= set(description.visits) | set(description.rule_outs)
    codes = {f"ICD10//{code}" for code in diagnoses} | {f"ATC//{code}" for code in drugs}
    codes |= {f"KUBUN//{code}" for code in tests} | set(_everyday_codes(description.everyday))
    return sorted(codes)


def _everyday_codes(everyday: Everyday) -> list[str]:
    """Diagnoses, drugs and tests in turn, so that each kind has frequent and rare codes."""
    kinds = {"ICD10": everyday.diagnoses, "ATC": everyday.drugs, "KUBUN": everyday.tests}
    ranked = [
        (rank / len(codes), f"{system}//{code}")
        for system, codes in kinds.items()
        for rank, code in enumerate(codes)
    ]
    return [code for _, code in sorted(ranked)]


def _hazards(conditions: list[Condition], sex: str) -> np.ndarray:
    """Monthly hazards before causes, [AGES, C]; incidence no longer grows after 90."""
    ages = np.arange(AGES)[:, None]
    incidences = [condition.incidence for condition in conditions]
    yearly = np.array([incidence.at_70 for incidence in incidences]) * np.array(
        [incidence.per_decade for incidence in incidences]
    ) ** ((np.minimum(ages, 90) - 70) / 10)
    yearly = np.where(ages >= [incidence.from_age for incidence in incidences], yearly, 0.0)
    return yearly / 12 * (np.array([incidence.women for incidence in incidences]) if sex == "F" else 1.0)


def _preferences(groups: list[list[int]], hospitals: int, random: np.random.Generator) -> np.ndarray:
    """How each hospital chooses within each group: cumulative, [H, all members]. Dirichlet around 1/rank."""
    national = [_zipf(len(group)) for group in groups]
    habits = [
        [_cumulative(random.dirichlet(HABIT_CONCENTRATION * share / share.sum())) for share in national]
        for _ in range(hospitals)
    ]
    return np.array([np.concatenate(hospital) for hospital in habits])


def _zipf(count: int) -> np.ndarray:
    return 1 / np.arange(1, count + 1)


def _cumulative(weights: np.ndarray) -> np.ndarray:
    cumulative = np.cumsum(weights) / np.sum(weights)
    cumulative[-1] = 1.0  # a draw below 1 must always find its place
    return cumulative


def _offsets(groups: list) -> np.ndarray:
    return np.concatenate([[0], np.cumsum([len(group) for group in groups])]).astype(np.int32)


def _flat(groups: list[list[int]]) -> np.ndarray:
    return np.array([member for group in groups for member in group], np.int32)
