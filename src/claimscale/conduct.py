"""A study from its file to its answer: prepare the claims, run the cells, draw the conclusion."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claimscale import runs, study_file
from claimscale.corpus import description, stages
from claimscale.errors import BadInput
from claimscale.progress import Display
from claimscale.study import SimulatedSource, Study
from claimscale.sweep.cells import Cell, cells_of
from claimscale.sweep.estimate import TimeLeft
from claimscale.sweep.schedule import run_cells
from claimscale.sweep.workspace import Workspace
from claimscale.validity import checks
from claimscale.validity.finding import Finding

if TYPE_CHECKING:
    from claimscale.evaluation.predictions import CellResult

REPORT = "report.html"
CONCLUSION = "conclusion.json"
SECONDS_PER_SIMULATED_PATIENT = 0.0035
CONCLUSION_SECONDS = 15.0
CHECK_SECONDS = 10.0
"""First guesses for the progress display: the demonstration on two cores."""
LAST_SHARE = 10
"""A pretraining's training loss is the mean over its last tenth of steps."""


@dataclass(frozen=True)
class Outcome:
    """What a study came to: its summary, where the report lies, how many cells were run for it now."""

    summary: dict[str, Any]
    report: Path
    cells_run: int


def open_run(study: Study) -> Path:
    """The run directory, with the resolved settings written into it."""
    run = study.run_directory
    runs.make_folder(run)
    text = study_file.dump(study)
    try:
        runs.write_text(run / "study.yaml", text)
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
    return runs.read_json(run / "events" / "quality.json") if events.is_current(run) else None


def _first_guess(study: Study) -> float | None:
    """Seconds the preparation may take, before anything is known; null where the source does not say."""
    if isinstance(study.source, SimulatedSource):
        return SECONDS_PER_SIMULATED_PATIENT * study.source.patients
    return None


def workers_and_threads(study: Study) -> tuple[int, int]:
    """Worker processes, and threads of each: on a CPU one worker a core, for small models scale best so."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = study.compute.workers or (1 if _on_gpu(study) else cores)
    return workers, max(1, cores // workers)


def _on_gpu(study: Study) -> bool:
    if study.compute.device == "auto":
        return Path("/dev/nvidiactl").exists()  # asking torch would cost seconds at every start
    return study.compute.device == "cuda"


def run(workspace: Workspace, cells: list[Cell], display: Display) -> int:
    """Run cells, with what they need, as far as they are not done; returns how many were run."""
    for size in workspace.study.sizes:
        workspace.shape(size)  # an impossible size is refused also where nothing can be trained
    workers, threads = workers_and_threads(workspace.study)
    time_left = TimeLeft.of(workspace.study, workspace.corpus, cells, threads)
    return run_cells(workspace, cells, time_left, workers, threads, display)


def carry_out(study: Study, display: Display) -> Outcome:
    """The whole study; whatever is already there and current is not made again."""
    with runs.locked(study.run_directory):
        workspace = prepare(study, display)
        cells, cells_run = _run_all(workspace, cells_of(study, workspace.corpus.labelled), display)
        summary = conclude(workspace, cells, display)
        display.update(1.0, 0.0, "done")
    return Outcome(summary, study.run_directory / REPORT, cells_run)


def _run_all(workspace: Workspace, cells: list[Cell], display: Display) -> tuple[list[Cell], int]:
    """Run all cells, or with `compare.stop: auto` as many sizes as are worth it; returns those, and how many
    ran."""
    if workspace.study.compare.stop == "never":
        return cells, run(workspace, cells, display)
    from claimscale.sweep.ascending import run_ascending  # statistics are slow to import

    return run_ascending(
        workspace.study,
        workspace.run,
        cells,
        lambda chosen: run(workspace, chosen, display),
        lambda cell: _cell_result(workspace, cell),
    )


def carry_out_cells(study: Study, wanted: str, display: Display) -> tuple[int, int]:
    """Run the cells of a kind, or the one of that name, and what they need; returns (run now, all of them).

    Raises BadInput if the study has no such cell.
    """
    with runs.locked(study.run_directory):
        workspace = prepare(study, display)
        everything = {cell.id: cell for cell in cells_of(study, workspace.corpus.labelled)}
        chosen = {cell.id for cell in everything.values() if wanted in (cell.kind, cell.id)}
        if not chosen:
            known = f"one is {next(iter(everything))}" if everything else "its tasks have too few positives"
            raise BadInput(f"{wanted}: {study.name} has no such cell ({known})")
        chosen |= {need for cell_id in chosen if (need := everything[cell_id].needs) is not None}
        cells = [cell for cell in everything.values() if cell.id in chosen]
        if wanted == "finetune":
            cells, ran = _run_all(workspace, cells, display)
            return ran, len(cells)
        return run(workspace, cells, display), len(cells)


def check(study: Study, display: Display) -> list[Finding]:
    """The validity checks of a study; prepares the claims if need be, and writes `checks.json`."""
    with runs.locked(study.run_directory):
        findings = checked(prepare(study, display), display)
        display.update(1.0, 0.0, "checked")
    return findings


def checked(workspace: Workspace, display: Display) -> list[Finding]:
    """The findings of the run's checks; those of an earlier time where nothing they rest on has changed."""
    study, run_directory = workspace.study, workspace.run
    findings = checks.read_current(run_directory, study)
    if findings is None:
        findings = checks.check(
            study, run_directory, lambda what: display.update(0.95, CHECK_SECONDS, f"checking {what}")
        )
        checks.write(findings, run_directory, study)
        runs.append_audit(run_directory, "checked", warned=sum(one.warned for one in findings))
    return findings


