"""What the methods section says about the phenome."""

from __future__ import annotations

from collections.abc import Iterator

from claimscale.config.phenome import Phenome
from claimscale.config.study import Study
from claimscale.findings import Finding, finding


def paragraph(study: Study, phenome: Phenome) -> Iterator[Finding]:
    levels = [
        finding("methods.rollup_level", system=system, level=level)
        for system, level in phenome.levels.items()
    ]
    yield finding("methods.phenome", levels=levels, cases=phenome.min_cases)
    yield finding(
        "methods.phenome_window",
        first=phenome.gap_days + 1,
        last=phenome.gap_days + study.pretrain.horizon_days,
        history=phenome.min_history_days,
        washout=phenome.washout_days,
    )
    if phenome.lightgbm_outcomes and study.labels != "scarce":
        everyone = phenome.lightgbm_outcomes == "all"
        yield finding(
            "methods.phenome_lightgbm_all" if everyone else "methods.phenome_lightgbm",
            **({} if everyone else {"n": phenome.lightgbm_outcomes}),
        )
    yield finding("methods.families")
