"""A study from its file to its answer: prepare the claims, run the cells, have the conclusion drawn."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from claimscale import artifacts, stages
from claimscale.conclusion import (
    REPORT,
    PartialReport,
    cell_result,
    checked,
    conclude,
    forecasts,
    write_partial_report,
)
from claimscale.config import loading
from claimscale.config.sources import SimulatedSource
from claimscale.config.study import Study
from claimscale.errors import BadInput
from claimscale.experiments import malloc
from claimscale.experiments.cells import Cell, cells_of
from claimscale.experiments.cost_estimate import TimeLeft
from claimscale.experiments.devices import workers_and_threads
from claimscale.experiments.runners import slurm, torchrun
from claimscale.experiments.runners.local import run_cells
from claimscale.experiments.workspace import Workspace
from claimscale.progress import Display
from claimscale.validity.check_result import CheckResult

SECONDS_PER_SIMULATED_PATIENT = 0.0035
"""A first guess for the progress display: the demonstration on two cores."""


@dataclass(frozen=True)
class Outcome:
    """What a study came to: its summary, where the report lies, how many cells were run for it now."""

    summary: dict[str, Any]
    report: Path
    cells_run: int


def open_run(study: Study) -> Path:
    """The run directory, with the resolved settings written into it."""
    run = study.run_directory
    artifacts.make_folder(run)
    text = loading.dump(study)
    try:
        artifacts.write_text(run / "study.yaml", text)
    except OSError as error:
        raise BadInput(f"{run}: cannot be written ({error.strerror})") from None
    return run


def prepare(study: Study, display: Display) -> Workspace:
    """All data stages; returns what cells work on."""
    run = open_run(study)
    started = time.monotonic()

    def report(stage: str, fraction: float) -> None:
        taken = time.monotonic() - started
        left = taken * (1 - fraction) / fraction if fraction > 0 else _first_guess(study)
        display.update(0.0, left, f"preparing claims: {stage}")

    stages.prepare(study, run, report)
    return Workspace(study, run)


def account(study: Study) -> dict[str, Any] | None:
    """What became of the source's rows; None unless the events are those of this study's source."""
    try:
        events = stages.stages_of(study)[0]
    except BadInput:
        return None
    run = study.run_directory
    return artifacts.read_json(run / "events" / "quality.json") if events.is_current(run) else None


def _first_guess(study: Study) -> float | None:
    """Seconds the preparation may take, before anything is known; null where the source does not say."""
    if isinstance(study.source, SimulatedSource):
        return SECONDS_PER_SIMULATED_PATIENT * study.source.patients
    return None


def run(
    workspace: Workspace, cells: list[Cell], display: Display, finished: Callable[[], None] | None = None
) -> int:
    """Run cells, with what they need, as far as they are not done; returns how many were run.

    `finished` is called after every cell.
    """
    for size in workspace.study.sizes:
        workspace.shape(size)  # an impossible size is refused also where nothing can be trained
    malloc.prepare_workers()
    workers, threads = workers_and_threads(workspace.study)
    time_left = TimeLeft.of(workspace.study, workspace.corpus, cells, threads)
    if workspace.study.compute.slurm is not None:
        return slurm.run_cells(workspace, cells, time_left, display)
    return run_cells(workspace, cells, time_left, workers, threads, display, finished)


def carry_out(study: Study, display: Display) -> Outcome:
    """The whole study; whatever is already there and current is not made again."""
    if torchrun.launched():
        raise BadInput("torchrun: give it one cell or the pretraining (run, pretrain), not a whole study")
    with artifacts.locked(study.run_directory):
        workspace = prepare(study, display)
        everything = workspace.cells
        cells, cells_run = _run_all(workspace, everything, display, PartialReport(workspace, everything))
        summary = conclude(workspace, cells, display)
        display.update(1.0, 0.0, "done")
    return Outcome(summary, study.run_directory / REPORT, cells_run)


def _run_all(
    workspace: Workspace, cells: list[Cell], display: Display, finished: Callable[[], None] | None = None
) -> tuple[list[Cell], int]:
    """Run all cells, or with `compare.stopping: futility` as many sizes as are worth it; returns those, and how many
    ran."""
    if workspace.study.compare.stopping == "never":
        return cells, run(workspace, cells, display, finished)
    from claimscale.experiments.futility import run_ascending  # statistics are slow to import

    return run_ascending(
        workspace.study,
        workspace.run,
        cells,
        lambda chosen: run(workspace, chosen, display, finished),
        lambda cell: cell_result(workspace, cell),
        workspace.is_done,
    )


def carry_out_cells(study: Study, wanted: str, display: Display) -> tuple[int, int]:
    """Run the cells of a kind, or the one of that name, and what they need; returns (run now, all of them).

    Processes that torchrun started run them together. Raises BadInput if the study has no such cell.
    """
    if torchrun.launched():
        with (
            torchrun.joined(study) as group,
            torchrun.prepared(study, group, lambda: prepare(study, display)) as workspace,
        ):
            cells = _chosen(workspace, wanted)
            return torchrun.run_cells(workspace, cells, group, display), len(cells)
    with artifacts.locked(study.run_directory):
        workspace = prepare(study, display)
        cells = _chosen(workspace, wanted)
        if wanted == "finetune":
            cells, ran = _run_all(workspace, cells, display)
            return ran, len(cells)
        return run(workspace, cells, display), len(cells)


def _chosen(workspace: Workspace, wanted: str) -> list[Cell]:
    """The cells of a kind, or the one of that name, and what they need."""
    everything = {cell.id: cell for cell in workspace.cells}
    chosen = {cell.id for cell in everything.values() if wanted in (cell.kind, cell.id)}
    if not chosen:
        raise BadInput(f"{wanted}: {_why_missing(workspace, wanted, list(everything))}")
    for cell in reversed(everything.values()):  # what is needed comes before
        if cell.id in chosen:
            chosen |= {need.id for need in cell.needs}
    return [cell for cell in everything.values() if cell.id in chosen]


def _why_missing(workspace: Workspace, wanted: str, known: list[str]) -> str:
    """Why a study has no such cell: it was left out, or was never asked for."""
    asked = next((cell for cell in cells_of(workspace.study) if cell.id == wanted), None)
    having = {"positive": "have the outcome", "negative": "are without the outcome"}
    if asked is not None and asked.task in workspace.insufficient_data:
        label = workspace.insufficient_data[asked.task]["label"]
        return f"is left out: too few patients of {asked.task} {having[label]} for anything to be trained"
    small = workspace.left_out.get(asked.task or "") if asked is not None else None
    if asked is not None and small is not None and asked.patients in small["patients"]:
        return (
            f"is left out: too few of the {asked.patients} patients, or of those they are tuned on, "
            f"{having[small['label']]} in {asked.task}"
        )
    example = f"one is {known[0]}" if known else "its tasks have too few positives"
    return f"{workspace.study.name} has no such cell ({example})"


def check(study: Study, display: Display) -> list[CheckResult]:
    """The validity checks of a study; prepares the claims if need be, and writes `validity.json`."""
    with artifacts.locked(study.run_directory):
        findings = checked(prepare(study, display), display)
        display.update(1.0, 0.0, "checked")
    return findings


def report_again(study: Study, display: Display) -> tuple[Path, int, int]:
    """The report anew, from what the study has left so far; nothing is computed that is there and current.

    Returns its path, how many cells are done, and how many there are. Of an unfinished study it is a partial
    report. Raises BadInput where there is nothing to report.
    """
    run_directory = study.run_directory
    with artifacts.locked(run_directory):
        stale = [stage.name for stage in stages.stages_of(study) if not stage.is_current(run_directory)]
        if stale:
            raise BadInput(f"{run_directory}: {stale[0]} is missing or out of date; run the study first")
        workspace = Workspace(study, run_directory)
        from claimscale.experiments.futility import left_in  # statistics are slow to import

        cells = left_in(study, workspace.cells, forecasts(study))
        missing = [cell.id for cell in cells if not workspace.is_done(cell)]
        if not missing:
            conclude(workspace, cells, display, again=True)
        elif not write_partial_report(workspace, cells):
            raise BadInput(
                f"{run_directory}: {len(missing)} of {len(cells)} cells are missing, first {missing[0]}"
            )
    return run_directory / REPORT, len(cells) - len(missing), len(cells)
