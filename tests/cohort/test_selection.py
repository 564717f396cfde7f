"""Patients and splits are decided by what was known before the landmark, and by nothing else."""

from __future__ import annotations

from pathlib import Path

import meds
import numpy as np
import pyarrow.parquet as pq
import pytest

from claimscale import seeded_random
from claimscale.artifacts import read_json
from claimscale.cohort import selection as cohort
from claimscale.config.cohort import CohortSample, Splits
from claimscale.config.study import Study
from claimscale.engine import Engine
from claimscale.errors import BadInput

IDS = np.arange(1, 5001, dtype=np.int64)
HOSPITALS = [f"H{number % 7}" for number in IDS]


@pytest.fixture
def build(engine: Engine, study: Study, write_events, tmp_path: Path):
    def build_cohort(rows, name: str = "one", study: Study = study) -> Path:
        target = tmp_path / f"{name}-cohort"
        target.mkdir()
        cohort.build(study, engine, write_events(rows, name), target)
        return target

    return build_cohort


def test_splits_are_disjoint_complete_and_near_their_fractions() -> None:
    assigned = np.array(cohort.assign_splits(IDS, HOSPITALS, Splits(fractions=(0.7, 0.1, 0.2)), seed=1))
    shares = [np.mean(assigned == name) for name in cohort.PATIENT_SPLITS]
    assert sum(shares) == pytest.approx(1)
    # Five standard deviations of a binomial share.
    assert shares == pytest.approx([0.7, 0.1, 0.2], abs=5 * np.sqrt(0.25 / len(IDS)))


def test_a_patients_split_does_not_depend_on_the_others() -> None:
    splits = Splits()
    everyone = cohort.assign_splits(IDS, HOSPITALS, splits, seed=1)
    half = cohort.assign_splits(IDS[::2], HOSPITALS[::2], splits, seed=1)
    assert half == everyone[::2]
    assert cohort.assign_splits(IDS, HOSPITALS, splits, seed=2) != everyone


def test_hospitals_are_held_out_whole_and_never_all() -> None:
    hospitals = [
        None if number % 10 == 0 else hospital for number, hospital in zip(IDS, HOSPITALS, strict=True)
    ]
    assigned = cohort.assign_splits(IDS, hospitals, Splits(held_out_hospitals=3), seed=1)
    held_out = {
        hospital for hospital, split in zip(hospitals, assigned, strict=True) if split == cohort.HOSPITAL
    }
    others = {
        hospital for hospital, split in zip(hospitals, assigned, strict=True) if split != cohort.HOSPITAL
    }
    assert len(held_out) == 3
    assert not held_out & others
    assert None in others


@pytest.mark.parametrize(("hospitals", "wanted"), [(["H1", "H2"], 2), ([None, None], 1), (["H1", None], 1)])
def test_holding_out_every_hospital_is_bad_input(hospitals: list[str | None], wanted: int) -> None:
    with pytest.raises(BadInput, match="cannot hold out"):
        cohort.held_out_hospitals(hospitals, wanted, seed=1)


def test_subsets_are_nested_and_random() -> None:
    order = seeded_random.nested_order(IDS, seed=1)
    assert sorted(order) == list(range(len(IDS)))
    assert abs(np.corrcoef(order, np.arange(len(IDS)))[0, 1]) < 0.1
    # Without the odd ids, the even ones keep their order: the first n of any size stay nested.
    even = IDS[order][IDS[order] % 2 == 0]
    assert np.array_equal(IDS[1::2][seeded_random.nested_order(IDS[1::2], seed=1)], even)
    assert not np.array_equal(seeded_random.nested_order(IDS, seed=2), order)


def test_patients_need_enough_events_known_before_the_landmark(claims, build) -> None:
    before, after = claims.landmark_day - 1, claims.landmark_day
    rows = claims.random(40, seed=3)
    rows += claims.born(101) + [claims.event(101, before - day, "ICD10//A000") for day in range(3)]
    rows += claims.born(102) + [claims.event(102, before - day, "ICD10//A000") for day in range(2)]
    # The third event happened in time, but was known too late.
    rows += [claims.event(102, before, "ICD10//A001", available_day=after)]
    rows += claims.born(103) + [claims.event(103, after + day, "ICD10//A000") for day in range(9)]
    target = build(rows)
    chosen = cohort.read_patients(target)["subject_id"].to_pylist()
    assert 101 in chosen
    assert not {102, 103} & set(chosen)
    assert chosen == sorted(chosen)
    splits = pq.read_table(target / "subject_splits.parquet")
    meds.SubjectSplitSchema.validate(splits)  # raises where they are no MEDS splits
    assert splits.equals(cohort.read_patients(target).select(["subject_id", "split"]))
    flow = read_json(target / "cohort.json")
    assert (flow["patients"], flow["seen_before_landmark"]) == (43, 42)
    assert flow["with_enough_events"] == len(chosen) == sum(flow["splits"].values())


