"""Entries of the summary about the phenome, from its evaluation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from claimscale.config.study import Study
from claimscale.evaluation.break_even import BreakEven
from claimscale.evaluation.phenome import PhenomeEvaluation
from claimscale.summary.break_even_entries import outcome_entries, size_entries
from claimscale.summary.decision_entries import difference_fields
from claimscale.summary.entries import DifferenceEntry
from claimscale.summary.family_entries import family_entry
from claimscale.summary.phenome_schema import OutcomeEntry, PhenomeEntry


def phenome_entry(
    study: Study, found: PhenomeEvaluation, break_even: BreakEven | None, test_patients: int
) -> PhenomeEntry:
    assert study.phenome is not None
    interaction = found.interaction
    return PhenomeEntry(
        test_patients=test_patients,
        min_cases=study.phenome.min_cases,
        gap_days=study.phenome.gap_days,
        horizon_days=study.pretrain.horizon_days,
        sizes=tuple(found.phenome.runs),
        families=tuple(family_entry(study, one, "auprc") for one in found.families),
        chapters=tuple(family_entry(study, one, "auprc") for one in found.chapters),
        interaction=interaction and DifferenceEntry(**difference_fields(interaction)),
        interaction_p=interaction and interaction.p_differs(),
        outcomes=_outcomes(found),
        lightgbm=outcome_entries(found.phenome, break_even) if break_even else (),
        against_lightgbm=size_entries(break_even) if break_even else (),
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
