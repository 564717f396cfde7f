"""The initial logit of the classifier."""

import numpy as np
import pytest
import torch

from claimscale.model import shapes
from claimscale.model.classifier import EncoderClassifier, any_incident
from claimscale.model.encoder import Encoder
from claimscale.tokens.batches import microbatches
from claimscale.tokens.sequences import Sequences
from claimscale.tokens.token_metadata import TokenMetadata
from claimscale.training.device import encoder_inputs

VOCABULARY = 12
CPU = torch.device("cpu")


def _inputs():
    token = np.array([1, 3, 6, 7, 1, 4, 8, 9, 10], np.int32)
    sequences = Sequences(token, np.full(9, 20_000, np.int32), np.array([0, 4, 9]))
    (batch,) = microbatches(sequences, np.arange(2), 100)
    return encoder_inputs(batch, batch.token, CPU)


def _encoder() -> Encoder:
    torch.manual_seed(3)
    encoder = Encoder(shapes.Shape(VOCABULARY, 64, 1, 64, 64), TokenMetadata.plain(np.zeros(VOCABULARY)))
    torch.nn.init.normal_(encoder.incident_head.bias)
    return encoder


@pytest.mark.parametrize("logits", [[[0.3, -2.0, 1.1]], [[-9.0, -7.5]], [[4.0, 5.0, 6.0, 7.0]], [[-1.0]]])
def test_any_incident_is_the_complement_of_none(logits) -> None:
    probability = 1 / (1 + np.exp(-np.array(logits, np.float64)))
    none = np.prod(1 - probability, axis=1)
    found = any_incident(torch.tensor(logits))
    np.testing.assert_allclose(found, np.log((1 - none) / none), rtol=1e-3)


def test_extreme_logits_stay_finite() -> None:
    found = any_incident(torch.tensor([[-80.0, -90.0], [80.0, 90.0]], requires_grad=True))
    assert found.isfinite().all() and found[0] < -25 and found[1] > 25
    found.sum().backward()


def test_the_initial_logit_is_the_zero_shot_prediction() -> None:
    encoder, inputs = _encoder(), _inputs()
    with torch.no_grad():
        first = encoder(inputs)[inputs.layout.bounds[:-1].long()]
        x_Td = encoder.embed(inputs)
        sums = encoder.record_sums(x_Td, encoder.attend(x_Td, inputs).context, inputs.layout)
        expected = any_incident(encoder.incident_logits(first, sums, inputs)[:, [7, 9]])
        assert torch.allclose(EncoderClassifier(encoder, np.array([7, 9]))(inputs), expected, atol=1e-5)
        assert not EncoderClassifier(encoder)(inputs).any(), "without tokens there is no zero-shot prediction"
    assert not EncoderClassifier(encoder, np.zeros(0, np.int32)).has_zero_shot
