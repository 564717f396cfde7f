"""The description of a cohort adds up, knows only the past, and hides small cells when it must."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from claimscale.artifacts import read_json
from claimscale.cohort import description, selection as cohort
from claimscale.config.study import Study
from claimscale.engine import Engine
from claimscale.events.table import read_events


@pytest.fixture
def describe(engine: Engine, study: Study, write_events, tmp_path: Path):
    def described(rows, name: str = "one", study: Study = study) -> dict:
        target = tmp_path / f"{name}-cohort"
        target.mkdir()
        cohort.build(study, engine, write_events(rows, name), target)
        return read_json(target / "description.json")

    return described


def test_groups_and_histograms_add_up(claims, describe) -> None:
    found = describe(claims.random(120, seed=1))
    groups, histograms = found["groups"], found["histograms"]
    patients = groups["all"]["patients"]
    splits = [group for name, group in groups.items() if name != "all"]
    assert sum(group["patients"] for group in splits) == patients
    for group in groups.values():
        assert sum(group["sex"].values()) == group["patients"]
        for name in description.COUNTED:
            spread = group[name]
            assert spread["min"] <= spread["q1"] <= spread["median"] <= spread["q3"] <= spread["max"]
    mean = sum(group["patients"] * group["visits"]["mean"] for group in splits) / patients
    assert groups["all"]["visits"]["mean"] == pytest.approx(mean)
    assert sum(sum(counts) for counts in histograms["age_by_sex"]["counts"].values()) == patients
    for name in ("sequence_length", "observation_years"):
        assert sum(histograms[name]["counts"]) == patients
        assert len(histograms[name]["edges"]) == len(histograms[name]["counts"]) + 1
    assert sum(histograms["patients_per_hospital"]) == patients
    assert len(histograms["patients_per_hospital"]) == groups["all"]["hospitals"] == 3


def test_one_patient_by_hand(claims, engine: Engine, write_events) -> None:
    day = claims.landmark_day - 40  # 22 November
    rows = claims.born(7, "F", day=claims.landmark_day - 20_000)
    rows += [claims.event(7, day, "ICD10//A000"), claims.event(7, day, "ATC//A01")]
    rows += [claims.event(7, day + 1, "ICD10//A000"), claims.event(7, day + 1, "ICD10//A000", suspected=True)]
    rows += [claims.event(7, day + 20, "ICD10//A000")]  # another month
    patients = pa.table(
        {
            "subject_id": [7],
            "first_day": pa.array([day], pa.int32()),
            "last_day": pa.array([day + 20], pa.int32()),
            "birth_day": pa.array([claims.landmark_day - 20_000], pa.int32()),
        }
    )
    known = read_events(engine, write_events(rows))

    def counted(deduplicate: str) -> dict:
        return description.per_patient(known, patients, claims.landmark_day, deduplicate, engine).to_pylist()[
            0
        ]

    found = counted("month")
    assert found["age"] == pytest.approx(20_000 / 365.25)
    assert (found["visits"], found["observation_days"]) == (3, 21)
    assert (found["diagnosis"], found["suspected"], found["drug"]) == (3, 1, 1)
    # A000 in two months, once more as a suspicion, and the drug.
    assert [counted(one)["sequence_length"] for one in ("none", "month", "year")] == [5, 4, 3]
    assert counted("history")["sequence_length"] == 3, "one of each code"


def test_later_knowledge_changes_nothing(claims, describe) -> None:
    rows = claims.random(40, seed=5)
    one = describe(rows, "whole")
    for name, changed in claims.other_futures(rows).items():
        assert describe(changed, name) == one, name


def test_spreads_are_those_of_the_textbook() -> None:
    people = pa.table(
        {
            "split": ["train"] * 4,
            "sex": ["F", "F", "M", "U"],
            "hospital_id": ["A", None, "A", "B"],
            "age": [2.0, 4.0, 4.0, np.nan],
            "visits": [2, 4, 4, 6],
            "sequence_length": [1, 1, 1, 1],
            "observation_days": [1, 1, 1, 1],
        }
    )
    group = description.describe(people)["groups"]["all"]
    assert group["visits"]["mean"] == 4 and group["visits"]["sd"] == pytest.approx((8 / 3) ** 0.5)
    assert group["age"]["mean"] == pytest.approx(10 / 3), "a patient of unknown age is left out"
    assert (group["hospitals"], group["sex"]) == (2, {"F": 2, "M": 1, "U": 1})
