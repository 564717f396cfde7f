"""The parameters of the simulated country as flat arrays for the kernel.

`country/` and `practice.yaml` are written for people; the kernel needs arrays. Lists of unequal length become
one flat array and its offsets: the diagnoses of condition c are `diagnosis_codes[offsets[c]:offsets[c + 1]]`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence, Sized
from typing import NamedTuple

import numpy as np

from claimscale.codes.systems import ADMISSION, DISCHARGE
from claimscale.simulator import description as descriptions
from claimscale.simulator.ages import SEXES, age_bands
from claimscale.simulator.description import AGES, FIRST_VISIT, REFERRAL, Condition, Description
from claimscale.simulator.hospitals import (
    SampledHospitals,
    cumulative,
    everyday_habits,
    preferences,
    sample_hospitals,
    zipf,
)
from claimscale.simulator.months import MONTHS, month_number

SHORT_MONTHS, SHORT_REFILL = 18, 0.85
"""Conditions that last at most this many months have monthly prescriptions: most contacts refill them."""

ALWAYS = -(10**6)
"""The first month of conditions and drugs that existed before the simulation."""

EVERYDAY_EXPONENT = 1.3
"""The frequency of the everyday code of rank r is proportional to 1 / r ** 1.3."""


class Parameters(NamedTuple):
    """Input of the kernel. C conditions, K codes, L treatment lines, H hospitals, B age bands, R revisions.

    Cumulative preferences rise to 1 within each group: a condition's synonyms, a line's drugs.
    """

    hazard: np.ndarray  # float64 [2, AGES, C], monthly, before causes
    case_mix: np.ndarray  # float64 [H, C], a condition's patients relative to the country
    season: np.ndarray  # float64 [12, C], from January
    baseline_total: np.ndarray  # float64 [H, 2, AGES, 12], sum of the hazards `in_baseline`
    in_baseline: np.ndarray  # bool [C], neither a later stage nor a new condition
    stage_of: np.ndarray  # int32 [C], the earlier stage, or -1
    appears: np.ndarray  # int32 [C], first month of new conditions
    new_conditions: np.ndarray  # int32, new conditions
    effect_offsets: np.ndarray  # int32 [C + 1], condition -> effects on others
    effect_targets: np.ndarray  # int32, conditions
    effect_weights: np.ndarray  # float64, full log hazard ratios
    effect_ratios: np.ndarray  # float64, full hazard ratios
    effect_delays: np.ndarray  # float64, months until the ratio is full, at least 1
    recovery: np.ndarray  # float64 [C], monthly rate at which an episode ends; 0 if chronic
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
    min_refill: np.ndarray  # float64 [C], least probability of a refill in a month with contact
    line_offsets: np.ndarray  # int32 [C + 1], condition -> lines
    drug_offsets: np.ndarray  # int32 [L + 1], line -> drugs
    drug_codes: np.ndarray  # int32
    launched: np.ndarray  # int32, per drug of a line: first month on the market
    contraindication_offsets: np.ndarray  # int32, per drug of a line
    contraindications: np.ndarray  # int32, conditions
    formulary: np.ndarray  # float64 [H, drugs], cumulative
    test_offsets: np.ndarray  # int32 [C + 1]
    test_codes: np.ndarray  # int32
    test_probabilities: np.ndarray  # float64
    rule_out_offsets: np.ndarray  # int32 [K + 1], test -> suspected diagnoses
    rule_out_codes: np.ndarray  # int32
    everyday_codes: np.ndarray  # int32
    everyday_habits: np.ndarray  # float64 [H, everyday codes], cumulative
    visit_codes: np.ndarray  # int32
    visit_cumulative: np.ndarray  # float64
    stay_codes: np.ndarray  # int32
    stay_cumulative: np.ndarray  # float64
    admission: int  # positions of single codes
    discharge: int
    first_visit: int
    referral: int
    is_diagnosis: np.ndarray  # bool [K]
    revised_codes: np.ndarray  # int32 [R + 1, K], the valid code after each revision
    revision_of_month: np.ndarray  # int32 [MONTHS], row of `revised_codes`
    hospital_cumulative: np.ndarray  # float64 [H]
    band_ages: np.ndarray  # int32 [B], first age of each band
    band_cumulative: np.ndarray  # float64 [2 B], men's bands then women's


class Country(NamedTuple):
    """The kernel's parameters and the names behind their indices."""

    parameters: Parameters
    conditions: list[str]
    codes: list[str]
    hospitals: SampledHospitals


