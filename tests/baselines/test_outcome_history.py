from __future__ import annotations

import numpy as np
import pytest

from claimscale.baselines import features
from claimscale.baselines.features import FeatureColumns
from claimscale.baselines.outcome_history import families, history_features
from claimscale.config.tasks import Task
from claimscale.tokens.code_groups import CodeGroups

CKD = Task(
    name="ckd",
    kind="disease",
    outcome={"ICD10": ["N18"]},
    confirmation_codes={"ATC": ["A10BA"], "ICD10": ["N10"]},
)
PREGABALIN = Task(name="p", kind="medication", outcome={"ATC": ["N02BF02"]}, washout_days=365)


def named(store, task: Task) -> list[set[tuple[str, int]]]:
    words = store.vocabulary
    return [
        {(words.codes[token], int(words.types[token])) for token in family}
        for family in families(words, task)
    ]


def test_families_hold_outcome_suspected_neighbour_confirmation(stores) -> None:
    store = stores.make([[]], [0], [3])
    assert named(store, CKD) == [
        {("ICD10//N181", 2), ("ICD10//N189", 2)},
        {("ICD10//N189", 3)},
        {("ICD10//N10", 2)},
        {("ICD10//N17", 3)},
        {("ATC//A10BA02", 4)},
    ]
    assert named(store, PREGABALIN) == [{("ATC//N02BF02", 4)}, {("ATC//N02BF01", 4)}]


def test_inputs_are_age_sex_and_the_families_only(stores) -> None:
    store = stores.random(200, seed=1)
    groups = CodeGroups.of(store.vocabulary)
    rows, cutoff = np.arange(200), np.full(200, stores.index_day)
    found = families(store.vocabulary, PREGABALIN)
    own = np.concatenate(found)
    others = np.setdiff1d(np.arange(6, store.vocabulary.size), own)

    def rule(hidden_tokens: np.ndarray) -> np.ndarray:
        matrix = features.count_features(store, groups, rows, cutoff, hidden_tokens)
        return history_features(matrix, FeatureColumns(groups.count), found).toarray()

    everything, without_others = rule(own[:0]), rule(others)
    assert everything.shape == (200, 4 + 3 * len(found))
    np.testing.assert_array_equal(everything, without_others)
    last_year, ever, recency = everything[:, 4], everything[:, 5], everything[:, 6]
    assert set(np.unique(ever)) == {0, 1} and (last_year <= ever).all()
    np.testing.assert_array_equal(recency > 0, ever > 0)
    assert recency[last_year == 1].min() > recency[(last_year == 0) & (ever == 1)].max()


@pytest.mark.parametrize("task", [CKD, PREGABALIN])
def test_no_code_counts_in_two_families(stores, task: Task) -> None:
    tokens = np.concatenate(families(stores.make([[]], [0], [3]).vocabulary, task))
    assert len(np.unique(tokens)) == len(tokens)
