"""A small corpus in which codes explain each other: every patient has a topic that draws its codes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from claimscale.corpus.codebook import Codebook
from claimscale.corpus.sequences import Sequences
from claimscale.corpus.views import still
from claimscale.model import sizes
from claimscale.study import Pretrain
from claimscale.training import pretrain as pretraining
from claimscale.training.job import Job
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


@pytest.fixture(name="pretrain_with_checkpoints", scope="session")
def _pretrain_with_checkpoints():
    return pretrain_with_checkpoints


@pytest.fixture
def shape() -> sizes.Shape:
    return sizes.Shape(VOCABULARY, 64, 1, 64, 64)


@pytest.fixture
def codebook() -> Codebook:
    return Codebook.plain(np.r_[[0] * 3, [1] * 3, [2] * (VOCABULARY - 6)].astype(np.int8))


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


def pretrain_with_checkpoints(
    folder: Path, progress: Callable[[float], None], seed: int = 7, patients: int = 120, **settings: Any
) -> dict[str, Any]:
    """A short pretraining, always the same for a seed, that saves a checkpoint after every step."""
    job = Job(
        still(make_corpus(patients, 0)[0]),
        Validation(make_corpus(50, 1)[0]),
        Codebook.plain(np.zeros(VOCABULARY, np.int8)),
        sizes.Shape(VOCABULARY, 64, 1, 64, 64),
        seed,
        folder,
        torch.device("cpu"),
    )
    settings = {"epochs": 5, "batch_tokens": 400, "checkpoint_minutes": 1e-6, **settings}
    return pretraining.pretrain(job, Pretrain(**settings), progress)
