"""The command line: parses, calls, prints. Exit codes: 0 done, 2 bad input, 3 stopped and resumable."""

from __future__ import annotations

import datetime as dt
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import cyclopts
from cyclopts import App, Parameter, validators

from claimscale import __version__
from claimscale.config import loading
from claimscale.config.tasks import catalogue
from claimscale.errors import BadInput, Interrupted, fault
from claimscale.simulator.options import SimulatedFiles

if TYPE_CHECKING:
    from claimscale.inference.predict import Counts

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
    fresh = f"{run.cells_run} cells run" if run.cells_run else "nothing had to be recomputed"
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
def ingest(file: File, *, set: Set = ()) -> None:
    """Prepare the claims only: events with their row reconciliation, cohort, tokens, labels."""
    from claimscale import artifacts, pipeline, progress
    from claimscale.report.quality_text import reconciliation_text

    resolved = loading.load(file, list(set))
    try:
        with progress.display() as display, artifacts.locked(resolved.run_directory):
            workspace = pipeline.prepare(resolved, display)
    finally:
        # Shown also when a later stage refuses.
        if (quality := pipeline.quality(resolved)) is not None:
            print(reconciliation_text(quality))
    print(f"Prepared: {workspace.run}")


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

    Only summary.json is read, which holds no patient: two sites can compare without sharing patient data.
    Two validations of a model package are compared as well.

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


@app.command
def package(
    run: Path,
    out: Path,
    *,
    task: str | None = None,
    model: Literal["encoder", "lightgbm", "logistic", "outcome_history", "ensemble"] = "encoder",
    size: str | None = None,
    seeds: tuple[int, ...] = (),
    license: str = "other",
) -> None:
    """Write a model of a finished study as a folder that scores patients: see predict and embed.

    Parameters
    ----------
    run
        The run directory, runs/<study>.
    out
        The folder to write; it appears complete or not at all.
    task
        The question. Without one, the package is a pretrained encoder, for embed.
    model
        What is packaged; `ensemble` averages the encoder and LightGBM.
    size
        Size of the encoder; by default the one that the study found sufficient, otherwise its largest.
    seeds
        Seeds whose models are averaged; by default the study's first.
    license
        SPDX identifier of the licence of the package.
    """
    from claimscale import progress
    from claimscale.inference.packaging import Choice, write_package

    with progress.display() as display:
        found, difference = write_package(
            run, Choice(task, model, size, seeds or None, license), out, display
        )
    models = ", ".join(member.cell for member in found.config.members)
    exact = "bit for bit" if difference == 0 else f"to {difference:.0e}"
    checked = "" if task is None else f"; it gives the study's predictions {exact}"
    print(f"Package: {out}  ({models}{checked})")


On = Annotated[
    tuple[str, ...],
    Parameter(name="--on", negative=(), help="Assess every patient on this date; may be repeated."),
]


@app.command
def predict(
    package: Path, source: Path, out: Path, *, on: On = (), visits: bool = False, dates: Path | None = None
) -> None:
    """Score the patients of a source with a model package. No outcome is needed.

    Parameters
    ----------
    package
        A folder written by `claimscale package`.
    source
        A YAML file with a source section (a study file is one), or the folder of a MEDS dataset.
    out
        The Parquet file to write, in the MEDS prediction schema.
    visits
        Assess patients on every day on which something became known of them.
    dates
        Parquet file with subject_id and prediction_time.
    """
    from claimscale.inference import predict as scoring

    _score(package, source, out, (on, visits, dates), scoring.predict, "scored")


@app.command
def embed(
    package: Path, source: Path, out: Path, *, on: On = (), visits: bool = False, dates: Path | None = None
) -> None:
    """Write the vector of each patient and date by the encoder of a model package.

    Parameters
    ----------
    package
        A folder written by `claimscale package`.
    source
        A YAML file with a source section (a study file is one), or the folder of a MEDS dataset.
    out
        The Parquet file to write.
    visits
        Assess patients on every day on which something became known of them.
    dates
        Parquet file with subject_id and prediction_time.
    """
    from claimscale.inference import predict as scoring

    _score(package, source, out, (on, visits, dates), scoring.embed, "embedded")