def build_country(hospitals: int, seed: int, min_age: int = 0) -> Country:
    """The country with this number of its hospitals, sampled by the seed.

    Patients are at least `min_age` years old in July 2021. Raises BadInput unless 1 <= hospitals <= 519.
    """
    description = _description()
    departments = sorted(set(description.departments.values()))
    sampled = sample_hospitals(hospitals, seed, len(departments))
    codes = description.all_codes()
    index = {code: number for number, code in enumerate(codes)}
    arrays = {
        **_diseases(description, sampled, departments),
        **_care(description, index, sampled),
        **_everyday(description, index, sampled),
        **_revisions(description, index),
        "hospital_cumulative": cumulative(sampled.sizes),
        **age_bands(min_age),
    }
    return Country(Parameters(**arrays), list(description.conditions), codes, sampled)


_description = functools.cache(descriptions.read)


def _per_condition(description: Description, *names: str) -> dict[str, np.ndarray]:
    """Fields of the conditions as arrays, float64 [C] each."""
    conditions = description.conditions.values()
    return {name: np.array([getattr(condition, name) for condition in conditions]) for name in names}


def _diseases(
    description: Description, sampled: SampledHospitals, departments: list[str]
) -> dict[str, np.ndarray]:
    """Hazards and the effects of conditions on each other."""
    conditions = list(description.conditions.values())
    position = {name: number for number, name in enumerate(description.conditions)}
    effects: list[list[tuple[int, float, float]]] = [[] for _ in conditions]
    for target, condition in enumerate(conditions):
        causes = {**condition.causes}
        if condition.stage_of:  # the earlier stage always has an entry: it makes the later one possible
            causes.setdefault(condition.stage_of, [0.0, 0.0])
        for parent, (weight, years) in causes.items():
            effects[position[parent]].append((target, weight, max(12 * years, 1.0)))
    targets, weights, delays = ([effect[part] for group in effects for effect in group] for part in range(3))
    hazard = np.stack([_hazards(conditions, sex) for sex in SEXES])
    column = [departments.index(description.departments[name]) for name in description.conditions]
    case_mix = sampled.departments[:, column]
    season = np.ones((12, len(conditions)))
    for number, condition in enumerate(conditions):
        if condition.season:
            peak, strength = condition.season
            season[:, number] += strength * np.cos(2 * np.pi * (np.arange(1, 13) - peak) / 12)
    stage_of = np.array([position[c.stage_of] if c.stage_of else -1 for c in conditions], np.int32)
    appears = np.array([month_number(c.appears) if c.appears else ALWAYS for c in conditions], np.int32)
    in_baseline = (stage_of < 0) & (appears == ALWAYS)
    return {
        "hazard": hazard,
        "case_mix": case_mix,
        "season": season,
        "baseline_total": np.einsum("sac,hc,mc->hsam", hazard * in_baseline, case_mix, season, optimize=True),
        "in_baseline": in_baseline,
        "stage_of": stage_of,
        "appears": appears,
        "new_conditions": np.flatnonzero(appears != ALWAYS).astype(np.int32),
        "effect_offsets": _offsets(effects),
        "effect_targets": np.array(targets, np.int32),
        "effect_weights": np.array(weights),
        "effect_ratios": np.exp(weights),
        "effect_delays": np.array(delays),
        "recovery": np.array([1 / condition.lasts if condition.lasts else 0.0 for condition in conditions]),
        **_per_condition(description, "care", "mortality", "admits"),
    }


def _hazards(conditions: list[Condition], sex: str) -> np.ndarray:
    """Monthly hazards before causes, float64 [AGES, C]; incidence does not grow after 90."""
    ages = np.arange(AGES)[:, None]
    incidences = [condition.incidence for condition in conditions]
    at_70 = np.array([i.at_70 * (i.women if sex == "F" else i.men) for i in incidences])
    yearly = at_70 * np.array([i.per_decade for i in incidences]) ** ((np.minimum(ages, 90) - 70) / 10)
    is_age = (ages >= [i.from_age for i in incidences]) & (ages <= [i.until_age for i in incidences])
    return np.where(is_age, yearly, 0.0) / 12


