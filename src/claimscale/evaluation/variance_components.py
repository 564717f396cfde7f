"""Components of the variance of a seed-mean: patients and training runs.

The variance of a seed-mean is V_p + sum of s² / k over its models. s² is the variance of a model's runs,
which includes that each run errs on other patients. V_p is the bootstrap variance of the seed-mean minus that
part. The degrees of freedom follow Satterthwaite. docs/measured/decisions.md
compares this rule with others.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from claimscale.evaluation.metrics import Floats

POSITIVES_PER_DEGREE = 4
"""A few positives with the highest scores determine most of a precision-recall curve: the bootstrap variance
of its area is as uncertain as that of a quarter as many normal observations (measured: 2 to 8)."""


class RunSpread(NamedTuple):
    """The variance between the runs of one model, with its degrees of freedom."""

    variance: float
    degrees: float


def variance_components(
    bootstrap: ArrayLike,
    within: ArrayLike,
    by_model: ArrayLike,
    seeds: int,
    patient_degrees: float,
    run_degrees: ArrayLike | None = None,
) -> tuple[Floats, Floats, Floats]:
    """The patient part and the seed part of a seed-mean's variance, and the degrees of freedom of their sum.

    Args:
        bootstrap: variance of the seed-mean over resampled patients, any shape.
        within: what resampling adds to the variance between seeds, the same shape.
        by_model: variance between the runs of each model in the contrast, models along the last axis.
        seeds: runs of each model, 2 or more.
        patient_degrees: degrees of freedom of the variance over patients.
        run_degrees: of the variances between runs, models along the last axis; by default seeds - 1.
    """
    own_degrees = seeds - 1 if run_degrees is None else np.asarray(run_degrees, dtype=float)
    bootstrap, by_model = np.asarray(bootstrap, dtype=float), np.asarray(by_model, dtype=float)
    spread = by_model.sum(axis=-1) / seeds
    shared = np.maximum(bootstrap - np.asarray(within) / seeds, 0.0)
    freedom = shared**2 / patient_degrees + ((by_model / seeds) ** 2 / own_degrees).sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        degrees = np.where(freedom > 0, (shared + spread) ** 2 / freedom, patient_degrees)
    return shared, spread, degrees


def patient_degrees(positives: int) -> float:
    """Degrees of freedom of a variance over patients with this many positives."""
    return max(positives / POSITIVES_PER_DEGREE, 1.0)
