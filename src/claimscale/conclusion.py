"""What follows from the cells of a study, all or some of them: checks of validity, results, the report."""

from __future__ import annotations

import dataclasses
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claimscale import artifacts
from claimscale.config import loading
from claimscale.config.study import Study
from claimscale.experiments.cells import Cell
from claimscale.experiments.workspace import Workspace
from claimscale.progress import Display
from claimscale.validity import checks
from claimscale.validity.check_result import CheckResult
from claimscale.versions import VERSIONS

if TYPE_CHECKING:
    from claimscale.evaluation.forecast import ForecastRecord
    from claimscale.evaluation.predictions import CellResult

REPORT = "report.html"
CONCLUSION = "conclusion.json"
PARTIAL = "partial"
FREQUENT_CODES = 30
PARTIAL_SECONDS = 300.0
PARTIAL_SHARE = 0.02
PARTIAL_REPLICATES = 200
CONCLUSION_SECONDS = 15.0
CHECK_SECONDS = 10.0
"""First guesses for the progress display: the demonstration on two cores."""


def checked(workspace: Workspace, display: Display) -> list[CheckResult]:
    """The findings of the run's checks; those of an earlier time where nothing they rest on has changed."""
    study, run_directory = workspace.study, workspace.run
    findings = checks.read_current(run_directory, study)
    if findings is None:
        findings = checks.check(
            study, run_directory, lambda what: display.update(0.95, CHECK_SECONDS, f"checking {what}")
        )
        checks.write(findings, run_directory, study)
        artifacts.append_audit(run_directory, "checked", warned=sum(one.warned for one in findings))
    return findings


class PartialReport:
    """Called after every cell of a study: writes the report of what is done, now and then.

    Each takes a little of the study's time, so the next waits until that is a small part of what has passed.
    It is a courtesy: one that fails is noted in the audit log, and the study goes on.
    """

    def __init__(self, workspace: Workspace, cells: list[Cell]) -> None:
        self.workspace, self.cells = workspace, cells
        self.next = time.monotonic() + PARTIAL_SECONDS

    def __call__(self) -> None:
        started = time.monotonic()
        if started < self.next:
            return
        try:
            write_partial_report(self.workspace, self.cells)
        except Exception as error:
            artifacts.append_audit(self.workspace.run, "partial report failed", error=type(error).__name__)
        taken = time.monotonic() - started
        self.next = time.monotonic() + max(PARTIAL_SECONDS, taken / PARTIAL_SHARE)


def write_partial_report(workspace: Workspace, cells: list[Cell]) -> bool:
    """Write the report of the cells that are done, as partial; False if no question has an encoder.

    Its summary lies in `partial/`, apart from the one that counts, and rests on few replicates.
    """
    study, run_directory = workspace.study, workspace.run
    done = [cell for cell in cells if workspace.is_done(cell)]
    begun = {cell.task for cell in done if cell.kind == "finetune"}
    if not begun:
        return False
    compare = study.compare.model_copy(
        update={"bootstrap_replicates": min(study.compare.bootstrap_replicates, PARTIAL_REPLICATES)}
    )
    reduced = study.model_copy(
        update={"tasks": [task for task in study.tasks if task.name in begun], "compare": compare}
    )
    trained = [cell for cell in done if cell.task is None or cell.task in begun]
    folder = run_directory / PARTIAL
    artifacts.make_folder(folder)
    summary = _summarise(workspace, reduced, folder, trained, findings=[])
    summary["partial"] = {"done": len(done), "total": len(cells)}
    _write_report(summary, study)
    return True


def conclude(
    workspace: Workspace, cells: list[Cell], display: Display, again: bool = False
) -> dict[str, Any]:
    """Compare sizes and arms over all cells; write results, summary and report. Returns the summary.

    The mark is written last: while it is absent or names other inputs, the conclusion is drawn again. What
    only the page rests on (its texts, its language) makes only the page anew; so does `again`.
    """
    study, run_directory = workspace.study, workspace.run
    mark = run_directory / CONCLUSION
    settings = study.model_dump(mode="json")
    language = settings.pop("report")
    inputs = artifacts.fingerprint(
        cells={cell.id: workspace.inputs(cell) for cell in cells},
        study=settings,
        checks=checks.fingerprint(run_directory, study),
        forecasts=[dataclasses.asdict(one) for one in forecasts(study)],
        version=VERSIONS["summary"],
    )
    shown = artifacts.fingerprint(summary=inputs, language=language, version=VERSIONS["report"])
    written = artifacts.read_json(mark) if mark.exists() else {}
    if written.get("inputs") == inputs and (run_directory / "summary.json").exists():
        summary = artifacts.read_json(run_directory / "summary.json")
        if written.get("shown") == shown and (run_directory / REPORT).exists() and not again:
            return summary
    else:
        display.update(0.97, CONCLUSION_SECONDS, "comparing sizes")
        mark.unlink(missing_ok=True)
        findings = checked(workspace, display)
        summary = _summarise(workspace, study, run_directory, cells, findings)
    display.update(0.99, CONCLUSION_SECONDS / 3, "writing the report")
    _write_report(summary, study)
    shutil.rmtree(run_directory / PARTIAL, ignore_errors=True)
    artifacts.write_json(mark, {"inputs": inputs, "shown": shown})
    artifacts.append_audit(run_directory, "concluded", cells=len(cells))
    return summary


