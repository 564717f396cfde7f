"""Runs the stages of a study that are stale: a whole study, some cells, the checks, or the report again."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

from claimscale import artifacts, run_lock, sources
from claimscale.codes.systems import check_depths
from claimscale.config import loading
from claimscale.config.study import Study
from claimscale.errors import BadInput
from claimscale.experiments.cost_estimate import preparation_seconds
from claimscale.experiments.runners import torchrun
from claimscale.experiments.runners.choice import runner_for
from claimscale.experiments.workspace import Workspace
from claimscale.progress import Display, Silent
from claimscale.report import partial as partial_report
from claimscale.report.partial import REPORT
from claimscale.stages import (
    STAGE,
    STAGES,
    SUMMARY,
    Stage,
    StudyRun,
    data_stages,
    findings,
    run_all_cells,
    write_report,
)
from claimscale.validity.check_result import CheckResult

__all__ = [
    "REPORT",
    "STAGES",
    "SUMMARY",
    "Stage",
    "StudyRun",
    "check",
    "data_stages",
    "prepare",
    "quality",
    "report_again",
    "run_cells",
    "run_study",
]


def _make(run: StudyRun, stage: Stage, always: bool = False) -> None:
    """Make a stage unless it is current; `always` makes it in any case."""
    if always or not stage.is_current(run):
        for line in stage.damage(run):
            run.display.note(line)
        stage.make(run)
        artifacts.append_audit(run.folder, "made", stage=stage.name)


def prepare(study: Study, display: Display | None = None, read_again: bool = False) -> Workspace:
    """Make the data stages that are stale; returns what the cells read.

    `read_again` reads a source again where nothing shows whether it has changed: a database.
    """
    run = StudyRun(study, display or Silent())
    if study.phenome is not None:  # at once, not after the pretraining
        check_depths(study.phenome.levels, "phenome.levels")
    artifacts.make_folder(run.folder)
    artifacts.write_text(run.folder / "study.yaml", loading.dump(study))
    started, stages, done = time.monotonic(), data_stages(study), 0.0
    for stage in stages:
        fraction = done / sum(stage.effort for stage in stages)
        left = preparation_seconds(study) if not done else (time.monotonic() - started) * (1 / fraction - 1)
        run.display.update(0.0, left, f"preparing claims: {stage.name}")
        again = read_again and stage.name == "events" and sources.age_is_unknown(study.source)
        _make(run, stage, again)
        done += stage.effort
    return run.workspace


def run_study(study: Study, display: Display) -> StudyRun:
    """Run the whole study; what is there and current is not made again."""
    if torchrun.launched():
        raise BadInput("torchrun: give it one cell or the pretraining (run, pretrain), not a whole study")
    run = StudyRun(study, display)
    with run_lock.locked(run.folder):
        prepare(study, display)
        run_all_cells(run)
        for name in ("validity", "summary", "report"):
            _make(run, STAGE[name])
        display.update(1.0, 0.0, "done")
    return run


def run_cells(study: Study, wanted: str, display: Display) -> tuple[int, int]:
    """Run the cells of a kind, or the one of that name, and those they need.

    Returns how many were run now, and how many there are. Raises BadInput if the study has no such cell.
    """
    if torchrun.launched():
        with (
            torchrun.process_group(study) as ranks,
            torchrun.shared_workspace(study, ranks, lambda: prepare(study, display)) as workspace,
        ):
            cells = workspace.select(wanted)
            return torchrun.TorchrunRunner(ranks).run(workspace, cells, display), len(cells)
    with run_lock.locked(study.run_directory):
        workspace = prepare(study, display)
        cells = workspace.select(wanted)
        runner = runner_for(study, by_size=wanted == "finetune")
        return runner.run(workspace, cells, display), len(cells)


def check(study: Study, display: Display) -> list[CheckResult]:
    """The validity checks of a study; prepares the claims if need be, and writes `validity.json`."""
    run = StudyRun(study, display)
    with run_lock.locked(run.folder):
        prepare(study, display)
        _make(run, STAGE["validity"])
        display.update(1.0, 0.0, "checked")
        return findings(run) or []


def report_again(study: Study, display: Display) -> tuple[Path, int, int]:
    """Write the report again, partial if cells are missing; returns its path, cells done, and all cells."""
    run = StudyRun(study, display)
    with run_lock.locked(run.folder):
        stale = [stage.name for stage in data_stages(study) if not _is_usable(run, stage)]
        if stale:
            raise BadInput(f"{run.folder}: {stale[0]} is missing or out of date; run the study first")
        cells = run.cells
        missing = [cell.id for cell in cells if not run.workspace.is_done(cell)]
        if not missing:
            _make(run, STAGE["validity"])
            _make(run, STAGE["summary"])
            write_report(run)
        elif not partial_report.write_partial_report(run.workspace, cells):
            raise BadInput(
                f"{run.folder}: {len(missing)} of {len(cells)} cells are missing: {missing[0]} ..."
            )
    return run.folder / REPORT, len(cells) - len(missing), len(cells)


def _is_usable(run: StudyRun, stage: Stage) -> bool:
    """Whether a report can be written from a data stage: it is current, or its source is out of reach."""
    try:
        return stage.is_current(run)
    except BadInput:  # what was read is what was ingested
        return (run.folder / stage.name / artifacts.DONE).exists()


def quality(study: Study) -> dict[str, Any] | None:
    """The row reconciliation of the source; None unless the events are those of this study's source."""
    with contextlib.suppress(BadInput):
        if STAGE["events"].is_current(StudyRun(study, Silent())):
            return artifacts.read_json(study.run_directory / "events" / "quality.json")
    return None
