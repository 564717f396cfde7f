"""Events available after the index date change neither features nor predictions of any baseline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sparse
import torch

from claimscale.baselines import features, gradient_boosting, outcome_history
from claimscale.baselines.features import FeatureColumns
from claimscale.baselines.search import BaselineJob, LabelledFeatures, fit_predict
from claimscale.cohort import selection as cohort
from claimscale.config.tasks import Task
from claimscale.config.training import Finetune
from claimscale.experiments.execute import BASELINE_MODELS
from claimscale.model import shapes
from claimscale.model.encoder import Encoder
from claimscale.tokens import store as tokens
from claimscale.tokens.code_groups import CodeGroups
from claimscale.tokens.sequences import Sequences, select_inputs
from claimscale.tokens.store import TokenStore
from claimscale.tokens.token_metadata import TokenMetadata
from claimscale.training.checkpoints import save_tensors
from claimscale.training.embeddings import FrozenEncoder
from claimscale.training.finetune_trainer import LabelledSequences
from claimscale.training.finetuning import FinetuneJob, finetune
from claimscale.training.initialization import Initialization

TASK = Task(name="some", kind="disease", outcome={"ICD10": ["A003"]})
PATIENTS, TUNING = 160, 40
DEDUPLICATE = "history"
"""As by default: how often a code was seen must not count what came later."""
CPU = torch.device("cpu")


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
    save_tensors(file, Encoder(shape_of(store), codebook_of(store)).state_dict())
    return file


def shape_of(store: TokenStore) -> shapes.Shape:
    return shapes.Shape(store.vocabulary.size, 64, 1, 64, 64)


def codebook_of(store: TokenStore) -> TokenMetadata:
    return TokenMetadata.plain(store.vocabulary.types)


def outcome_tokens(store: TokenStore) -> np.ndarray:
    return store.vocabulary.tokens_with_prefix(TASK.outcome)


def shown(store: TokenStore, rows: np.ndarray, cutoff: int) -> Sequences:
    return select_inputs(store, rows, np.full(len(rows), cutoff), 64, DEDUPLICATE, np.zeros(0, np.int32))


def inputs(store: TokenStore, kind: str, weights: Path, cutoff: int) -> sparse.csr_matrix:
    rows, days = np.arange(PATIENTS), np.full(PATIENTS, cutoff)
    nothing = np.zeros(0, dtype=np.int32)
    groups = CodeGroups.of(store.vocabulary)
    counted = features.count_features(store, groups, rows, days, nothing)
    if kind == "logistic":
        return features.linear_features(counted, FeatureColumns(groups.count))
    if kind == "outcome_history":
        families = outcome_history.families(store.vocabulary, TASK)
        return outcome_history.history_features(counted, FeatureColumns(groups.count), families)
    if kind == "lightgbm":
        return counted
    encoder = FrozenEncoder(weights, shape_of(store), codebook_of(store), CPU, outcome_tokens(store))
    assert encoder.width == 3 * 64 + 1, "the zero-shot logit is a column"
    embedded = sparse.csr_matrix(encoder.embed(shown(store, rows, cutoff)))
    if kind == "lightgbm_embeddings":
        return embedded
    return sparse.csr_matrix(sparse.hstack([counted, embedded], format="csr"))


def predictions(matrix: sparse.csr_matrix, kind: str, outcome: np.ndarray) -> np.ndarray:
    train, tuning = slice(TUNING, None), slice(TUNING)
    data = (
        LabelledFeatures(matrix[train], outcome[train]),
        LabelledFeatures(matrix[tuning], outcome[tuning]),
        {"all": matrix},
    )
    job = BaselineJob(kind, *data, trials=3, seed=5, threads=1, progress=lambda share: None)
    return fit_predict(BASELINE_MODELS.get(kind, gradient_boosting.baseline), job).probabilities["all"]


@pytest.mark.parametrize(
    "kind",
    ["lightgbm", "logistic", "outcome_history", "lightgbm_embeddings", "lightgbm_counts_and_embeddings"],
)
def test_later_events_change_no_bit_of_a_baseline(claims, stores_by_future, weights, kind: str) -> None:
    one = stores_by_future["as it was"]
    cutoff = claims.landmark_day - 1
    expected = inputs(one, kind, weights, cutoff)
    # Outcomes follow the past, so that there is something to learn.
    signal = features.count_features(
        one, CodeGroups.of(one.vocabulary), np.arange(PATIENTS), np.full(PATIENTS, cutoff), np.zeros(0, int)
    )[:, FeatureColumns(CodeGroups.of(one.vocabulary).count).window(3)].sum(axis=1)
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


@pytest.mark.parametrize("start", ["pretrained", "scratch"])
def test_later_events_change_no_bit_of_a_fine_tuned_encoder(
    claims, stores_by_future, weights, tmp_path: Path, start: str
) -> None:
    rows, cutoff, outcome = np.arange(PATIENTS), claims.landmark_day - 1, np.arange(PATIENTS) % 3 == 0

    def tuned(name: str) -> np.ndarray:
        store, folder = stores_by_future[name], tmp_path / name
        folder.mkdir()
        train, tuning, everyone = (
            shown(store, part, cutoff) for part in (rows[TUNING:], rows[:TUNING], rows)
        )
        pretrained = start == "pretrained"
        tokens = outcome_tokens(store) if pretrained else None
        initialization = Initialization(
            shape_of(store), codebook_of(store), weights if pretrained else None, 1, CPU, tokens
        )
        labelled = (
            LabelledSequences(train, outcome[TUNING:]),
            LabelledSequences(tuning, outcome[:TUNING]),
        )
        job = FinetuneJob(*labelled, initialization, Finetune(epochs=1, learning_rates=[1e-3]), folder)
        _, probability = finetune(job, {"all": everyone}, lambda share: None)
        return probability["all"]

    expected = tuned("as it was")
    assert len(np.unique(expected)) > 10, "the model tells patients apart"
    for name in set(stores_by_future) - {"as it was"}:
        np.testing.assert_array_equal(tuned(name), expected, err_msg=name)
