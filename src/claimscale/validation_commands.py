"""The commands that check: a model package on another database and over time, files by their checksums."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from claimscale.artifacts import refuse_existing
from claimscale.command_options import (
    On,
    Package,
    Privacy,
    Source,
    date_of,
    json_text,
    write_pages,
)
from claimscale.errors import DamageFound


def validate(
    package: Package,
    source: Source,
    out: Path,
    *,
    on: On,
    privacy: Privacy = "ndb",
) -> None:
    """Check a model package on another database, by the outcomes of its own question.

    Only aggregates are written: they can be sent back. compare reads two of them.

    Parameters
    ----------
    out
        The folder to write: validation.json and validation.html.
    """
    from claimscale import progress
    from claimscale.inference import validate as validation, validation_page, validation_text
    from claimscale.inference.package import ModelPackage
    from claimscale.inference.source_file import read_source

    refuse_existing(out)
    dates = [date_of(text) for text in on]
    with progress.display() as display:
        found = validation.validate(ModelPackage.open(package), read_source(source), dates, privacy, display)
    write_pages(
        out, {validation_text.FILE: json_text(found), validation_text.PAGE: validation_page.page(found)}
    )
    print("\n".join(validation_text.conclusions(found)))
    print(f"Written: {out / validation_text.PAGE}")


def monitor(
    package: Package,
    source: Source,
    out: Path,
    *,
    since: str,
    privacy: Privacy = "ndb",
) -> None:
    """Follow a model package over time, month by month: patients, codes, risks, and outcomes once known.

    Only aggregates are written: they can be sent back.

    Parameters
    ----------
    out
        The folder to write: monitoring.json and monitoring.html.
    since
        Patients are assessed on the first day of each month from this date to the last claims.
    """
    from claimscale import progress
    from claimscale.inference import monitor as monitoring, monitoring_page, monitoring_text
    from claimscale.inference.package import ModelPackage
    from claimscale.inference.source_file import read_source

    refuse_existing(out)
    first = date_of(since, "--since")
    with progress.display() as display:
        found = monitoring.monitor(ModelPackage.open(package), read_source(source), first, privacy, display)
    said = monitoring_text.conclusions(found)
    write_pages(
        out, {monitoring_text.FILE: json_text(found), monitoring_text.PAGE: monitoring_page.page(found)}
    )
    print("\n".join(said))
    print(f"Written: {out / monitoring_text.PAGE}")


def verify(folder: Path) -> None:
    """Check every file of a run or a model package against its checksum; nothing is changed.

    One line per damaged file, then what was checked. Exit code 1 if a file is damaged.

    Parameters
    ----------
    folder
        A run directory, runs/<study>, or a folder written by `claimscale package`.
    """
    from claimscale.verification import verify as verify_folder

    found = verify_folder(folder)
    for problem in found.problems:
        print(problem)
    if found.problems:
        raise DamageFound(found.text)
    print(found.text)


COMMANDS: tuple[Callable[..., Any], ...] = (validate, monitor, verify)
"""All commands, in the order in which the help lists them."""
