"""Diagnostics of each model: calibration, net benefit, distribution of risks, and subgroups.

They are computed for every pretrained size, the largest size from scratch, and LightGBM, all with the largest
number of labelled patients. Counts are kept with every number, for the privacy step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from claimscale.constants import DAYS_PER_YEAR
from claimscale.evaluation.intervals import Estimate, interval
from claimscale.evaluation.metrics import SMALLEST_RISK, CurvePoint, Floats
from claimscale.evaluation.predictions import SplitPredictions
from claimscale.evaluation.scoring import cells_by_model, score_runs
from claimscale.evaluation.selection import LIGHTGBM, PRETRAINED, SCRATCH, TaskScores, largest_labelled_set

SUBGROUP_REPLICATES = 400
"""Most bootstrap replicates of a subgroup; the main results use `compare.bootstrap_replicates`."""
THRESHOLDS = np.geomspace(0.25, 8, 12)
"""Risk thresholds of the net benefit, as multiples of the prevalence."""
RISK_BINS = 16
SEX_NAMES = {"F": "Women", "M": "Men", "U": "Sex unknown"}
AGE_BANDS = ((0, 40), (40, 65), (65, 75), (75, 85), (85, 200))
MAX_HOSPITALS = 12

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class NetBenefit:
    """Net benefit at one risk threshold. Counts are summed over seeds, the benefit is their mean."""

    threshold: float
    true_positives: int
    false_positives: int
    net_benefit: float
    treat_all: float


@dataclass(frozen=True)
class RiskDistribution:
    """Patients with and without the outcome per band of predicted risk; `edges` has one more entry."""

    edges: list[float]
    with_outcome: list[int]
    without_outcome: list[int]


@dataclass(frozen=True)
class Subgroup:
    """Results in a subgroup: mean predicted risk, observed share, and metrics if both outcomes occur."""

    by: str
    group: str
    n_test: int
    positives: int
    predicted: float
    observed: float
    auprc: Estimate | None
    auroc: Estimate | None


@dataclass(frozen=True)
class Diagnostics:
    """What is computed for the compared models."""

    curve: list[CurvePoint]
    net_benefit: list[NetBenefit]
    risk_distribution: RiskDistribution
    subgroups: list[Subgroup]


class TopDecile(NamedTuple):
    """The tenth of the test labels with the highest predicted risks, one seed: labels, with the outcome."""

    labels: int
    positives: int


@dataclass(frozen=True)
class ModelDiagnostics:
    """One model: `cells` are its cells, `highlighted` marks the models that figures show.

    Highlighted are the largest encoder of each arm and LightGBM. `diagnostics` is None for other models.
    """

    arm: str
    size: str | None
    highlighted: bool
    cells: list[str]
    top_decile: TopDecile
    diagnostics: Diagnostics | None


class Membership(NamedTuple):
    """A subgroup: the variable it divides patients by, its name, and whether each row is a member."""

    by: str
    group: str
    member: Flags


def diagnose_models(
    rows: SplitPredictions, scores: TaskScores, patients_file: Path, replicates: int, seed: int
) -> list[ModelDiagnostics]:
    """One entry per model with the largest number of labelled patients.

    `rows` are the predictions for held-out patients, `patients_file` the cohort's `patients.parquet`; without
    it there are no subgroups.
    """
    labelled = largest_labelled_set(scores)
    chosen = [model for model in scores if model.labelled_patients == labelled]
    largest = {model.arm: model.size for model in chosen}
    groups = list(_groups(rows, patients_file))
    cells = cells_by_model(rows.cells)
    found = []
    for model in chosen:
        highlighted = model.arm in (PRETRAINED, SCRATCH, LIGHTGBM) and model.size == largest[model.arm]
        places, diagnostics = sorted(cells[model]), None
        if highlighted or model.arm == PRETRAINED:
            risks = rows.risks[places]
            diagnostics = Diagnostics(
                curve=scores[model].curve,
                net_benefit=net_benefit(rows.labels, risks),
                risk_distribution=risk_distribution(rows.labels, risks[0]),
                subgroups=subgroups(rows.labels, risks, groups, min(replicates, SUBGROUP_REPLICATES), seed),
            )
        names = [rows.cells[place].predictions.parent.name for place in places]
        top = top_decile(rows.labels, rows.risks[places[0]])
        found.append(ModelDiagnostics(model.arm, model.size, highlighted, names, top, diagnostics))
    return found


def top_decile(labels: Flags, risks: Floats) -> TopDecile:
    """The tenth of the labels (n) with the highest risks (n), rounded up; ties keep the order of the rows."""
    chosen = np.argsort(-risks, kind="stable")[: -(-len(labels) // 10)]
    return TopDecile(len(chosen), int(labels[chosen].sum()))


def net_benefit(labels: Flags, risks: Floats) -> list[NetBenefit]:
    """Net benefit of acting above a risk threshold (Vickers 2006, doi 10.1177/0272989X06295361).

    `labels` (n) and `risks` (seeds, n). It is the true positives per patient minus the false positives
    weighted by the odds of the threshold.
    """
    prevalence, total = float(labels.mean()), risks.size
    found = []
    for threshold in THRESHOLDS * prevalence:
        if not 0 < threshold < 1:
            continue
        treated = risks >= threshold
        true, false = int((treated & labels).sum()), int((treated & ~labels).sum())
        odds = float(threshold / (1 - threshold))
        benefit, treat_all = (true - false * odds) / total, prevalence - (1 - prevalence) * odds
        found.append(NetBenefit(float(threshold), true, false, benefit, treat_all))
    return found


def risk_distribution(labels: Flags, risks: Floats) -> RiskDistribution:
    """Patients per band of predicted risk (n); the bands have equal width on a logarithmic scale."""
    low, high = np.quantile(risks, [0.002, 0.998])
    low = max(float(low), SMALLEST_RISK)
    edges = np.geomspace(low, max(float(high), low * 1.01), RISK_BINS + 1)
    band = np.clip(np.searchsorted(edges, risks, side="right") - 1, 0, RISK_BINS - 1)
    counts = [np.bincount(band[labels == outcome], minlength=RISK_BINS).tolist() for outcome in (True, False)]
    return RiskDistribution(edges.tolist(), counts[0], counts[1])


def subgroups(
    labels: Flags, risks: Floats, groups: Sequence[Membership], replicates: int, seed: int
) -> list[Subgroup]:
    """Results of one model's `risks` (seeds, n) in each subgroup."""
    found = []
    for by, group, member in groups:
        own, own_risks = labels[member], risks[:, member]
        positives = int(own.sum())
        estimates: dict[str, Estimate] = {}
        if 0 < positives < len(own):
            scores = score_runs(own, own_risks, replicates, seed)
            estimates = {name: interval(one).bounded(0.0, 1.0) for name, one in scores.items()}
        found.append(
            Subgroup(
                by=by,
                group=group,
                n_test=len(own),
                positives=positives,
                predicted=float(own_risks.mean()),
                observed=float(own.mean()),
                auprc=estimates.get("auprc"),
                auroc=estimates.get("auroc"),
            )
        )
    return found