def test_demographics_and_main_hospital(claims, build) -> None:
    day = claims.landmark_day - 100
    rows = claims.random(40, seed=4) + claims.born(100, "M", day=-500) + [claims.event(100, -500, "SEX//F")]
    rows += [claims.event(100, day, "ICD10//A000", hospital_id="H9")]
    rows += [claims.event(100, day + 3, "ICD10//A000", hospital_id="H8")]
    rows += [claims.event(100, day + 5, "ICD10//A000")]
    rows += [
        claims.event(100, claims.landmark_day + step, "ICD10//A000", hospital_id="H9") for step in range(5)
    ]
    patient = cohort.read_patients(build(rows)).to_pylist()[-1]
    assert patient | {"split": ""} == {
        "subject_id": 100, "split": "", "hospital_id": "H8", "sex": "U", "birth_day": -500,
        "first_day": day, "last_day": day + 5,
    }  # fmt: skip


def test_what_became_known_later_decides_nothing(claims, build) -> None:
    rows = claims.random(40, seed=5)
    one = build(rows, "whole")
    for name, changed in claims.other_futures(rows).items():
        assert cohort.read_patients(build(changed, name)).equals(cohort.read_patients(one)), name


def test_empty_cohort_says_which_rule_removed_how_many(claims, build) -> None:
    day = claims.landmark_day
    rows = claims.born(1) + claims.born(2) + [claims.event(1, day - 5, "ICD10//A000")]
    rows += [claims.event(2, day + 5, "ICD10//A000")]
    message = "of 2, 1 have no event known before 2010-01-01 and 1 have fewer than 3"
    with pytest.raises(BadInput, match=message):
        build(rows)


def test_empty_split_is_bad_input(claims, build) -> None:
    day = claims.landmark_day
    rows = claims.born(1) + [claims.event(1, day - step, "ICD10//A000") for step in (1, 2, 3)]
    with pytest.raises(BadInput, match="none of 1 patients are in the"):
        build(rows)


def test_a_sample_depends_on_neither_the_order_nor_the_others() -> None:
    names = sorted(set(HOSPITALS))
    sampled = cohort.sample_hospitals(names, 3, seed=1)
    assert len(sampled) == 3
    assert cohort.sample_hospitals(names[::-1], 3, seed=1) == sampled
    # The same hospitals are sampled if some of the others are missing.
    assert cohort.sample_hospitals([*sampled, *sorted(set(names) - sampled)[:2]], 3, seed=1) == sampled
    assert len({frozenset(cohort.sample_hospitals(names, 3, seed)) for seed in range(20)}) > 5
    chosen = IDS[cohort.sample_patients(IDS, 500, seed=1)]
    assert np.array_equal(np.sort(IDS[::-1][cohort.sample_patients(IDS[::-1], 500, seed=1)]), chosen)
    others = np.setdiff1d(IDS, chosen)[::2]
    fewer = np.sort(np.concatenate([chosen, others]))
    assert np.array_equal(fewer[cohort.sample_patients(fewer, 500, seed=1)], chosen)
    # A smaller sample is inside a larger one, and splits stay near their fractions inside it.
    assert set(cohort.sample_patients(IDS, 100, seed=1)) < set(cohort.sample_patients(IDS, 500, seed=1))
    split = np.array(cohort.assign_splits(chosen, ["H"] * 500, Splits(), seed=1))
    assert np.mean(split == "train") == pytest.approx(0.7, abs=5 * np.sqrt(0.21 / 500))


def test_hospitals_then_their_patients_are_drawn_and_counted(claims, build, study: Study) -> None:
    def sampled(**wanted: int) -> Study:
        changed = study.cohort.model_copy(update={"sample": CohortSample(**wanted)})
        return study.model_copy(update={"cohort": changed})

    rows = claims.random(200, seed=6)
    whole = cohort.read_patients(build(rows, "whole")).to_pylist()
    target = build(rows, "some", sampled(hospitals=2, patients=50))
    some, flow = cohort.read_patients(target).to_pylist(), read_json(target / "cohort.json")
    assert len(some) == flow["included"] == sum(flow["splits"].values()) == 50
    hospitals = {row["hospital_id"] for row in some}
    assert (flow["hospitals"], flow["sampled_hospitals"], len(hospitals)) == (3, 2, 2)
    assert flow["in_sampled_hospitals"] < flow["seen_before_landmark"]
    # Sampling changes nothing else about a patient; the split stays.
    assert all(row in whole for row in some)
    # Rows in another order give the same sample.
    again = build(rows[::-1], "again", sampled(hospitals=2, patients=50))
    assert cohort.read_patients(again).equals(cohort.read_patients(target))


@pytest.mark.parametrize(
    ("wanted", "message"),
    [({"hospitals": 4}, "cannot sample 4 of 3 hospitals"), ({"patients": 900}, "cannot sample 900 of 60")],
)
def test_a_sample_larger_than_what_there_is_is_bad_input(wanted, message, claims, build, study) -> None:
    changed = study.cohort.model_copy(update={"sample": CohortSample(**wanted)})
    with pytest.raises(BadInput, match=message):
        build(claims.random(60, seed=7), study=study.model_copy(update={"cohort": changed}))
