"""The commands on claims before a study: draft a mapping of unknown tables, preview it, simulate claims."""

from __future__ import annotations

import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from claimscale.simulator.options import SimulatedFiles

if TYPE_CHECKING:
    from claimscale.config.study import Study


def map(folder: Path, out: Path) -> None:
    """Draft a study of your claims; for unknown flat tables also a mapping, from their first rows.

    The mapping shows what each column looks like, as a comment. Check the draft, then preview it:
    claimscale ingest OUT/study.yaml --dry-run

    Parameters
    ----------
    folder
        The folder of the claims, in any format.
    out
        The folder to write; it appears complete or not at all.
    """
    from claimscale.sources import draft_files

    draft = draft_files.write_draft(folder, out)
    for table in draft.tables if draft else ():
        columns: defaultdict[str, list[str]] = defaultdict(list)
        for column, role in table.roles.items():
            columns[role].append(column)
        roles = "; ".join(f"{role}: {_first_to_last(names)}" for role, names in columns.items())
        print(f"{table.name}: {roles or 'not used'}")
    for note in draft.notes if draft else ():
        print(f"check: {note}")
    print(f"Draft: {out / draft_files.STUDY}" + (f" and {out / draft_files.MAPPING}" if draft else ""))


def _first_to_last(names: list[str]) -> str:
    return ", ".join(names) if len(names) < 4 else f"{names[0]} to {names[-1]} ({len(names)} columns)"


def preview(study: Study) -> str:
    """What the first rows of the study's tables would become."""
    from claimscale.engine import Engine
    from claimscale.sources import preview as previews

    with Engine(study.engine) as engine:
        return previews.preview(study.source, engine, engine.scratch / "samples")


def simulate(out: Path, *, files: Annotated[SimulatedFiles, Parameter(name="*")]) -> None:
    """Write simulated patients as files of a format that real claims have.

    They are for tests and trials: findings on them are no evidence about real patients.

    Parameters
    ----------
    out
        The folder to write; it appears complete or not at all.
    """
    from claimscale import progress
    from claimscale.simulator.population import Population, simulate as write_simulated
    from claimscale.simulator.writers import WriterOptions

    patients, started = files.patients, time.monotonic()
    population = Population(patients, files.hospitals, files.seed, files.min_age)
    options = WriterOptions(csv=files.csv, wareki=files.wareki)
    with progress.display() as display:

        def report(fraction: float) -> None:
            left = (time.monotonic() - started) * (1 - fraction) / fraction
            display.update(fraction, left, f"{fraction * patients:,.0f} of {patients:,} patients")

        write_simulated(
            out, population, files.format, options=options, workers=files.workers, progress=report
        )
    print(f"{patients:,} simulated patients of {files.hospitals} hospitals: {out}")


COMMANDS = (map, simulate)
