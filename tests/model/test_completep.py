"""Coordinate check: what training does to activations must not depend on width or depth."""

import numpy as np
import pytest
import torch

from claimscale.model import completep, encoder as encoders, shapes
from claimscale.model.attention import QueryPositions
from claimscale.tokens.batches import Batch, mask_batch, microbatches
from claimscale.tokens.sequences import Sequences
from claimscale.tokens.token_metadata import TokenMetadata
from claimscale.training.device import encoder_inputs

VOCABULARY = 60
SHAPES = [(64, 2), (256, 2), (64, 8), (256, 8)]


def _batch() -> Batch:
    random = np.random.default_rng(0)
    offsets = np.arange(13) * 12
    token = random.integers(6, VOCABULARY, offsets[-1]).astype(np.int32)
    token[offsets[:-1]], token[offsets[:-1] + 1] = 1, 3
    age = np.sort(random.integers(10_000, 20_000, (12, 12)), 1).ravel().astype(np.int32)
    (batch,) = microbatches(Sequences(token, age, offsets), np.arange(12), 1 << 20)
    return batch


def _change_after_training(width: int, layers: int, standard: bool) -> float:
    """Root mean square change of the residual stream before the final norm, over four steps."""
    torch.manual_seed(0)
    shape = shapes.Shape(VOCABULARY, width, layers, round(width * 8 / 3 / 8) * 8, width)
    model = encoders.Encoder(shape, TokenMetadata.plain(np.zeros(VOCABULARY)))
    groups = completep.parameter_groups(model, layers, 4e-3, 0.0)
    if standard:
        groups = [{"params": list(model.parameters()), "lr": 4e-3, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98))
    seen: list[torch.Tensor] = []
    model.final_norm.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    batch = _batch()
    masked = mask_batch(batch, 0.3, 0, 0)
    inputs = encoder_inputs(batch, masked.token, torch.device("cpu"))
    read = QueryPositions.of(masked.position, batch.lengths, torch.device("cpu"))
    target = torch.from_numpy(masked.target)
    for _ in range(5):
        loss = model.masked_loss(model(inputs, read), target) / len(target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float((seen[-1] - seen[0]).square().mean().sqrt())


def _spread(standard: bool, monkeypatch: pytest.MonkeyPatch) -> float:
    with monkeypatch.context() as patch:
        if standard:
            patch.setattr(completep, "residual_multiplier", lambda layers: 1.0)
            patch.setattr(completep, "output_multiplier", lambda width: 1.0)
        changes = [_change_after_training(width, layers, standard) for width, layers in SHAPES]
    return max(changes) / min(changes)


def test_training_moves_activations_alike_at_every_width_and_depth(monkeypatch: pytest.MonkeyPatch):
    complete, standard = _spread(False, monkeypatch), _spread(True, monkeypatch)
    assert complete < 3
    assert standard > 1.5 * complete


def test_the_residual_stream_does_not_grow_with_depth():
    def scale(layers: int) -> float:
        torch.manual_seed(0)
        shape = shapes.Shape(VOCABULARY, 64, layers, 176, 64)
        model = encoders.Encoder(shape, TokenMetadata.plain(np.zeros(VOCABULARY)))
        seen: list[torch.Tensor] = []
        model.final_norm.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
        batch = _batch()
        model(encoder_inputs(batch, batch.token, torch.device("cpu")))
        return float(seen[0].square().mean().sqrt())

    assert scale(24) < 1.1 * scale(2)


def test_every_parameter_is_in_one_group_scaled_by_fan_in():
    shape = shapes.Shape(VOCABULARY, 128, 4, 342, 32)
    model = encoders.Encoder(shape, TokenMetadata.plain(np.zeros(VOCABULARY)))
    groups = completep.parameter_groups(model, 4, 1e-3, 0.1)
    grouped = [id(weight) for group in groups for weight in group["params"]]
    assert sorted(grouped) == sorted(id(weight) for weight in model.parameters())
    rate = {id(weight): group["lr"] for group in groups for weight in group["params"]}
    decay = {
        id(weight): group["weight_decay"] * group["lr"] for group in groups for weight in group["params"]
    }
    block = model.blocks[0]
    assert isinstance(block, encoders.Block)
    assert rate[id(model.token.weight)] == 1e-3
    assert rate[id(block.up.weight)] == 1e-3 / 2
    assert rate[id(block.down.weight)] == 1e-3 / 2
    assert decay[id(block.up.weight)] == pytest.approx(1e-4)  # the same at every width
    assert decay[id(model.masked_head.bias)] == 0
