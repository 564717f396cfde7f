# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
"""Reads what the stages and cells of a run left, for its summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pyarrow.parquet as pq

from claimscale import artifacts, damage
from claimscale.config.study import Study
from claimscale.evaluation.phenome import PhenomeRun
from claimscale.experiments.cells import Cell, CellRecord
from claimscale.experiments.futility import read_forecasts
from claimscale.experiments.workspace import Workspace
from claimscale.findings import Finding, finding
from claimscale.summary.build import StudyResults
from claimscale.summary.dataset_schema import DatasetEntry, FrequentCodeEntry
from claimscale.summary.result_schema import SkippedSubsetsEntry, SplitCountsEntry
from claimscale.summary.statistics_schema import CheckEntry, PartialEntry
from claimscale.summary.task_entries import split_counts
from claimscale.validity import checks
from claimscale.validity.check_result import CheckResult

FREQUENT_CODES = 30
"""Codes that the report lists with the number of patients who have them."""
QUALITY_KEYS = ("source_rows", "rows_in", "used", "quarantined", "dropped", "repaired", "warnings")


def collect_results(
    workspace: Workspace,
    study: Study,
    cells: Sequence[Cell],
    results: Sequence[CheckResult],
    partial: PartialEntry | None = None,
) -> StudyResults:
    """The results of these finished cells, and of the validity checks.

    `study` may hold fewer tasks or replicates than the study of the workspace.
    """
    records = {cell: workspace.record(cell) for cell in cells}
    oracle = {task.name: workspace.run / "oracle" / f"{task.name}.parquet" for task in study.tasks}
    return StudyResults(
        cells=[workspace.result(cell) for cell in cells if cell.task is not None],
        pretraining=[_pretraining(workspace, cell) for cell in cells if cell.kind == "pretrain"],
        lr_sweeps={
            cell.size: record["lr_sweep"]
            for cell, record in records.items()
            if cell.kind == "sweep" and cell.size is not None
        },
        dataset=_dataset(workspace),
        label_counts={name: _label_counts(task) for name, task in workspace.labels.items()},
        oracle={task: file for task, file in oracle.items() if file.exists()},
        insufficient_data=workspace.insufficient_data,
        pretraining_positives={
            task.name: workspace.pretraining_positives(task) for task in study.tasks if task.labels is None
        },
        excluded={
            name: {reason: n for reason, n in task["excluded"].items() if n}
            for name, task in workspace.labels.items()
        },
        skipped_subsets={
            task: SkippedSubsetsEntry(label=skipped.label, labelled_patients=tuple(skipped.patients))
            for task, skipped in workspace.skipped_subsets.items()
        },
        checks=[
            CheckEntry(task=one.task, title=checks.TITLES[one.check], status=one.status, text=one.finding)
            for one in results
        ],
        notes=_notes(workspace, records),
        forecasts=read_forecasts(study),
        recipes=[
            {**records[cell], "recipe": cell.arm, "size": cell.size, "seed": cell.seed}
            for cell in records
            if cell.kind == "recipe_pretrain"
        ],
        phenome=[
            PhenomeRun(cell.size, cell.seed, workspace.folder(cell.id))
            for cell in records
            if cell.kind == "phenome" and cell.size is not None
        ],
        phenome_patients=max(
            (record["patients"] for cell, record in records.items() if cell.kind == "phenome"), default=0
        ),
        phenome_lightgbm=next(
            (workspace.folder(cell.id) for cell in records if cell.kind == "phenome_lightgbm"), None
        ),
        partial=partial,
    )


def _notes(workspace: Workspace, records: Mapping[Cell, CellRecord]) -> list[Finding]:
    """What cells note for the reader, and that files were damaged."""
    notes = [
        finding("limitation.of_cell", cell=cell.id, finding=Finding.model_validate(note))
        for cell, record in records.items()
        for note in record.get("notes", ())
    ]
    if damaged := damage.count(workspace.run):
        notes.append(finding("limitation.damaged_files", n=damaged))
    return notes


def _label_counts(task: Mapping[str, Any]) -> dict[str, SplitCountsEntry]:
    return {
        split: split_counts(counts["patients"], counts["n"], counts["positives"])
        for split, counts in task["splits"].items()
    }


def _pretraining(workspace: Workspace, cell: Cell) -> dict[str, Any]:
    """What the summary needs of one pretraining: its record, its shape, and the file of its losses."""
    assert cell.size is not None
    shape = workspace.shape(cell.size)
    return {
        **workspace.record(cell),
        "layers": shape.layers,
        "width": shape.width,
        "feed_forward": shape.feed_forward,
        "size": cell.size,
        "seed": cell.seed,
        "metrics": workspace.folder(cell.id) / "metrics.jsonl",
    }


def _dataset(workspace: Workspace) -> DatasetEntry:
    """The cohort, its codes, and the row reconciliation."""
    quality, tokens, cohort, description = (
        artifacts.read_json(workspace.run / file)
        for file in (
            "events/quality.json",
            "tokens/tokens.json",
            "cohort/cohort.json",
            "cohort/description.json",
        )
    )
    return DatasetEntry.model_validate(
        {
            "source": workspace.study.source.kind,
            "patients": cohort["included"],
            "hospitals": cohort["sampled_hospitals"],
            "events": quality["used"],
            "tokens": tokens["tokens"],
            "vocabulary": tokens["vocabulary"],
            "code_groups": workspace.token_metadata.group_count,
            "span": quality["span"],
            "cohort": cohort,
            "description": description,
            "codes": _frequent_codes(workspace.run / "tokens" / "vocabulary.parquet"),
            "quality": {key: quality[key] for key in QUALITY_KEYS},
        }
    )


def _frequent_codes(file: Path) -> list[FrequentCodeEntry]:
    """The codes that most training patients had before the landmark."""
    rows = cast("list[dict[str, Any]]", pq.read_table(file, columns=["code", "type", "patients"]).to_pylist())
    codes = [FrequentCodeEntry(**row) for row in rows if row["type"] not in ("special", "sex")]
    return sorted(codes, key=lambda one: (-int(one.patients or 0), one.code))[:FREQUENT_CODES]