def report_again(study: Study, display: Display) -> Path:
    """The conclusion and the report anew, from what a finished study left."""
    run_directory = study.run_directory
    with runs.locked(run_directory):
        stale = [stage.name for stage in stages.stages_of(study) if not stage.is_current(run_directory)]
        if stale:
            raise BadInput(f"{run_directory}: {stale[0]} is missing or out of date; run the study first")
        workspace = Workspace(study, run_directory)
        from claimscale.sweep.ascending import left_in  # statistics are slow to import

        cells = left_in(study, cells_of(study, workspace.corpus.labelled), _forecasts(study))
        missing = [cell.id for cell in cells if not workspace.is_done(cell)]
        if missing:
            raise BadInput(
                f"{run_directory}: {len(missing)} of {len(cells)} cells are missing, first {missing[0]}"
            )
        (run_directory / CONCLUSION).unlink(missing_ok=True)
        conclude(workspace, cells, display)
    return run_directory / REPORT


def conclude(workspace: Workspace, cells: list[Cell], display: Display) -> dict[str, Any]:
    """Compare sizes and arms over all cells; write results, summary and report. Returns the summary.

    The mark is written last: while it is absent or names other inputs, the conclusion is drawn again.
    """
    study, run_directory = workspace.study, workspace.run
    mark = run_directory / CONCLUSION
    inputs = runs.fingerprint(
        cells={cell.id: workspace.inputs(cell) for cell in cells},
        study=study_file.dump(study),
        checks=checks.inputs(run_directory, study),
        code=runs.code_digest("evaluation", "report", "conduct.py"),
    )
    if mark.exists() and runs.read_json(mark)["inputs"] == inputs and (run_directory / REPORT).exists():
        return runs.read_json(run_directory / "summary.json")
    from claimscale.report import page, summary as summaries  # charts and statistics are slow to import

    display.update(0.97, CONCLUSION_SECONDS, "comparing sizes")
    findings = checked(workspace, display)
    labels = runs.read_json(run_directory / "labels" / "labels.json")
    oracle_files = {task.name: run_directory / "oracle" / f"{task.name}.parquet" for task in study.tasks}
    summary = summaries.summarise(
        study,
        run_directory,
        cells=[_cell_result(workspace, cell) for cell in cells if cell.kind != "pretrain"],
        pretraining=[_pretraining(workspace, cell) for cell in cells if cell.kind == "pretrain"],
        dataset=_dataset(workspace),
        label_counts={
            name: {
                split: {
                    "patients": counts["patients"],
                    "dates": counts["n"],
                    "positives": counts["positives"],
                }
                for split, counts in task["splits"].items()
            }
            for name, task in labels.items()
        },
        oracle={task: file for task, file in oracle_files.items() if file.exists()},
        shortages={name: task["shortage"] for name, task in labels.items() if task["shortage"]},
        checks=[
            {
                "task": one.task,
                "title": checks.TITLES[one.check],
                "status": one.status,
                "sentence": one.sentence,
            }
            for one in findings
        ],
        forecasts=_forecasts(study),
    )
    display.update(0.99, CONCLUSION_SECONDS / 3, "writing the report")
    page.render(summary, study_file.dump(study), run_directory / REPORT)
    runs.write_json(mark, {"inputs": inputs})
    runs.append_audit(run_directory, "concluded", cells=len(cells))
    return summary


def _forecasts(study: Study) -> list[dict[str, Any]]:
    if study.compare.stop == "never":
        return []
    from claimscale.sweep.ascending import read_records  # statistics are slow to import

    return read_records(study.run_directory)


def _cell_result(workspace: Workspace, cell: Cell) -> CellResult:
    from claimscale.evaluation.predictions import CellResult

    folder = workspace.folder(cell.id)
    result = runs.read_json(folder / runs.CELL)["result"]
    assert cell.task is not None and cell.patients is not None
    return CellResult(
        task=cell.task,
        arm=cell.arm or cell.kind,
        size=cell.size if cell.arm else None,
        patients=result["patients"],
        requested=cell.patients,
        seed=cell.seed,
        predictions=folder / "predictions.parquet",
        seconds=result["seconds"],
    )


def _pretraining(workspace: Workspace, cell: Cell) -> dict[str, Any]:
    assert cell.size is not None
    folder = workspace.folder(cell.id)
    result = runs.read_json(folder / runs.CELL)["result"]
    shape = workspace.shape(cell.size)
    described: dict[str, Any] = {
        "layers": shape.layers,
        "width": shape.width,
        "feed_forward": shape.feed_forward,
    }
    steps = [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]
    last = [step["loss"] for step in steps[-max(len(steps) // LAST_SHARE, 1) :]]
    described["train_loss"] = sum(last) / len(last)
    return {**result, **described, "size": cell.size, "seed": cell.seed}


def _dataset(workspace: Workspace) -> dict[str, Any]:
    """The report's first numbers: who is in the cohort, and what became of every row."""
    quality = runs.read_json(workspace.run / "events" / "quality.json")
    tokens = runs.read_json(workspace.run / "tokens" / "tokens.json")
    cohort = runs.read_json(workspace.run / "cohort" / "cohort.json")
    described = runs.read_json(workspace.run / "cohort" / "description.json")
    return {
        "source": workspace.study.source.kind,
        "patients": cohort["studied"],
        "hospitals": cohort["drawn_hospitals"],
        "events": quality["used"],
        "tokens": tokens["tokens"],
        "vocabulary": tokens["vocabulary"],
        "span": quality["span"],
        "cohort": cohort,
        "description": description.shown(described, workspace.study.privacy.profile),
        "quality": {
            key: quality[key]
            for key in ("source_rows", "rows_in", "used", "quarantined", "dropped", "repaired", "warnings")
        },
    }
