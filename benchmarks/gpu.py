"""Pretraining speed on one GPU at the paper's five sizes, against a matrix product and ModernBERT.

Sequences have lengths as claims do (log-normal, median 120, at most 512), random codes out of 10,000, batches
of 131,072 tokens; whole steps with AdamW in bfloat16. MFU counts floating-point operations without padding
against the best of some large bfloat16 matrix products on the same GPU. ModernBERT runs its own fast path
(`flash-attn` must be installed), batches of similar length, logits at masked positions only. Medians of three
rounds in turns. Prints a table and writes `benchmarks/results/gpu.json`. Run with `make bench NAME=gpu` on a
machine with a GPU; ModernBERT needs `pip install transformers`.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch

import pretrain as cpu
from claimscale.config.training import Pretrain
from claimscale.experiments.throughput import random_token_metadata
from claimscale.model import shapes
from claimscale.tokens.pretraining_inputs import static
from claimscale.training.pretraining_run import PretrainingRun, PretrainingSetup
from record import write_record

SIZES = {"2.2M": 2_200_000, "4.7M": 4_700_000, "11M": 11_000_000, "32M": 32_000_000, "101M": 101_000_000}
GOALS = {"2.2M": 18e6, "4.7M": 9e6, "11M": 5e6, "32M": 2e6, "101M": 0.7e6}
"""Target tokens per second on an H200."""
BATCH_TOKENS, MATRIX = 131_072, 8_192
WARM_UP, STEPS, ROUNDS = 8, 20, 3


def seconds_of(work: Callable[[], object]) -> float:
    torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - started


def peak() -> float:
    """Operations per second of one large bfloat16 matrix product."""
    left, right = (torch.randn(MATRIX, MATRIX, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    return 2 * MATRIX**3 / min(seconds_of(lambda: torch.mm(left, right)) for _ in range(20))


def ours(shape: shapes.Shape) -> tuple[Callable[[], int], PretrainingRun]:
    sequences = cpu.random_sequences(shape.vocabulary, cpu.MEDIAN_LENGTH, patients=40_000)
    settings = Pretrain(batch_tokens=BATCH_TOKENS, epochs=100)
    run = PretrainingRun(
        PretrainingSetup(
            static(sequences), random_token_metadata(shape), shape, settings, 0, torch.device("cuda")
        )
    )
    steps = iter(range(run.steps))
    return lambda: run.step(next(steps))[1], run


def modern_bert(shape: shapes.Shape) -> Callable[[], int]:
    sequences = cpu.random_sequences(shape.vocabulary, cpu.MEDIAN_LENGTH, patients=40_000)
    model = cpu.modern_bert(shape, flash=True).cuda()
    return cpu.peer(model, sequences, None, 0.30, BATCH_TOKENS)


def tokens_per_second(step: Callable[[], int]) -> float:
    tokens = 0

    def steps() -> None:
        nonlocal tokens
        tokens += sum(step() for _ in range(STEPS))

    seconds = seconds_of(steps)
    return tokens / seconds


def compare(name: str, target: int, best: float) -> dict[str, float]:
    shape = shapes.solve(target, cpu.VOCABULARY, 0)
    step, run = ours(shape)
    contenders = {"ours": step}
    try:
        contenders["modern_bert"] = modern_bert(shape)
    except ImportError as error:
        print(f"no ModernBERT: {error}")
    for contender in contenders.values():
        for _ in range(WARM_UP):
            contender()
    rounds = [{key: tokens_per_second(one) for key, one in contenders.items()} for _ in range(ROUNDS)]
    figures = {key: statistics.median(one[key] for one in rounds) for key in contenders}
    mfu = figures["ours"] * run.flops(1, run.setup.settings.mask_probability) / best
    ratio = (
        statistics.median(one["ours"] / one["modern_bert"] for one in rounds) if len(contenders) > 1 else 0
    )
    speed = f"{figures['ours'] / 1e6:6.2f}M tokens/s (goal {GOALS[name] / 1e6:4.1f}M)"
    print(f"{name:>5}  {speed}  MFU {mfu:4.0%}  {ratio:.1f} x ModernBERT", flush=True)
    found = {f"{name}_{key}_tokens_per_second": value for key, value in figures.items()}
    return found | {f"{name}_mfu": mfu, f"{name}_ratio_modern_bert": ratio}


def main() -> None:
    if not torch.cuda.is_available():
        print("gpu: this machine has no GPU that torch can use")
        sys.exit(2)
    best = peak()
    print(f"{torch.cuda.get_device_name()}: {best / 1e12:.0f} TFLOP/s in bfloat16")
    figures = {"matrix_tflops": best / 1e12}
    for name, target in SIZES.items():
        figures |= compare(name, target, best)
        torch.cuda.empty_cache()
    write_record("gpu", figures)


if __name__ == "__main__":
    main()
