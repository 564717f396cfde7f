"""How fast pretraining runs on one CPU thread, beside the machine's own matrix product.

Prints a table and writes `benchmarks/results/pretrain.json`. Run with `make bench NAME=pretrain`.
"""

from __future__ import annotations

import statistics
import time

import numpy as np
import torch

from claimscale.corpus.sequences import FIRST_CODE, Sequences
from claimscale.model import sizes
from claimscale.study import Pretrain
from claimscale.training.pretrain import PretrainingRun
from record import write_record

CASES = [
    # parameters, vocabulary, mean sequence length
    (100_000, 500, 50),
    (200_000, 500, 50),
    (400_000, 500, 50),
    (2_200_000, 10_000, 120),
]
REPEATS = 5
BATCH_TOKENS = 16_384
MATRIX = 1024


def random_sequences(patients: int, vocabulary: int, mean_length: int) -> Sequences:
    """Random codes; lengths spread like those of claims, most short and some long."""
    random = np.random.default_rng(0)
    lengths = np.clip(random.gamma(4, mean_length / 4, patients).astype(np.int64), 6, 512)
    offsets = np.r_[0, np.cumsum(lengths)]
    token = random.integers(FIRST_CODE, vocabulary, offsets[-1]).astype(np.int32)
    token[offsets[:-1]], token[offsets[:-1] + 1] = 1, 3
    return Sequences(token, random.integers(10_000, 30_000, offsets[-1]).astype(np.int32), offsets)


def matrix_flops() -> float:
    """Operations per second of one large single-precision matrix product."""
    left, right = torch.randn(MATRIX, MATRIX), torch.randn(MATRIX, MATRIX)
    seconds = []
    for _ in range(10):
        start = time.perf_counter()
        torch.mm(left, right)
        seconds.append(time.perf_counter() - start)
    return 2 * MATRIX**3 / min(seconds)


def measure(target: int, vocabulary: int, mean_length: int) -> dict[str, float]:
    """Medians over training steps; each step is timed next to a matrix product of its own."""
    sequences = random_sequences(2000, vocabulary, mean_length)
    shape = sizes.solve(target, vocabulary)
    types = np.arange(vocabulary) % sizes.TYPE_COUNT
    settings = Pretrain(batch_tokens=BATCH_TOKENS)
    run = PretrainingRun(sequences, types, shape, settings, 0, torch.device("cpu"))
    run.step(0)
    rates, fractions = [], []
    for step in range(1, REPEATS + 1):
        peak = matrix_flops()
        start = time.perf_counter()
        _, tokens, masked = run.step(step)
        seconds = time.perf_counter() - start
        rates.append(tokens / seconds)
        done = sizes.train_flops(shape, tokens, masked, run.mean_length)
        fractions.append(done / seconds / peak)
    return {
        "parameters": sizes.parameters(shape),
        "tokens_per_second": statistics.median(rates),
        "fraction_of_peak": statistics.median(fractions),
    }


def main() -> None:
    torch.set_num_threads(1)
    figures = {"matrix_gflops": matrix_flops() / 1e9}
    print(f"matrix product: {figures['matrix_gflops']:.0f} GFLOP/s on one thread")
    print(f"{'parameters':>12} {'vocabulary':>11} {'length':>7} {'tokens/s':>9} {'of peak':>8}")
    for target, vocabulary, mean_length in CASES:
        row = measure(target, vocabulary, mean_length)
        print(
            f"{row['parameters']:>12,} {vocabulary:>11,} {mean_length:>7} "
            f"{row['tokens_per_second']:>9,.0f} {row['fraction_of_peak']:>8.0%}"
        )
        figures |= {f"{target}_{key}": value for key, value in row.items()}
    write_record("pretrain", figures)


if __name__ == "__main__":
    main()
