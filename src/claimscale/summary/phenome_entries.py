"""Entries of the summary about the phenome, from its evaluation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from claimscale.config.study import Study
from claimscale.evaluation.intervals import Interval, combine, interval
from claimscale.evaluation.metrics import Floats
from claimscale.evaluation.phenome import Family, PhenomeEvaluation
from claimscale.evaluation.size_decision import SizeCurve, Verdict
from claimscale.summary.decision_entries import RANGES, difference_fields
from claimscale.summary.entries import DifferenceEntry, EstimateEntry
from claimscale.summary.phenome_schema import (
    FamilyEntry,
    FamilySizeEntry,
    FamilyVerdictEntry,
    OutcomeEntry,
    PhenomeEntry,
)


def phenome_entry(study: Study, found: PhenomeEvaluation, test_patients: int) -> PhenomeEntry:
    assert study.phenome is not None
    interaction = found.interaction
    return PhenomeEntry(
        test_patients=test_patients,
        min_cases=study.phenome.min_cases,
        gap_days=study.phenome.gap_days,
        horizon_days=study.pretrain.horizon_days,
        relative_margin=study.compare.relative_margin,
        sizes=tuple(found.phenome.runs),
        families=tuple(_family(one) for one in found.families),
        chapters=tuple(_family(one) for one in found.chapters),
        interaction=interaction and DifferenceEntry(**difference_fields(interaction)),
        interaction_p=interaction and interaction.p_differs(),
        outcomes=_outcomes(found),
    )


def _family(family: Family) -> FamilyEntry:
    curve = family.curve
    return FamilyEntry(
        name=family.name,
        outcomes=len(family.outcomes),
        sizes=tuple(
            FamilySizeEntry(
                size=size,
                auprc=_estimate(interval(scores), "auprc"),
                auroc=_estimate(interval(family.auroc[size]), "auroc"),
            )
            for size, scores in curve.scores.items()
        ),
        recipe=_verdict(family.verdict, curve),
        trained_models=_verdict(family.as_trained, curve.as_trained()),
        per_doubling=family.per_doubling and DifferenceEntry(**difference_fields(family.per_doubling)),
    )


def _estimate(found: Interval, metric: str) -> EstimateEntry:
    return EstimateEntry.model_validate(found.bounded(*RANGES[metric]))


def _verdict(verdict: Verdict, curve: SizeCurve) -> FamilyVerdictEntry:
    shown = next(
        (one for one in verdict.comparisons if verdict.smallest_sufficient in (None, one.smaller)), None
    )
    gain = None
    if shown is not None:
        pair = curve.scores[shown.larger], curve.scores[shown.smaller]
        relative = combine(_share, *pair)
        gain = relative and DifferenceEntry(**difference_fields(interval(relative).conservative()))
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


def _outcomes(found: PhenomeEvaluation) -> tuple[OutcomeEntry, ...]:
    phenome = found.phenome
    by_size: Mapping[str, np.ndarray] = {
        name: np.stack([getattr(runs, name).mean(axis=0) for runs in phenome.runs.values()], axis=1)
        for name in ("auprc", "auroc", "log_loss")
    }
    return tuple(
        OutcomeEntry.model_validate(
            {
                "code": phenome.codes[at],
                "kind": phenome.kinds[at],
                "chapter": phenome.chapters[at],
                "cases": int(phenome.cases[at]),
                **{name: tuple(values[at].tolist()) for name, values in by_size.items()},
                "gain": difference_fields(one.gain),
                "shrunk_gain": one.shrunk,
            }
        )
        for at, one in enumerate(found.gains)
    )


def _share(larger: Floats, smaller: Floats) -> Floats:
    """The gain as a share of the larger size's metric."""
    return 1 - smaller / larger
