"""The stages of a study in order: name, version, inputs, outputs. Runs the stages that are stale.

`STAGES` is the list; docs/files.md describes the outputs. A stage is stale when its fingerprint
(`experiments/fingerprints.py`) differs from the one that its output records.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from claimscale import artifacts, sources
from claimscale.codes.systems import check_depths
from claimscale.cohort import selection
from claimscale.config import loading
from claimscale.config.study import Study
from claimscale.engine import Engine
from claimscale.errors import BadInput
from claimscale.events import build as events
from claimscale.experiments import fingerprints
from claimscale.experiments.cells import Cell
from claimscale.experiments.cost_estimate import preparation_seconds
from claimscale.experiments.runners import torchrun
from claimscale.experiments.runners.choice import runner_for
from claimscale.experiments.workspace import Workspace
from claimscale.progress import Display, Silent
from claimscale.report import partial as partial_report
from claimscale.report.partial import REPORT
from claimscale.tasks import labels, oracle
from claimscale.tokens import store
from claimscale.validity import checks
from claimscale.validity.check_result import CheckResult
from claimscale.versions import VERSIONS

VALIDITY_INPUTS = ("events", "cohort", "tokens", "labels")
SUMMARY = "summary.json"
REPORT_MANIFEST = "report_manifest.json"
"""The fingerprints of summary and report; without it both are made again."""
SECONDS = {"validity": 10.0, "summary": 15.0, "report": 5.0}  # first guesses, for the progress display


@dataclass
class StudyRun:
    """A study, its run directory, and where its progress is shown."""

    study: Study
    display: Display
    cells_run: int = 0
    """Stale cells that were run now."""

    @property
    def folder(self) -> Path:
        return self.study.run_directory

    @cached_property
    def workspace(self) -> Workspace:
        return Workspace(self.study, self.folder)

    @property
    def cells(self) -> list[Cell]:
        """The cells of the study without those that a forecast made futile."""
        from claimscale.experiments.futility import read_forecasts, without_futile  # slow to import

        return without_futile(self.study, self.workspace.cells, read_forecasts(self.study))

    @property
    def report_manifest(self) -> dict[str, str]:
        file = self.folder / REPORT_MANIFEST
        return artifacts.read_json(file) if file.exists() else {}


@dataclass(frozen=True)
class Stage:
    """One stage of a study.

    Attributes:
        name: its entry in `VERSIONS`; a data stage writes the folder of that name.
        inputs: the stages whose output it reads.
        outputs: what it writes in the run directory.
        make: writes the outputs.
        is_current: whether the outputs are complete and their inputs unchanged; cells are checked one by one.
        effort: its usual part of the preparation, for the progress display only.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    make: Callable[[StudyRun], None]
    is_current: Callable[[StudyRun], bool] = lambda run: False
    effort: float = 0.0

    @property
    def version(self) -> int | None:
        """Raised by hand when the output changes; each kind of cell has its own."""
        return VERSIONS.get(self.name)


def _data_stage(name: str, inputs: tuple[str, ...], build: Callable[..., None], effort: float) -> Stage:
    """A stage that writes one folder: `build` gets the study, an engine, its input folders, and its own."""

    def fingerprint(run: StudyRun) -> str:
        return fingerprints.stage_fingerprint(run.study, run.folder, name, inputs)

    def make(run: StudyRun) -> None:
        with (
            Engine(run.study.engine, run.folder) as engine,
            artifacts.sealed_folder(run.folder / name, fingerprint(run)) as target,
        ):
            build(run.study, engine, *(run.folder / stage for stage in inputs), target)

    def is_current(run: StudyRun) -> bool:
        with contextlib.suppress(OSError):  # an input stage is missing
            return artifacts.is_current(run.folder / name, fingerprint(run))
        return False

    return Stage(name, inputs, (f"{name}/",), make, is_current, effort)


def _run_cells(run: StudyRun) -> None:
    cells = run.workspace.cells
    runner = runner_for(run.study, partial_report.PartialReport(run.workspace, cells))
    try:
        run.cells_run = runner.run(run.workspace, cells, run.display)
    except BaseException:
        with contextlib.suppress(Exception):  # what stopped the cells is raised, not this
            partial_report.mark_stopped(run.study)
        raise


def _validity_fingerprint(run: StudyRun) -> str:
    return fingerprints.stage_fingerprint(run.study, run.folder, "validity", VALIDITY_INPUTS)


def _findings(run: StudyRun) -> list[CheckResult] | None:
    return checks.read_current(run.folder, _validity_fingerprint(run))


