"""A small corpus in which codes predict each other: nine codes in ten belong to the patient's topic."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from claimscale.config.training import Finetune, Pretrain
from claimscale.model import shapes
from claimscale.tokens.incident_codes import CodeLists, IncidentCodes
from claimscale.tokens.pretraining_inputs import EpochSamples, PretrainingSample, static
from claimscale.tokens.sequences import Sequences
from claimscale.tokens.token_metadata import TokenMetadata
from claimscale.training.distributed import current
from claimscale.training.finetune_trainer import LabelledSequences
from claimscale.training.finetuning import FinetuneJob, finetune
from claimscale.training.initialization import Initialization
from claimscale.training.pretraining import PretrainingJob, pretrain
from claimscale.training.pretraining_run import PretrainingRun, PretrainingSetup
from claimscale.training.validation import Validation

TOPICS = 4
CODES_PER_TOPIC = 10
VOCABULARY = 6 + TOPICS * CODES_PER_TOPIC
CPU = torch.device("cpu")
SHAPE = shapes.Shape(VOCABULARY, 64, 1, 64, 64)
TOKEN_METADATA = TokenMetadata.plain(np.r_[[0] * 3, [1] * 3, [2] * (VOCABULARY - 6)].astype(np.int8))
Progress = Callable[[float], None]


def ignore(fraction: float) -> None:
    """Progress that nobody watches."""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def corpus() -> Any:
    return make_corpus


@pytest.fixture(name="next_codes")
def _next_codes() -> Any:
    return next_codes


@pytest.fixture
def samples_of() -> Any:
    return make_samples


@pytest.fixture
def validation_of() -> Any:
    return make_validation


@pytest.fixture
def run_of() -> Any:
    return make_run


@pytest.fixture
def job_of() -> Any:
    return make_job


@pytest.fixture
def tune() -> Any:
    return make_finetuning


@pytest.fixture(name="pretrain_with_checkpoints", scope="session")
def _pretrain_with_checkpoints() -> Any:
    return pretrain_with_checkpoints


@pytest.fixture
def shape() -> shapes.Shape:
    return SHAPE


@pytest.fixture
def token_metadata() -> TokenMetadata:
    return TOKEN_METADATA


def make_corpus(patients: int, seed: int) -> tuple[Sequences, np.ndarray]:
    """Sequences of 8 to 16 codes, and each patient's topic, which gives nine codes in ten."""
    random = np.random.default_rng(seed)
    topic = random.integers(0, TOPICS, patients)
    lengths = random.integers(10, 19, patients)
    offsets = np.r_[0, np.cumsum(lengths)]
    topics = np.where(
        random.random(offsets[-1]) < 0.9, np.repeat(topic, lengths), random.integers(0, TOPICS, offsets[-1])
    )
    token = 6 + topics * CODES_PER_TOPIC + random.integers(0, CODES_PER_TOPIC, offsets[-1])
    token[offsets[:-1]], token[offsets[:-1] + 1] = 1, 3
    age = 20_000 + random.integers(0, 1000, offsets[-1])
    return Sequences(token.astype(np.int32), age.astype(np.int32), offsets), topic


def next_codes(sequences: Sequences, topic: np.ndarray, seed: int) -> IncidentCodes:
    """Three codes of each patient's topic come next; one patient in five has no full horizon."""
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


def make_samples(patients: int, seed: int, incident: bool) -> EpochSamples:
    """The corpus for pretraining: complete in every epoch, or with `incident` as by default.

    By default each epoch has another part of each record, and the codes that are incident after it.
    """
    whole, topic = make_corpus(patients, seed)
    if not incident:
        return static(whole)

    @cache
    def sample(epoch: int) -> PretrainingSample:
        random = np.random.default_rng([seed, epoch])
        place = np.arange(len(whole.token)) - np.repeat(whole.offsets[:-1], whole.lengths)
        shown = place < np.repeat(random.integers(4, whole.lengths + 1), whole.lengths)
        offsets = np.r_[0, np.cumsum(shown)][whole.offsets]
        known = Sequences(whole.token[shown], whole.age_days[shown], offsets)
        return PretrainingSample(known, next_codes(known, topic, epoch))

    return sample


def make_validation(patients: int, seed: int, incident: bool) -> Validation:
    if incident:
        return Validation(make_samples(patients, seed, True)(0))
    return Validation(PretrainingSample(make_corpus(patients, seed)[0]))


def make_run(
    samples: EpochSamples, settings: Pretrain, seed: int = 1, metadata: TokenMetadata = TOKEN_METADATA
) -> PretrainingRun:
    return PretrainingRun(PretrainingSetup(samples, metadata, SHAPE, settings, seed, CPU))


def make_job(
    folder: Path, samples: EpochSamples, validation: Validation, settings: Pretrain, seed: int = 1
) -> PretrainingJob:
    folder.mkdir(exist_ok=True)
    setup = PretrainingSetup(samples, TOKEN_METADATA, SHAPE, settings, seed, CPU, current())
    return PretrainingJob(setup, validation, folder)


def make_finetuning(
    folder: Path,
    train: tuple[Sequences, np.ndarray],
    tuning: tuple[Sequences, np.ndarray],
    predict: dict[str, Sequences],
    *,
    seed: int = 1,
    weights: Path | None = None,
    outcome_tokens: np.ndarray | None = None,
    progress: Progress = ignore,
    **settings: Any,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Fine-tune on sequences and their outcomes, bool."""
    folder.mkdir(exist_ok=True)
    initialization = Initialization(SHAPE, TOKEN_METADATA, weights, seed, CPU, outcome_tokens)
    chosen = Finetune(initialization=["pretrained"], **settings)
    labelled = LabelledSequences(*train), LabelledSequences(*tuning)
    return finetune(FinetuneJob(*labelled, initialization, chosen, folder), predict, progress)


def pretrain_with_checkpoints(
    folder: Path,
    progress: Progress,
    seed: int = 7,
    patients: int = 120,
    incident: bool = False,
    **settings: Any,
) -> dict[str, Any]:
    """A short pretraining, the same for a seed, with a checkpoint after every step.

    It predicts masked codes alone, or with `incident` incident codes too, as by default.
    """
    settings = {"epochs": 5, "batch_tokens": 400, "checkpoint_minutes": 1e-6, **settings}
    samples, validation = make_samples(patients, 0, incident), make_validation(50, 1, incident)
    return pretrain(make_job(folder, samples, validation, Pretrain(**settings), seed), progress)