def _care(
    description: Description, index: dict[str, int], sampled: SampledHospitals
) -> dict[str, np.ndarray]:
    """Coding, treatment and tests of each condition."""
    conditions = list(description.conditions.values())
    names = list(description.conditions)
    diagnoses = [_indices(index, "ICD10", condition.diagnoses) for condition in conditions]
    lines = [line for condition in conditions for line in condition.drugs]
    drug_indices = [_indices(index, "ATC", line) for line in lines]
    tests = [_indices(index, "KUBUN", condition.tests) for condition in conditions]
    drugs = [drug for line in lines for drug in line]
    launched = {drug: month_number(month) for drug, month in description.practice.launched.items()}
    forbidden = description.practice.contraindicated.items()
    contraindications = [
        sorted(
            {names.index(name) for prefix, found in forbidden if drug.startswith(prefix) for name in found}
        )
        for drug in drugs
    ]
    is_short = [c.lasts is not None and c.lasts <= SHORT_MONTHS for c in conditions]
    return {
        **_per_condition(description, "coding", "treated"),
        "diagnosis_offsets": _offsets(diagnoses),
        "diagnosis_codes": _flat(diagnoses),
        "habits": preferences(diagnoses, sampled.numbers),
        "escalation": np.array([condition.escalates / 12 for condition in conditions]),
        "stopping": np.array([condition.stops / 12 for condition in conditions]),
        "min_refill": np.where(is_short, SHORT_REFILL, 0.0),
        "line_offsets": _offsets([condition.drugs for condition in conditions]),
        "drug_offsets": _offsets(drug_indices),
        "drug_codes": _flat(drug_indices),
        "launched": np.array([launched.get(drug, ALWAYS) for drug in drugs], np.int32),
        "contraindication_offsets": _offsets(contraindications),
        "contraindications": _flat(contraindications),
        "formulary": preferences(drug_indices, sampled.numbers),
        "test_offsets": _offsets(tests),
        "test_codes": _flat(tests),
        "test_probabilities": np.array([p for condition in conditions for p in condition.tests.values()]),
    }


def _everyday(
    description: Description, index: dict[str, int], sampled: SampledHospitals
) -> dict[str, np.ndarray | int]:
    """Codes that belong to no condition: rule-out diagnoses, everyday codes, fees."""
    practice = description.practice
    rule_outs = [
        _indices(index, "ICD10", practice.rule_outs.get(code.removeprefix("KUBUN//"), [])) for code in index
    ]
    everyday = [index[code] for code in description.everyday_codes()]
    return {
        "rule_out_offsets": _offsets(rule_outs),
        "rule_out_codes": _flat(rule_outs),
        "everyday_codes": np.array(everyday, np.int32),
        "everyday_habits": everyday_habits(len(everyday), sampled.numbers, EVERYDAY_EXPONENT),
        "visit_codes": np.array(_indices(index, "KUBUN", practice.visits), np.int32),
        "visit_cumulative": cumulative(zipf(len(practice.visits))),
        "stay_codes": np.array(_indices(index, "KUBUN", practice.stays), np.int32),
        "stay_cumulative": cumulative(zipf(len(practice.stays))),
        "admission": index[ADMISSION],
        "discharge": index[DISCHARGE],
        "first_visit": index[FIRST_VISIT],
        "referral": index[REFERRAL],
        "is_diagnosis": np.array([code.startswith("ICD10//") for code in index]),
    }


def _revisions(description: Description, index: dict[str, int]) -> dict[str, np.ndarray]:
    """The valid code for each code after each revision; a code may be replaced more than once."""
    revised = [np.arange(len(index), dtype=np.int32)]
    of_month = np.zeros(MONTHS, np.int32)
    for year_month, replaced in sorted(description.practice.revisions.items()):
        successor = np.arange(len(index), dtype=np.int32)
        for old, new in replaced.items():
            successor[index[old]] = index[new]
        revised.append(successor[revised[-1]])
        of_month[max(month_number(year_month), 0) :] = len(revised) - 1
    return {"revised_codes": np.array(revised), "revision_of_month": of_month}


def _indices(index: dict[str, int], system: str, codes: Iterable[str]) -> list[int]:
    return [index[f"{system}//{code}"] for code in codes]


def _offsets(groups: Sequence[Sized]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum([len(group) for group in groups])]).astype(np.int32)


def _flat(groups: list[list[int]]) -> np.ndarray:
    return np.array([member for group in groups for member in group], np.int32)
