"""Curves under the privacy gate: bands are joined, and points left out, until none tells of few patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from claimscale.privacy.suppression import Rule


def joined_curve(points: Sequence[Mapping[str, Any]], seeds: int, rule: Rule) -> list[dict[str, Any]]:
    """A calibration curve whose bins hold no small number of patients with or without the outcome.

    Counts of a curve are summed over `seeds`.
    """
    bins = [
        (round(point["observed"] * point["predictions"]), point["predictions"], point) for point in points
    ]
    groups = _joined([(cases, patients - cases) for cases, patients, _ in bins], seeds, rule)
    found = []
    for members in groups:
        chosen = [bins[place] for place in members]
        cases, patients = sum(one[0] for one in chosen), sum(one[1] for one in chosen)
        predicted = sum(patients * point["predicted"] for _, patients, point in chosen) / patients
        cases, patients = rule.rounded(cases, seeds), rule.rounded(patients, seeds)
        found.append(
            {
                "predicted": float(f"{predicted:.6g}"),
                "observed": float(f"{cases / patients:.6g}"),
                "predictions": patients,
            }
        )
    return found


def joined_bands(bands: Mapping[str, list], rule: Rule) -> dict[str, list] | None:
    """A distribution of risks whose bands hold no small number of patients with or without the outcome."""
    pairs = list(zip(bands["with_outcome"], bands["without_outcome"], strict=True))
    groups = _joined(pairs, 1, rule)
    if not groups:
        return None
    edges = [bands["edges"][members[0]] for members in groups] + [bands["edges"][-1]]
    counts = [
        [rule.rounded(sum(pairs[place][kind] for place in members)) for members in groups] for kind in (0, 1)
    ]
    return {"edges": edges, "with_outcome": counts[0], "without_outcome": counts[1]}


def _joined(pairs: Sequence[tuple[int, int]], seeds: int, rule: Rule) -> list[list[int]]:
    """Neighbours joined until no count of a group is small; empty where all of them together are."""
    groups: list[list[int]] = [[]]
    for place in range(len(pairs)):
        groups[-1].append(place)
        if _safe(pairs, groups[-1], seeds, rule):
            groups.append([])
    left = groups.pop()
    if left and groups:
        groups[-1] += left
    return [group for group in groups if _safe(pairs, group, seeds, rule)]


def _safe(pairs: Sequence[tuple[int, int]], members: Sequence[int], seeds: int, rule: Rule) -> bool:
    return not any(_few(sum(pairs[place][kind] for place in members), seeds, rule) for kind in (0, 1))


def _few(count: int, seeds: int, rule: Rule) -> bool:
    """Whether a count summed over seeds stands for a small number of patients."""
    return (count > 0 or rule.zeros) and count < rule.least * seeds


def spaced(
    points: Sequence[dict[str, Any]], held_out: tuple[int, int], seeds: int, rule: Rule
) -> list[dict[str, Any]]:
    """Those points of a net benefit curve between which no small number of patients lies.

    Thresholds ascend, and their counts are summed over `seeds`. What lies above the last one and below the
    first one counts likewise; `held_out` are the patients asked and those with the outcome.
    """
    asked, cases = held_out
    totals = (seeds * cases, seeds * (asked - cases))

    def near(one: tuple[int, int], other: tuple[int, int]) -> bool:
        return any(_few(more - less, seeds, rule) for more, less in zip(one, other, strict=True))

    kept: list[dict[str, Any]] = []
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
) -> list[dict[str, Any]]:
    """The points as if worked out from rounded counts alone.

    Thresholds are multiples of the prevalence, and a benefit is per patient: either would tell the counts
    exactly. Each threshold becomes the same multiple of the rounded prevalence.
    """
    asked, cases = (rule.rounded(count) for count in held_out)
    prevalence, exact = cases / asked, held_out[1] / held_out[0]
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
                "net_benefit": float(f"{(true - false * odds) / (seeds * asked):.6g}"),
                "treat_all": float(f"{prevalence - (1 - prevalence) * odds:.6g}"),
            }
        )
    return found
