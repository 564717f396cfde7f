"""The formula of floating-point operations against the operations that torch counts."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from claimscale.model import kernels, shapes
from claimscale.model.attention import QueryPositions
from claimscale.model.classifier import EncoderClassifier
from claimscale.model.encoder import Encoder, IncidentTargets
from claimscale.model.shapes import Shape
from claimscale.tokens.batches import Batch, mask_batch, microbatches
from claimscale.tokens.sequences import Sequences
from claimscale.tokens.token_metadata import TokenMetadata
from claimscale.training.device import cls_positions, encoder_inputs

CPU = torch.device("cpu")
LENGTHS = np.array([40, 40, 40, 90, 90, 160])
FORWARD_TOLERANCE = 0.03
"""Relative: the encoder projects the table of embeddings where it has fewer rows than there are positions."""
TRAINING_TOLERANCE = 0.08
"""Relative: a backward pass counts as two forward passes, but features of time and count need no gradient."""
SHAPES = [
    Shape(900, 128, 3, 336, 128),
    Shape(900, 128, 2, 176, 48),
    Shape(300, 64, 1, 64, 64),
    Shape(600, 192, 2, 512, 64, 50),
]


def _batch(shape: Shape) -> Batch:
    random, offsets = np.random.default_rng(0), np.r_[0, np.cumsum(LENGTHS)]
    token = random.integers(6, shape.vocabulary, offsets[-1]).astype(np.int32)
    token[offsets[:-1]], token[offsets[:-1] + 1] = 1, 3
    sequences = Sequences(token, np.full(len(token), 20_000, np.int32), offsets)
    (batch,) = microbatches(sequences, np.arange(len(LENGTHS)), 1 << 20)
    return batch


def _encoder(shape: Shape) -> Encoder:
    groups = np.arange(shape.vocabulary)[:, None] % max(shape.groups, 1)
    types = np.zeros(shape.vocabulary, np.int8)
    return Encoder(shape, TokenMetadata(types, groups if shape.groups else groups[:, :0]))


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fused kernels compute outside torch, which cannot count them."""
    monkeypatch.setattr(kernels, "is_fused", lambda x: False)


def _counted(compute: Any) -> float:
    # Of all implementations of attention on a CPU torch counts this one only.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        compute()
    return counter.get_total_flops()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("zero_shot", [False, True])
@pytest.mark.usefixtures("plain")
def test_classifier_flops_are_those_that_torch_counts(shape: Shape, zero_shot: bool) -> None:
    outcome = np.array([7, 8]) if zero_shot else None
    model, batch = EncoderClassifier(_encoder(shape), outcome), _batch(shape)
    inputs = encoder_inputs(batch, batch.token, CPU)
    with torch.no_grad():
        counted = _counted(lambda: model(inputs))
    assert shapes.classifier_flops(shape, LENGTHS, zero_shot) == pytest.approx(counted, rel=FORWARD_TOLERANCE)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("incident", [False, True])
@pytest.mark.usefixtures("plain")
def test_pretraining_flops_are_those_that_torch_counts(shape: Shape, incident: bool) -> None:
    """Without kernels the last layer's attention runs at all positions, which the formula leaves out."""
    model, batch = _encoder(shape), _batch(shape)
    masked = mask_batch(batch, 0.3, 0, 0)
    cls = cls_positions(batch) if incident else masked.position[:0]
    queries = QueryPositions.of(np.concatenate((masked.position, cls)), batch.lengths, CPU)
    inputs, whole = (encoder_inputs(batch, token, CPU) for token in (masked.token, batch.token))
    pairs = torch.zeros(2, 0, dtype=torch.long)
    targets = IncidentTargets(pairs, pairs, torch.ones(len(LENGTHS), dtype=torch.bool))

    def train() -> None:
        (hidden, context), masks = model.attend(model.embed(inputs), inputs, queries), len(masked.position)
        loss = model.masked_loss(hidden[:masks], torch.from_numpy(masked.target))
        if incident:
            loss = loss + model.incident_loss(hidden[masks:], context, whole, targets)
        loss.backward()

    tokens, mean_length = float(LENGTHS.sum()), float((LENGTHS**2).sum() / LENGTHS.sum())
    found = shapes.pretraining_flops(
        shape, tokens, len(masked.position), len(cls), mean_length, passes=1
    ) + shapes.TRAINING_PASSES * _query_flops_left_out(
        shape, tokens - len(masked.position) - len(cls), mean_length
    )
    assert found == pytest.approx(_counted(train), rel=TRAINING_TOLERANCE)


def _query_flops_left_out(shape: Shape, positions: float, mean_length: float) -> float:
    """Queries and attention scores of the last layer at positions that nobody reads."""
    return 2.0 * positions * (shape.width**2 + 2 * mean_length * shape.width)
