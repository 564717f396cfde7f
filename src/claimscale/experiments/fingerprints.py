"""Fingerprints: one digest of all that a stage or a cell is made from.

A stage or cell is stale when its fingerprint differs from the one that its output records. A fingerprint
covers the version (`versions.py`), the settings with an effect, and the content of the stages that are read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from claimscale import artifacts, sources
from claimscale.config.study import Study
from claimscale.config.training import NON_TRAINING_FIELDS
from claimscale.experiments.cells import ENCODER_KINDS, PRETRAINING_KINDS, RECIPE_KINDS, Cell
from claimscale.packages.start import start_digest
from claimscale.tasks import label_files, phenome_dates
from claimscale.versions import VERSIONS

if TYPE_CHECKING:
    from claimscale.evaluation.forecast import ForecastRecord


BUDGET_SETTINGS = {"epochs", "batch_tokens", "incident_weight", "horizon_days", "calendar_date_share"}
"""Settings of `pretrain` that the tokens of a recipe's pretraining depend on."""


def stage_fingerprint(study: Study, run: Path, name: str, inputs: Sequence[str]) -> str:
    """Fingerprint of a data stage or of the validity checks; raises OSError if an input stage is missing."""
    return artifacts.fingerprint(
        upstream={stage: artifacts.manifest_digest(run / stage) for stage in inputs},
        version=VERSIONS[name],
        settings=_stage_settings(study, name),
    )


def _stage_settings(study: Study, name: str) -> dict[str, object]:
    """The settings, and the files outside the run directory, that a stage depends on."""
    tasks = [task.model_dump(mode="json") for task in study.tasks]
    match name:
        case "events":
            return {"source": sources.fingerprint(study.source), "seed": study.seed}
        case "cohort":
            # The description of the cohort counts the codes that a model can see.
            cohort = study.cohort.model_dump(mode="json")
            return {"cohort": cohort, "seed": study.seed, "deduplicate": study.tokens.deduplicate}
        case "tokens":
            return {"min_patients": study.tokens.min_patients, "rollup": study.tokens.rollup}
        case "labels":
            dates = (study.labels, study.dates_per_patient, study.cohort.recency_days)
            if study.labels == "scarce":  # each seed labels other patients
                dates = (*dates, study.finetune.seeds)
            files = label_files.identity(study)
            settings = {"tasks": tasks, "label_files": files, "dates": dates, "seed": study.seed}
            if study.phenome is not None:
                settings["phenome"] = study.phenome.min_history_days
            return settings
        case "oracle":
            return _stage_settings(study, "events") | _stage_settings(study, "labels")
        case "validity":
            cohort = study.cohort.model_dump(mode="json")
            return {"cohort": cohort, "seed": study.seed, "tasks": tasks}
        case _:
            raise ValueError(name)


