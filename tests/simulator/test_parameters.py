from __future__ import annotations

import itertools

import numpy as np
import pytest

from claimscale.config import sources as source_settings
from claimscale.errors import BadInput
from claimscale.simulator import description
from claimscale.simulator.description import AGES
from claimscale.simulator.hospitals import HOSPITALS, sample_hospitals
from claimscale.simulator.months import month_number
from claimscale.simulator.parameters import build_country

OUTCOMES = {
    "ICD10": "N18 I50 I48 I63 E11 F32 F03 G30 M80 M81 J44 I20 I25 D50 D63",
    "ATC": "N02BF02 A10BA02 A10BH A10BK A10A C10AA B01AF N02AX02 A02BC N06AB N06DA02",
}


def test_codes_are_unique_and_ordered(country):
    assert sorted(set(country.codes)) == country.codes


@pytest.mark.parametrize("system", OUTCOMES)
def test_outcomes_of_usual_tasks_exist(country, system):
    for prefix in OUTCOMES[system].split():
        assert any(code.startswith(f"{system}//{prefix}") for code in country.codes), prefix


def test_hazards_are_the_described_incidences(country):
    hazard = country.parameters.hazard
    assert hazard.shape == (2, AGES, len(country.conditions))
    assert np.all(hazard >= 0)
    prostate = country.conditions.index("prostatic_hyperplasia")
    assert hazard[0, 70, prostate] > 0
    assert np.all(hazard[1, :, prostate] == 0)
    for number, condition in enumerate(description.read().conditions.values()):
        incidence = condition.incidence
        if incidence.from_age <= 70 <= incidence.until_age:
            np.testing.assert_allclose(12 * hazard[0, 70, number], incidence.at_70 * incidence.men)
        assert not hazard[:, : incidence.from_age, number].any()
        assert not hazard[:, incidence.until_age + 1 :, number].any()


def test_the_country_is_as_large_as_promised(country):
    assert len(country.conditions) >= 150
    assert len(country.codes) > 3000
    assert (country.parameters.stage_of >= 0).sum() >= 20
    with pytest.raises(ValueError, match=str(HOSPITALS)):
        source_settings.SimulatedSource(kind="simulated", patients=1000, hospitals=HOSPITALS + 1)


def test_seasons_and_hospitals_average_to_one(country):
    np.testing.assert_allclose(country.parameters.season.mean(axis=0), 1)
    assert np.all(country.parameters.season >= 0)
    everywhere = sample_hospitals(HOSPITALS, 0, 5)
    np.testing.assert_allclose(everywhere.sizes @ everywhere.departments, 1)


def test_baseline_total_is_the_sum_of_baseline_hazards(country):
    arrays = country.parameters
    hospital, sex, age, of_year = 1, 1, 66, 7
    hazards = arrays.hazard[sex, age] * arrays.case_mix[hospital] * arrays.season[of_year]
    np.testing.assert_allclose(
        arrays.baseline_total[hospital, sex, age, of_year], hazards[arrays.in_baseline].sum()
    )


def test_each_group_of_alternatives_has_cumulative_preferences(country):
    arrays = country.parameters
    for preferences, offsets in (
        (arrays.habits, arrays.diagnosis_offsets),
        (arrays.formulary, arrays.drug_offsets),
    ):
        for first, last in itertools.pairwise(offsets):
            assert np.all(np.diff(preferences[:, first:last], axis=1) >= 0)
            assert np.all(preferences[:, last - 1] == 1)


def test_hospitals_differ_in_habits_size_and_departments():
    arrays = build_country(hospitals=8, seed=1).parameters
    for habits in (arrays.habits, arrays.everyday_habits, arrays.case_mix):
        assert np.unique(habits, axis=0).shape[0] == 8
    sizes = sample_hospitals(HOSPITALS, 0, 5).sizes
    assert np.quantile(sizes, 0.9) > 5 * np.quantile(sizes, 0.1)


def test_a_hospital_is_the_same_in_every_sample():
    few, many = (build_country(hospitals, seed) for hospitals, seed in ((20, 5), (400, 6)))
    shared, in_few, in_many = np.intersect1d(
        few.hospitals.numbers, many.hospitals.numbers, return_indices=True
    )
    assert shared.size > 5
    for name in ("habits", "formulary", "everyday_habits", "case_mix"):
        first, second = getattr(few.parameters, name)[in_few], getattr(many.parameters, name)[in_many]
        assert np.array_equal(first, second), name


def test_the_sample_of_hospitals_depends_on_the_seed():
    first, same, other = (sample_hospitals(30, seed, 3).numbers for seed in (5, 5, 6))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)
    assert np.array_equal(np.unique(first), first)


@pytest.mark.parametrize("hospitals", [0, -1, HOSPITALS + 1])
def test_impossible_numbers_of_hospitals_are_bad_input(hospitals):
    with pytest.raises(BadInput, match="hospitals"):
        build_country(hospitals, 1)


def test_revised_codes_are_valid_from_their_month_on(country):
    arrays, index = country.parameters, {code: number for number, code in enumerate(country.codes)}
    for year_month, replaced in description.read().practice.revisions.items():
        month = month_number(year_month)
        before, after = (arrays.revised_codes[arrays.revision_of_month[m]] for m in (month - 1, month))
        for old, new in replaced.items():
            assert before[index[old]] != index[new]
            assert after[index[old]] == index[new]
    outcomes = [i for code, i in index.items() if code.startswith(("ICD10//N18", "ICD10//I50", "ATC//"))]
    assert np.array_equal(arrays.revised_codes[-1][outcomes], outcomes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stage_of": "nothing"}, r"stage_of.*no condition nothing"),
        ({"causes": {"nothing": [1, 1]}}, r"causes.*no condition nothing"),
        ({"coding": 1.3}, r"copd: coding"),
        ({"colour": "red"}, r"copd: colour"),
    ],
)
def test_mistakes_in_the_description_are_named(monkeypatch, change, message):
    checked = description._checked

    def changed(kind, fields, place):
        return checked(kind, {**fields, **change} if place.endswith(": copd") else fields, place)

    monkeypatch.setattr(description, "_checked", changed)
    with pytest.raises(ValueError, match=message):
        description.read()
