"""A study from its file to its answer: prepare the claims, run the cells, draw the conclusion."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claimscale import runs, study_file
from claimscale.corpus import stages
from claimscale.errors import BadInput
from claimscale.progress import Display
from claimscale.study import SimulatedSource, Study
from claimscale.sweep import slurm, together
from claimscale.sweep.cells import Cell, cells_of
from claimscale.sweep.devices import workers_and_threads
from claimscale.sweep.estimate import TimeLeft
from claimscale.sweep.schedule import run_cells
from claimscale.sweep.workspace import Workspace
from claimscale.validity import checks
from claimscale.validity.finding import Finding

if TYPE_CHECKING:
    from claimscale.evaluation.predictions import CellResult

REPORT = "report.html"
CONCLUSION = "conclusion.json"
PARTIAL = "partial"
SUMMARY_CODE = tuple(
    f"report/{name}.py"
    for name in (
        "summary",
        "task_entry",
        "answers",
        "gate",
        "coarsening",
        "suppression",
        "results",
        "provenance",
        "curve_entries",
    )
)
"""The modules of the report that the summary rests on; the others make only the page."""
FREQUENT_CODES = 30
PARTIAL_SECONDS = 300.0
PARTIAL_SHARE = 0.02
PARTIAL_REPLICATES = 200
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


def run(
    workspace: Workspace, cells: list[Cell], display: Display, finished: Callable[[], None] | None = None
) -> int:
    """Run cells, with what they need, as far as they are not done; returns how many were run.

    `finished` is called after every cell.
    """
    for size in workspace.study.sizes:
        workspace.shape(size)  # an impossible size is refused also where nothing can be trained
    workers, threads = workers_and_threads(workspace.study)
    time_left = TimeLeft.of(workspace.study, workspace.corpus, cells, threads)
    if workspace.study.compute.slurm is not None:
        return slurm.run_cells(workspace, cells, time_left, display)
    return run_cells(workspace, cells, time_left, workers, threads, display, finished)


def carry_out(study: Study, display: Display) -> Outcome:
    """The whole study; whatever is already there and current is not made again."""
    if together.launched():
        raise BadInput("torchrun: give it one cell or the pretraining (run, pretrain), not a whole study")
    with runs.locked(study.run_directory):
        workspace = prepare(study, display)
        everything = cells_of(study, workspace.corpus.labelled)
        cells, cells_run = _run_all(workspace, everything, display, PartialReport(workspace, everything))
        summary = conclude(workspace, cells, display)
        display.update(1.0, 0.0, "done")
    return Outcome(summary, study.run_directory / REPORT, cells_run)


def _run_all(
    workspace: Workspace, cells: list[Cell], display: Display, finished: Callable[[], None] | None = None
) -> tuple[list[Cell], int]:
    """Run all cells, or with `compare.stop: auto` as many sizes as are worth it; returns those, and how many
    ran."""
    if workspace.study.compare.stop == "never":
        return cells, run(workspace, cells, display, finished)
    from claimscale.sweep.ascending import run_ascending  # statistics are slow to import

    return run_ascending(
        workspace.study,
        workspace.run,
        cells,
        lambda chosen: run(workspace, chosen, display, finished),
        lambda cell: _cell_result(workspace, cell),
    )


def carry_out_cells(study: Study, wanted: str, display: Display) -> tuple[int, int]:
    """Run the cells of a kind, or the one of that name, and what they need; returns (run now, all of them).

    Processes that torchrun started run them together. Raises BadInput if the study has no such cell.
    """
    if together.launched():
        with (
            together.joined(study) as group,
            together.prepared(study, group, lambda: prepare(study, display)) as workspace,
        ):
            cells = _chosen(workspace, wanted)
            return together.run_cells(workspace, cells, group, display), len(cells)
    with runs.locked(study.run_directory):
        workspace = prepare(study, display)
        cells = _chosen(workspace, wanted)
        if wanted == "finetune":
            cells, ran = _run_all(workspace, cells, display)
            return ran, len(cells)
        return run(workspace, cells, display), len(cells)


def _chosen(workspace: Workspace, wanted: str) -> list[Cell]:
    """The cells of a kind, or the one of that name, and what they need."""
    study = workspace.study
    everything = {cell.id: cell for cell in cells_of(study, workspace.corpus.labelled)}
    chosen = {cell.id for cell in everything.values() if wanted in (cell.kind, cell.id)}
    if not chosen:
        known = f"one is {next(iter(everything))}" if everything else "its tasks have too few positives"
        raise BadInput(f"{wanted}: {study.name} has no such cell ({known})")
    chosen |= {need for cell_id in chosen if (need := everything[cell_id].needs) is not None}
    return [cell for cell in everything.values() if cell.id in chosen]


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


def report_again(study: Study, display: Display) -> tuple[Path, int, int]:
    """The report anew, from what the study has left so far; nothing is computed that is there and current.

    Returns its path, how many cells are done, and how many there are. Of an unfinished study it is a partial
    report. Raises BadInput where there is nothing to report.
    """
    run_directory = study.run_directory
    with runs.locked(run_directory):
        stale = [stage.name for stage in stages.stages_of(study) if not stage.is_current(run_directory)]
        if stale:
            raise BadInput(f"{run_directory}: {stale[0]} is missing or out of date; run the study first")
        workspace = Workspace(study, run_directory)
        from claimscale.sweep.ascending import left_in  # statistics are slow to import

        cells = left_in(study, cells_of(study, workspace.corpus.labelled), _forecasts(study))
        missing = [cell.id for cell in cells if not workspace.is_done(cell)]
        if not missing:
            conclude(workspace, cells, display, again=True)
        elif not write_partial_report(workspace, cells):
            raise BadInput(
                f"{run_directory}: {len(missing)} of {len(cells)} cells are missing, first {missing[0]}"
            )
    return run_directory / REPORT, len(cells) - len(missing), len(cells)


class PartialReport:
    """Called after every cell of a study: writes the report of what is done, now and then.

    Each takes a little of the study's time, so the next waits until that is a small part of what has passed.
    """

    def __init__(self, workspace: Workspace, cells: list[Cell]) -> None:
        self.workspace, self.cells = workspace, cells
        self.next = time.monotonic() + PARTIAL_SECONDS

    def __call__(self) -> None:
        started = time.monotonic()
        if started < self.next:
            return
        write_partial_report(self.workspace, self.cells)
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
        update={"replicates": min(study.compare.replicates, PARTIAL_REPLICATES)}
    )
    reduced = study.model_copy(
        update={"tasks": [task for task in study.tasks if task.name in begun], "compare": compare}
    )
    trained = [cell for cell in done if cell.task is None or cell.task in begun]
    folder = run_directory / PARTIAL
    runs.make_folder(folder)
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
    inputs = runs.fingerprint(
        cells={cell.id: workspace.inputs(cell) for cell in cells},
        study=settings,
        checks=checks.inputs(run_directory, study),
        code=runs.code_digest("evaluation", *SUMMARY_CODE, "conduct.py"),
    )
    shown = runs.fingerprint(summary=inputs, language=language, code=runs.code_digest("report"))
    written = runs.read_json(mark) if mark.exists() else {}
    if written.get("inputs") == inputs and (run_directory / "summary.json").exists():
        summary = runs.read_json(run_directory / "summary.json")
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
    runs.write_json(mark, {"inputs": inputs, "shown": shown})
    runs.append_audit(run_directory, "concluded", cells=len(cells))
    return summary


def _write_report(summary: dict[str, Any], study: Study) -> None:
    from claimscale.report import export, page  # charts are slow to import

    run_directory, text = study.run_directory, study_file.dump(study)
    page.render(summary, text, run_directory / REPORT, study.report.language)
    if "partial" not in summary:
        export.write(summary, run_directory, study.report.language)


def _summarise(
    workspace: Workspace, study: Study, folder: Path, cells: list[Cell], findings: list[Finding]
) -> dict[str, Any]:
    """The summary of these cells, written to the folder."""
    from claimscale.report import summary as summaries  # statistics are slow to import

    run_directory = workspace.run
    labels = runs.read_json(run_directory / "labels" / "labels.json")
    oracle_files = {task.name: run_directory / "oracle" / f"{task.name}.parquet" for task in study.tasks}
    return summaries.summarise(
        study,
        folder,
        cells=[_cell_result(workspace, cell) for cell in cells if cell.task is not None],
        pretraining=[_pretraining(workspace, cell) for cell in cells if cell.kind == "pretrain"],
        lr_sweeps={
            cell.size: runs.read_json(workspace.folder(cell.id) / runs.CELL)["result"]["lr_sweep"]
            for cell in cells
            if cell.kind == "sweep" and cell.size is not None
        },
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
        notes=[f"{cell.id}: {note}" for cell in cells for note in _result(workspace, cell).get("notes", [])],
        forecasts=_forecasts(study),
    )


def _forecasts(study: Study) -> list[dict[str, Any]]:
    if study.compare.stop == "never":
        return []
    from claimscale.sweep.ascending import read_records  # statistics are slow to import

    return read_records(study.run_directory)


def _cell_result(workspace: Workspace, cell: Cell) -> CellResult:
    from claimscale.evaluation.predictions import CellResult

    folder, result = workspace.folder(cell.id), _result(workspace, cell)
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


def _result(workspace: Workspace, cell: Cell) -> dict[str, Any]:
    """What the cell recorded."""
    return runs.read_json(workspace.folder(cell.id) / runs.CELL)["result"]


def _pretraining(workspace: Workspace, cell: Cell) -> dict[str, Any]:
    assert cell.size is not None
    folder, result, shape = workspace.folder(cell.id), _result(workspace, cell), workspace.shape(cell.size)
    metrics = folder / "metrics.jsonl"
    steps = [json.loads(line) for line in metrics.read_text("utf-8").splitlines()]
    last = [step["loss"] for step in steps[-max(len(steps) // LAST_SHARE, 1) :]]
    return {
        **result,
        "layers": shape.layers,
        "width": shape.width,
        "feed_forward": shape.feed_forward,
        "train_loss": sum(last) / len(last),
        "size": cell.size,
        "seed": cell.seed,
        "metrics": metrics,
    }


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
