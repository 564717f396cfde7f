"""Steps of pretraining over a CUDA library that computes nothing: prints what they ask of the GPU, as JSON.

Usage: count_steps.py LIBRARY SIZE...; a size is width, layers and feed-forward, `128x2x320`.
"""

from __future__ import annotations

import collections
import ctypes
import json
import sys
import time
from typing import Any

import numpy as np
import torch

from claimscale.config.training import Pretrain
from claimscale.experiments.throughput import random_token_metadata
from claimscale.model import shapes
from claimscale.tokens.incident_codes import CodeLists, IncidentCodes
from claimscale.tokens.pretraining_inputs import PretrainingSample
from claimscale.tokens.sequences import Sequences
from claimscale.training.pretraining_run import PretrainingRun, PretrainingSetup

VOCABULARY, GROUPS, EMBEDDING = 1_000, 50, 64
PATIENTS, BATCH_TOKENS = 3_000, 60_000
WARM_UP, COUNTED = 3, 6


class Counters:
    """The counters of the library; `seen` has its reports of waits and copies while it traces."""

    def __init__(self, library: str) -> None:
        self.seen: collections.Counter[str] = collections.Counter()
        self._library = ctypes.CDLL(library)
        self._library.fake_counter.restype = ctypes.c_long
        kind = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p)
        self._hook = kind(self._report)  # kept: the library holds a pointer to it
        self._library.fake_hook(self._hook)

    def _report(self, kind: bytes, name: bytes) -> None:
        if kind == b"sync" or b"pageable" in name:
            self.seen[f"{kind.decode()} {name.decode()}"] += 1

    def of(self, run: PretrainingRun, steps: range) -> dict[str, Any]:
        self._library.fake_reset()
        self.seen.clear()
        self._library.fake_trace(1)
        started, cpu = time.perf_counter(), time.thread_time()
        for step in steps:
            run.step(step)
        seconds, cpu = time.perf_counter() - started, time.thread_time() - cpu
        self._library.fake_trace(0)
        return {
            "launches": self._library.fake_counter(0) / len(steps),
            "waits": self._library.fake_counter(1),
            "seen": dict(self.seen),
            "milliseconds": 1e3 * seconds / len(steps),
            "thread_milliseconds": 1e3 * cpu / len(steps),
        }


def sample(patients: int, vocabulary: int) -> PretrainingSample:
    """Random sequences and random incident codes."""
    random = np.random.default_rng(0)
    lengths = np.exp(random.normal(np.log(120), 0.8, patients)).astype(np.int64).clip(6, 512)
    offsets = np.r_[0, np.cumsum(lengths)]
    token = random.integers(6, vocabulary, offsets[-1]).astype(np.int32)
    token[offsets[:-1]], token[offsets[:-1] + 1] = 1, 3
    age_days = random.integers(10_000, 30_000, offsets[-1]).astype(np.int32)

    def lists(mean: float) -> CodeLists:
        ends = np.r_[0, np.cumsum(random.poisson(mean, patients))]
        return CodeLists(random.integers(6, vocabulary, ends[-1]).astype(np.int32), ends)

    incident = IncidentCodes(random.random(patients) < 0.9, lists(20), lists(60))
    return PretrainingSample(Sequences(token, age_days, offsets), incident)


def count(shape: shapes.Shape, counters: Counters, patients: int, batch_tokens: int) -> dict[str, Any]:
    data, settings = sample(patients, shape.vocabulary), Pretrain(batch_tokens=batch_tokens, epochs=100)
    torch.cuda.reset_peak_memory_stats()
    torch.cuda.empty_cache()
    run = PretrainingRun(
        PretrainingSetup(
            lambda epoch: data, random_token_metadata(shape), shape, settings, 0, torch.device("cuda")
        )
    )
    for step in range(WARM_UP):
        run.step(step)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    found = counters.of(run, range(WARM_UP, WARM_UP + COUNTED))
    compiled = {} if run.compiled is None else run.compiled.entry()
    memory = {"used": torch.cuda.max_memory_allocated(), "reserved": torch.cuda.max_memory_reserved()}
    return {**found, **compiled, **memory, "microbatch": run.batches.microbatch_tokens}


def main(library: str, sizes: list[str]) -> None:
    counters, found = Counters(library), {}
    for size in sizes:
        width, layers, feed_forward = (int(number) for number in size.split("x"))
        shape = shapes.Shape(VOCABULARY, width, layers, feed_forward, EMBEDDING, GROUPS)
        found[size] = count(shape, counters, PATIENTS, BATCH_TOKENS)
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