def age_band_name(low: int, high: int) -> str:
    """The name of one of AGE_BANDS.

    >>> age_band_name(65, 75)
    '65–74'
    """
    return f"{low}+" if high == AGE_BANDS[-1][1] else f"{low}–{high - 1}"


def _groups(rows: SplitPredictions, patients_file: Path) -> Iterator[Membership]:
    """Subgroups by sex, age and hospital; those by one variable divide all rows among them."""
    if not patients_file.exists():
        return
    people = pq.read_table(patients_file, columns=["subject_id", "sex", "birth_day", "hospital_id"])
    subject = people["subject_id"].to_numpy()
    order = np.argsort(subject)
    place = order[np.minimum(np.searchsorted(subject[order], rows.subject), len(order) - 1)]
    if (subject[place] != rows.subject).any():
        return
    sex = np.array([value or "U" for value in people["sex"].to_pylist()])[place]
    for code, name in SEX_NAMES.items():
        if (sex == code).any():
            yield Membership("sex", name, sex == code)
    born = people["birth_day"].to_numpy(zero_copy_only=False).astype(np.float64)[place]
    age = (rows.day.astype("datetime64[D]").astype(np.int64) - born) / DAYS_PER_YEAR
    for low, high in AGE_BANDS:
        member = (age >= low) & (age < high)
        if member.any():
            yield Membership("age", age_band_name(low, high), member)
    if (rest := ~((age >= 0) & (age < AGE_BANDS[-1][1]))).any():
        yield Membership("age", "Age unknown", rest)
    hospital = np.array([value or "" for value in people["hospital_id"].cast("string").to_pylist()])[place]
    names, counts = np.unique(hospital, return_counts=True)
    shown = [str(name) for name in names[np.argsort(-counts, kind="stable")][:MAX_HOSPITALS] if name]
    for name in shown:
        yield Membership("hospital", name, hospital == name)
    if shown and (rest := ~np.isin(hospital, shown)).any():
        yield Membership("hospital", "Other hospitals", rest)
