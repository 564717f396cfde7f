"""The stages of a study in order: name, version, inputs, outputs.

`STAGES` is the list; docs/files.md describes the outputs. A stage is stale when its fingerprint
(`experiments/fingerprints.py`) differs from the one that its output records.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from claimscale import artifacts, damage, outputs
from claimscale.cohort import selection
from claimscale.config.study import Study
from claimscale.engine import Engine
from claimscale.errors import Damaged
from claimscale.events import build as events
from claimscale.experiments import fingerprints
from claimscale.experiments.cells import Cell
from claimscale.experiments.runners.choice import runner_for
from claimscale.experiments.workspace import FORECASTS, Workspace
from claimscale.progress import Display
from claimscale.report import partial as partial_report
from claimscale.report.partial import REPORT
from claimscale.tasks import labels, oracle, outcome_codes
from claimscale.tokens import store
from claimscale.validity import checks
from claimscale.validity.check_result import CheckResult
from claimscale.versions import VERSIONS

VALIDITY_INPUTS = ("events", "cohort", "tokens", "labels")
SUMMARY = outputs.SUMMARY
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


@dataclass(frozen=True)
class Stage:
    """One stage of a study.

    Attributes:
        name: its entry in `VERSIONS`; a data stage writes the folder of that name.
        inputs: the stages whose output it reads.
        outputs: what it writes in the run directory.
        make: writes the outputs.
        is_current: whether the outputs are complete and undamaged, and their inputs unchanged; cells are
            checked one by one.
        damage: one line per damaged output, noted in the audit log; a damaged folder is set apart.
        effort: its usual part of the preparation, for the progress display only.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    make: Callable[[StudyRun], None]
    is_current: Callable[[StudyRun], bool] = lambda run: False
    damage: Callable[[StudyRun], list[str]] = lambda run: []
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
        with contextlib.suppress(OSError, Damaged):  # an input stage is missing
            return artifacts.is_current(run.folder / name, fingerprint(run))
        return False

    def damaged(run: StudyRun) -> list[str]:
        line = damage.set_apart(run.folder, run.folder / name, fingerprint(run))
        return [line] if line else []

    return Stage(name, inputs, (f"{name}/",), make, is_current, damaged, effort)


def run_all_cells(run: StudyRun) -> None:
    cells, forecasts = run.workspace.cells, run.folder / FORECASTS
    if artifacts.is_changed(forecasts):  # they are made again from the cells
        run.display.note(damage.note_file(run.folder, forecasts))
        forecasts.unlink()
    runner = runner_for(run.study, partial_report.PartialReport(run.workspace, cells))
    try:
        run.cells_run = runner.run(run.workspace, cells, run.display)
    except BaseException:
        with contextlib.suppress(Exception):  # what stopped the cells is raised, not this
            partial_report.mark_stopped(run.study)
        raise


def _build_events(study: Study, engine: Engine, target: Path) -> None:
    """The events. A task that could have no case is refused before a nation's claims are read."""
    outcome_codes.refuse_misspelt_systems(study)
    events.build(study, engine, target)


def _validity_fingerprint(run: StudyRun) -> str:
    return fingerprints.stage_fingerprint(run.study, run.folder, "validity", VALIDITY_INPUTS)


def findings(run: StudyRun) -> list[CheckResult] | None:
    return checks.read_current(run.folder, _validity_fingerprint(run))


def _check(run: StudyRun) -> None:
    def show(part: str) -> None:
        run.display.update(0.95, SECONDS["validity"], f"checking {part}")

    checks.write(checks.check(run.study, run.folder, show), run.folder, _validity_fingerprint(run))


def _summary_fingerprint(run: StudyRun) -> str:
    from claimscale.experiments.futility import read_forecasts

    # A cell that ran again may have other seconds, and other bits on another device.
    cells = {cell.id: (run.workspace.fingerprint(cell), run.workspace.digest(cell)) for cell in run.cells}
    validity, forecasts = _validity_fingerprint(run), read_forecasts(run.study)
    damaged = damage.count(run.folder)
    return fingerprints.summary_fingerprint(run.study, cells, validity, forecasts, damaged)


def _summarise(run: StudyRun) -> None:
    run.display.update(0.97, SECONDS["summary"], "comparing sizes")
    (run.folder / outputs.FILE).unlink(missing_ok=True)
    partial_report.write_summary(run.workspace, run.study, run.cells, findings(run) or [], run.folder)
    folders = {
        stage.name: artifacts.manifest_digest(run.folder / stage.name) for stage in data_stages(run.study)
    }
    folders |= {f"cells/{cell.id}": run.workspace.digest(cell) for cell in run.cells}
    files = [run.folder / SUMMARY, run.folder / outputs.RESULTS]
    outputs.record(run.folder, "summary", _summary_fingerprint(run), files, folders=folders)


def _report_fingerprint(run: StudyRun) -> str:
    return fingerprints.report_fingerprint(run.study, _summary_fingerprint(run))


def write_report(run: StudyRun) -> None:
    run.display.update(0.99, SECONDS["report"], "writing the report")
    partial_report.write_report(run.study)
    shutil.rmtree(run.folder / partial_report.FOLDER, ignore_errors=True)
    files = [run.folder / REPORT, *sorted((run.folder / "figures").iterdir())]
    files += sorted((run.folder / "tables").iterdir())
    outputs.record(run.folder, "report", _report_fingerprint(run), files)


def _damaged_outputs(part: outputs.Part) -> Callable[[StudyRun], list[str]]:
    return lambda run: [
        damage.note_file(run.folder, file) for file in outputs.damaged_files(run.folder, part)
    ]


def _damaged_validity(run: StudyRun) -> list[str]:
    file = run.folder / checks.FILE
    return [damage.note_file(run.folder, file)] if artifacts.is_changed(file) else []


STAGES: tuple[Stage, ...] = (
    _data_stage("events", (), _build_events, 4),
    _data_stage("cohort", ("events",), selection.build, 1),
    _data_stage("tokens", ("events", "cohort"), store.build, 2),
    _data_stage("labels", ("events", "cohort"), labels.build_labels, 2),
    _data_stage("oracle", ("labels",), lambda study, _, read, folder: oracle.build(study, read, folder), 6),
    Stage("cells", ("cohort", "tokens", "labels"), ("cells/", "forecasts.json"), run_all_cells),
    Stage(
        "validity",
        VALIDITY_INPUTS,
        (checks.FILE,),
        _check,
        lambda run: findings(run) is not None,
        _damaged_validity,
    ),
    Stage(
        "summary",
        ("cells", "oracle", "validity"),
        (SUMMARY, outputs.RESULTS),
        _summarise,
        lambda run: outputs.is_current(run.folder, "summary", _summary_fingerprint(run)),
        _damaged_outputs("summary"),
    ),
    Stage(
        "report",
        ("summary",),
        (REPORT, "figures/", "tables/"),
        write_report,
        lambda run: outputs.is_current(run.folder, "report", _report_fingerprint(run)),
        _damaged_outputs("report"),
    ),
)
STAGE = {stage.name: stage for stage in STAGES}


def data_stages(study: Study) -> list[Stage]:
    """The stages before any model; only simulated claims have an oracle."""
    simulated = study.source.kind == "simulated"
    return [stage for stage in STAGES if stage.effort and (simulated or stage.name != "oracle")]
