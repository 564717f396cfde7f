"""Coverage of verdicts with hospitals resampled, in studies of known truth; for benchmarks/decisions.py."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

from claimscale.config.comparison import Compare
from claimscale.evaluation.cluster_bootstrap import ComparedTask, PatientHospitals, cluster_verdicts
from claimscale.evaluation.power import Assumptions
from claimscale.evaluation.predictions import CellResult, SplitPredictions
from claimscale.evaluation.scoring import Model
from claimscale.evaluation.size_decision import SizeCurve, decide
from decision_worlds import many_hospitals, scores_of

REPLICATES = 200


def hospital_cell(hospitals: int, apart: float, studies: int, seed: int) -> dict[str, float]:
    """Two sizes that are equally good on average; which one is better varies between hospitals."""
    assumed = Assumptions(0.5, 0.2, seed_spread=0.005)
    compare = Compare(relative_margin=0.05, bootstrap_replicates=REPLICATES)
    models = {name: Model("pretrained", name, "all") for name in "ab"}
    cells = tuple(
        CellResult("task", "pretrained", name, 1, "all", run, Path("none"), 0.0)
        for name in "ab"
        for run in range(3)
    )
    tally: dict[str, list[float]] = {}
    for study in range(seed, seed + studies):
        labels, scores, hospital = many_hospitals(assumed, 1000, hospitals, apart, seeds=3, seed=study)
        subjects = np.arange(len(labels))
        rows = SplitPredictions(cells, subjects, np.zeros(len(subjects), "datetime64[us]"), labels, scores)
        by_patient = SizeCurve(
            dict(zip("ab", scores_of(labels, scores, 3, REPLICATES, study), strict=True)), 0.2, 1000
        )
        task = ComparedTask(by_patient, rows, models)
        found = cluster_verdicts({"task": task}, PatientHospitals(subjects, hospital), compare, study)
        both = {"patients": decide({"task": by_patient}, compare.relative_margin)["task"]}
        if found:
            both["hospitals"] = found["task"].verdict
        for name, verdict in both.items():
            low, high = verdict.comparisons[0].gain.two_sided()
            tally.setdefault(f"covered by {name}", []).append(low <= 0 <= high)
            tally.setdefault(f"saturated by {name}", []).append(verdict.verdict == "saturated")
    return {name: float(np.mean(values)) for name, values in tally.items()}


HOSPITAL_CELLS = list(itertools.product((6, 12, 30), (0.0, 0.1, 0.2)))
"""Number of hospitals, and the standard deviation of a size's separation between them."""