def _write_report(summary: dict[str, Any], study: Study) -> None:
    from claimscale.report import export, page  # charts are slow to import

    run_directory, text = study.run_directory, loading.dump(study)
    page.render(summary, text, run_directory / REPORT, study.report.language)
    if "partial" not in summary:
        export.write(summary, run_directory, study.report.language)


def _summarise(
    workspace: Workspace, study: Study, folder: Path, cells: list[Cell], findings: list[CheckResult]
) -> dict[str, Any]:
    """The summary of these cells, written to the folder."""
    from claimscale.summary import build as summaries  # statistics are slow to import

    run_directory = workspace.run
    oracle_files = {task.name: run_directory / "oracle" / f"{task.name}.parquet" for task in study.tasks}
    return summaries.summarise(
        study,
        folder,
        cells=[cell_result(workspace, cell) for cell in cells if cell.task is not None],
        pretraining=[_pretraining(workspace, cell) for cell in cells if cell.kind == "pretrain"],
        lr_sweeps={
            cell.size: artifacts.read_json(workspace.folder(cell.id) / artifacts.CELL)["result"]["lr_sweep"]
            for cell in cells
            if cell.kind == "sweep" and cell.size is not None
        },
        dataset=_dataset(workspace),
        label_counts={
            name: {
                split: {
                    "patients": counts["patients"],
                    "index_dates": counts["n"],
                    "positives": counts["positives"],
                }
                for split, counts in task["splits"].items()
            }
            for name, task in workspace.labels.items()
        },
        oracle={task: file for task, file in oracle_files.items() if file.exists()},
        insufficient_data=workspace.insufficient_data,
        left_out=workspace.left_out,
        checks=[
            {
                "task": one.task,
                "title": checks.TITLES[one.check],
                "status": one.status,
                "text": one.sentence,
            }
            for one in findings
        ],
        notes=[f"{cell.id}: {note}" for cell in cells for note in _result(workspace, cell).get("notes", [])],
        forecasts=forecasts(study),
    )


def forecasts(study: Study) -> list[ForecastRecord]:
    if study.compare.stopping == "never":
        return []
    from claimscale.experiments.futility import read_records  # statistics are slow to import

    return read_records(study.run_directory, study.sizes)


def cell_result(workspace: Workspace, cell: Cell) -> CellResult:
    from claimscale.evaluation.predictions import CellResult

    folder, result = workspace.folder(cell.id), _result(workspace, cell)
    assert cell.task is not None and cell.patients is not None
    return CellResult(
        task=cell.task,
        arm=cell.arm or cell.kind,
        size=cell.size if cell.arm else None,
        n_labelled=result["patients"],
        labelled_patients=cell.patients,
        seed=cell.seed,
        predictions=folder / "predictions.parquet",
        seconds=result["seconds"],
    )


def _result(workspace: Workspace, cell: Cell) -> dict[str, Any]:
    """What the cell recorded."""
    return artifacts.read_json(workspace.folder(cell.id) / artifacts.CELL)["result"]


def _pretraining(workspace: Workspace, cell: Cell) -> dict[str, Any]:
    assert cell.size is not None
    folder, result, shape = workspace.folder(cell.id), _result(workspace, cell), workspace.shape(cell.size)
    metrics = folder / "metrics.jsonl"
    return {
        **result,
        "layers": shape.layers,
        "width": shape.width,
        "feed_forward": shape.feed_forward,
        "size": cell.size,
        "seed": cell.seed,
        "metrics": metrics,
    }


def _dataset(workspace: Workspace) -> dict[str, Any]:
    """The report's first numbers: who is in the cohort, and what became of every row."""
    quality = artifacts.read_json(workspace.run / "events" / "quality.json")
    tokens = artifacts.read_json(workspace.run / "tokens" / "tokens.json")
    cohort = artifacts.read_json(workspace.run / "cohort" / "cohort.json")
    described = artifacts.read_json(workspace.run / "cohort" / "description.json")
    return {
        "source": workspace.study.source.kind,
        "patients": cohort["included"],
        "hospitals": cohort["sampled_hospitals"],
        "events": quality["used"],
        "tokens": tokens["tokens"],
        "vocabulary": tokens["vocabulary"],
        "code_groups": workspace.token_metadata.group_count,
        "span": quality["span"],
        "cohort": cohort,
        "description": described,
        "codes": _frequent_codes(workspace.run / "tokens" / "vocabulary.parquet"),
        "quality": {
            key: quality[key]
            for key in ("source_rows", "rows_in", "used", "quarantined", "dropped", "repaired", "warnings")
        },
    }


def _frequent_codes(file: Path) -> list[dict[str, Any]]:
    """The codes that most training patients had before the landmark: `code`, `type`, `patients`."""
    import pyarrow.parquet as pq

    rows = pq.read_table(file, columns=["code", "type", "patients"]).to_pylist()
    known = [row for row in rows if row["type"] not in ("special", "sex")]
    return sorted(known, key=lambda row: (-row["patients"], row["code"]))[:FREQUENT_CODES]
