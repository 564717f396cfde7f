"""Results of all tasks, and of all sizes, together, as typed records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from claimscale.config.study import Study
from claimscale.evaluation.contrasts import TaskSizeInteraction, task_size_interaction
from claimscale.evaluation.convergence import Convergence, convergence
from claimscale.evaluation.curve_fits import CurveFit, fit_curves, pareto_front
from claimscale.evaluation.forecast import (
    ForecastOutcome,
    ForecastRecord,
    forecast_outcome,
    retrospective_forecasts,
)
from claimscale.evaluation.pretrained_sizes import PretrainedSize
from claimscale.evaluation.scaling_law import LossFit, ScalingLaw, fit_scaling_law, loss_fit, loss_points
from claimscale.evaluation.size_decision import SizeCurve


@dataclass(frozen=True)
class CrossTaskEvaluation:
    """What is tested over tasks and fitted over sizes.

    `prospective`: the forecasts were written before larger sizes were trained. `curve_fits` and `pareto` (the
    efficient sizes) are by task.
    """

    interaction: TaskSizeInteraction
    prospective: bool
    forecasts: tuple[ForecastOutcome, ...]
    scaling_law: ScalingLaw | None
    loss_fit: LossFit
    curve_fits: Mapping[str, Sequence[CurveFit]]
    pareto: Mapping[str, Sequence[str]]


def evaluate_across_tasks(
    study: Study,
    curves: Mapping[str, SizeCurve],
    sizes: Sequence[PretrainedSize],
    recorded: Sequence[ForecastRecord],
) -> CrossTaskEvaluation:
    """`recorded` are the forecasts of forecasts.json; if there are none, they are made now."""
    kinds: dict[str, list[SizeCurve]] = {"disease": [], "medication": [], "other": []}
    for task in study.tasks:
        if task.name in curves:
            kinds[task.kind].append(curves[task.name])
    made = recorded or retrospective_forecasts(study, curves)
    points = loss_points(sizes, study.pretrain.epochs)
    law = fit_scaling_law(points, study.seed)
    known = {size.name: size for size in sizes}
    return CrossTaskEvaluation(
        interaction=task_size_interaction(kinds["disease"], kinds["medication"]),
        prospective=bool(recorded) and all(record.made_before_training for record in recorded),
        forecasts=tuple(forecast_outcome(record, curves.get(record.task)) for record in made),
        scaling_law=law,
        loss_fit=loss_fit(points, law),
        curve_fits={
            task: fit_curves(
                [known[name].parameters for name in curve.scores],
                [scores.values for scores in curve.scores.values()],
                [known[name].validation_loss for name in curve.scores],
            )
            for task, curve in curves.items()
        },
        pareto={task: _efficient_sizes(curve, known) for task, curve in curves.items()},
    )


def study_convergence(curves: Mapping[str, SizeCurve], sizes: Sequence[PretrainedSize]) -> Convergence:
    """The guards of the sizes that any task was trained with."""
    return convergence([size for size in sizes if any(size.name in one.scores for one in curves.values())])


def _efficient_sizes(curve: SizeCurve, known: Mapping[str, PretrainedSize]) -> list[str]:
    """Sizes for which no other is both cheaper to pretrain and as good."""
    hours = {name: known[name].hours for name in curve.scores}
    costs = {name: cost for name, cost in hours.items() if cost is not None}
    return pareto_front(costs, {name: float(curve.scores[name].values.mean()) for name in costs})
