"""What one metric does not tell: net benefit, the distribution of risks, and how subgroups fare.

Of the models that a reader compares: every pretrained size, the largest from scratch, and LightGBM, all at
the largest number of labelled patients. Counts are kept beside every number, for the privacy gate to see.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from claimscale.evaluation import metrics
from claimscale.evaluation.bootstrap import Ranking, Resamples, replicate_rankings
from claimscale.evaluation.intervals import Scores, interval
from claimscale.evaluation.predictions import SplitPredictions
from claimscale.evaluation.scoring import Model, ModelScores

REPLICATES = 400
"""Bootstrap replicates of a subgroup; the headline figures use `compare.bootstrap_replicates`."""
THRESHOLDS = np.geomspace(0.25, 8, 12)
"""Risk thresholds of the net benefit, as multiples of the prevalence."""
RISK_BINS = 16
AGE_BANDS = ((0, 40), (40, 65), (65, 75), (75, 85), (85, 200))
HOSPITALS_SHOWN = 12
DAYS_PER_YEAR = 365.25

Flags = NDArray[np.bool_]


def details(
    rows: SplitPredictions,
    models: Mapping[Model, ModelScores],
    requested: int | Literal["all"],
    patients_file: Path,
    replicates: int,
    seed: int,
) -> list[dict[str, Any]]:
    """One entry per model: `arm`, `size`, `highlighted`, `cells`, and the diagnostics of the models compared.

    That is `curve` (calibration), `net_benefit`, `risk_distribution` and `subgroups`. `rows` are the
    predictions for held-out patients, `requested` the labelled patients asked for, and `patients_file` the
    cohort's `patients.parquet`; where it is missing there are no subgroups. `highlighted` marks the models
    that figures show: the largest encoder of each arm and LightGBM.
    """
    chosen = [model for model in models if model.requested == requested]
    groups = list(_groups(rows, patients_file))
    replicates = min(replicates, REPLICATES)
    found = []
    for model in chosen:
        cells = [
            place
            for place, cell in enumerate(rows.cells)
            if (cell.arm, cell.size, cell.requested) == tuple(model)
        ]
        largest = [other.size for other in chosen if other.arm == model.arm][-1]
        lead = model.arm in ("pretrained", "scratch", "lightgbm") and model.size == largest
        entry: dict[str, Any] = {
            "arm": model.arm,
            "size": model.size,
            "highlighted": lead,
            "cells": [rows.cells[place].predictions.parent.name for place in cells],
        }
        if lead or model.arm == "pretrained":
            risks = rows.risks[cells]
            entry |= {
                "curve": [
                    {"predicted": point.predicted, "observed": point.observed, "predictions": point.patients}
                    for point in models[model].curve
                ],
                "net_benefit": net_benefit(rows.labels, risks),
                "risk_distribution": risk_distribution(rows.labels, risks[0]),
                "subgroups": [
                    {"by": by, "group": name}
                    | _subgroup(rows.labels[member], risks[:, member], replicates, seed)
                    for by, name, member in groups
                ],
            }
        found.append(entry)
    return found


def net_benefit(labels: Flags, risks: metrics.Floats) -> list[dict[str, float | int]]:
    """Net benefit of acting above a risk threshold (Vickers 2006, doi 10.1177/0272989X06295361).

    `labels` (n) and `risks` (seeds, n). Counts are summed over seeds, the benefit is their mean: true
    positives per patient less false positives weighted by the odds of the threshold.
    """
    prevalence, total = float(labels.mean()), risks.size
    found = []
    for threshold in THRESHOLDS * prevalence:
        if not 0 < threshold < 1:
            continue
        treated = risks >= threshold
        true, false = int((treated & labels).sum()), int((treated & ~labels).sum())
        odds = threshold / (1 - threshold)
        found.append(
            {
                "threshold": float(threshold),
                "true_positives": true,
                "false_positives": false,
                "net_benefit": (true - false * odds) / total,
                "treat_all": prevalence - (1 - prevalence) * odds,
            }
        )
    return found


def risk_distribution(labels: Flags, risks: metrics.Floats) -> dict[str, list]:
    """Patients with and without the outcome per band of predicted risk (n), the bands equal in logarithm."""
    low, high = np.quantile(risks, [0.002, 0.998])
    low = max(float(low), metrics.SMALLEST_RISK)
    edges = np.geomspace(low, max(float(high), low * 1.01), RISK_BINS + 1)
    band = np.clip(np.searchsorted(edges, risks, side="right") - 1, 0, RISK_BINS - 1)
    counts = [np.bincount(band[labels == outcome], minlength=RISK_BINS).tolist() for outcome in (True, False)]
    return {"edges": edges.tolist(), "with_outcome": counts[0], "without_outcome": counts[1]}


def _groups(rows: SplitPredictions, patients_file: Path) -> Iterator[tuple[str, str, Flags]]:
    """Subgroups as (by, name, membership of each row), each of `by` dividing all rows among its groups."""
    if not patients_file.exists():
        return
    people = pq.read_table(patients_file, columns=["subject_id", "sex", "birth_day", "hospital_id"])
    subject = people["subject_id"].to_numpy()
    order = np.argsort(subject)
    place = order[np.minimum(np.searchsorted(subject[order], rows.subject), len(order) - 1)]
    if (subject[place] != rows.subject).any():
        return
    sex = np.array([value or "U" for value in people["sex"].to_pylist()])[place]
    for code, name in (("F", "Women"), ("M", "Men"), ("U", "Sex unknown")):
        if (sex == code).any():
            yield "sex", name, sex == code
    born = people["birth_day"].to_numpy(zero_copy_only=False).astype(np.float64)[place]
    age = (rows.day.astype("datetime64[D]").astype(np.int64) - born) / DAYS_PER_YEAR
    for low, high in AGE_BANDS:
        member = (age >= low) & (age < high)
        if member.any():
            yield "age", f"{low}+" if high == AGE_BANDS[-1][1] else f"{low}–{high - 1}", member
    if (rest := ~((age >= 0) & (age < AGE_BANDS[-1][1]))).any():
        yield "age", "Age unknown", rest
    hospital = np.array([value or "" for value in people["hospital_id"].cast("string").to_pylist()])[place]
    names, counts = np.unique(hospital, return_counts=True)
    shown = [str(name) for name in names[np.argsort(-counts, kind="stable")][:HOSPITALS_SHOWN] if name]
    for name in shown:
        yield "hospital", name, hospital == name
    if shown and (rest := ~np.isin(hospital, shown)).any():
        yield "hospital", "Other hospitals", rest


def _subgroup(labels: Flags, risks: metrics.Floats, replicates: int, seed: int) -> dict[str, Any]:
    """Counts and, where both outcomes occur, AUPRC and AUROC with intervals; mean predicted risk."""
    positives = int(labels.sum())
    found: dict[str, Any] = {
        "n_test": len(labels),
        "positives": positives,
        "predicted": float(risks.mean()),
        "observed": float(labels.mean()),
        "auprc": None,
        "auroc": None,
    }
    if not 0 < positives < len(labels):
        return found
    rows = np.arange(len(labels))
    blocks = replicate_rankings(
        Resamples(len(rows), replicates, seed), [Ranking.of(labels, risk, rows) for risk in risks]
    )
    for name, score, block in zip(("auprc", "auroc"), (metrics.auprc, metrics.auroc), blocks, strict=True):
        values = np.array([score(labels, risk) for risk in risks])
        told = interval(Scores(tuple(range(len(risks))), values, block, positives))
        low, high = told.two_sided()
        found[name] = {"estimate": told.estimate, "low": max(low, 0.0), "high": min(high, 1.0)}
    return found