@app.command
def explain(
    package: Path,
    source: Path,
    out: Path,
    *,
    on: str,
    patient: int | None = None,
    patients: Annotated[int, Parameter(validator=validators.Number(gte=10))] = 1000,
) -> None:
    """Show what each code contributes to a risk: for one patient, or on average over a cohort.

    The explanation of one patient is patient data. docs/explain.md says how the numbers are made.

    Parameters
    ----------
    package
        A folder written by `claimscale package`.
    source
        A YAML file with a source section (a study file is one), or the folder of a MEDS dataset.
    out
        The folder to write: explanation.json and explanation.html.
    on
        The date of the assessment.
    patient
        The patient's subject_id. Without it, a cohort is explained.
    patients
        Most patients of the cohort: a random sample of the eligible ones.
    """
    from claimscale import progress
    from claimscale.inference import explain as explaining
    from claimscale.inference.explanation_text import explanation_text
    from claimscale.inference.package import ModelPackage
    from claimscale.inference.source_file import read_source

    assessment = explaining.Assessment(_date(on), patient, patients)
    with progress.display() as display:
        opened = ModelPackage.open(package)
        found = explaining.write_explanation(opened, read_source(source), assessment, out, display)
    print("\n".join(explanation_text(found)))
    print(f"Written: {out / explaining.JSON}, {out / explaining.PAGE}")


@app.command
def validate(
    package: Path,
    source: Path,
    out: Path,
    *,
    on: On,
    privacy: Literal["none", "ndb", "cms", "opensafely", "acro"] = "ndb",
) -> None:
    """Check a model package on another database, by the outcomes of its own question.

    Only aggregates are written: they can be sent back. compare reads two of them.

    Parameters
    ----------
    package
        A folder written by `claimscale package`.
    source
        A YAML file with a source section (a study file is one), or the folder of a MEDS dataset.
    out
        The folder to write: validation.json and validation.html.
    privacy
        Rule for small counts.
    """
    from claimscale import artifacts, progress
    from claimscale.inference import validate as validation, validation_page, validation_text
    from claimscale.inference.package import ModelPackage
    from claimscale.inference.source_file import read_source

    if out.exists():
        raise BadInput(f"{out}: is there already")
    dates = [_date(text) for text in on]
    with progress.display() as display:
        found = validation.validate(ModelPackage.open(package), read_source(source), dates, privacy, display)
    with artifacts.atomic_folder(out) as target:
        artifacts.write_text(target / validation_text.FILE, found.model_dump_json(indent=1) + "\n")
        validation_page.write_page(found, target / validation_text.PAGE)
    print("\n".join(validation_text.conclusions(found)))
    print(f"Written: {out / validation_text.PAGE}")


@app.command
def export(package: Path, out: Path, *, source: Path | None = None, on: On = ()) -> None:
    """Write the encoder classifier of a model package as an ONNX model: tokens in, logits out.

    ONNX Runtime must give the package's logits to 1e-4 on sequences of random codes of all lengths, and on
    the patients of a source if one is given. Otherwise no file is written.

    Parameters
    ----------
    package
        A folder written by `claimscale package`.
    out
        The file to write, for example model.onnx.
    source
        Also check on these patients: a YAML file with a source section, or the folder of a MEDS dataset.
    """
    from claimscale.inference import onnx_export
    from claimscale.inference.package import ModelPackage
    from claimscale.inference.source_file import Dates

    if (source is None) != (not on):
        raise BadInput("--source and --on: one needs the other")
    found = ModelPackage.open(package)
    dates = tuple(_date(text) for text in on)
    checked = [] if source is None else onnx_export.patient_sequences(found, source, Dates(dates))
    sequences, largest = onnx_export.export(found, out, checked)
    print(f"Written: {out}  (on {sequences:,} sequences logits differ by at most {largest:.1g})")
    if len(found.members) > 1:
        print(f"It is one of {len(found.members)} models of the package, not their average.")


