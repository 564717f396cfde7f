"""The commands on model packages: write one, score patients with it, explain it, serve it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter, validators

from claimscale.command_options import DatesFile, On, Package, Source, Visits, date_of
from claimscale.errors import BadInput

if TYPE_CHECKING:
    from claimscale.inference.predict import Counts


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


def predict(
    package: Package,
    source: Source,
    out: Path,
    *,
    on: On = (),
    visits: Visits = False,
    dates: DatesFile = None,
) -> None:
    """Score the patients of a source with a model package. No outcome is needed.

    Parameters
    ----------
    out
        The Parquet file to write, in the MEDS prediction schema.
    """
    from claimscale.inference import predict as scoring

    _score(package, source, out, (on, visits, dates), scoring.predict, "scored")


def embed(
    package: Package,
    source: Source,
    out: Path,
    *,
    on: On = (),
    visits: Visits = False,
    dates: DatesFile = None,
) -> None:
    """Write the vector of each patient and date by the encoder of a model package.

    Parameters
    ----------
    out
        The Parquet file to write.
    """
    from claimscale.inference import predict as scoring

    _score(package, source, out, (on, visits, dates), scoring.embed, "embedded")


def explain(
    package: Package,
    source: Source,
    out: Path,
    *,
    on: str,
    patient: str | None = None,
    patients: Annotated[int, Parameter(validator=validators.Number(gte=10))] = 1000,
) -> None:
    """Show what each code contributes to a risk: for one patient, or on average over a cohort.

    The explanation of one patient is patient data. docs/explain.md says how the numbers are made.

    Parameters
    ----------
    out
        The folder to write: explanation.json and explanation.html.
    on
        The date of the assessment.
    patient
        The patient, as `predict` names it: source_id where it writes one, otherwise subject_id. Without it, a
        cohort is explained.
    patients
        Most patients of the cohort: a random sample of the eligible ones.
    """
    from claimscale import progress
    from claimscale.inference import explain as explaining
    from claimscale.inference.explanation_text import explanation_text
    from claimscale.inference.package import ModelPackage
    from claimscale.inference.source_file import read_source

    assessment = explaining.Assessment(date_of(on), patient, patients)
    with progress.display() as display:
        opened = ModelPackage.open(package)
        found = explaining.write_explanation(opened, read_source(source), assessment, out, display)
    print("\n".join(explanation_text(found)))
    print(f"Written: {out / explaining.JSON}, {out / explaining.PAGE}")


def export(package: Package, out: Path, *, source: Source | None = None, on: On = ()) -> None:
    """Write the encoder classifier of a model package as an ONNX model: tokens in, logits out.

    ONNX Runtime must give the package's logits to 1e-4 on sequences of random codes of all lengths, and on
    the patients of a source if one is given. Otherwise no file is written.

    Parameters
    ----------
    out
        The file to write, for example model.onnx.
    source
        Also check on these patients: a YAML file with a source section, or a MEDS dataset's folder.
    on
        The index dates of these patients; may be repeated.
    """
    from claimscale.inference import onnx_export
    from claimscale.inference.package import ModelPackage
    from claimscale.inference.source_file import Dates, read_source

    if (source is None) != (not on):
        raise BadInput("--source and --on: one needs the other")
    found, checked = ModelPackage.open(package), []
    if source is not None:
        dates = Dates(tuple(date_of(text) for text in on))
        checked = onnx_export.patient_sequences(found, read_source(source), dates)
    sequences, largest = onnx_export.export(found, out, checked)
    print(f"Written: {out}  (on {sequences:,} sequences logits differ by at most {largest:.1g})")
    if len(found.members) > 1:
        print(f"It is one of {len(found.members)} models of the package, not their average.")


def serve(
    package: Package, *, port: int = 8321, masters: Path | None = None, max_body_mib: float = 8.0
) -> None:
    """Score patients with a model package over HTTP, on this machine only: see docs/serve.md.

    Every request needs the token, which is printed once, or that of the environment variable
    CLAIMSCALE_TOKEN. Requests are not logged.

    Parameters
    ----------
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
    wanted = Dates(tuple(date_of(text) for text in on), visits, file)
    with progress.display() as display:
        counts = write(ModelPackage.open(package), read_source(source), wanted, out, display)
    print("\n".join(counts_text(counts, done)))
    print(f"Written: {out}")


COMMANDS: tuple[Callable[..., Any], ...] = (package, predict, embed, explain, serve, export)
"""All commands, in the order in which the help lists them."""
