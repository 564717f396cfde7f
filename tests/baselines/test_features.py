from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sparse

from claimscale.baselines import features
from claimscale.baselines.features import DAYS_PER_YEAR, PERSON, SERVICES, WINDOWS_DAYS, FeatureColumns
from claimscale.tokens.code_groups import CodeGroups

NOTHING = np.zeros(0, dtype=np.int32)


def counted(store, rows=None, cutoff=None, hidden_tokens=NOTHING) -> tuple[sparse.csr_matrix, FeatureColumns]:
    rows = np.arange(len(store)) if rows is None else rows
    cutoff = np.full(len(rows), 18_000) if cutoff is None else cutoff
    groups = CodeGroups.of(store.vocabulary)
    return features.count_features(store, groups, rows, cutoff, hidden_tokens), FeatureColumns(groups.count)


def plain_row(store, row: int, cutoff: int, hidden_tokens: set[int], groups: CodeGroups) -> np.ndarray:
    """The features of one patient, counted one by one."""
    layout = FeatureColumns(groups.count)
    out = np.zeros(layout.width)
    birth = int(store.birth_day[row])
    known = []
    for at in range(store.offsets[row], store.offsets[row + 1]):
        if store.available[at] <= cutoff and int(store.token[at]) not in hidden_tokens:
            known.append((birth + int(store.age_days[at]), int(store.visit[at]), int(store.token[at])))
    first = min([day for day, _, _ in known], default=cutoff)
    sex = store.vocabulary.codes[store.sex[row]]
    out[:4] = (
        (cutoff - birth) / DAYS_PER_YEAR, sex == "SEX//F", sex == "SEX//M", (cutoff - first) / DAYS_PER_YEAR
    )  # fmt: skip
    for place, window in enumerate(WINDOWS_DAYS):
        inside = [event for event in known if window is None or cutoff - event[0] < window]
        block = out[layout.window(place)]
        for _, _, token in inside:
            for column in groups.columns[token]:
                if column >= 0:
                    block[column] += 1
        block[groups.count :] = (
            len(inside), len({visit for _, visit, _ in inside}), len({token for _, _, token in inside})
        )  # fmt: skip
    recency = out[layout.recency]
    for day, _, token in known:
        for column in groups.columns[token]:
            if column >= 0:
                recency[column] = max(recency[column], 1 / (1 + (cutoff - day) / DAYS_PER_YEAR))
    return out


@pytest.mark.parametrize("seed", range(6))
def test_features_are_what_plain_counting_gives(stores, seed: int) -> None:
    store = stores.random(60, seed)
    random = np.random.default_rng(seed)
    rows = random.permutation(60)[:40]
    cutoff = stores.index_day - random.integers(0, 500, size=40)
    hidden_tokens = random.integers(6, store.vocabulary.size, size=2)
    matrix, layout = counted(store, rows, cutoff, hidden_tokens)
    groups = CodeGroups.of(store.vocabulary)
    expected = np.stack(
        [
            plain_row(store, row, day, set(hidden_tokens.tolist()), groups)
            for row, day in zip(rows, cutoff, strict=True)
        ]
    )
    assert matrix.dtype == np.float32 and matrix.shape == (40, layout.width)
    np.testing.assert_array_equal(matrix.toarray(), expected.astype(np.float32))


def test_the_matrix_is_canonical_and_holds_no_zeros(stores) -> None:
    matrix, _ = counted(stores.random(50, seed=9))
    assert (matrix.data != 0).all()
    for row in range(matrix.shape[0]):
        columns = matrix.indices[matrix.indptr[row] : matrix.indptr[row + 1]]
        assert (np.diff(columns) > 0).all()


def test_events_available_later_do_not_count(stores) -> None:
    store = stores.random(80, seed=3)
    later = store.available > stores.index_day
    assert later.any()
    changed = dataclasses.replace(
        store,
        token=np.where(later, 6, store.token).astype(np.uint16),
        age_days=np.where(later, store.age_days - 200, store.age_days).astype(np.int32),
    )
    one, two = counted(store)[0], counted(changed)[0]
    for array in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(one, array), getattr(two, array))


def test_a_patient_without_events_has_only_age_and_sex(stores) -> None:
    matrix, layout = counted(stores.make([[], []], [0, 0], [3, 5]))
    assert matrix.shape == (2, layout.width)
    age = np.float32(18_000 / DAYS_PER_YEAR)
    np.testing.assert_array_equal(matrix.toarray()[:, :4], [[age, 1, 0, 0], [age, 0, 0, 0]])
    assert matrix.nnz == 3


def test_linear_features_hold_counts_on_a_log_scale_and_presence(stores) -> None:
    matrix, layout = counted(stores.random(50, seed=5))
    linear = features.linear_features(matrix, layout).toarray()
    dense, width = matrix.toarray(), layout.recency.start - len(PERSON)
    counts = dense[:, len(PERSON) : layout.recency.start]
    person, squared, logs, seen, recency = np.split(linear, np.cumsum([len(PERSON), 1, width, width]), axis=1)
    np.testing.assert_array_equal(person, dense[:, : len(PERSON)])
    np.testing.assert_allclose(squared[:, 0], (dense[:, 0] / 10 - 6) ** 2, rtol=1e-5)
    np.testing.assert_allclose(logs, np.log1p(counts), rtol=1e-6)
    np.testing.assert_array_equal(seen, counts > 0)
    np.testing.assert_array_equal(recency, dense[:, layout.recency])
    assert len(SERVICES) * len(WINDOWS_DAYS) + layout.codes * len(WINDOWS_DAYS) == width


def test_support_counts_patients(stores) -> None:
    matrix, _ = counted(stores.random(50, seed=6))
    np.testing.assert_array_equal(features.support(matrix), (matrix.toarray() != 0).sum(axis=0))
