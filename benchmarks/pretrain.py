"""Pretraining speed on a CPU, against a matrix product and two Hugging Face models.

Sequences have lengths as claims do (log-normal, median 120, at most 512) and random codes out of 10,000. All
contenders have the same width, depth, heads and, within a few per cent, parameters; all train on whole steps
(forward, backward, AdamW) in turns, one thread each, and are counted in tokens that are not padding:

* claimscale, as `claimscale pretrain` runs it;
* BERT, its usual recipe: every sequence padded to 512, 15 % masked, logits at all positions;
* ModernBERT, its fastest way on a CPU: batches of similar length, 30 % masked, logits only at these.

Also: two threads against one, and the share of the peak, which is a matrix product of 1024 x 1024 timed right
before each step. Prints a table and writes `benchmarks/results/pretrain.json`. Run with
`make bench NAME=pretrain`; without transformers installed (`pip install transformers`) only claimscale runs.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from claimscale.config.training import Pretrain
from claimscale.experiments import malloc
from claimscale.experiments.throughput import random_token_metadata
from claimscale.model import shapes
from claimscale.tokens.batches import microbatches
from claimscale.tokens.pretraining_inputs import static
from claimscale.tokens.sequences import Sequences
from claimscale.tokens.special_tokens import CLS, FIRST_CODE, MASK, PAD
from claimscale.training.pretraining_run import PretrainingRun, PretrainingSetup
from record import write_record

VOCABULARY, PATIENTS, LONGEST = 10_000, 4_000, 512
MEDIAN_LENGTH, SPREAD = 120, 0.8
SIZES = {"2.2M": 2_200_000, "11M": 11_000_000}
SMALL = {"0.1M": 100_000, "0.4M": 400_000}
SMALL_VOCABULARY, SMALL_MEDIAN = 500, 50
ROUNDS, BATCH_TOKENS, MATRIX = 7, 16_384, 1024
PEER_POSITIONS = 4_096
"""Positions of a peer's step: small enough to stay in cache, which suits it best on this machine."""
Step = Callable[[], int]
"""Trains one step; returns its tokens that are not padding."""


def random_sequences(vocabulary: int, median_length: int, patients: int = PATIENTS) -> Sequences:
    random = np.random.default_rng(0)
    lengths = np.exp(random.normal(np.log(median_length), SPREAD, patients)).astype(np.int64).clip(6, LONGEST)
    offsets = np.r_[0, np.cumsum(lengths)]
    token = random.integers(FIRST_CODE, vocabulary, offsets[-1]).astype(np.int32)
    token[offsets[:-1]], token[offsets[:-1] + 1] = CLS, FIRST_CODE - 1
    age_days = random.integers(10_000, 30_000, offsets[-1]).astype(np.int32)
    return Sequences(token, age_days, offsets)


