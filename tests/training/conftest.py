"""A small corpus in which codes explain each other: every patient has a topic that draws its codes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from claimscale.config.training import Pretrain
from claimscale.model import shapes
from claimscale.tokens.incident_codes import CodeLists, IncidentCodes
from claimscale.tokens.pretraining_inputs import EpochSamples, PretrainingSample, static
from claimscale.tokens.sequences import Sequences
from claimscale.tokens.token_metadata import TokenMetadata
from claimscale.training import pretrain as pretraining
from claimscale.training.pretraining_job import Job
from claimscale.training.validation import Validation

TOPICS = 4
CODES_PER_TOPIC = 10
VOCABULARY = 6 + TOPICS * CODES_PER_TOPIC


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def corpus():
    return make_corpus


@pytest.fixture(name="next_codes")
def _next_codes():
    return next_codes


@pytest.fixture
def views_of():
    return make_views


@pytest.fixture
def validation_of():
    return make_validation


@pytest.fixture(name="pretrain_with_checkpoints", scope="session")
def _pretrain_with_checkpoints():
    return pretrain_with_checkpoints


@pytest.fixture
def shape() -> shapes.Shape:
    return shapes.Shape(VOCABULARY, 64, 1, 64, 64)


@pytest.fixture
def token_metadata() -> TokenMetadata:
    return TokenMetadata.plain(np.r_[[0] * 3, [1] * 3, [2] * (VOCABULARY - 6)].astype(np.int8))


def make_corpus(patients: int, seed: int) -> tuple[Sequences, np.ndarray]:
    """Sequences of 8 to 16 codes, and each patient's topic, which gives nine codes in ten."""
    random = np.random.default_rng(seed)
    topic = random.integers(0, TOPICS, patients)
    lengths = random.integers(10, 19, patients)
    offsets = np.r_[0, np.cumsum(lengths)]
    drawn = np.where(
        random.random(offsets[-1]) < 0.9, np.repeat(topic, lengths), random.integers(0, TOPICS, offsets[-1])
    )
    token = 6 + drawn * CODES_PER_TOPIC + random.integers(0, CODES_PER_TOPIC, offsets[-1])
    token[offsets[:-1]], token[offsets[:-1] + 1] = 1, 3
    age = 20_000 + random.integers(0, 1000, offsets[-1])
    return Sequences(token.astype(np.int32), age.astype(np.int32), offsets), topic


def next_codes(sequences: Sequences, topic: np.ndarray, seed: int) -> IncidentCodes:
    """Three codes of each patient's topic come next; one patient in five is not has_full_horizon."""
    random = np.random.default_rng(seed)
    has_full_horizon, known, new = random.random(len(topic)) < 0.8, [], []
    for number, subject in enumerate(topic):
        own = sequences.token[sequences.offsets[number] + 2 : sequences.offsets[number + 1]]
        known.append(np.unique(own))
        codes = 6 + CODES_PER_TOPIC * subject + random.permutation(CODES_PER_TOPIC)
        new.append(codes[~np.isin(codes, own)][: 3 * has_full_horizon[number]])
    return IncidentCodes(has_full_horizon, _lists(new), _lists(known))


def _lists(parts: list[np.ndarray]) -> CodeLists:
    return CodeLists(np.concatenate(parts).astype(np.int32), np.r_[0, np.cumsum([len(p) for p in parts])])


def make_views(patients: int, seed: int, incident: bool) -> EpochSamples:
    """What a pretraining sees of the corpus: always all, or as by default.

    By default that is another part of each record in each epoch, and codes that come next.
    """
    whole, topic = make_corpus(patients, seed)
    if not incident:
        return static(whole)

    def view(epoch: int) -> PretrainingSample:
        random = np.random.default_rng([seed, epoch])
        place = np.arange(len(whole.token)) - np.repeat(whole.offsets[:-1], whole.lengths)
        shown = place < np.repeat(random.integers(4, whole.lengths + 1), whole.lengths)
        offsets = np.r_[0, np.cumsum(shown)][whole.offsets]
        known = Sequences(whole.token[shown], whole.age_days[shown], offsets)
        return PretrainingSample(known, next_codes(known, topic, epoch))

    return view


def make_validation(patients: int, seed: int, incident: bool) -> Validation:
    return Validation(
        make_corpus(patients, seed)[0], make_views(patients, seed, True)(0) if incident else None
    )


def pretrain_with_checkpoints(
    folder: Path,
    progress: Callable[[float], None],
    seed: int = 7,
    patients: int = 120,
    incident: bool = False,
    **settings: Any,
) -> dict[str, Any]:
    """A short pretraining, always the same for a seed, that saves a checkpoint after every step.

    On masked codes alone, or with `incident` as by default.
    """
    job = Job(
        make_views(patients, 0, incident),
        make_validation(50, 1, incident),
        TokenMetadata.plain(np.zeros(VOCABULARY, np.int8)),
        shapes.Shape(VOCABULARY, 64, 1, 64, 64),
        seed,
        folder,
        torch.device("cpu"),
    )
    settings = {"epochs": 5, "batch_tokens": 400, "checkpoint_minutes": 1e-6, **settings}
    return pretraining.pretrain(job, Pretrain(**settings), progress)