def _check(run: StudyRun) -> None:
    def show(part: str) -> None:
        run.display.update(0.95, SECONDS["validity"], f"checking {part}")

    checks.write(checks.check(run.study, run.folder, show), run.folder, _validity_fingerprint(run))


def _summary_fingerprint(run: StudyRun) -> str:
    from claimscale.experiments.futility import read_forecasts

    cells = {cell.id: run.workspace.fingerprint(cell) for cell in run.cells}
    validity, forecasts = _validity_fingerprint(run), read_forecasts(run.study)
    return fingerprints.summary_fingerprint(run.study, cells, validity, forecasts)


def _summarise(run: StudyRun) -> None:
    run.display.update(0.97, SECONDS["summary"], "comparing sizes")
    (run.folder / REPORT_MANIFEST).unlink(missing_ok=True)
    partial_report.write_summary(run.workspace, run.study, run.cells, _findings(run) or [], run.folder)
    artifacts.write_json(run.folder / REPORT_MANIFEST, {"summary": _summary_fingerprint(run)})


def _report(run: StudyRun) -> None:
    run.display.update(0.99, SECONDS["report"], "writing the report")
    partial_report.write_report(run.study)
    shutil.rmtree(run.folder / partial_report.FOLDER, ignore_errors=True)
    report = fingerprints.report_fingerprint(run.study, _summary_fingerprint(run))
    artifacts.write_json(run.folder / REPORT_MANIFEST, run.report_manifest | {"report": report})


def _is_summarised(run: StudyRun) -> bool:
    return (run.folder / SUMMARY).exists() and run.report_manifest.get("summary") == _summary_fingerprint(run)


def _is_reported(run: StudyRun) -> bool:
    fingerprint = fingerprints.report_fingerprint(run.study, _summary_fingerprint(run))
    return (run.folder / REPORT).exists() and run.report_manifest.get("report") == fingerprint


STAGES: tuple[Stage, ...] = (
    _data_stage("events", (), events.build, 4),
    _data_stage("cohort", ("events",), selection.build, 1),
    _data_stage("tokens", ("events", "cohort"), store.build, 2),
    _data_stage("labels", ("events", "cohort"), labels.build_labels, 2),
    _data_stage("oracle", ("labels",), lambda study, _, read, folder: oracle.build(study, read, folder), 6),
    Stage("cells", ("cohort", "tokens", "labels"), ("cells/", "forecasts.json"), _run_cells),
    Stage("validity", VALIDITY_INPUTS, (checks.FILE,), _check, lambda run: _findings(run) is not None),
    Stage(
        "summary", ("cells", "oracle", "validity"), (SUMMARY, "results.parquet"), _summarise, _is_summarised
    ),
    Stage("report", ("summary",), (REPORT, "figures/", "tables/"), _report, _is_reported),
)
STAGE = {stage.name: stage for stage in STAGES}


def data_stages(study: Study) -> list[Stage]:
    """The stages before any model; only simulated claims have an oracle."""
    simulated = study.source.kind == "simulated"
    return [stage for stage in STAGES if stage.effort and (simulated or stage.name != "oracle")]


def _make(run: StudyRun, stage: Stage, always: bool = False) -> None:
    """Make a stage unless it is current; `always` makes it in any case."""
    if always or not stage.is_current(run):
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
    with artifacts.locked(run.folder):
        prepare(study, display)
        _run_cells(run)
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
    with artifacts.locked(study.run_directory):
        workspace = prepare(study, display)
        cells = workspace.select(wanted)
        runner = runner_for(study, by_size=wanted == "finetune")
        return runner.run(workspace, cells, display), len(cells)


def check(study: Study, display: Display) -> list[CheckResult]:
    """The validity checks of a study; prepares the claims if need be, and writes `validity.json`."""
    run = StudyRun(study, display)
    with artifacts.locked(run.folder):
        prepare(study, display)
        _make(run, STAGE["validity"])
        display.update(1.0, 0.0, "checked")
        return _findings(run) or []


def report_again(study: Study, display: Display) -> tuple[Path, int, int]:
    """Write the report again, partial if cells are missing; returns its path, cells done, and all cells."""
    run = StudyRun(study, display)
    with artifacts.locked(run.folder):
        stale = [stage.name for stage in data_stages(study) if not _is_usable(run, stage)]
        if stale:
            raise BadInput(f"{run.folder}: {stale[0]} is missing or out of date; run the study first")
        cells = run.cells
        missing = [cell.id for cell in cells if not run.workspace.is_done(cell)]
        if not missing:
            _make(run, STAGE["validity"])
            _make(run, STAGE["summary"])
            _report(run)
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