def seconds_of(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def peak() -> float:
    """Operations per second of one large single-precision matrix product on one thread."""
    left, right = torch.randn(MATRIX, MATRIX), torch.randn(MATRIX, MATRIX)
    return 2 * MATRIX**3 / min(seconds_of(lambda: torch.mm(left, right)) for _ in range(8))


def ours(shape: shapes.Shape, sequences: Sequences, threads: int) -> tuple[Step, PretrainingRun]:
    settings = Pretrain(batch_tokens=BATCH_TOKENS)
    run = PretrainingRun(
        PretrainingSetup(
            static(sequences), random_token_metadata(shape), shape, settings, 0, torch.device("cpu")
        )
    )
    steps = iter(range(run.steps))

    def step() -> int:
        torch.set_num_threads(threads)
        tokens = run.step(next(steps))[1]
        torch.set_num_threads(1)
        return tokens

    return step, run


def padded_batches(
    sequences: Sequences, length: int | None, positions: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Tokens [B, S] and true where they are not padding; S is `length`, or the longest of similar ones."""
    order = np.random.default_rng(1).permutation(len(sequences))
    if length is None:
        pieces = [batch.index for batch in microbatches(sequences, order, positions)]
    else:
        pieces = list(order[: len(order) // 8 * 8].reshape(-1, positions // length))
    for piece in (pieces[n] for n in np.random.default_rng(2).permutation(len(pieces))):
        lengths = sequences.lengths[piece]
        within = np.arange(length or int(lengths.max()))
        keep = within < lengths[:, None]
        source = np.where(keep, sequences.offsets[piece][:, None] + within, 0)
        yield torch.from_numpy(np.where(keep, sequences.token[source], PAD)).long(), torch.from_numpy(keep)


def peer(
    model: Any, sequences: Sequences, length: int | None, mask: float, positions: int = PEER_POSITIONS
) -> Step:
    """Steps of a Hugging Face masked language model, over about as many tokens as a step of ours."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    device = next(model.parameters()).device
    batches = itertools.chain.from_iterable(
        padded_batches(sequences, length, positions) for _ in itertools.count()
    )
    random = torch.Generator().manual_seed(0)

    def step() -> int:
        token, keep = next(batches)
        hidden = keep & (token >= FIRST_CODE) & (torch.rand(token.shape, generator=random) < mask)
        labels = torch.where(hidden, token, -100)
        inputs = torch.where(hidden, MASK, token)
        tensors = (tensor.to(device, non_blocking=True) for tensor in (inputs, keep.long(), labels))
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            loss = model(**dict(zip(("input_ids", "attention_mask", "labels"), tensors, strict=True))).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return int(keep.sum())

    return step


def transformers() -> Any:
    """Hugging Face's library: a peer, never a dependency, so types are checked without it."""
    return importlib.import_module("transformers")


def bert(shape: shapes.Shape) -> Any:
    peers = transformers()
    return peers.BertForMaskedLM(
        peers.BertConfig(
            vocab_size=shape.vocabulary, hidden_size=shape.width, num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads, intermediate_size=3 * shape.feed_forward // 2,
            max_position_embeddings=LONGEST, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        )
    )  # fmt: skip


def modern_bert(shape: shapes.Shape, flash: bool = False) -> Any:
    peers = transformers()
    config: dict[str, Any] = {"attn_implementation": "flash_attention_2" if flash else "sdpa"}
    return peers.ModernBertForMaskedLM(
        peers.ModernBertConfig(
            vocab_size=shape.vocabulary, hidden_size=shape.width, num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads, intermediate_size=shape.feed_forward, sparse_prediction=True,
            max_position_embeddings=LONGEST, pad_token_id=PAD, **config,
            bos_token_id=CLS, eos_token_id=CLS, cls_token_id=CLS, sep_token_id=CLS,
        )
    )  # fmt: skip


def rate(step: Step, least_tokens: int = BATCH_TOKENS // 2) -> float:
    """Tokens per second over whole steps that have at least so many tokens."""
    tokens, started = 0, time.perf_counter()
    while tokens < least_tokens:
        tokens += step()
    return tokens / (time.perf_counter() - started)


def compare(name: str, target: int, vocabulary: int, median: int, peers: bool) -> dict[str, float]:
    """All contenders of one size in turns; medians of the rates, and of their ratios in each round."""
    sequences, shape = random_sequences(vocabulary, median), shapes.solve(target, vocabulary, 0)
    step, run = ours(shape, sequences, threads=1)
    contenders = {"ours": step, "two_threads": ours(shape, sequences, threads=2)[0]}
    if peers:
        contenders["bert"] = peer(bert(shape), sequences, LONGEST, 0.15)
        contenders["modern_bert"] = peer(modern_bert(shape), sequences, None, 0.30)
    flops_per_token = run.flops(1, run.setup.settings.mask_probability)
    found: dict[str, list[float]] = {key: [] for key in (*contenders, "share")}
    for contender in contenders.values():
        contender()
    for _ in range(ROUNDS):
        best = peak()
        for key, contender in contenders.items():
            found[key].append(rate(contender))
        found["share"].append(found["ours"][-1] * flops_per_token / best)
    figures = {"parameters": float(shapes.parameters(shape))}
    figures |= {f"{key}_tokens_per_second": statistics.median(found[key]) for key in contenders}
    figures["share_of_peak"] = statistics.median(found["share"])
    for key in contenders:
        if key != "ours":
            sign = -1 if key == "two_threads" else 1
            ratios = [(a / b) ** sign for a, b in zip(found["ours"], found[key], strict=True)]
            figures[f"ratio_{key}"] = statistics.median(ratios)
    text = "  ".join(f"{key} {value:,.2f}" for key, value in figures.items())
    print(f"{name}: {text}", flush=True)
    return {f"{name}_{key}": value for key, value in figures.items()}


def main() -> None:
    if malloc.VARIABLE not in os.environ:  # all contenders alike get what claimscale gives its workers
        malloc.prepare_workers()
        os.execv(sys.executable, sys.orig_argv)
    torch.set_num_threads(1)
    figures = {"matrix_gflops": peak() / 1e9}
    print(f"matrix product: {figures['matrix_gflops']:.0f} GFLOP/s on one thread")
    peers = importlib.util.find_spec("transformers") is not None
    if not peers:
        print("transformers is not installed: no peers")
    for name, target in SMALL.items():
        figures |= compare(name, target, SMALL_VOCABULARY, SMALL_MEDIAN, peers=False)
    for name, target in SIZES.items():
        figures |= compare(name, target, VOCABULARY, MEDIAN_LENGTH, peers)
    write_record("pretrain", figures)


if __name__ == "__main__":
    main()
