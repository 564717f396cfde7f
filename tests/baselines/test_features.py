from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from claimscale.baselines.features import DAYS_PER_YEAR, WINDOWS_DAYS, CodeGroups, count_features

CODES = [
    "[PAD]",
    "[CLS]",
    "[MASK]",
    "SEX//F",
    "SEX//M",
    "SEX//U",
    "ICD10//N181",
    "ICD10//N189",
    "ATC//A10BA02",
]
TYPES = np.array([0, 0, 0, 1, 1, 1, 2, 2, 4], dtype=np.int8)
N181, N189, METFORMIN = 6, 7, 8
INDEX_DAY = 18_000


def store(*patients: list[tuple[int, int]]) -> SimpleNamespace:
    """A token store of patients born on day 0, each a list of (days before the index date, token)."""
    ordered = [sorted(patient, key=lambda event: -event[0]) for patient in patients]
    days = np.array([INDEX_DAY - ago for patient in ordered for ago, _ in patient], dtype=np.int32)
    visits = [np.unique([ago for ago, _ in patient], return_inverse=True)[1] for patient in ordered]
    return SimpleNamespace(
        vocabulary=SimpleNamespace(codes=CODES, types=TYPES, size=len(CODES)),
        offsets=np.cumsum([0] + [len(patient) for patient in ordered]),
        token=np.array([token for patient in ordered for _, token in patient], dtype=np.uint16),
        age_days=days,
        available=days,
        visit=np.concatenate(visits).astype(np.int32),
        birth_day=np.zeros(len(patients), dtype=np.int32),
        sex=np.full(len(patients), 4, dtype=np.int32),
    )


def features(data: SimpleNamespace, strip: tuple[int, ...] = ()) -> np.ndarray:
    rows = np.arange(len(data.offsets) - 1)
    cutoff = np.full(len(rows), INDEX_DAY, dtype=np.int32)
    return count_features(data, rows, cutoff, np.array(strip, dtype=np.int32)).toarray()  # pyright: ignore


def split_blocks(
    matrix: np.ndarray, data: SimpleNamespace
) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """Demographics, one block of counts and utilisation per window, closeness."""
    groups = CodeGroups.of(data.vocabulary).count
    edges = 2 + np.arange(len(WINDOWS_DAYS) + 1) * (groups + 2)
    windows = [matrix[:, a:b] for a, b in itertools.pairwise(edges)]
    return matrix[:, :2], windows, matrix[:, edges[-1] :]


def test_codes_are_counted_in_their_windows() -> None:
    data = store([(5, N189), (100, N189), (300, METFORMIN), (900, N189)])
    _, windows, _ = split_blocks(features(data), data)
    assert [block[0, N189] for block in windows] == [1, 2, 2, 3]
    assert [block[0, METFORMIN] for block in windows] == [0, 0, 1, 1]
    assert [block[0, -2] for block in windows] == [1, 2, 3, 4], "events"
    assert [block[0, -1] for block in windows] == [1, 2, 3, 4], "visits"


def test_sibling_codes_share_a_group() -> None:
    data = store([(5, N181), (6, N189)], [(5, METFORMIN)])
    _, windows, _ = split_blocks(features(data), data)
    groups = windows[-1][:, len(CODES) : -2]
    assert groups[0].max() == 2, "both codes of N18 count for the group"
    assert not np.any((groups[0] > 0) & (groups[1] > 0)), "a drug shares no group with a diagnosis"


def test_nothing_after_the_index_date_counts() -> None:
    known = [(5, N189), (100, METFORMIN)]
    with_future, without = store([*known, (-1, N181), (-400, N189)]), store(known)
    assert np.array_equal(features(with_future), features(without))


def test_stripped_codes_leave_no_trace() -> None:
    data, clean = store([(5, N189), (5, METFORMIN)]), store([(5, METFORMIN)])
    assert np.array_equal(features(data, strip=(N189,)), features(clean))


def test_a_later_sight_is_closer_and_never_is_zero() -> None:
    data = store([(10, N189)], [(700, N189)], [(700, N189), (10, N189)], [(1, METFORMIN)])
    _, _, closeness = split_blocks(features(data), data)
    late, early, both, never = closeness[:, N189]
    assert late > early > never == 0
    assert both == late, "only the last sight matters"


def test_age_and_sex_come_first_and_a_patient_without_events_has_only_those() -> None:
    data = store([], [(5, N189)])
    matrix = features(data)
    assert matrix[0, :2] == pytest.approx([INDEX_DAY / DAYS_PER_YEAR, 4])
    assert not matrix[0, 2:].any()
