"""The summary of a study, from what its stages and cells left. It is built here, once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import claimscale
from claimscale.config.study import Study
from claimscale.errors import naming
from claimscale.evaluation.break_even import compare_with_lightgbm, read_lightgbm
from claimscale.evaluation.failed_runs import failed_runs, unseen_failure_rate
from claimscale.evaluation.families import task_families
from claimscale.evaluation.forecast import ForecastRecord
from claimscale.evaluation.intervals import Scores
from claimscale.evaluation.phenome import PhenomeRun, evaluate_phenome, read_phenome
from claimscale.evaluation.predictions import HELD_OUT, CellResult, load_predictions
from claimscale.evaluation.pretrained_sizes import LearningRateTrial, PretrainedSize, pretrained_sizes
from claimscale.evaluation.savings import pretraining_costs
from claimscale.evaluation.size_decision import SizeCurve
from claimscale.evaluation.study_evaluation import evaluate_across_tasks, study_convergence
from claimscale.evaluation.task_evaluation import EvaluationInputs, StudyScores, evaluate_tasks, score_study
from claimscale.experiments.workspace import InsufficientData
from claimscale.findings import Finding
from claimscale.summary.dataset_schema import DatasetEntry
from claimscale.summary.family_entries import family_entry
from claimscale.summary.family_schema import FamilyEntry
from claimscale.summary.phenome_entries import phenome_entry
from claimscale.summary.phenome_schema import PhenomeEntry
from claimscale.summary.pretraining_entries import forecasts_entry, interaction_entry, training_losses
from claimscale.summary.pretraining_schema import ConvergenceEntry, FailedRunEntry, LossFitEntry, SizeEntry
from claimscale.summary.provenance import provenance
from claimscale.summary.recipe_entries import recipe_entries
from claimscale.summary.result_schema import SkippedSubsetsEntry
from claimscale.summary.schema import Summary
from claimscale.summary.statistics_schema import CheckEntry, PartialEntry
from claimscale.summary.task_entries import SplitCounts, not_trained_entry, task_entry
from claimscale.summary.task_schema import TaskEntry


@dataclass(frozen=True)
class StudyResults:
    """What the stages and cells of a study left.

    Attributes:
        cells: one entry per fine-tuned or baseline cell.
        pretraining: one mapping per size and seed, as the cell recorded it.
        dataset: the data.
        label_counts: by task and split, as the labels were made.
        oracle: by task, a Parquet file with subject_id, prediction_time, split, risk (simulated data only).
        insufficient_data: by task, why no model was trained.
        pretraining_positives: by task, training patients with an outcome code that pretraining sees.
        excluded: by task, index dates that are not labelled, by reason.
        skipped_subsets: by task, subsets that were too small.
        checks: validity checks.
        lr_sweeps: by size, the validation loss at each learning rate; None where training diverged.
        notes: what cells report about themselves.
        forecasts: forecasts that were recorded before larger sizes were trained.
        partial: progress of an unfinished study.
        recipes: one mapping per pretraining of a published recipe, as the cell recorded it.
        phenome: one entry per pretraining whose phenome was predicted.
        phenome_patients: test patients of the phenome.
        phenome_lightgbm: the folder of LightGBM on a sample of its outcomes.
    """

    cells: Sequence[CellResult]
    pretraining: Sequence[Mapping[str, Any]]
    dataset: DatasetEntry
    label_counts: Mapping[str, SplitCounts]
    oracle: Mapping[str, Path] = field(default_factory=dict[str, Path])
    insufficient_data: Mapping[str, InsufficientData] = field(default_factory=dict[str, InsufficientData])
    pretraining_positives: Mapping[str, int] = field(default_factory=dict[str, int])
    excluded: Mapping[str, Mapping[str, int]] = field(default_factory=dict[str, Mapping[str, int]])
    skipped_subsets: Mapping[str, SkippedSubsetsEntry] = field(default_factory=dict[str, SkippedSubsetsEntry])
    checks: Sequence[CheckEntry] = ()
    lr_sweeps: Mapping[str, Sequence[LearningRateTrial]] = field(
        default_factory=dict[str, Sequence[LearningRateTrial]]
    )
    notes: Sequence[Finding] = ()
    forecasts: Sequence[ForecastRecord] = ()
    partial: PartialEntry | None = None
    recipes: Sequence[Mapping[str, Any]] = ()
    phenome: Sequence[PhenomeRun] = ()
    phenome_patients: int = 0
    phenome_lightgbm: Path | None = None


def build_summary(study: Study, run_directory: Path, results: StudyResults) -> Summary:
    """Evaluate all cells of a study and return its summary, before the privacy step.

    Raises BadInput if predictions are missing, unreadable, or not about the same patients.
    """
    predictions = load_predictions(results.cells)
    trained = [task.name for task in study.tasks if task.name not in results.insufficient_data]
    with naming(str(run_directory)):
        scores = score_study(study, predictions, trained)
    sizes = pretrained_sizes(study, results.pretraining, results.lr_sweeps)
    guards, dataset = study_convergence(scores.curves, sizes), results.dataset
    inputs = EvaluationInputs(
        patients_file=run_directory / "cohort" / "patients.parquet",
        oracle=results.oracle,
        costs=pretraining_costs(
            sizes, dataset.vocabulary, study.pretrain.mask_probability, dataset.code_groups
        ),
        stopped={record.task for record in results.forecasts if record.stop},
    )
    evaluations = evaluate_tasks(study, scores, guards, inputs)
    across = evaluate_across_tasks(study, scores.curves, sizes, results.forecasts)
    parameters = {size.name: size.parameters for size in sizes}
    tasks: list[TaskEntry] = []
    for task in study.tasks:
        counts, lacking = results.label_counts.get(task.name, {}), results.insufficient_data.get(task.name)
        if lacking is not None:
            tasks.append(not_trained_entry(study, task, counts, lacking))
        else:
            evaluation = evaluations[task.name]
            tasks.append(task_entry(study, task, evaluation, scores, predictions, counts, parameters))
    return Summary(
        name=study.name,
        version=claimscale.__version__,
        partial=results.partial,
        dataset=dataset,
        sizes=tuple(SizeEntry.model_validate(size) for size in sizes),
        tasks=tuple(_with_data(study, one, scores, results) for one in tasks),
        task_families=_task_families(study, scores, parameters),
        phenome=_phenome(study, results, parameters),
        task_size_interaction=interaction_entry(across.interaction),
        convergence=ConvergenceEntry.model_validate(guards),
        failed_runs=tuple(FailedRunEntry.model_validate(run) for run in failed_runs(sizes)),
        unseen_failure_rate=_unseen_failure_rate(sizes),
        forecast=forecasts_entry(across),
        loss_fit=LossFitEntry.model_validate(across.loss_fit),
        training_losses=training_losses(results.pretraining),
        checks=tuple(results.checks),
        notes=tuple(results.notes),
        learning_rate=study.pretrain.learning_rate,
        finetune_seeds=tuple(study.finetune.seeds),
        provenance=provenance(run_directory),
    )


def _with_data(study: Study, task: TaskEntry, scores: StudyScores, results: StudyResults) -> TaskEntry:
    """The task with what stages and recipes left about it."""
    recipes = scores.recipes.get(task.name, ())
    return task.model_copy(
        update={
            "skipped_labelled_patients": results.skipped_subsets.get(task.name),
            "pretraining_positives": results.pretraining_positives.get(task.name),
            "excluded": results.excluded.get(task.name, {}),
            "recipes": recipe_entries(recipes, results.recipes, study.compare.metric),
        }
    )


def _unseen_failure_rate(sizes: Sequence[PretrainedSize]) -> float | None:
    runs = min((len(size.seeds) for size in sizes if size.seeds), default=0)
    return unseen_failure_rate(runs) if runs > 1 else None


def _phenome(study: Study, results: StudyResults, parameters: Mapping[str, int]) -> PhenomeEntry | None:
    """The phenome of the runs so far; without any outcome it says so."""
    if not results.phenome:
        return None
    found = read_phenome(results.phenome, study.sizes)
    evaluated = evaluate_phenome(found, parameters, study.compare.relative_margin, study.seed)
    break_even = None
    if results.phenome_lightgbm is not None:
        trees = read_lightgbm(results.phenome_lightgbm, found)
        break_even = compare_with_lightgbm(found, trees, study.seed)
    return phenome_entry(study, evaluated, break_even, results.phenome_patients)


def _task_families(
    study: Study, scores: StudyScores, parameters: Mapping[str, int]
) -> tuple[FamilyEntry, ...]:
    """The tasks of each kind together."""
    kinds: dict[str, list[tuple[SizeCurve, dict[str, Scores]]]] = {
        "disease_tasks": [],
        "medication_tasks": [],
    }
    for task in study.tasks:
        compared = scores.compared.get(task.name)
        if compared is not None and f"{task.kind}_tasks" in kinds:
            of_task = scores.by_split[HELD_OUT][task.name]
            aurocs = {size: of_task[model].by_metric["auroc"] for size, model in compared.models.items()}
            kinds[f"{task.kind}_tasks"].append((compared.curve, aurocs))
    found = task_families(kinds, parameters, study.compare.relative_margin, study.seed)
    return tuple(family_entry(study, one, study.compare.metric) for one in found)
