from __future__ import annotations

import itertools

import numpy as np
import pytest

from claimscale.errors import BadInput
from claimscale.simulator import world

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
    hazard = country.world.hazard
    assert hazard.shape == (2, world.AGES, len(country.conditions))
    assert np.all(hazard >= 0)
    prostate = country.conditions.index("prostatic_hyperplasia")
    assert hazard[0, 70, prostate] > 0
    assert np.all(hazard[1, :, prostate] == 0)
    description = world._describe()
    men_at_70 = [condition.incidence.at_70 for condition in description.conditions.values()]
    np.testing.assert_allclose(12 * hazard[0, 70], men_at_70)


def test_each_group_of_alternatives_has_cumulative_preferences(country):
    arrays = country.world
    for preferences, offsets in (
        (arrays.habits, arrays.diagnosis_offsets),
        (arrays.formulary, arrays.drug_offsets),
    ):
        for first, last in itertools.pairwise(offsets):
            assert np.all(np.diff(preferences[:, first:last], axis=1) >= 0)
            assert np.all(preferences[:, last - 1] == 1)


def test_hospitals_differ_in_habits_and_size():
    arrays = world.build(hospitals=8, seed=1).world
    assert np.unique(arrays.habits, axis=0).shape[0] == 8
    sizes = np.diff(arrays.hospital_cumulative, prepend=0)
    assert sizes.max() > 5 * sizes.min()


def test_world_follows_from_its_seed():
    first, same, other = (world.build(3, seed).world.habits for seed in (5, 5, 6))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


def test_no_hospital_is_bad_input():
    with pytest.raises(BadInput, match=r"source\.hospitals"):
        world.build(0, 1)