@app.command
def serve(package: Path, *, port: int = 8321, masters: Path | None = None, max_body_mib: float = 8.0) -> None:
    """Score patients with a model package over HTTP, on this machine only: see docs/serve.md.

    Every request needs the token, which is printed once, or that of the environment variable
    CLAIMSCALE_TOKEN. Requests are not logged.

    Parameters
    ----------
    package
        A folder written by `claimscale package`.
    port
        Port on 127.0.0.1; 0 for a free one.
    masters
        Folder of the national master files, for receipts; without it codes stay receipt codes.
    max_body_mib
        Largest request body, in MiB.
    """
    from claimscale.inference.serve import serve as serve_package

    if not 0 < max_body_mib <= 1024:
        raise BadInput(f"--max-body-mib {max_body_mib:g}: must be above 0 and at most 1024")
    serve_package(package, port, masters, int(max_body_mib * (1 << 20)))


@app.command(name="simulate")
def simulate_files(out: Path, *, files: Annotated[SimulatedFiles, Parameter(name="*")]) -> None:
    """Write simulated patients as files of a format that real claims have.

    They are for tests and trials: findings on them are no evidence about real patients.

    Parameters
    ----------
    out
        The folder to write; it appears complete or not at all.
    """
    from claimscale import progress
    from claimscale.simulator.population import Population, simulate
    from claimscale.simulator.writers import WriterOptions

    patients, started = files.patients, time.monotonic()
    population = Population(patients, files.hospitals, files.seed, files.min_age)
    options = WriterOptions(csv=files.csv, wareki=files.wareki)
    with progress.display() as display:

        def report(fraction: float) -> None:
            left = (time.monotonic() - started) * (1 - fraction) / fraction
            display.update(fraction, left, f"{fraction * patients:,.0f} of {patients:,} patients")

        simulate(out, population, files.format, options=options, workers=files.workers, progress=report)
    print(f"{patients:,} simulated patients of {files.hospitals} hospitals: {out}")


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


def _score(
    package: Path,
    source: Path,
    out: Path,
    dates: tuple[tuple[str, ...], bool, Path | None],
    write: Callable[..., Counts],
    done: str,
) -> None:
    """Open the package, write `out`, and say how many patients were scored."""
    from claimscale import progress
    from claimscale.inference.package import ModelPackage
    from claimscale.inference.predict import counts_text
    from claimscale.inference.source_file import Dates, read_source

    on, visits, file = dates
    wanted = Dates(tuple(_date(text) for text in on), visits, file)
    with progress.display() as display:
        counts = write(ModelPackage.open(package), read_source(source), wanted, out, display)
    print("\n".join(counts_text(counts, done)))
    print(f"Written: {out}")


def _date(text: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise BadInput(f"--on {text}: is not a date such as 2024-04-01") from None


def _run_cells(file: Path, overrides: tuple[str, ...], wanted: str) -> None:
    """Run the cells of a kind, or the one cell of that name."""
    from claimscale import pipeline, progress
    from claimscale.experiments.runners import torchrun

    resolved = loading.load(file, list(overrides))
    with progress.display(quiet=not torchrun.is_main()) as display:
        ran, total = pipeline.run_cells(resolved, wanted, display)
    if torchrun.is_main():
        print(f"{ran} cells run, {total - ran} were there already: {resolved.run_directory / 'cells'}")


def main() -> None:
    """Entry point: every error is one clear line and an exit code."""
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
        return _say("stopped; run the same command to resume", 3)
    except BrokenPipeError:  # the reader of the output, such as `head`, has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        place = error.filename or "the machine"
        return _say(f"{place}: {error.strerror or error}; run the same command to resume", 3)
    except Exception as error:
        if os.environ.get("CLAIMSCALE_DEBUG"):
            raise
        return _say(str(fault(error)), Interrupted.exit_code)
    return 0


def _say(line: str, code: int) -> int:
    from claimscale.experiments.runners import torchrun

    if not torchrun.is_main():  # all processes find the same fault: one prints it
        if code == BadInput.exit_code:
            return code
        line = f"rank {os.environ['RANK']}: {line}"
    print(f"claimscale: {line}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
