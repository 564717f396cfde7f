"""Entries of the summary about families of outcomes, from their evaluation."""

from __future__ import annotations

from claimscale.config.study import Study
from claimscale.evaluation.families import Family
from claimscale.evaluation.intervals import Interval, combine, interval
from claimscale.evaluation.metrics import Floats
from claimscale.evaluation.size_decision import Comparison, SizeCurve, Verdict
from claimscale.summary.decision_entries import RANGES, difference_fields
from claimscale.summary.entries import DifferenceEntry, EstimateEntry, Metric
from claimscale.summary.family_schema import FamilyEntry, FamilySizeEntry, FamilyVerdictEntry, TooSmallEntry


def family_entry(study: Study, family: Family, metric: Metric) -> FamilyEntry:
    curve = family.curve
    return FamilyEntry(
        name=family.name,
        metric=metric,
        relative_margin=study.compare.relative_margin,
        outcomes=len(family.outcomes),
        sizes=tuple(
            FamilySizeEntry(
                size=size,
                performance=_estimate(interval(scores), metric),
                auroc=_estimate(interval(family.auroc[size]), "auroc"),
            )
            for size, scores in curve.scores.items()
        ),
        recipe=_verdict(family.verdict, curve),
        trained_models=_verdict(family.as_trained, curve.as_trained()),
        too_small=_too_small(family),
        per_doubling=family.per_doubling and DifferenceEntry(**difference_fields(family.per_doubling)),
    )


def _too_small(family: Family) -> TooSmallEntry | None:
    pair = family.too_small
    gain = pair and _relative_gain(family.curve, pair)
    return TooSmallEntry(size=pair.smaller, larger=pair.larger, gain=gain) if pair and gain else None


def _relative_gain(curve: SizeCurve, pair: Comparison) -> DifferenceEntry | None:
    """The gain as a share of the larger size's metric."""
    relative = combine(_share, curve.scores[pair.larger], curve.scores[pair.smaller])
    return relative and DifferenceEntry(**difference_fields(interval(relative).conservative()))


def _estimate(found: Interval, metric: str) -> EstimateEntry:
    return EstimateEntry.model_validate(found.bounded(*RANGES[metric]))


def _verdict(verdict: Verdict, curve: SizeCurve) -> FamilyVerdictEntry:
    shown = next(
        (one for one in verdict.comparisons if verdict.smallest_sufficient in (None, one.smaller)), None
    )
    gain = shown and _relative_gain(curve, shown)
    needed = verdict.positives_needed
    return FamilyVerdictEntry(
        verdict=verdict.verdict,
        smallest_sufficient=verdict.smallest_sufficient,
        reason=verdict.reason,
        larger=shown and shown.larger,
        smaller=shown and shown.smaller,
        gain=gain,
        patients_factor=None if needed is None else needed / curve.positives,
        seeds_needed=verdict.seeds_needed,
    )


def _share(larger: Floats, smaller: Floats) -> Floats:
    """The gain as a share of the larger size's metric."""
    return 1 - smaller / larger
