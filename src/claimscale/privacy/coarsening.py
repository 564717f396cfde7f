"""Curves in the privacy step: bins are merged, and points removed, until none describes few patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from claimscale.privacy.suppression import Rule

Entry = dict[str, Any]


def merge_curve_bins(points: Sequence[Mapping[str, Any]], seeds: int, rule: Rule) -> list[Entry]:
    """A calibration curve whose bins have no small number of patients with or without the outcome.

    Its counts are sums over `seeds`.
    """
    bins = [
        (round(point["observed"] * point["predictions"]), point["predictions"], point) for point in points
    ]
    found = []
    for members in _merge_neighbours([(cases, total - cases) for cases, total, _ in bins], seeds, rule):
        chosen = [bins[place] for place in members]
        cases, total = sum(one[0] for one in chosen), sum(one[1] for one in chosen)
        predicted = sum(own * point["predicted"] for _, own, point in chosen) / total
        cases, total = rule.rounded(cases, seeds), rule.rounded(total, seeds)
        found.append({"predicted": _six(predicted), "observed": _six(cases / total), "predictions": total})
    return found


def merge_risk_bands(bands: Mapping[str, Any], rule: Rule) -> Entry | None:
    """A distribution of risks whose bands have no small number of patients with or without the outcome."""
    pairs = list(zip(bands["with_outcome"], bands["without_outcome"], strict=True))
    groups = _merge_neighbours(pairs, 1, rule)
    if not groups:
        return None
    edges = [bands["edges"][members[0]] for members in groups] + [bands["edges"][-1]]
    counts = [
        [rule.rounded(sum(pairs[place][kind] for place in members)) for members in groups] for kind in (0, 1)
    ]
    return {"edges": edges, "with_outcome": counts[0], "without_outcome": counts[1]}


def _merge_neighbours(pairs: Sequence[tuple[int, int]], seeds: int, rule: Rule) -> list[list[int]]:
    """Groups of neighbours without small counts; empty if even the total is small."""

    def safe(members: Sequence[int]) -> bool:
        return not any(_few(sum(pairs[place][kind] for place in members), seeds, rule) for kind in (0, 1))

    groups: list[list[int]] = [[]]
    for place in range(len(pairs)):
        groups[-1].append(place)
        if safe(groups[-1]):
            groups.append([])
    left = groups.pop()
    if left and groups:
        groups[-1] += left
    return [group for group in groups if safe(group)]


def _few(count: int, seeds: int, rule: Rule) -> bool:
    """Whether a sum over seeds stands for a small number of patients."""
    return (count > 0 or rule.zeros) and count < rule.least * seeds


def spaced_thresholds(
    points: Sequence[Entry], held_out: tuple[int, int], seeds: int, rule: Rule
) -> list[Entry]:
    """The points of a net benefit curve that have no small number of patients between them.

    Thresholds ascend, and their counts are sums over `seeds`. The patients above the last and below the first
    threshold count too. `held_out` are the index dates and those with the outcome.
    """
    index_dates, cases = held_out
    totals = (seeds * cases, seeds * (index_dates - cases))

    def near(one: tuple[int, int], other: tuple[int, int]) -> bool:
        return any(_few(more - less, seeds, rule) for more, less in zip(one, other, strict=True))

    kept: list[Entry] = []
    above = (0, 0)
    for point in reversed(points):
        counts = (point["true_positives"], point["false_positives"])
        if not near(counts, above):
            kept.insert(0, point)
            above = counts
    while kept and near(totals, (kept[0]["true_positives"], kept[0]["false_positives"])):
        kept.pop(0)
    return _from_rounded(kept, held_out, seeds, rule) if rule.base > 1 else kept


def _from_rounded(
    points: Sequence[Mapping[str, Any]], held_out: tuple[int, int], seeds: int, rule: Rule
) -> list[Entry]:
    """The points as computed from rounded counts alone.

    Thresholds are multiples of the prevalence, and a benefit is per patient: both would disclose the exact
    counts. Each threshold becomes the same multiple of the rounded prevalence.
    """
    index_dates, cases = (rule.rounded(count) for count in held_out)
    prevalence, exact = cases / index_dates, held_out[1] / held_out[0]
    found = []
    for point in points:
        multiple = float(f"{point['threshold'] / exact:.3g}")
        threshold = float(f"{multiple * prevalence:.3g}")
        if threshold >= 1:
            continue
        true, false = (rule.rounded(point[name], seeds) for name in ("true_positives", "false_positives"))
        odds = threshold / (1 - threshold)
        found.append(
            {
                "threshold": threshold,
                "true_positives": true,
                "false_positives": false,
                "net_benefit": _six((true - false * odds) / (seeds * index_dates)),
                "treat_all": _six(prevalence - (1 - prevalence) * odds),
            }
        )
    return found


def _six(value: float) -> float:
    """Six significant digits, as everywhere in the summary."""
    return float(f"{value:.6g}")
