"""The description of a cohort adds up, knows only the past, and hides small cells when it must."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, strategies as st

from claimscale.corpus import cohort, description, events as event_table
from claimscale.engine import Engine
from claimscale.runs import read_json
from claimscale.study import Study


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
    known = event_table.read(engine, write_events(rows))

    def counted(repeats: str) -> dict:
        return description.per_patient(known, patients, claims.landmark_day, repeats, engine).to_pylist()[0]

    found = counted("month")
    assert found["age"] == pytest.approx(20_000 / 365.25)
    assert (found["visits"], found["observation_days"]) == (3, 21)
    assert (found["diagnosis"], found["suspected"], found["drug"]) == (3, 1, 1)
    # A000 in two months, once more as a suspicion, and the drug.
    assert [counted(repeats)["sequence_length"] for repeats in ("all", "month", "year")] == [5, 4, 3]


def test_what_became_known_later_changes_nothing(claims, describe) -> None:
    rows = claims.random(40, seed=5)
    one = describe(rows, "whole")
    for name, changed in claims.other_futures(rows).items():
        assert describe(changed, name) == one, name


def test_spread_is_that_of_the_textbook() -> None:
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


@given(st.lists(st.integers(0, 60), min_size=1, max_size=12))
def test_no_small_count_can_be_had_from_its_total(counts: list[int]) -> None:
    cells = description.small_cells(counts)
    for count, cell in zip(counts, cells, strict=True):
        assert cell == count or cell is None or (cell == "<10" and 0 < count < 10)
        assert not (isinstance(cell, int) and 0 < cell < 10)
    hidden = [count for count, cell in zip(counts, cells, strict=True) if not isinstance(cell, int)]
    shown_and_large = [
        count for count, cell in zip(counts, cells, strict=True) if isinstance(cell, int) and cell
    ]
    assert len(hidden) != 1 or not shown_and_large


def test_under_the_ndb_profile_no_small_cell_is_shown(claims, describe) -> None:
    found = describe(claims.random(60, seed=3))
    shown = description.shown(found, "ndb")
    assert description.shown(found, "none") == found
    assert "<10" in json.dumps(shown)

    def counts(node: object, key: str = "") -> list[int]:
        """Every count of patients below the node."""
        if isinstance(node, dict):
            inside = ("patients", "F", "M", "U", "counts", "patients_per_hospital")
            return [n for name, value in node.items() for n in counts(value, name if name in inside else "")]
        if isinstance(node, list):
            return [n for value in node for n in counts(value, key)]
        return [node] if key and isinstance(node, int) else []

    assert counts(found) and min(n for n in counts(found) if n) < 10
    assert all(n == 0 or n >= 10 for n in counts(shown))
    assert all(group["age"]["min"] is None for group in shown["groups"].values())


def test_no_split_can_be_had_from_the_whole_and_the_others() -> None:
    people = {"train": (300, 200), "tuning": (40, 30), "held_out": (90, 80), "hospital": (4, 2)}
    rows = [
        {"split": split, "sex": sex, "hospital_id": "A"}
        for split, counts in people.items()
        for sex, count in zip("FM", counts, strict=True)
        for _ in range(count)
    ]
    numbers = {"age": 60.0, "visits": 3, "sequence_length": 9, "observation_days": 90}
    found = description.describe(pa.Table.from_pylist([row | numbers for row in rows]))
    shown = description.shown(found, "ndb")["groups"]
    assert shown["hospital"]["patients"] == "<10" and shown["tuning"]["patients"] is None
    assert shown["train"]["patients"] == 500
    assert set(shown["train"]["sex"].values()) == {None}, (
        "or men of the held-out hospital could be worked out"
    )
    assert shown["all"]["sex"] == {"F": 434, "M": 312, "U": 0}
    assert shown["hospital"]["age"]["mean"] is None and shown["tuning"]["age"]["mean"] == 60
