"""The command line: parses, calls, prints. Exit codes: 0 done, 2 bad input, 3 stopped and resumable."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated

import cyclopts
from cyclopts import App, Parameter

from claimscale import __version__
from claimscale.config import loading
from claimscale.config.study import parameter_count
from claimscale.config.tasks import catalogue
from claimscale.errors import BadInput, Interrupted, fault

app = App(
    name="claimscale",
    help="Foundation models from medical claims, and the smallest one that is good enough.",
    version=__version__,
    suppress_keyboard_interrupt=False,
)

File = Annotated[Path, Parameter(help="The study file (YAML).")]
Set = Annotated[
    tuple[str, ...],
    Parameter(name="--set", help="Override a setting: --set pretrain.epochs=2", negative=()),
]


@app.command
def study(file: File, *, set: Set = ()) -> None:
    """Run a whole study: prepare the claims, train, compare, write the report.

    What an earlier run finished is kept; a run that was stopped goes on where it was.
    """
    from claimscale import pipeline, progress

    resolved = loading.load(file, list(set))
    with progress.display() as display:
        outcome = pipeline.carry_out(resolved, display)
    print()
    for answer in outcome.summary["answers"]:
        print(f"{answer['task']}: {' '.join(filter(None, (answer['text'], answer['ensemble_text'])))}")
    fresh = f"{outcome.cells_run} cells run" if outcome.cells_run else "nothing had to be recomputed"
    print(f"\nReport: {outcome.report}  ({fresh})")


@app.command
def plan(file: File, *, set: Set = (), gpu: str = "a100", calibrate: bool = False) -> None:
    """Say what a study would run, how long it takes, how much memory, and what it will be able to decide.

    Nothing is run. docs/decisions.md says what the expected power rests on.

    Parameters
    ----------
    gpu
        Hours are told for this GPU: h100, a100, l40s, a10, v100, rtx4090 or t4.
    calibrate
        Measure this machine for half a minute.
    """
    from claimscale.experiments.plan import plan_text

    print(plan_text(loading.load(file, list(set)), file, gpu, calibrate))


@app.command
def ingest(file: File, *, set: Set = ()) -> None:
    """Prepare the claims only: events, quality account, cohort, tokens, labels."""
    from claimscale import artifacts, pipeline, progress
    from claimscale.report.quality_text import account_text

    resolved = loading.load(file, list(set))
    try:
        with progress.display() as display, artifacts.locked(resolved.run_directory):
            workspace = pipeline.prepare(resolved, display)
    finally:
        # Also when a later stage refuses: claims that came in are worth knowing about.
        if (quality := pipeline.account(resolved)) is not None:
            print(account_text(quality))
    print(f"Prepared: {workspace.run}")


@app.command
def check(file: File, *, set: Set = ()) -> None:
    """Check a study for the faults that make claims answer the wrong question, before anything is trained.

    One line per check and clinical question; warnings do not stop a study. docs/validity.md explains each.
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
    """Run one cell of a study by its name, and the one it needs.

    Started by torchrun, its processes share the pretraining; the first one prints.

    Parameters
    ----------
    cell
        For example pretrain-11M-s42 or finetune-ckd-11M-scratch-n1000-s42.
    """
    _run_cells(file, set, cell)


@app.command
def report(file: File, *, set: Set = ()) -> None:
    """Write the report of a study again from what it has left; nothing that is current is computed anew.

    Of a study that is not finished it is a partial report, marked as such.
    """
    from claimscale import pipeline, progress

    resolved = loading.load(file, list(set))
    with progress.display() as display:
        path, done, total = pipeline.report_again(resolved, display)
    print(f"Report: {path}" + (f"  (partial: {done} of {total} cells are done)" if done < total else ""))


@app.command
def compare(run_a: Path, run_b: Path) -> None:
    """Put the verdicts of two runs side by side, and test whether their saturation points differ.

    Only their summary.json is read: two places can compare without showing each other a patient.

    Parameters
    ----------
    run_a
        A run directory, runs/<study>, or its summary.json.
    run_b
        Another one, of other patients.
    """
    from claimscale import artifacts
    from claimscale.evaluation import run_comparison as replication

    summaries = []
    for run in (run_a, run_b):
        file = run / "summary.json" if run.is_dir() else run
        try:
            found = artifacts.read_json(file)
        except (OSError, ValueError):
            raise BadInput(f"{file}: is not the summary of a run") from None
        if not isinstance(found, dict) or not {"name", "tasks"} <= found.keys():
            raise BadInput(f"{file}: is not the summary of a run")
        summaries.append(found)
    names = (f"A: {summaries[0]['name']}", f"B: {summaries[1]['name']}")
    print(replication.text(names, replication.compare(*summaries)))


