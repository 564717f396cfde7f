"""Models of known quality on simulated patients: the truth for every interval and verdict."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from claimscale.evaluation import metrics
from claimscale.evaluation.bootstrap import Ranking, Resamples, replicate_rankings
from claimscale.evaluation.intervals import Scores

SimulatedModels = Callable[..., dict[str, Scores]]


def simulate(
    noise: Mapping[str, float],
    *,
    seed: int,
    patients: int = 2000,
    seeds: int = 3,
    intercept: float = -1.5,
    seed_spread: float = 0.0,
    metric: str = "auprc",
    replicates: int = 200,
) -> dict[str, Scores]:
    """Models that see the true logit (standard deviation 1.5) through noise of a given strength.

    `seed_spread` is the standard deviation of that strength between training runs. A model's own noise
    also differs from seed to seed. All models share patients and resamples.
    """
    generator = np.random.default_rng(seed)
    logits = intercept + 1.5 * generator.normal(size=patients)
    labels = generator.random(patients) < 1 / (1 + np.exp(-logits))
    rankings, values = [], []
    measure = metrics.auprc if metric == "auprc" else metrics.auroc
    for strength in noise.values():
        for _ in range(seeds):
            own = abs(strength + seed_spread * generator.normal())
            scores = logits + own * generator.normal(size=patients)
            rankings.append(Ranking.of(labels, scores, np.arange(patients)))
            values.append(measure(labels, scores))
    areas = replicate_rankings(Resamples(patients, replicates, seed), rankings)
    replicated = areas[0 if metric == "auprc" else 1]
    return {
        name: Scores(
            tuple(range(seeds)),
            np.array(values[index * seeds : (index + 1) * seeds]),
            replicated[index * seeds : (index + 1) * seeds],
            int(labels.sum()),
        )
        for index, name in enumerate(noise)
    }


@pytest.fixture(scope="session")
def simulated_models() -> SimulatedModels:
    return simulate
