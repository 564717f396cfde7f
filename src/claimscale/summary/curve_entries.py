"""Entries of the summary about curves: forecasts and their outcomes, curves over size, costs."""

from __future__ import annotations

import dataclasses
from typing import Any

from claimscale.evaluation.convergence import Convergence
from claimscale.evaluation.forecast import ForecastOutcome
from claimscale.evaluation.study_evaluation import CrossTaskEvaluation
from claimscale.summary.task_entry import bounds


def cross_task_entries(found: CrossTaskEvaluation, guards: Convergence) -> dict[str, Any]:
    """The entries `task_size_interaction`, `convergence`, `forecast` and `loss_fit`."""
    interaction, law = found.interaction, found.scaling_law
    gain = interaction.difference
    tested = {"estimate": gain.estimate, **bounds(gain), "p": gain.p_differs()} if gain else {}
    return {
        "task_size_interaction": {
            "smallest": interaction.smallest,
            "largest": interaction.largest,
            **dict.fromkeys(("estimate", "low", "high", "p")),
            **tested,
            "reason": interaction.reason,
        },
        "convergence": dataclasses.asdict(guards),
        "forecast": {
            "prospective": found.prospective,
            "tasks": [_forecast(outcome) for outcome in found.forecasts],
            "scaling_law": law and {name: value for name, value in vars(law).items() if name != "refits"},
            "curve_fits": {task: [vars(fit) for fit in fits] for task, fits in found.curve_fits.items()},
            "pareto": found.pareto,
        },
        "loss_fit": dataclasses.asdict(found.loss_fit),
    }


def _forecast(outcome: ForecastOutcome) -> dict[str, Any]:
    gain, residual = outcome.measured, outcome.residual
    return {
        **dataclasses.asdict(outcome.record),
        "observed_gain": gain and {"difference": gain.estimate, **bounds(gain)},
        "residual": residual and {"estimate": residual.estimate, **bounds(residual)},
        "within_interval": outcome.within_interval,
    }
