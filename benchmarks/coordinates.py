"""Coordinate check of CompleteP: whether one learning rate suits every size.

Trains encoders of width 64 to 512 and of depth 2 to 32 for ten steps on one batch at the same base learning
rate, and measures how far each step has moved the activations: the residual stream before the final norm and
the logits at masked positions, root mean square of the change. If the parametrisation transfers, the ratio of
the largest to the smallest over all shapes stays near one. The negative control is the standard
parametrisation: the same initial weights, one learning rate for all of them, no multipliers. Writes
`benchmarks/results/coordinates.json`. Run with `make bench NAME=coordinates`.
"""

from __future__ import annotations

from unittest import mock

import numpy as np
import torch
from torch import Tensor

from claimscale.model import completep, encoder as encoders, shapes
from claimscale.model.attention import QueryPositions
from claimscale.tokens.batches import mask_batch, microbatches
from claimscale.tokens.sequences import Sequences
from claimscale.tokens.special_tokens import CLS, FIRST_CODE
from claimscale.tokens.token_metadata import TokenMetadata
from claimscale.training.device import encoder_inputs
from record import write_record

VOCABULARY, STEPS, LEARNING_RATE = 200, 10, 4e-3
WIDTHS, DEPTHS = (64, 128, 256, 512), (2, 4, 8, 16, 32)
SHAPES = [(width, 2) for width in WIDTHS] + [(64, depth) for depth in DEPTHS[1:]] + [(512, 32)]
SEEDS = (0, 1, 2)
PLAIN = {"residual_multiplier": lambda layers: 1.0, "output_multiplier": lambda width: 1.0}


def random_sequences() -> Sequences:
    random = np.random.default_rng(0)
    lengths = random.integers(8, 40, 24)
    offsets = np.r_[0, np.cumsum(lengths)]
    token = random.integers(FIRST_CODE, VOCABULARY, offsets[-1]).astype(np.int32)
    token[offsets[:-1]], token[offsets[:-1] + 1] = CLS, FIRST_CODE - 1
    return Sequences(token, random.integers(20_000, 22_000, offsets[-1]).astype(np.int32), offsets)


def changes(width: int, layers: int, standard: bool, seed: int) -> tuple[float, float]:
    """Root mean square change over all steps of the residual stream and of the logits."""
    torch.manual_seed(seed)
    shape = shapes.Shape(VOCABULARY, width, layers, round(width * 8 / 3 / 8) * 8, width)
    model = encoders.Encoder(shape, TokenMetadata.plain(np.zeros(VOCABULARY)))
    groups = completep.parameter_groups(model, layers, LEARNING_RATE, 0.0)
    if standard:
        groups = [{"params": list(model.parameters()), "lr": LEARNING_RATE, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98))
    stream: list[Tensor] = []
    model.final_norm.register_forward_pre_hook(lambda module, inputs: stream.append(inputs[0].detach()))
    sequences = random_sequences()
    (batch,) = microbatches(sequences, np.arange(len(sequences)), 1 << 20)
    masked = mask_batch(batch, 0.3, 0, 0)
    inputs = encoder_inputs(batch, masked.token, torch.device("cpu"))
    read = QueryPositions.of(masked.position, batch.lengths, torch.device("cpu"))
    target = torch.from_numpy(masked.target)
    logits: list[Tensor] = []
    for _ in range(STEPS + 1):
        hidden = model(inputs, read)
        with torch.no_grad():
            logits.append(model.masked_logits(hidden))
        (model.masked_loss(hidden, target) / len(target)).backward()
        optimizer.step()
        optimizer.zero_grad()
    return tuple(float((found[-1] - found[0]).square().mean().sqrt()) for found in (stream, logits))  # pyright: ignore[reportReturnType]


def measure(standard: bool) -> dict[str, float]:
    """Ratio of the largest change over all shapes to the smallest, of the mean over seeds."""
    found = {}
    for width, layers in SHAPES:
        runs = [changes(width, layers, standard, seed) for seed in SEEDS]
        found[width, layers] = np.mean(runs, axis=0)
        stream, logits = found[width, layers]
        name = "standard" if standard else "CompleteP"
        print(f"{name:<10}{width:>6}{layers:>6}{stream:>10.3f}{logits:>10.3f}")
    table = np.stack(list(found.values()))
    return dict(zip(("stream", "logits"), (table.max(0) / table.min(0)).tolist(), strict=True))


def main() -> None:
    torch.set_num_threads(1)
    print(f"{'':<10}{'width':>6}{'depth':>6}{'stream':>10}{'logits':>10}")
    figures = {f"completep_{name}_ratio": ratio for name, ratio in measure(False).items()}
    with mock.patch.multiple(completep, **PLAIN):
        figures |= {f"standard_{name}_ratio": ratio for name, ratio in measure(True).items()}
    for name, ratio in figures.items():
        print(f"{name}: {ratio:.2f}")
    write_record("coordinates", figures)


if __name__ == "__main__":
    main()
