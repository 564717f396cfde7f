"""Measured training speed: the study's encoders on random sequences, for half a minute."""

from __future__ import annotations

import time

import numpy as np
import torch

from claimscale.config.study import Study, parameter_count
from claimscale.model import shapes
from claimscale.tokens.pretraining_inputs import static
from claimscale.tokens.sequences import Sequences
from claimscale.tokens.special_tokens import FIRST_CODE
from claimscale.tokens.token_metadata import TokenMetadata
from claimscale.training.pretraining_run import PretrainingRun, PretrainingSetup

SECONDS = 30.0
PATIENTS = 2000
BATCH_TOKENS = 8192
"""Smaller than a study's batch: the speed is the same and a step is shorter."""


def flops_per_second(
    study: Study, vocabulary: int, groups: int, tokens_per_patient: float, seconds: float = SECONDS
) -> dict[str, float]:
    """Floating-point operations per second of one worker, by size.

    Each size gets an equal part of the seconds and at least two steps, of which the first is not counted.
    After a size that needs more than its part, larger ones are assumed to be as fast: large matrices are not
    slower per operation.
    """
    device = torch.device("cuda" if torch.cuda.is_available() and study.compute.device != "cpu" else "cpu")
    if device.type == "cpu":
        torch.set_num_threads(1)  # cells run side by side, one to a core
    sequences = _random_sequences(vocabulary, tokens_per_patient)
    found: dict[str, float] = {}
    rate, in_time = 0.0, True
    for name in study.sizes:
        if in_time:
            shape = shapes.solve(parameter_count(name), vocabulary, groups)
            started = time.perf_counter()
            rate = _rate(study, shape, sequences, device, seconds / len(study.sizes))
            in_time = time.perf_counter() - started < 2 * seconds / len(study.sizes)
        found[name] = rate
    return found


def _rate(
    study: Study, shape: shapes.Shape, sequences: Sequences, device: torch.device, seconds: float
) -> float:
    settings = study.pretrain.model_copy(update={"batch_tokens": BATCH_TOKENS, "epochs": 1})
    setup = PretrainingSetup(static(sequences), random_token_metadata(shape), shape, settings, 0, device)
    run = PretrainingRun(setup)
    run.step(0)
    started, done, step = time.perf_counter(), 0.0, 0
    while step == 0 or time.perf_counter() - started < seconds:
        step += 1
        _, tokens, masked = run.step(step % run.steps)
        done += run.flops(tokens, masked)
    return done / (time.perf_counter() - started)


def random_token_metadata(shape: shapes.Shape) -> TokenMetadata:
    """Types and groups assigned in rotation, three groups per token."""
    token = np.arange(shape.vocabulary)
    groups = np.stack([(token + step) % max(shape.groups, 1) for step in range(3)], 1)
    kept = groups if shape.groups else groups[:, :0]
    return TokenMetadata((token % shapes.TYPE_COUNT).astype(np.int8), kept.astype(np.int32))


def _random_sequences(vocabulary: int, mean_length: float) -> Sequences:
    """Random codes; most sequences are short and some long, as in claims."""
    generator = np.random.default_rng(0)
    lengths = np.clip(generator.gamma(4, mean_length / 4, PATIENTS).astype(np.int64), 6, 512)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    token = generator.integers(FIRST_CODE, vocabulary, offsets[-1]).astype(np.int32)
    token[offsets[:-1]], token[offsets[:-1] + 1] = 1, 3
    age_days = generator.integers(10_000, 30_000, offsets[-1]).astype(np.int32)
    return Sequences(token, age_days, offsets)
