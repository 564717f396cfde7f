"""The speed of the patient bootstrap of AUPRC, and its agreement with scikit-learn.

15 models on 100,000 patients at 1 % prevalence, 2,000 replicates, weights included. scikit-learn's
`average_precision_score` computes a few of the same replicates, alternating, medians of three.

    python benchmarks/bootstrap.py
"""

from __future__ import annotations

import os
import time

import numpy as np
from sklearn.metrics import average_precision_score

from claimscale.evaluation.bootstrap import Ranking, Resamples, replicate_rankings
from claimscale.evaluation.metrics import Floats
from record import write_record

PATIENTS, MODELS, REPLICATES, PREVALENCE = 100_000, 15, 2000, 0.01
PEER_REPLICATES = 4
ROUNDS = 3


def main() -> None:
    generator = np.random.default_rng(0)
    labels = generator.random(PATIENTS) < PREVALENCE
    signal = 1.5 * labels + generator.normal(size=PATIENTS)
    models = [signal + 0.4 * generator.normal(size=PATIENTS) for _ in range(MODELS)]
    rows, resamples = np.arange(PATIENTS), Resamples(PATIENTS, REPLICATES, seed=1)
    replicate_rankings(Resamples(PATIENTS, 8, seed=1), [Ranking.of(labels, models[0], rows)])  # compiles
    ours, theirs = [], []
    found = expected = np.empty((MODELS, PEER_REPLICATES))
    for _ in range(ROUNDS):
        started = time.perf_counter()
        found, _ = replicate_rankings(resamples, [Ranking.of(labels, scores, rows) for scores in models])
        ours.append(time.perf_counter() - started)
        started = time.perf_counter()
        expected = _peer(labels, models, resamples)
        theirs.append((time.perf_counter() - started) * REPLICATES / PEER_REPLICATES)
    difference = float(np.abs(found[:, :PEER_REPLICATES] - expected).max())
    seconds, peer = float(np.median(ours)), float(np.median(theirs))
    figures = {
        "seconds": seconds,
        "sklearn_seconds": peer,
        "times_faster": peer / seconds,
        "largest_difference": difference,
        "cores": len(os.sched_getaffinity(0)),
    }
    for name, value in figures.items():
        print(f"{name:<20} {value:.4g}")
    write_record("bootstrap", figures)


def _peer(labels: np.ndarray, models: list[Floats], resamples: Resamples) -> Floats:
    """The first replicates by scikit-learn, one by one: (models, replicates)."""
    weights = resamples.weights(resamples.places()[0])[:, :PEER_REPLICATES].astype(float)
    return np.array(
        [
            [average_precision_score(labels, scores, sample_weight=own) for own in weights.T]
            for scores in models
        ]
    )


if __name__ == "__main__":
    main()
