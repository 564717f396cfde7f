import numpy as np
import pytest
import torch

from claimscale.model import completep
from claimscale.model.classifier import SUM_SCALE, EncoderClassifier
from claimscale.model.encoder import Encoder
from claimscale.tokens.batches import microbatches
from claimscale.tokens.sequences import Sequences
from claimscale.training.checkpoints import save_tensors
from claimscale.training.device import encoder_inputs
from claimscale.training.embeddings import FrozenEncoder

CPU = torch.device("cpu")


@pytest.fixture
def frozen(tmp_path, shape, token_metadata) -> FrozenEncoder:
    torch.manual_seed(3)
    save_tensors(tmp_path / "model.safetensors", Encoder(shape, token_metadata).state_dict())
    return FrozenEncoder(tmp_path / "model.safetensors", shape, token_metadata, CPU)


def some(sequences: Sequences, chosen: list[int]) -> Sequences:
    parts = [slice(sequences.offsets[n], sequences.offsets[n + 1]) for n in chosen]
    lengths = [part.stop - part.start for part in parts]
    token, age_days = (
        np.concatenate([array[part] for part in parts]) for array in (sequences.token, sequences.age_days)
    )
    return Sequences(token, age_days, np.r_[0, np.cumsum(lengths)])


def test_embeddings_are_cls_mean_and_sum_pooling(frozen, corpus, shape):
    sequences, _ = corpus(30, 0)
    found = frozen.embed(sequences)
    assert found.shape == (30, 3 * shape.width) == (30, frozen.width) and found.dtype == np.float32
    (batch,) = microbatches(sequences, np.array([7]), 1)
    inputs = encoder_inputs(batch, batch.token, CPU)
    with torch.no_grad():
        hidden = frozen.encoder(inputs).numpy()
        summed = frozen.encoder.sum_pooling(frozen.encoder.embed(inputs), inputs.layout)[0].numpy()
    assert np.abs(summed).max() > 0
    np.testing.assert_allclose(found[7], np.r_[hidden[0], hidden.mean(0), SUM_SCALE * summed], atol=1e-5)


def test_the_classifier_head_is_linear_in_embeddings(frozen, corpus, shape):
    """Fine-tuning reads nothing else."""
    sequences, _ = corpus(12, 5)
    readout = EncoderClassifier(frozen.encoder)
    torch.nn.init.normal_(readout.weight)
    with torch.no_grad():
        expected = [
            float(readout(encoder_inputs(batch, batch.token, CPU)))
            for number in range(12)
            for batch in microbatches(sequences, np.array([number]), 1)
        ]
    weight = readout.weight.detach().numpy() * completep.output_multiplier(shape.width)
    np.testing.assert_allclose(frozen.embed(sequences) @ weight, expected, rtol=1e-4, atol=1e-4)


def test_an_embedding_does_not_depend_on_other_patients(frozen, corpus):
    sequences, _ = corpus(40, 1)
    order = [31, 2, 17]
    np.testing.assert_allclose(
        frozen.embed(some(sequences, order)), frozen.embed(sequences)[order], atol=1e-5
    )
    np.testing.assert_array_equal(frozen.embed(sequences), frozen.embed(sequences))


def test_the_last_column_is_the_zero_shot_logit(frozen, tmp_path, corpus, shape, token_metadata):
    sequences, _ = corpus(20, 3)
    outcome = np.array([8, 9])
    asked = FrozenEncoder(tmp_path / "model.safetensors", shape, token_metadata, CPU, outcome)
    found = asked.embed(sequences)
    np.testing.assert_array_equal(found[:, :-1], frozen.embed(sequences))
    (batch,) = microbatches(sequences, np.array([5]), 1)
    with torch.no_grad():
        answer = EncoderClassifier(frozen.encoder, outcome)(encoder_inputs(batch, batch.token, CPU))
    np.testing.assert_allclose(found[5, -1], answer, atol=1e-5)


def test_codes_move_embeddings(frozen, corpus):
    sequences, _ = corpus(10, 2)
    token = sequences.token.copy()
    token[sequences.offsets[4] + 3] = 6 + (token[sequences.offsets[4] + 3] - 5) % 40
    before, after = frozen.embed(sequences), frozen.embed(
        Sequences(token, sequences.age_days, sequences.offsets)
    )  # fmt: skip
    changed = np.abs(before - after).max(axis=1) > 1e-6
    assert changed.tolist() == [number == 4 for number in range(10)]
