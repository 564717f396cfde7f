"""Writes the summary and the report of the cells that are done, also while a study is running."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from claimscale import artifacts, outputs
from claimscale.config.study import Study
from claimscale.experiments.cells import Cell
from claimscale.experiments.workspace import Workspace

if TYPE_CHECKING:
    from claimscale.summary.schema import Summary
    from claimscale.summary.statistics_schema import PartialEntry
    from claimscale.validity.check_result import CheckResult

REPORT = "report.html"
FOLDER = "partial"
INTERVAL_SECONDS = 300.0
MAX_TIME_FRACTION = 0.02
MAX_REPLICATES = 200


class PartialReport:
    """Called after every cell of a study; writes a partial report now and then.

    The pause between two reports grows with the time that one takes, so that they cost at most 2 % of the
    study. A partial report that fails is noted in the audit log, and the study continues.
    """

    def __init__(self, workspace: Workspace, cells: Sequence[Cell]) -> None:
        self.workspace, self.cells = workspace, cells
        self.next = time.monotonic() + INTERVAL_SECONDS

    def __call__(self) -> None:
        started = time.monotonic()
        if started < self.next:
            return
        try:
            write_partial_report(self.workspace, self.cells, running=True)
        except Exception as error:
            artifacts.append_audit(self.workspace.run, "partial report failed", error=type(error).__name__)
        taken = time.monotonic() - started
        self.next = time.monotonic() + max(INTERVAL_SECONDS, taken / MAX_TIME_FRACTION)


def write_partial_report(workspace: Workspace, cells: Sequence[Cell], running: bool = False) -> bool:
    """Write the report of the cells that are done; False if no task has a model yet that counts.

    A fine-tuned encoder counts; in a study without encoders any model does.

    Its summary is in `partial/`, apart from the final one, and rests on few bootstrap replicates.
    """
    from claimscale.summary.statistics_schema import PartialEntry

    study = workspace.study
    done = [cell for cell in cells if workspace.is_done(cell)]
    has_encoders = bool(study.finetune.initialization)
    started = {cell.task for cell in done if cell.task and (cell.kind == "finetune" or not has_encoders)}
    if not started:
        return False
    replicates = min(study.compare.bootstrap_replicates, MAX_REPLICATES)
    reduced = study.model_copy(
        update={
            "tasks": [task for task in study.tasks if task.name in started],
            "compare": study.compare.model_copy(update={"bootstrap_replicates": replicates}),
        }
    )
    included = [cell for cell in done if cell.task is None or cell.task in started]
    folder = workspace.run / FOLDER
    artifacts.make_folder(folder)
    progress = PartialEntry(done=len(done), total=len(cells), running=running)
    write_report(study, write_summary(workspace, reduced, included, [], folder, progress))
    return True


def mark_stopped(study: Study) -> None:
    """Write the partial report again, if there is one, for a study that does not run any more."""
    from claimscale.summary.schema import read_summary

    file = study.run_directory / FOLDER / "summary.json"
    if file.is_file():
        summary = read_summary(file)
        if summary.partial is not None and summary.partial.running:
            stopped = summary.partial.model_copy(update={"running": False})
            write_report(study, summary.model_copy(update={"partial": stopped}))


def write_summary(
    workspace: Workspace,
    study: Study,
    cells: Sequence[Cell],
    checks: Sequence[CheckResult],
    folder: Path,
    progress: PartialEntry | None = None,
) -> Summary:
    """Summarise finished cells, and write what the privacy profile allows to `folder`; returns that.

    `progress` marks the summary as partial.
    """
    from claimscale.privacy.release import release  # statistics are slow to import
    from claimscale.summary.build import build_summary
    from claimscale.summary.collect import collect_results

    results = collect_results(workspace, study, cells, checks, progress)
    return release(build_summary(study, workspace.run, results), study.privacy.profile, folder)


def write_report(study: Study, summary: Summary | None = None) -> None:
    """Write the page of a summary, by default that of the run directory.

    Figures and tables are written unless the summary is partial.
    """
    from claimscale.report import export, page  # charts are slow to import
    from claimscale.summary.schema import read_summary

    run, language = study.run_directory, study.report.language
    outputs.forget(run, "report")
    summary = summary or read_summary(outputs.verified(run / outputs.SUMMARY))
    page.render(summary, study, run / REPORT, language)
    if summary.partial is None:
        export.write(summary, run, language)
