"""Checks every file of a run directory or a model package against the checksums that were written with it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from claimscale import artifacts, outputs
from claimscale.errors import BadInput, Damaged
from claimscale.experiments.workspace import FORECASTS
from claimscale.packages import files as packages
from claimscale.validity import checks


@dataclass
class Verification:
    """What was checked, and what was found.

    Attributes:
        files: all files that have a checksum and are there.
        bytes: of these files.
        problems: one line per file that is missing or changed, and per folder that is missing.
        unfinished: folders without DONE mark: cells that run or were stopped.
        seconds: the time that it took.
    """

    files: int = 0
    bytes: int = 0
    problems: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, files: list[Path], damaged: list[Path], root: Path) -> None:
        present = [file for file in files if file.is_file()]
        self.files += len(present)
        self.bytes += sum(file.stat().st_size for file in present)
        for file in damaged:
            fault = "its checksum differs" if file.is_file() else "is missing"
            self.problems.append(f"{file.relative_to(root).as_posix()}: {fault}")

    @property
    def text(self) -> str:
        """One line that says what was checked."""
        rate = f"{self.files:,} files, {self.bytes / 2**30:.2f} GiB, {self.seconds:.1f} s"
        more = f"; not checked: {len(self.unfinished)} unfinished folders" if self.unfinished else ""
        found = f"{len(self.problems)} damaged" if self.problems else "all whole"
        return f"{found}: {rate}{more}"


def verify(folder: Path) -> Verification:
    """Check a run directory or a model package. Raises BadInput if the folder is neither."""
    started, found = time.monotonic(), Verification()
    if (folder / packages.CONFIG).is_file() and (folder / artifacts.MANIFEST).is_file():
        found.add(*packages.damaged_files(folder), folder)
    elif (folder / "study.yaml").is_file():
        _verify_run(folder, found)
    else:
        raise BadInput(f"{folder}: is neither a run directory (study.yaml) nor a model package (config.json)")
    found.seconds = time.monotonic() - started
    return found


def _verify_run(run: Path, found: Verification) -> None:
    marks = (artifacts.MANIFEST, artifacts.DONE)
    stages = [path for path in sorted(run.iterdir()) if any((path / mark).exists() for mark in marks)]
    for folder in (*stages, *sorted((run / "cells").glob("*"))):
        if (folder / artifacts.DONE).exists():
            _verify_folder(folder, run, found)
        else:
            found.unfinished.append(folder.relative_to(run).as_posix())
    for name in (outputs.FILE, checks.FILE, FORECASTS, "slurm/jobs.json"):
        if (run / name).exists():
            found.add([run / name], [run / name] if artifacts.is_changed(run / name) else [], run)
    if not artifacts.is_changed(run / outputs.FILE):
        _verify_outputs(run, found)


def _verify_folder(folder: Path, run: Path, found: Verification) -> None:
    manifest = folder / artifacts.MANIFEST
    try:
        listed = [folder / name for name in artifacts.read_manifest(folder)["files"]]
        found.add([manifest, *listed], artifacts.damaged_files(folder), run)
    except (OSError, Damaged):
        found.add([manifest], [manifest], run)


def _verify_outputs(run: Path, found: Verification) -> None:
    """The summary and the report, and that the folders are those that the summary was made from."""
    for part in outputs.PARTS:
        found.add(outputs.files(run, part), outputs.damaged_files(run, part), run)
    for name, digest in outputs.folders(run).items():
        try:
            same = artifacts.manifest_digest(run / name) == digest
        except Damaged:
            continue  # named above
        except OSError:
            found.problems.append(f"{name}: is missing")
            continue
        if not same:
            found.problems.append(f"{name}: is not the one that the summary was made from")
