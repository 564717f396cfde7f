"""What became known after the index date moves neither features nor any baseline's predictions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sparse
import torch

from claimscale.baselines import carry_forward, features, gradient_boosting
from claimscale.baselines.features import Layout
from claimscale.baselines.search import Job, Labelled
from claimscale.corpus import cohort, tokens
from claimscale.corpus.codebook import Codebook
from claimscale.corpus.groups import CodeGroups
from claimscale.corpus.sequences import select_inputs
from claimscale.corpus.tokens import TokenStore
from claimscale.model import sizes
from claimscale.model.encoder import Encoder
from claimscale.study import Task
from claimscale.sweep.work import MODELS
from claimscale.training.checkpoints import save_tensors
from claimscale.training.embeddings import FrozenEncoder

TASK = Task(name="some", kind="disease", outcome={"ICD10": ["A003"]})
PATIENTS, TUNING = 160, 40


@pytest.fixture(scope="module")
def stores_by_future(claims, engine, tmp_path_factory) -> dict[str, TokenStore]:
    """The token store of some claims, and of the same claims with other futures."""
    folder = tmp_path_factory.mktemp("futures")
    rows = claims.random(PATIENTS, seed=11)
    study = claims.study()
    found = {}
    for name, changed in {"as it was": rows, **claims.other_futures(rows)}.items():
        events, people, target = (folder / f"{name}-{part}" for part in ("events", "cohort", "tokens"))
        people.mkdir()
        target.mkdir()
        claims.write(changed, engine, folder / f"{name}.scratch", events)
        cohort.build(study, engine, events, people)
        tokens.build(study, engine, events, people, target)
        found[name] = TokenStore.load(target)
    return found


@pytest.fixture(scope="module")
def weights(stores_by_future, tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("encoder") / "model.safetensors"
    store = stores_by_future["as it was"]
    torch.manual_seed(0)
    save_tensors(file, Encoder(shape_of(store), Codebook.plain(store.vocabulary.types)).state_dict())
    return file


def shape_of(store: TokenStore) -> sizes.Shape:
    return sizes.Shape(store.vocabulary.size, 64, 1, 64, 64)


def inputs(store: TokenStore, kind: str, weights: Path, cutoff: int) -> sparse.csr_matrix:
    rows, days = np.arange(PATIENTS), np.full(PATIENTS, cutoff)
    nothing = np.zeros(0, dtype=np.int32)
    groups = CodeGroups.of(store.vocabulary)
    counted = features.count_features(store, groups, rows, days, nothing)
    if kind == "logistic":
        return features.linear_features(counted, Layout(groups.count))
    if kind == "carry_forward":
        families = carry_forward.families(store.vocabulary, TASK)
        return carry_forward.rule_features(counted, Layout(groups.count), families)
    if kind == "lightgbm":
        return counted
    sequences = select_inputs(store, rows, days, 64, "month", nothing)
    encoder = FrozenEncoder(
        weights, shape_of(store), Codebook.plain(store.vocabulary.types), torch.device("cpu")
    )
    embedded = sparse.csr_matrix(encoder.embed(sequences))
    if kind == "lightgbm_embeddings":
        return embedded
    return sparse.csr_matrix(sparse.hstack([counted, embedded], format="csr"))


def predictions(matrix: sparse.csr_matrix, kind: str, outcome: np.ndarray) -> np.ndarray:
    train, tuning = slice(TUNING, None), slice(TUNING)
    data = Labelled(matrix[train], outcome[train]), Labelled(matrix[tuning], outcome[tuning]), {"all": matrix}
    job = Job(kind, *data, trials=3, seed=5, threads=1, progress=lambda share: None)
    return MODELS.get(kind, gradient_boosting.fit_predict)(job)[0]["all"]


@pytest.mark.parametrize(
    "kind", ["lightgbm", "logistic", "carry_forward", "lightgbm_embeddings", "lightgbm_both"]
)
def test_other_futures_leave_every_bit_as_it_was(claims, stores_by_future, weights, kind: str) -> None:
    one = stores_by_future["as it was"]
    cutoff = claims.landmark_day - 1
    expected = inputs(one, kind, weights, cutoff)
    # Outcomes follow the past, so that there is something to learn.
    signal = features.count_features(
        one, CodeGroups.of(one.vocabulary), np.arange(PATIENTS), np.full(PATIENTS, cutoff), np.zeros(0, int)
    )[:, Layout(CodeGroups.of(one.vocabulary).count).window(3)].sum(axis=1)
    outcome = np.asarray(signal).ravel() > np.median(np.asarray(signal))
    before = predictions(expected, kind, outcome)
    assert len(np.unique(before)) > 10, "the model tells patients apart"
    for name, other in stores_by_future.items():
        if name != "as it was":
            assert len(other.token) != len(one.token) or (other.available != one.available).any(), name
        found = inputs(other, kind, weights, cutoff)
        for array in ("data", "indices", "indptr"):
            np.testing.assert_array_equal(getattr(found, array), getattr(expected, array), err_msg=name)
        np.testing.assert_array_equal(predictions(found, kind, outcome), before, err_msg=name)