def cell_fingerprint(study: Study, run: Path, cell: Cell) -> str:
    """Fingerprint of a cell; it includes the versions of the cells that it needs."""
    if cell.kind == "ensemble":
        members = [cell_fingerprint(study, run, need) for need in cell.needs]
        return artifacts.fingerprint(cell=asdict(cell), members=members, version=VERSIONS[cell.kind])
    inputs: dict[str, object] = {
        "cell": asdict(cell),
        "versions": [VERSIONS[kind] for kind in (cell.kind, *(need.kind for need in cell.needs))],
        "study_seed": study.seed,
        "tokens": artifacts.manifest_digest(run / "tokens"),
    }
    if cell.task is not None:
        inputs |= _task_inputs(study, run, cell)
    if cell.size is not None:
        tokens = study.tokens
        inputs["sequences"] = (tokens.max_length, tokens.deduplicate, tokens.hierarchical_embeddings)
    if cell.kind == "phenome_lightgbm":
        inputs["horizon"] = study.pretrain.horizon_days
    elif cell.kind not in (*ENCODER_KINDS, *RECIPE_KINDS, "phenome"):
        inputs["search"] = study.search.model_dump()
    if cell.kind in RECIPE_KINDS:
        inputs |= {
            "cohort": artifacts.manifest_digest(run / "cohort"),
            "landmark": study.cohort.landmark,
            "withheld": _withheld(study),
            "budget": study.pretrain.model_dump(include=BUDGET_SETTINGS),
        }
    elif cell.kind in PRETRAINING_KINDS or cell.pretraining is not None:
        inputs["cohort"] = artifacts.manifest_digest(run / "cohort")
        inputs["landmark"] = study.cohort.landmark
        inputs["withheld"] = _withheld(study)
        inputs["pretrain"] = _pretraining_settings(study, cell)
    if cell.kind in ("phenome", "phenome_lightgbm"):
        assert study.phenome is not None
        unused = {"lightgbm_outcomes"} if cell.kind == "phenome" else set[str]()
        inputs["phenome"] = study.phenome.model_dump(exclude=unused)
        labels = artifacts.read_manifest(run / "labels")["files"]
        inputs["dates"] = labels[phenome_dates.FILE]["sha256"]
    if cell.kind in ("finetune", "recipe"):
        inputs["finetune"] = study.finetune.model_dump(
            exclude={"seeds", "labelled_patients", "initialization", "checkpoint_minutes"}
        )
    return artifacts.fingerprint(**inputs)


def _task_inputs(study: Study, run: Path, cell: Cell) -> dict[str, object]:
    """The labels and the part of the task's definition that a cell depends on."""
    task = next(task for task in study.tasks if task.name == cell.task)
    labels = artifacts.read_manifest(run / "labels")["files"]
    inputs: dict[str, object] = {
        "labels": [labels[name]["sha256"] for name in (f"{task.name}.parquet", f"index/{task.name}.parquet")],
        "hidden_codes": task.hidden_codes,
    }
    if cell.kind == "recipe" or (cell.pretraining is not None and study.finetune.zero_shot_init):
        inputs["outcome_tokens"] = task.outcome
    if cell.kind == "outcome_history":
        inputs["outcome"] = (task.outcome, task.confirmation_codes)
    return inputs


def _withheld(study: Study) -> list[object]:
    """The codes that pretraining does not see."""
    if study.labels != "scarce":
        return []
    return [codes for task in study.tasks for codes in (task.outcome, task.hidden_codes)]


def _pretraining_settings(study: Study, cell: Cell) -> dict[str, object]:
    """The settings of the pretraining that the cell performs or builds on."""
    if cell.kind == "sweep":
        unused = {"seeds", "checkpoint_minutes", "learning_rate", "cooldown_fractions"}
    elif cell.kind == "pretrain":
        unused = set(NON_TRAINING_FIELDS)
    else:  # the weights at the full budget do not depend on the other cooldowns
        unused = NON_TRAINING_FIELDS | {"cooldown_fractions"}
    settings = study.pretrain.model_dump(exclude=unused | {"start"})
    if study.pretrain.start is not None:
        settings["start"] = start_digest(Path(study.pretrain.start))
    return settings


def summary_fingerprint(
    study: Study,
    cells: Mapping[str, object],
    validity: str,
    forecasts: Sequence[ForecastRecord],
    damaged: int = 0,
) -> str:
    """Fingerprint of the summary.

    `cells` gives by id what identifies each cell and its content; `damaged` counts the damaged files that
    the run has replaced.
    """
    return artifacts.fingerprint(
        cells=dict(cells),
        study=study.model_dump(mode="json", exclude={"report"}),
        checks=validity,
        forecasts=[asdict(one) for one in forecasts],
        damaged=damaged,
        version=VERSIONS["summary"],
    )


def report_fingerprint(study: Study, summary: str) -> str:
    """Fingerprint of the report: that of its summary, and the settings of the page alone."""
    return artifacts.fingerprint(
        summary=summary, report=study.report.model_dump(mode="json"), version=VERSIONS["report"]
    )
