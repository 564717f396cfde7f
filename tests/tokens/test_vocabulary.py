"""The vocabulary knows training patients and the past only."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from claimscale.codes.systems import TYPES
from claimscale.config.study import Study
from claimscale.config.training import Tokens
from claimscale.engine import Engine
from claimscale.errors import BadInput
from claimscale.events.table import read_events
from claimscale.tokens import vocabulary
from claimscale.tokens.special_tokens import SPECIAL_CODES
from claimscale.tokens.vocabulary import Vocabulary

IDS = range(1, 41)
SPLIT = {subject: ("train", "tuning", "held_out")[subject % 3] for subject in IDS}
PATIENTS = pa.table({"subject_id": list(IDS), "split": list(SPLIT.values()), "sex": ["F", "M"] * 20})


@pytest.fixture
def build(engine: Engine, study: Study, claims, write_events):
    def build_vocabulary(rows, name: str = "one", **settings: object) -> Vocabulary:
        table = read_events(engine, write_events(rows, name))
        changed = study.model_copy(update={"tokens": Tokens.model_validate({"min_patients": 2, **settings})})
        mapping = vocabulary.code_map(table, engine, changed.tokens.rollup)
        return vocabulary.build_vocabulary(table, PATIENTS, mapping, claims.landmark_day, changed, engine)

    return build_vocabulary


def test_counts_are_those_of_training_patients_before_the_landmark(claims, build) -> None:
    rows = claims.random(40, seed=1)
    patients, events = defaultdict(set), defaultdict(int)
    for row in set(rows):
        if SPLIT[row.subject_id] == "train" and row.known_day < claims.landmark_day:
            kind = "suspected" if row.suspected and row.code.startswith("ICD10") else None
            patients[row.code, kind].add(row.subject_id)
            # The same code on one day, suspected or not: drugs differ by the flag alone.
            events[row.code, kind] += 1
    found = build(rows)
    expected = {
        (code, kind): (len(subjects), events[code, kind])
        for (code, kind), subjects in patients.items()
        if len(subjects) >= 2 and not code.startswith(("SEX", "MEDS"))
    }
    codes = range(len(SPECIAL_CODES), found.size)
    assert expected == {
        (found.codes[token], "suspected" if TYPES[found.types[token]] == "suspected" else None): (
            found.patients[token],
            found.events[token],
        )
        for token in codes
    }


def test_special_tokens_come_first_then_the_commonest(claims, build) -> None:
    found = build(claims.random(40, seed=2))
    assert found.codes[:6] == ["[PAD]", "[CLS]", "[MASK]", "SEX//F", "SEX//M", "SEX//U"]
    assert [TYPES[kind] for kind in found.types[:6]] == ["special"] * 3 + ["sex"] * 3
    training = [subject for subject in IDS if SPLIT[subject] == "train"]
    men = sum(subject % 2 == 0 for subject in training)
    assert found.patients[:6].tolist() == [0, 0, 0, len(training) - men, men, 0]
    assert np.all(np.diff(found.patients[6:]) <= 0)


def test_neither_test_patients_nor_the_future_change_it(claims, build) -> None:
    rows = claims.random(40, seed=3)
    one = build(rows, "one")
    changes = claims.other_futures(rows)
    changes["tests"] = [row for row in rows if SPLIT[row.subject_id] == "train" or row.code.startswith("M")]
    for name, changed in changes.items():
        other = build(changed, name)
        assert other.codes == one.codes, name
        assert np.array_equal(other.types, one.types), name
        assert np.array_equal(other.patients, one.patients), name
        assert np.array_equal(other.events, one.events), name


def test_roll_up_counts_a_patient_once(claims, build) -> None:
    day = claims.landmark_day - 9
    rows = [row for subject in IDS for row in claims.born(subject)]
    rows += [claims.event(subject, day, f"ICD10//N18{subject % 10}") for subject in (3, 6, 9)]
    rows += [claims.event(subject, day, "ICD10//N18X") for subject in (3, 6, 9)]
    found = build(rows, rollup={"ICD10": 3})
    assert found.codes[6:] == ["ICD10//N18"]
    assert (found.patients[6], found.events[6]) == (3, 6)


def test_stripped_codes_are_found_inside_rolled_up_tokens(claims, build) -> None:
    rows = [row for subject in IDS for row in claims.born(subject)]
    listed = ("ICD10//Z992", "ICD10//Z99", "ICD10//N18", "ATC//B03XA01", "ATC//B03AA01")
    rows += [claims.event(subject, 9, code) for subject in IDS for code in listed]
    wanted = {"ICD10": ["Z992"], "ATC": ["B03X"]}

    def names(found: Vocabulary) -> set[str]:
        return {found.codes[token] for token in found.tokens_with_prefix(wanted)}

    assert names(build(rows, "whole")) == {"ICD10//Z992", "ATC//B03XA01"}
    # Rolled up, Z99 may be Z992; B03 may be B03X.
    assert names(build(rows, "rolled", rollup={"ICD10": 3, "ATC": 2})) == {"ICD10//Z99", "ATC//B03"}
    assert len(build(rows, "none").tokens_with_prefix({})) == 0


def test_it_is_read_back_as_it_was_saved(claims, build, tmp_path: Path) -> None:
    saved = build(claims.random(40, seed=4), rollup={"ICD10": 3})
    saved.save(tmp_path / "vocabulary.parquet")
    loaded = Vocabulary.load(tmp_path / "vocabulary.parquet")
    assert loaded.codes == saved.codes
    for name in ("types", "patients", "events", "merged"):
        assert np.array_equal(getattr(loaded, name), getattr(saved, name))
        assert getattr(loaded, name).dtype == getattr(saved, name).dtype


def test_no_common_code_and_impossible_roll_up_are_bad_input(claims, build) -> None:
    rows = claims.random(40, seed=5)
    with pytest.raises(BadInput, match=r"tokens\.min_patients: no code occurs in 99 of"):
        build(rows, "rare", min_patients=99)
    with pytest.raises(BadInput, match=r"tokens\.rollup\.ATC"):
        build(rows, "level", rollup={"ATC": 6})
