"""The phenome under privacy rules: no small count, and nothing computed from one."""

from __future__ import annotations

import pytest
import synthetic

from claimscale.privacy.phenome import protected_phenome
from claimscale.privacy.suppression import PROFILES


@pytest.mark.parametrize("profile", ["ndb", "cms", "opensafely", "acro"])
def test_outcomes_with_few_cases_are_left_out_with_the_means_they_are_part_of(profile: str) -> None:
    rule = PROFILES[profile]
    phenome = synthetic.typed(synthetic.summary(tasks=1)).phenome
    assert rule is not None and phenome is not None
    few = phenome.outcomes[3].model_copy(update={"cases": 5})
    outcomes = (*phenome.outcomes[:3], few, *phenome.outcomes[4:])
    found = protected_phenome(phenome.model_copy(update={"outcomes": outcomes}), rule)
    assert few.code not in [one.code for one in found.outcomes]
    assert len(found.outcomes) == len(phenome.outcomes) - 1
    assert not found.families and not found.chapters and found.interaction is None


def test_training_cases_are_hidden_with_the_comparison_they_are_part_of() -> None:
    rule = PROFILES["ndb"]
    phenome = synthetic.typed(synthetic.summary(tasks=1)).phenome
    assert rule is not None and phenome is not None and len(phenome.lightgbm) > 2
    assert protected_phenome(phenome, rule).against_lightgbm == phenome.against_lightgbm
    few = phenome.lightgbm[1].model_copy(update={"training_cases": 5})
    trees = (phenome.lightgbm[0], few, *phenome.lightgbm[2:])
    found = protected_phenome(phenome.model_copy(update={"lightgbm": trees}), rule)
    assert few.code not in [one.code for one in found.lightgbm] and not found.against_lightgbm
    # An outcome with few test cases takes its comparison with it.
    first = phenome.lightgbm[0].code
    outcomes = tuple(
        one.model_copy(update={"cases": 5}) if one.code == first else one for one in phenome.outcomes
    )
    found = protected_phenome(phenome.model_copy(update={"outcomes": outcomes}), rule)
    assert first not in [one.code for one in found.lightgbm] and not found.against_lightgbm


def test_counts_are_rounded_where_the_profile_says_so() -> None:
    rule = PROFILES["opensafely"]
    phenome = synthetic.typed(synthetic.summary(tasks=1)).phenome
    assert rule is not None and phenome is not None
    found = protected_phenome(phenome, rule)
    assert all(isinstance(one.cases, int) and one.cases % 5 == 0 for one in found.outcomes)
    assert all(isinstance(one.training_cases, int) and one.training_cases % 5 == 0 for one in found.lightgbm)
    assert found.families == phenome.families


def test_a_suppressed_task_does_not_follow_from_the_mean_of_its_kind() -> None:
    found = synthetic.summary(tasks=3)
    found["tasks"][0]["splits"]["held_out"]["positives"] = 3
    whole, shown = synthetic.typed(found), synthetic.typed(synthetic.shown(found, "ndb"))
    assert whole.task_families
    suppressed = any(task.saturation.reason == "suppressed" for task in shown.tasks)
    assert suppressed and shown.task_families == ()
