"""How fast the CPU prepares the batches of a GPU: epochs at random dates, then packed microbatches.

A made-up token store: 40,000 patients with 412 events on average in ten years, of which 60 tokens are shown
at a random date. `one_thread` does epoch and steps one after the other. `ahead` is what a GPU gets: the
next epoch on two threads, while the steps of this one are packed on a third. Medians of rounds in turns, in
tokens per second. Nothing runs on a GPU. Prints a table and writes `benchmarks/results/host_pipeline.json`.
Run with `make bench NAME=host_pipeline`.
"""

from __future__ import annotations

import statistics
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from claimscale.config.training import Pretrain, Tokens
from claimscale.tokens.batches import Batches, mask_batch
from claimscale.tokens.pretraining_inputs import EpochSamples, PatientHistories
from claimscale.tokens.store import TokenStore
from claimscale.training.packed import PackedMicrobatch
from claimscale.training.prefetch import Prefetch
from record import write_record

PATIENTS, VOCABULARY, MEDIAN_EVENTS = 40_000, 10_000, 300
FIRST_DAY, DAYS, AGE_DAYS = 14_000, 4_000, 26_000
REPEATED = 0.6
"""Events that repeat an earlier code of the patient."""
BATCH_TOKENS, ROUNDS, EPOCHS = 131_072, 3, 3
CPU = torch.device("cpu")


def made_up_store() -> TokenStore:
    random = np.random.default_rng(0)
    lengths = np.exp(random.normal(np.log(MEDIAN_EVENTS), 0.8, PATIENTS)).astype(np.int64).clip(10, 3_000)
    offsets = np.r_[0, np.cumsum(lengths)]
    events, first = int(offsets[-1]), np.repeat(offsets[:-1], lengths)
    frequency = 1 / np.arange(1, VOCABULARY - 5)
    token = (6 + random.choice(VOCABULARY - 6, events, p=frequency / frequency.sum())).astype(np.uint16)
    earlier = first + (random.random(events) * (np.arange(events) - first)).astype(np.int64)
    repeats = random.random(events) < REPEATED
    for _ in range(3):
        token = np.where(repeats, token[earlier], token)
    patient = np.repeat(np.arange(PATIENTS), lengths)
    day = random.integers(FIRST_DAY, FIRST_DAY + DAYS, events)
    day = np.sort(day + patient * 100_000) % 100_000  # ascending within each patient
    birth = np.full(PATIENTS, FIRST_DAY - AGE_DAYS, np.int32)
    age = (day - birth[patient]).astype(np.int32)
    sex, visit = np.full(PATIENTS, 3, np.int32), np.zeros(1, np.int32)
    vocabulary: Any = SimpleNamespace(size=VOCABULARY)
    subjects = np.arange(PATIENTS)
    return TokenStore(subjects, offsets, token, age, visit, day.astype(np.int32), birth, sex, vocabulary)


def tokens_per_second(samples: EpochSamples, ahead: bool) -> float:
    """Prepare all steps of some epochs after the first."""
    batches = Batches(lambda epoch: samples(epoch).sequences, BATCH_TOKENS, 0, microbatch_tokens=1 << 20)
    steps = batches.steps_per_epoch

    def prepare(step: int) -> int:
        codes = samples(step // steps).incident
        microbatches = [(batch, mask_batch(batch, 0.3, 0, step)) for batch in batches.microbatches(step)]
        for one in microbatches:
            PackedMicrobatch.of(*one, codes, CPU)
        return sum(len(batch.token) for batch, _ in microbatches)

    step_of = Prefetch(prepare, EPOCHS * steps) if ahead else prepare
    step_of(0)
    started = time.perf_counter()
    tokens = sum(step_of(step) for step in range(steps, EPOCHS * steps))
    return tokens / (time.perf_counter() - started)


def main() -> None:
    histories = PatientHistories(made_up_store(), np.arange(PATIENTS), FIRST_DAY + DAYS - 100, Tokens())
    found: dict[str, list[float]] = {"one_thread": [], "ahead": []}
    for number in range(ROUNDS + 1):
        one, several = histories.dated(Pretrain(), number), histories.dated(Pretrain(), number)
        rates = {
            "one_thread": tokens_per_second(one, ahead=False),
            "ahead": tokens_per_second(Prefetch(several.parallel(2), EPOCHS), ahead=True),
        }
        if number:  # the first compiles
            for name, rate in rates.items():
                found[name].append(rate)
    figures = {f"{name}_tokens_per_second": statistics.median(rates) for name, rates in found.items()}
    figures["ratio"] = statistics.median(
        several / one for one, several in zip(found["one_thread"], found["ahead"], strict=True)
    )
    for name, value in figures.items():
        print(f"{name}: {value:,.2f}")
    write_record("host_pipeline", figures)


if __name__ == "__main__":
    main()
