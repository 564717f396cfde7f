"""All results of each task, as typed records."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from claimscale.config.study import Study
from claimscale.errors import BadInput
from claimscale.evaluation.cluster_bootstrap import (
    ClusterVerdict,
    ComparedTask,
    cluster_verdicts,
    read_hospitals,
)
from claimscale.evaluation.contrasts import (
    PretrainingGain,
    pretraining_gains,
)
from claimscale.evaluation.convergence import Convergence
from claimscale.evaluation.crossover import Crossover, crossovers
from claimscale.evaluation.delong import PairedAurocs
from claimscale.evaluation.intervals import CONFIDENCE, Interval, Scores, combine, interval
from claimscale.evaluation.model_diagnostics import ModelDiagnostics, diagnose_models
from claimscale.evaluation.predictions import HELD_OUT, TEST_SPLITS, SplitPredictions, known_values
from claimscale.evaluation.recipe_comparison import RecipeResult, compare_recipes, without_recipes
from claimscale.evaluation.recommendation import EnsembleGain, Recommendation, ensemble_gain, recommend
from claimscale.evaluation.savings import PretrainingCost, Saving, saving
from claimscale.evaluation.scoring import Model, score_models, score_ranking
from claimscale.evaluation.seed_ensembles import SeedEnsemble, seed_ensembles
from claimscale.evaluation.selection import (
    PRETRAINED,
    SCRATCH,
    TaskScores,
    compared_models,
    size_curve,
)
from claimscale.evaluation.size_decision import Comparison, SizeCurve, Verdict, decide

Predictions = Mapping[tuple[str, str], SplitPredictions]
"""By task and split."""


@dataclass(frozen=True)
class StudyScores:
    """Scores by split and task, and by trained task what its size decision compares.

    `without_encoder` are the held-out predictions of the tasks of a study that trains baselines alone.
    Published recipes are not among the models of the verdicts: `recipes` has them by task.
    """

    by_split: Mapping[str, Mapping[str, TaskScores]]
    compared: Mapping[str, ComparedTask]
    without_encoder: Mapping[str, SplitPredictions] = field(default_factory=dict[str, SplitPredictions])
    recipes: Mapping[str, tuple[RecipeResult, ...]] = field(
        default_factory=dict[str, tuple[RecipeResult, ...]]
    )

    @property
    def curves(self) -> dict[str, SizeCurve]:
        return {task: compared.curve for task, compared in self.compared.items()}


@dataclass(frozen=True)
class EvaluationInputs:
    """What an evaluation reads besides the predictions.

    Attributes:
        patients_file: the cohort's `patients.parquet`.
        oracle: task -> file of true risks (simulated data only).
        costs: pretraining cost by size.
        stopped: tasks whose larger sizes a forecast left out.
    """

    patients_file: Path
    oracle: Mapping[str, Path]
    costs: Mapping[str, PretrainingCost]
    stopped: Collection[str]


@dataclass(frozen=True)
class SizeContrast:
    """A comparison of two sizes with its secondary results; each is None where it cannot be computed.

    Attributes:
        relative: the gain as a share of the larger size's metric.
        auroc: the gain in AUROC, by DeLong's covariance.
        clustered: the comparison with whole hospitals resampled.
    """

    comparison: Comparison
    relative: Interval | None
    auroc: Interval | None
    clustered: Comparison | None


@dataclass(frozen=True)
class TaskEvaluation:
    """All results of one task on held-out patients.

    Attributes:
        as_trained: the verdict on the trained models themselves.
        contrasts: one per comparison of the verdict, in its order.
        clustered: the verdict with whole hospitals resampled, None where there are too few.
        saving: what the smallest sufficient size saves; None without encoders.
        additional_needed: positives needed for a decision beyond those of the task; None where unknown.
        pretraining_gains: each with its gain in AUROC.
        crossovers: by size.
        oracle: metrics of the true risks; None where they are unknown.
    """

    verdict: Verdict
    as_trained: Verdict
    contrasts: tuple[SizeContrast, ...]
    clustered: ClusterVerdict | None
    convergence: Convergence
    saving: Saving | None
    additional_needed: int | None
    pretraining_gains: tuple[tuple[PretrainingGain, Interval | None], ...]
    crossovers: Mapping[str, Crossover]
    diagnostics: tuple[ModelDiagnostics, ...]
    oracle: Mapping[str, Scores] | None
    recommendation: Recommendation
    ensemble: EnsembleGain | None
    seed_ensembles: tuple[SeedEnsemble, ...]


def score_study(study: Study, predictions: Predictions, tasks: Collection[str]) -> StudyScores:
    """Score all models of these tasks, on every split.

    Raises BadInput if a task has no predictions for held-out patients, or lacks the encoder of the settings.
    """
    for task in tasks:
        if (task, HELD_OUT) not in predictions:
            raise BadInput(f"task {task} has no predictions for held-out patients")
    replicates = study.compare.bootstrap_replicates
    everything = {split: score_models(predictions, split, replicates, study.seed) for split in TEST_SPLITS}
    by_split = {
        split: {task: without_recipes(scores) for task, scores in of_split.items()}
        for split, of_split in everything.items()
    }
    recipes = {
        task: compare_recipes(everything[HELD_OUT][task], study.compare.metric, study.compare.relative_margin)
        for task in tasks
    }
    compared, without_encoder = dict[str, ComparedTask](), dict[str, SplitPredictions]()
    for task in tasks:
        rows, scores = predictions[task, HELD_OUT], by_split[HELD_OUT][task]
        models = compared_models(scores, study.sizes)
        curve = size_curve(scores, models, study.compare.metric, float(rows.labels.mean()))
        if curve is not None:
            compared[task] = ComparedTask(curve, rows, models)
        elif study.finetune.initialization:
            raise BadInput(f"no encoder was fine-tuned for {task}")
        else:
            without_encoder[task] = rows
    return StudyScores(by_split, compared, without_encoder, recipes)


def evaluate_tasks(
    study: Study, scores: StudyScores, guards: Convergence, inputs: EvaluationInputs
) -> dict[str, TaskEvaluation]:
    """All results of every task, decided together."""
    found = {
        task: _without_encoder(study, task, rows, scores, guards, inputs)
        for task, rows in scores.without_encoder.items()
    }
    return found | _with_encoders(study, scores, guards, inputs)


def _without_encoder(
    study: Study, task: str, rows: SplitPredictions, scores: StudyScores, guards: Convergence,
    inputs: EvaluationInputs,
) -> TaskEvaluation:  # fmt: skip
    """The results of the baselines of a task; no size is compared."""
    metric, replicates = study.compare.metric, study.compare.bootstrap_replicates
    of_task = scores.by_split[HELD_OUT][task]
    verdict = Verdict("inconclusive", None, 0.0, 1 - CONFIDENCE, (), "no_encoder")
    return TaskEvaluation(
        verdict=verdict,
        as_trained=verdict,
        contrasts=(),
        clustered=None,
        convergence=guards,
        saving=None,
        additional_needed=None,
        pretraining_gains=(),
        crossovers={},
        diagnostics=tuple(diagnose_models(rows, of_task, inputs.patients_file, replicates, study.seed)),
        oracle=_oracle(study, task, rows, inputs),
        recommendation=recommend(verdict, verdict, guards.status, of_task, metric),
        ensemble=None,
        seed_ensembles=seed_ensembles(rows, of_task, metric, replicates, study.seed),
    )


def _oracle(
    study: Study, task: str, rows: SplitPredictions, inputs: EvaluationInputs
) -> Mapping[str, Scores] | None:
    """The metrics of the true risks, on the patients whose risks were computed; None where there are none."""
    if task not in inputs.oracle:
        return None
    known, risks = known_values(rows, inputs.oracle[task], HELD_OUT, "risk")
    return score_ranking(rows.labels[known], risks, study.compare.bootstrap_replicates, study.seed)


def _with_encoders(
    study: Study, scores: StudyScores, guards: Convergence, inputs: EvaluationInputs
) -> dict[str, TaskEvaluation]:
    """The results of the tasks with encoders, decided together."""
    verdicts = decide(scores.curves, study.compare.relative_margin)
    as_trained = decide(scores.curves, study.compare.relative_margin, "trained_models")
    hospitals = read_hospitals(inputs.patients_file)
    clustered = cluster_verdicts(scores.compared, hospitals, study.compare, study.seed)
    metric, replicates = study.compare.metric, study.compare.bootstrap_replicates
    evaluations = {}
    for task, compared in scores.compared.items():
        curve, rows, verdict = compared.curve, compared.predictions, verdicts[task]
        of_task, aurocs = scores.by_split[HELD_OUT][task], PairedAurocs.of(rows)
        reference = study.sizes[-1] if task in inputs.stopped else curve.largest
        needed = verdict.positives_needed
        evaluations[task] = TaskEvaluation(
            verdict=verdict,
            as_trained=as_trained[task],
            contrasts=_size_contrasts(verdict, clustered.get(task), compared, aurocs),
            clustered=clustered.get(task),
            convergence=guards,
            saving=saving(inputs.costs, verdict.smallest_sufficient or curve.largest, reference),
            additional_needed=None if needed is None else max(0, needed - curve.positives),
            pretraining_gains=_pretraining_gains(of_task, metric, aurocs),
            crossovers=crossovers(of_task, study.sizes, metric, study.seed),
            diagnostics=tuple(diagnose_models(rows, of_task, inputs.patients_file, replicates, study.seed)),
            oracle=_oracle(study, task, rows, inputs),
            recommendation=recommend(verdict, as_trained[task], guards.status, of_task, metric),
            ensemble=ensemble_gain(of_task, metric, study.sizes[-1]),
            seed_ensembles=seed_ensembles(rows, of_task, metric, replicates, study.seed),
        )
    return evaluations


def _size_contrasts(
    verdict: Verdict, clustered: ClusterVerdict | None, compared: ComparedTask, aurocs: PairedAurocs | None
) -> tuple[SizeContrast, ...]:
    found = []
    for place, pair in enumerate(verdict.comparisons):
        sizes = pair.larger, pair.smaller
        larger, smaller = (compared.curve.scores[size] for size in sizes)
        relative = combine(lambda most, least: 1 - least / most, larger, smaller)
        weights = dict(zip((compared.models[size] for size in sizes), (1.0, -1.0), strict=True))
        found.append(
            SizeContrast(
                pair,
                relative and interval(relative).conservative(),
                aurocs and aurocs.contrast(weights),
                clustered and clustered.verdict.comparisons[place],
            )
        )
    return tuple(found)


def _pretraining_gains(
    scores: TaskScores, metric: str, aurocs: PairedAurocs | None
) -> tuple[tuple[PretrainingGain, Interval | None], ...]:
    """The gains of pretraining with their gains in AUROC; the entry without a size is the mean over sizes."""
    by_arm: dict[str, dict[tuple[str, int], Scores]] = {PRETRAINED: {}, SCRATCH: {}}
    models: dict[tuple[str, str, int], Model] = {}
    for model, found in scores.items():
        if model.size is not None:
            by_arm[model.arm][model.size, found.n_labelled] = found.by_metric[metric]
            models[model.arm, model.size, found.n_labelled] = model
    gains = pretraining_gains(by_arm[PRETRAINED], by_arm[SCRATCH])
    paired = []
    for gain in gains:
        sizes = [
            one.size
            for one in gains
            if one.size is not None and one.n_labelled == gain.n_labelled and gain.size in (None, one.size)
        ]
        weights = {
            models[arm, size, gain.n_labelled]: sign / len(sizes)
            for size in sizes
            for arm, sign in ((PRETRAINED, 1), (SCRATCH, -1))
        }
        paired.append((gain, aurocs and aurocs.contrast(weights)))
    return tuple(paired)