@app.command
def simulate(
    out: Path,
    *,
    patients: int,
    hospitals: int = 8,
    seed: int = 42,
    format: str = "tables",
    min_age: int = 0,
    csv: bool = False,
    wareki: bool = False,
    workers: int | None = None,
) -> None:
    """Write simulated patients as files of a format that real claims come in.

    They are a test bench: nothing found in them is evidence about real patients.

    Parameters
    ----------
    out
        The folder to make; it appears whole or not at all.
    patients
        How many patients.
    hospitals
        How many hospitals of the simulated country, 1 to 519.
    seed
        Equal seeds give equal bytes.
    format
        tables, uke, dpc, omop, meds or events.
    min_age
        Least age of the patients in July 2021 (a multiple of 5).
    csv
        Flat tables as CSV rather than Parquet.
    wareki
        Claim files (uke) with dates in Japanese eras.
    workers
        Shards worked on at a time; one per core unless told. The bytes do not depend on it.
    """
    from claimscale import progress
    from claimscale.simulator.population import Population, simulate as write_simulation
    from claimscale.simulator.writers import WriterOptions

    options, started = WriterOptions(csv=csv, wareki=wareki), time.monotonic()
    with progress.display() as display:

        def report(fraction: float) -> None:
            left = (time.monotonic() - started) * (1 - fraction) / fraction
            display.update(fraction, left, f"{fraction * patients:,.0f} of {patients:,} patients")

        population = Population(patients, hospitals, seed, min_age)
        write_simulation(out, population, format, options=options, workers=workers, progress=report)
    print(f"{patients:,} simulated patients of {hospitals} hospitals: {out}")


@app.command
def sizes(vocabulary: int, *targets: str) -> None:
    """Solve model shapes: parameters as close to each target as 2 % for a vocabulary.

    Parameters
    ----------
    vocabulary
        How many tokens the vocabulary holds.
    targets
        Sizes such as 2.2M or 400k.
    """
    from claimscale.model import shapes

    print(f"{'target':>8} {'parameters':>12} {'layers':>6} {'width':>6} {'feed-fwd':>8} {'embedding':>9}")
    for target in targets or ("2.2M", "4.7M", "11M", "32M", "101M"):
        try:
            count = parameter_count(target)
        except ValueError as error:
            raise BadInput(str(error)) from None
        shape = shapes.solve(count, vocabulary)
        print(
            f"{target:>8} {shapes.parameters(shape):>12,} {shape.layers:>6} {shape.width:>6} "
            f"{shape.feed_forward:>8} {shape.embedding:>9}"
        )


@app.command
def tasks(*, aces: Path | None = None) -> None:
    """List the task catalogue, or write it as ACES configurations.

    Parameters
    ----------
    aces
        The folder to make: one configuration (YAML) per task, and a second one for its positives.
    """
    if aces is not None:
        from claimscale.artifacts import make_folder
        from claimscale.tasks.aces import export

        if aces.exists():
            raise BadInput(f"{aces}: is there already")
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
    with progress.display(quiet=not torchrun.leads()) as display:
        ran, total = pipeline.carry_out_cells(resolved, wanted, display)
    if torchrun.leads():
        print(f"{ran} cells run, {total - ran} were there already: {resolved.run_directory / 'cells'}")


def main() -> None:
    """Entry point: every ending as one clear line and its exit code."""
    sys.exit(call(sys.argv[1:]))


def call(arguments: list[str]) -> int:
    """Run the command line; returns the exit code."""
    try:
        app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except cyclopts.CycloptsError as error:
        return _say(" ".join(str(error).split()), 2)
    except (BadInput, Interrupted) as error:
        return _say(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _say("stopped; run the same command to go on", 3)
    except BrokenPipeError:  # whoever reads the output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        place = error.filename or "the machine"
        return _say(f"{place}: {error.strerror or error}; run the same command to go on", 3)
    except Exception as error:
        if os.environ.get("CLAIMSCALE_DEBUG"):
            raise
        return _say(str(fault(error)), Interrupted.exit_code)
    return 0


def _say(line: str, code: int) -> int:
    from claimscale.experiments.runners import torchrun

    if not torchrun.leads():  # the first of several processes says what all would say
        if code == BadInput.exit_code:
            return code
        line = f"rank {os.environ['RANK']}: {line}"
    print(f"claimscale: {line}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
