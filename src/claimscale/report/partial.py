"""Reports of a study that is still running, made from the cells that are done."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from claimscale import artifacts
from claimscale.config.study import Study
from claimscale.experiments.cells import Cell
from claimscale.experiments.workspace import Workspace

if TYPE_CHECKING:
    from claimscale.summary.schema import Summary

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
            write_partial_report(self.workspace, self.cells)
        except Exception as error:
            artifacts.append_audit(self.workspace.run, "partial report failed", error=type(error).__name__)
        taken = time.monotonic() - started
        self.next = time.monotonic() + max(INTERVAL_SECONDS, taken / MAX_TIME_FRACTION)


def write_partial_report(workspace: Workspace, cells: Sequence[Cell]) -> bool:
    """Write the report of the cells that are done; False if no task has a fine-tuned encoder yet.

    Its summary is in `partial/`, apart from the final one, and rests on few bootstrap replicates.
    """
    from claimscale.privacy.release import release
    from claimscale.summary.build import build_summary
    from claimscale.summary.collect import collect_results  # statistics are slow to import
    from claimscale.summary.statistics_schema import PartialEntry

    study = workspace.study
    done = [cell for cell in cells if workspace.is_done(cell)]
    started = {cell.task for cell in done if cell.kind == "finetune"}
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
    progress = PartialEntry(done=len(done), total=len(cells))
    results = collect_results(workspace, reduced, included, [], progress)
    summary = build_summary(reduced, workspace.run, results)
    write_report(release(summary, study.privacy.profile, folder), study)
    return True


def write_report(summary: Summary, study: Study) -> None:
    """Write the page of a summary, and unless the summary is partial its figures and tables."""
    from claimscale.report import export, page  # charts are slow to import

    run, language = study.run_directory, study.report.language
    page.render(summary, study, run / REPORT, language)
    if summary.partial is None:
        export.write(summary, run, language)
