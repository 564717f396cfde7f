"""The command line: parses, calls, prints. Exit codes: 0 done, 2 bad input, 3 stopped and resumable."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import cyclopts
from cyclopts import App, Parameter

from claimscale import __version__, package_commands, source_commands, validation_commands
from claimscale.command_line import STOPPED, refuse_loose_values, say
from claimscale.config import loading
from claimscale.config.tasks import catalogue
from claimscale.errors import BadInput, DamageFound, Interrupted, fault

app = App(
    name="claimscale",
    help="Foundation models from medical claims, and the smallest one that is good enough.",
    version=__version__,
    suppress_keyboard_interrupt=False,
)

File = Annotated[Path, Parameter(help="The study file (YAML).")]
_SET = Parameter(name="--set", help="Override a setting: --set pretrain.epochs=2", negative=())
Set = Annotated[tuple[str, ...], _SET]


@app.command
def study(file: File, *, set: Set = ()) -> None:
    """Run a whole study: prepare the claims, train, compare, write the report.

    What an earlier run finished is kept; a run that was stopped resumes.
    """
    from claimscale import pipeline, progress
    from claimscale.summary.schema import read_summary

    resolved = loading.load(file, list(set))
    with progress.display() as display:
        run = pipeline.run_study(resolved, display)
    print()
    summary = read_summary(run.folder / pipeline.SUMMARY)
    for found in summary.family_answers:
        print(f"{found.name.text}: {found.text.text}")
    for answer in summary.answers:
        print(f"{answer.task}: {' '.join(one.text for one in (answer.text, answer.ensemble_text) if one)}")
    done = "nothing had to be recomputed" if run.workspace.cells else "no cell to run"
    fresh = f"{run.cells_run} cells run" if run.cells_run else done
    print(f"\nReport: {run.folder / pipeline.REPORT}  ({fresh})")


@app.command
def plan(file: File, *, set: Set = (), gpu: str = "a100", calibrate: bool = False) -> None:
    """Show what a study would run, its time and memory, and what it will be able to decide.

    Nothing is run. docs/decisions.md explains the expected power.

    Parameters
    ----------
    gpu
        Show the time on this GPU: h100, a100, l40s, a10, v100, rtx4090 or t4.
    calibrate
        Measure this machine for half a minute, and show the time on it.
    """
    from claimscale.experiments.plan import plan_text

    print(plan_text(loading.load(file, list(set)), file, gpu, calibrate))


@app.command
def ingest(file: File, *, set: Set = (), dry_run: bool = False) -> None:
    """Prepare the claims only: events with their row reconciliation, cohort, tokens, labels.

    A table shows for each question who is eligible, how many have the outcome, and who is excluded and why.

    Parameters
    ----------
    dry_run
        Write nothing: read the first rows of each flat table, and show what they would become.
    """
    from claimscale import pipeline, progress, run_lock
    from claimscale.events.table import read_codes
    from claimscale.report.quality_text import reconciliation_text
    from claimscale.report.question_text import questions_text

    resolved = loading.load(file, list(set))
    if dry_run:
        print(source_commands.preview(resolved))
        return
    try:
        with progress.display() as display, run_lock.locked(resolved.run_directory):
            workspace = pipeline.prepare(resolved, display, read_again=True)
    finally:
        # Shown also when a later stage refuses.
        if (quality := pipeline.quality(resolved)) is not None:
            print(reconciliation_text(quality))
    codes = read_codes(workspace.run / "events")
    print(f"\n{questions_text(resolved, workspace.labels, codes)}\nPrepared: {workspace.run}")


@app.command
def check(file: File, *, set: Set = ()) -> None:
    """Run the validity checks of a study, before anything is trained.

    One line per check and task; warnings do not stop a study. docs/validity.md explains each check.
    """
    from claimscale import pipeline, progress
    from claimscale.validity import checks

    resolved = loading.load(file, list(set))
    with progress.display() as display:
        findings = pipeline.check(resolved, display)
    for one in findings:
        print(checks.line(one))
    warned = sum(one.warned for one in findings)
    print(f"\n{warned} of {len(findings)} checks warn: {resolved.run_directory / checks.FILE}")


@app.command
def pretrain(file: File, *, set: Set = ()) -> None:
    """Run the pretraining cells of a study."""
    _run_cells(file, set, "pretrain")


@app.command
def finetune(file: File, *, set: Set = ()) -> None:
    """Run the fine-tuning cells of a study, and the pretraining they need."""
    _run_cells(file, set, "finetune")


@app.command(name="run")
def run_one(file: File, cell: str, *, set: Set = ()) -> None:
    """Run one cell of a study by its name, and the cells it needs.

    Processes started by torchrun share the pretraining; the first one prints.

    Parameters
    ----------
    cell
        For example pretrain-11M-s42 or finetune-ckd-11M-scratch-n1000-s42.
    """
    _run_cells(file, set, cell)


@app.command
def report(file: File, *, set: Set = ()) -> None:
    """Write the report of a study again; no cell is run.

    The report of an unfinished study is partial, and says so.
    """
    from claimscale import pipeline, progress

    resolved = loading.load(file, list(set))
    with progress.display() as display:
        path, done, total = pipeline.report_again(resolved, display)
    print(f"Report: {path}" + (f"  (partial: {done} of {total} cells are done)" if done < total else ""))


@app.command
def compare(run_a: Path, run_b: Path) -> None:
    """Compare the verdicts of two runs, and test whether their saturation points differ.

    Only summary.json is read, which holds no patient: sites compare without sharing patient data. Two
    validations of a model package are compared as well.

    Parameters
    ----------
    run_a
        A run directory, runs/<study>, or its summary.json.
    run_b
        Another one, of other patients.
    """
    from claimscale.evaluation import run_comparison
    from claimscale.inference import validation_text

    if validation_text.is_validation(run_a) and validation_text.is_validation(run_b):
        pair = validation_text.read_validation(run_a), validation_text.read_validation(run_b)
        print(validation_text.comparison((str(run_a), str(run_b)), *pair))
        return
    first, second = run_comparison.read_run(run_a), run_comparison.read_run(run_b)
    names = (f"A: {first.name}", f"B: {second.name}")
    print(run_comparison.text(names, run_comparison.compare(first, second)))


for each in (*source_commands.COMMANDS, *package_commands.COMMANDS, *validation_commands.COMMANDS):
    app.command(each)


@app.command
def sizes(vocabulary: int, *targets: str, groups: int | None = None) -> None:
    """Solve encoder shapes whose parameters are within 2 % of each target.

    Parameters
    ----------
    vocabulary
        Tokens of the vocabulary.
    targets
        Sizes such as 2.2M or 400k.
    groups
        Code groups (tokens.hierarchical_embeddings); by default 0.3 per token, 0 without them.
    """
    from claimscale.experiments.plan import sizes_text

    print(sizes_text(vocabulary, targets or ("2.2M", "4.7M", "11M", "32M", "101M"), groups))


@app.command
def tasks(*, aces: Path | None = None) -> None:
    """List the task catalogue, or write it as ACES configurations.

    Parameters
    ----------
    aces
        The folder to write: one configuration (YAML) per task, and a second one for its positives.
    """
    if aces is not None:
        from claimscale.artifacts import make_folder, refuse_existing
        from claimscale.tasks.aces import export

        refuse_existing(aces)
        make_folder(aces)
        print(f"{len(export(catalogue(), aces))} ACES configurations of {len(catalogue())} tasks: {aces}")
        return
    for name, task in catalogue().items():
        codes = "; ".join(f"{system} {' '.join(prefixes)}" for system, prefixes in task.outcome.items())
        print(f"{name:<28} {task.kind:<10} {codes}")


def _run_cells(file: Path, overrides: tuple[str, ...], wanted: str) -> None:
    """Run the cells of a kind, or the one cell of that name."""
    from claimscale import pipeline, progress
    from claimscale.experiments.runners import torchrun

    resolved = loading.load(file, list(overrides))
    with progress.display(quiet=not torchrun.is_main()) as display:
        ran, total = pipeline.run_cells(resolved, wanted, display)
    if torchrun.is_main():
        print(f"{ran} cells run, {total - ran} were there already: {resolved.run_directory / 'cells'}")


def call(arguments: list[str]) -> int:
    """Run the command line; returns the exit code."""
    try:
        refuse_loose_values(arguments)
        app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except cyclopts.CycloptsError as error:
        return say(" ".join(str(error).split()), 2)
    except (BadInput, DamageFound, Interrupted) as error:
        return say(str(error), error.exit_code)
    except KeyboardInterrupt:
        return say(STOPPED, Interrupted.exit_code)
    except BrokenPipeError:  # the reader of the output, such as `head`, has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        place = error.filename or "the machine"
        return say(f"{place}: {error.strerror or error}; run the same command to resume", 3)
    except Exception as error:
        if os.environ.get("CLAIMSCALE_DEBUG"):
            raise
        return say(str(fault(error)), Interrupted.exit_code)
    return 0
