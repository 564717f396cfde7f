import numpy as np
import pytest
import torch
from torch import Tensor

from claimscale.model import shapes
from claimscale.model.classifier import EncoderClassifier
from claimscale.model.encoder import Encoder
from claimscale.tokens.batches import microbatches
from claimscale.tokens.sequences import Sequences
from claimscale.tokens.token_metadata import TokenMetadata
from claimscale.training import adapters
from claimscale.training.device import encoder_inputs

CPU = torch.device("cpu")
SHAPE = shapes.Shape(46, 128, 2, 176, 64)


def _model(trained: adapters.FinetuneMethod) -> EncoderClassifier:
    torch.manual_seed(0)
    model = EncoderClassifier(Encoder(SHAPE, TokenMetadata.plain(np.zeros(46))))
    adapters.set_trainable(model, trained)
    return model


def _logits(model: EncoderClassifier, sequences: Sequences) -> Tensor:
    (batch,) = microbatches(sequences, np.arange(len(sequences)), 1 << 20)
    return model(encoder_inputs(batch, batch.token, CPU))


def _take_a_step(model: EncoderClassifier, sequences: Sequences) -> None:
    optimizer = adapters.make_optimizer(model, 1e-2, 0.0, 1.0)
    for _ in range(3):  # at first the readout is zero and so are the gradients of all else
        optimizer.zero_grad()
        (_logits(model, sequences) - 1).square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize("trained", ["lora", "linear_probe"])
def test_the_pretrained_weights_stay_and_the_readout_learns(corpus, trained: adapters.FinetuneMethod):
    sequences, _ = corpus(20, 0)
    before, model = Encoder(SHAPE, TokenMetadata.plain(np.zeros(46))), _model(trained)
    torch.manual_seed(0)
    before = {
        name: weight.clone()
        for name, weight in Encoder(SHAPE, TokenMetadata.plain(np.zeros(46))).state_dict().items()
    }
    _take_a_step(model, sequences)
    kept = {name.replace("parametrizations.weight.original", "weight"): weight
            for name, weight in model.encoder.state_dict().items()}  # fmt: skip
    for name, weight in before.items():
        torch.testing.assert_close(kept[name], weight, rtol=0, atol=0)
    assert model.weight.abs().sum() > 0


def test_adapters_start_at_zero_and_merge_into_plain_weights(corpus):
    sequences, _ = corpus(20, 0)
    plain, model = _model("full"), _model("lora")
    with torch.no_grad():
        for readout in (plain, model):
            readout.weight.fill_(0.1)
        torch.testing.assert_close(_logits(model, sequences), _logits(plain, sequences))
    _take_a_step(model, sequences)
    adapters_of = [
        weight for name, weight in model.named_parameters() if ".parametrizations.weight.0" in name
    ]
    assert len(adapters_of) == 2 * 4 * SHAPE.layers
    assert all(weight.grad is not None for weight in adapters_of)
    with torch.no_grad():
        adapted = _logits(model, sequences)
        assert (adapted - _logits(plain, sequences)).abs().max() > 1e-3
    adapters.merge(model)
    assert model.state_dict().keys() == plain.state_dict().keys()
    fresh = EncoderClassifier(Encoder(SHAPE, TokenMetadata.plain(np.zeros(46))))
    fresh.load_state_dict(model.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(_logits(fresh, sequences), adapted)


def test_adapters_are_few_of_the_weights():
    model = _model("lora")
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    widths = {"queries_keys_values": 4 * 128, "attention_out": 2 * 128, "up": 128 + 352, "down": 128 + 176}
    assert trained == 2 * adapters.RANK * sum(widths.values()) + 3 * 128 + 1


def test_rates_fall_from_the_readout_to_the_embeddings():
    def rates(decay: float) -> dict[str, float]:
        model = _model("full")
        names = {id(weight): name for name, weight in model.named_parameters()}
        groups = adapters.make_optimizer(model, 1e-3, 0.1, decay).param_groups
        found = {names[id(weight)]: group["base_rate"] for group in groups for weight in group["params"]}
        assert len(found) == len(names) and all(group["lr"] == group["base_rate"] for group in groups)
        return found

    level, falling = rates(1.0), rates(0.5)
    shares = {name: falling[name] / level[name] for name in level}
    expected = {
        "weight": 1, "bias": 1, "encoder.final_norm.gain": 1, "encoder.blocks.1.up.weight": 1 / 2,
        "encoder.blocks.1.attention_norm.gain": 1 / 2, "encoder.blocks.0.down.weight": 1 / 4,
        "encoder.token.weight": 1 / 8, "encoder.token_type.weight": 1 / 8, "encoder.time.weight": 1 / 8,
        "encoder.group.weight": 1 / 8, "encoder.up_projection.weight": 1 / 8,
    }  # fmt: skip
    assert {name: shares[name] for name in expected} == pytest.approx(expected)
    assert level["encoder.blocks.0.up.weight"] == 1e-3 / 2  # width 128 is twice the base


def test_adapters_rates_carry_over_to_wider_encoders():
    """What one step changes in a layer's output is of the same size at every width."""

    def change(width: int, ignore_width: bool = False) -> float:
        torch.manual_seed(0)
        model = EncoderClassifier(
            Encoder(shapes.Shape(46, width, 2, 2 * width, 64), TokenMetadata.plain(np.zeros(46)))
        )
        adapters.set_trainable(model, "lora")
        matrix = model.encoder.blocks[0].queries_keys_values
        if ignore_width:
            matrix.parametrizations.weight[0].down.growth = 1.0
        optimizer = adapters.make_optimizer(model, 1e-2, 0.0, 1.0)
        x, target = torch.randn(64, width), torch.randn(64, 3 * width)
        before = matrix(x).detach()
        for _ in range(10):
            optimizer.zero_grad()
            (matrix(x) * target).sum().backward()
            optimizer.step()
        return (matrix(x).detach() - before).square().mean().sqrt().item()

    narrow, wide = change(64), change(512)
    assert 0.5 < wide / narrow < 2
    assert change(512, ignore_width=True) > 2 * narrow
