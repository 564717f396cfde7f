"""Speed of scoring by encoders of three sizes: patients per second, and the time of one patient.

The weights are random. The patients are those of a run with at least 110 tokens of 120. What is timed is the
encoder, its classifier and the zero-shot logit; reading claims is not included.

Prints a table and writes `benchmarks/results/scoring.json`. Run `scoring.py RUN` with a run directory.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import torch

from claimscale.inference.packaging import open_run
from claimscale.model import shapes
from claimscale.model.classifier import EncoderClassifier
from claimscale.model.encoder import Encoder
from claimscale.tokens.sequences import Sequences, select_inputs
from claimscale.tokens.token_metadata import TokenMetadata
from claimscale.training.finetune_trainer import probabilities
from record import write_record

SIZES = {"0.3M": (300_000, 4000), "11M": (11_000_000, 400), "101M": (101_000_000, 64)}
"""Parameters, and patients that are scored."""
LENGTH, FEWEST = 120, 110
CPU = torch.device("cpu")
REPEATS = 3


def main() -> None:
    workspace = open_run(Path(sys.argv[1]))
    store, vocabulary = workspace.store, workspace.store.vocabulary
    outcome = vocabulary.tokens_with_prefix(workspace.study.tasks[0].outcome)

    def inputs(rows: np.ndarray) -> Sequences:
        days = np.full(len(rows), workspace.last_pretraining_day)
        return select_inputs(store, rows, days, LENGTH, "history", np.zeros(0, np.int32))

    long = np.flatnonzero(inputs(np.arange(len(store))).lengths >= FEWEST)
    figures: dict[str, float] = {}
    for name, (parameters, patients) in SIZES.items():
        shape = shapes.solve(parameters, vocabulary.size, 0)
        model = EncoderClassifier(Encoder(shape, TokenMetadata.plain(vocabulary.types)), outcome).eval()
        many = inputs(np.resize(long, patients))
        probabilities(model, inputs(long[:16]), CPU)  # compiles
        rates, alone = [], []
        for repeat in range(REPEATS):
            started = time.perf_counter()
            probabilities(model, many, CPU)
            rates.append(patients / (time.perf_counter() - started))
            started = time.perf_counter()
            probabilities(model, inputs(long[[repeat]]), CPU)
            alone.append(time.perf_counter() - started)
        figures[f"{name}_patients_per_second"] = float(np.median(rates))
        figures[f"{name}_one_patient_ms"] = 1000 * float(np.median(alone))
        print(f"{name:<6}{np.median(rates):>10,.0f} patients/s{1000 * np.median(alone):>10.0f} ms for one")
    write_record("scoring", figures)


if __name__ == "__main__":
    main()
