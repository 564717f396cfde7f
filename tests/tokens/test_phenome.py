"""Outcomes of the phenome, compared with a direct computation."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, strategies as st

from claimscale import pipeline
from claimscale.codes.systems import type_of
from claimscale.config import loading
from claimscale.errors import BadInput
from claimscale.tokens.phenome import CASE, EVER, NOT_AT_RISK, WITHOUT, Window, outcome_states, outcomes_of
from claimscale.tokens.vocabulary import Vocabulary

CODES = [
    "ICD10//N181",
    "ICD10//N189",
    "ICD10//I509",
    "ATC//N02BF02",
    "ATC//N02BF01",
    "KUBUN//D215",
    "VISIT//1",
]
WINDOW = Window(gap=3, end=13, washout=10)
BIRTH = 5


def vocabulary(codes: list[str], suspected: tuple[str, ...] = ()) -> Vocabulary:
    from claimscale.codes.systems import TYPES

    types = [TYPES.index(type_of(code, code in suspected)) for code in codes]
    counts = np.zeros(len(codes), np.int64)
    return Vocabulary(codes, np.array(types, np.int8), counts, counts, np.zeros(len(codes), np.bool_))


def test_outcomes_are_groups_of_diagnoses_drugs_and_procedures() -> None:
    found = outcomes_of(vocabulary(CODES), {"ICD10": 3, "ATC": 4})
    shown = {one.code: (one.kind, one.chapter, one.tokens) for one in found}
    assert shown == {
        "ICD10//I50": ("disease", "ICD10//I00", (2,)),
        "ICD10//N18": ("disease", "ICD10//N00", (0, 1)),
        "ATC//N02BF": ("medication", "ATC//N", (3, 4)),
        "KUBUN//D215": ("procedure", "KUBUN//D", (5,)),
    }
    assert [one.kind for one in found] == ["disease", "disease", "medication", "procedure"]


def test_a_suspected_diagnosis_is_no_outcome() -> None:
    assert not outcomes_of(vocabulary(["ICD10//N189"], suspected=("ICD10//N189",)), {})


def test_a_level_that_a_system_lacks_is_refused() -> None:
    with pytest.raises(BadInput, match=r"phenome\.levels\.ATC: there are 5 levels, not 9"):
        outcomes_of(vocabulary(CODES), {"ATC": 9})


EVENTS = st.lists(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, len(CODES) - 1)), max_size=12),
    min_size=1, max_size=5,
)  # fmt: skip


@given(EVENTS, st.integers(0, 60))
def test_states_follow_the_rules_of_a_task(patients: list[list[tuple[int, int]]], index_day: int) -> None:
    known = vocabulary(CODES)
    events = [event for patient in patients for event in sorted(patient)]
    store = SimpleNamespace(
        offsets=np.r_[0, np.cumsum([len(patient) for patient in patients])].astype(np.int64),
        age_days=np.array([day - BIRTH for day, _ in events], np.int32),
        token=np.array([token for _, token in events], np.uint16),
        birth_day=np.full(len(patients), BIRTH, np.int32),
        vocabulary=known,
    )
    outcomes = outcomes_of(known, {"ICD10": 3, "ATC": 4})
    days = np.full(len(patients), index_day, np.int32)
    rows = np.arange(len(patients))
    states = outcome_states(store, rows, days, outcomes, WINDOW)  # pyright: ignore[reportArgumentType]
    for row, patient in enumerate(patients):
        for place, outcome in enumerate(outcomes):
            look_back = EVER if outcome.kind == "disease" else WINDOW.washout
            after = [day - index_day for day, token in patient if token in outcome.tokens]
            if any(-look_back < day <= 0 for day in after):
                expected = NOT_AT_RISK
            else:
                first = min((day for day in after if day > 0), default=EVER)
                expected = CASE if WINDOW.gap < first <= WINDOW.end else WITHOUT
            assert states[row, place] == expected


@pytest.mark.parametrize(("levels", "says"), [({"ATC": 9}, "ATC: there are 5"), ({"ACT": 4}, "ACT: no such")])
def test_a_wrong_level_is_refused_before_anything_is_read(write_study, tmp_path, levels, says) -> None:
    study = loading.load(write_study(phenome={"levels": levels}, runs_dir=str(tmp_path / "runs")))
    with pytest.raises(BadInput, match=f"phenome.levels.{says}"):
        pipeline.prepare(study)
    assert not (tmp_path / "runs").exists()
