"""Coarser curves: bands are joined, and points removed, until none describes few patients."""

from __future__ import annotations

from collections.abc import Sequence

from claimscale.privacy.suppression import Rule
from claimscale.summary.result_schema import (
    CalibrationPointEntry,
    NetBenefitPointEntry,
    RiskDistributionEntry,
)


def merge_curve_bins(
    points: Sequence[CalibrationPointEntry], seeds: int, rule: Rule
) -> tuple[CalibrationPointEntry, ...]:
    """A calibration curve without a bin of few patients with, or without, the outcome.

    Counts of a curve are summed over `seeds`.
    """
    cases = [round(point.observed * point.predictions) for point in points]
    pairs = [(have, point.predictions - have) for have, point in zip(cases, points, strict=True)]
    found: list[CalibrationPointEntry] = []
    for members in _joined(pairs, seeds, rule):
        chosen = [points[place] for place in members]
        total = sum(point.predictions for point in chosen)
        predicted = sum(point.predictions * point.predicted for point in chosen) / total
        have = rule.rounded(sum(cases[place] for place in members), seeds)
        total = rule.rounded(total, seeds)
        found.append(CalibrationPointEntry(predicted=predicted, observed=have / total, predictions=total))
    return tuple(found)


def merge_risk_bands(bands: RiskDistributionEntry, rule: Rule) -> RiskDistributionEntry | None:
    """A distribution of risks without a band of few patients with, or without, the outcome."""
    pairs = list(zip(bands.with_outcome, bands.without_outcome, strict=True))
    groups = _joined(pairs, 1, rule)
    if not groups:
        return None
    counts = [
        tuple(rule.rounded(sum(pairs[place][column] for place in members)) for members in groups)
        for column in (0, 1)
    ]
    edges = (*(bands.edges[members[0]] for members in groups), bands.edges[-1])
    return RiskDistributionEntry(edges=edges, with_outcome=counts[0], without_outcome=counts[1])


def _joined(pairs: Sequence[tuple[int, int]], seeds: int, rule: Rule) -> list[list[int]]:
    """Neighbours joined until no count of a group is small; empty where the count of all of them is."""
    groups: list[list[int]] = [[]]
    for place in range(len(pairs)):
        groups[-1].append(place)
        if _safe(pairs, groups[-1], seeds, rule):
            groups.append([])
    rest = groups.pop()
    if rest and groups:
        groups[-1] += rest
    return [group for group in groups if _safe(pairs, group, seeds, rule)]


def _safe(pairs: Sequence[tuple[int, int]], members: Sequence[int], seeds: int, rule: Rule) -> bool:
    return not any(_few(sum(pairs[place][column] for place in members), seeds, rule) for column in (0, 1))


def _few(count: int, seeds: int, rule: Rule) -> bool:
    """Whether a count summed over seeds stands for a small number of patients."""
    return (count > 0 or rule.zeros) and count < rule.least * seeds


def spaced_thresholds(
    points: Sequence[NetBenefitPointEntry], held_out: tuple[int, int], seeds: int, rule: Rule
) -> tuple[NetBenefitPointEntry, ...]:
    """The points of a net benefit curve, without those that differ by few patients from their neighbours.

    Thresholds ascend, and their counts are summed over `seeds`. Patients above the last threshold and below
    the first one count as well; `held_out` are the labels, and those with the outcome.
    """
    labels, cases = held_out
    totals = (seeds * cases, seeds * (labels - cases))

    def near(one: tuple[int, int], other: tuple[int, int]) -> bool:
        return any(_few(more - less, seeds, rule) for more, less in zip(one, other, strict=True))

    kept: list[NetBenefitPointEntry] = []
    above = (0, 0)
    for point in reversed(points):
        counts = (point.true_positives, point.false_positives)
        if not near(counts, above):
            kept.insert(0, point)
            above = counts
    while kept and near(totals, (kept[0].true_positives, kept[0].false_positives)):
        kept.pop(0)
    return _from_rounded(kept, held_out, seeds, rule) if rule.base > 1 else tuple(kept)


def _from_rounded(
    points: Sequence[NetBenefitPointEntry], held_out: tuple[int, int], seeds: int, rule: Rule
) -> tuple[NetBenefitPointEntry, ...]:
    """The points, computed from rounded counts only.

    Thresholds are multiples of the prevalence, and a benefit is per patient: either would disclose the exact
    counts. Each threshold becomes the same multiple of the rounded prevalence.
    """
    labels, cases = (rule.rounded(count) for count in held_out)
    prevalence, exact = cases / labels, held_out[1] / held_out[0]
    found: list[NetBenefitPointEntry] = []
    for point in points:
        multiple = float(f"{point.threshold / exact:.3g}")
        threshold = float(f"{multiple * prevalence:.3g}")
        if threshold >= 1:
            continue
        true, false = (rule.rounded(n, seeds) for n in (point.true_positives, point.false_positives))
        odds = threshold / (1 - threshold)
        found.append(
            NetBenefitPointEntry(
                threshold=threshold,
                true_positives=true,
                false_positives=false,
                net_benefit=(true - false * odds) / (seeds * labels),
                treat_all=prevalence - (1 - prevalence) * odds,
            )
        )
    return tuple(found)
