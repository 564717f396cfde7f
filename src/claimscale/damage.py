"""Damaged folders and files of a run: they are set apart or made again, and every one is noted.

Bits change on a disk, a copy is cut short, two files are swapped. What is damaged is never used.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

from claimscale import artifacts
from claimscale.errors import Damaged

FOLDER = "damaged"
"""In the run directory: folders in which a file was damaged, the last one of each name."""
ACTION = "damaged"
"""Of the lines in the audit log that name damaged files of stages and cells."""


def set_apart(run_directory: Path, folder: Path, inputs: str) -> str | None:
    """Move the folder to `damaged/` if it was finished with these inputs and is damaged since.

    Returns one line that says so. The audit log notes the files, so that the summary can count them.
    """
    files = _damaged_files(folder, inputs)
    if not files:
        return None
    target = run_directory / FOLDER / folder.name
    shutil.rmtree(target, ignore_errors=True)
    artifacts.make_folder(target.parent)
    folder.rename(target)
    names = [file.relative_to(run_directory).as_posix() for file in files]
    artifacts.append_audit(run_directory, ACTION, files=names)
    more = f" and {len(names) - 1} more files" if len(names) > 1 else ""
    place = folder.relative_to(run_directory).as_posix()
    return f"{names[0]}{more}: damaged; {place} is made again ({FOLDER}/{folder.name} holds the damaged one)"


def note_file(run_directory: Path, file: Path) -> str:
    """Note a damaged file that is made from others alone; returns one line that says so."""
    name = file.relative_to(run_directory).as_posix()
    artifacts.append_audit(run_directory, "damaged output", file=name)
    return f"{name}: damaged or missing; it is made again"


def count(run_directory: Path) -> int:
    """How many damaged files of stages and cells the audit log names."""
    try:
        lines = (run_directory / artifacts.AUDIT).read_bytes().splitlines()
    except FileNotFoundError:
        return 0
    found = 0
    for line in lines:
        with contextlib.suppress(ValueError, KeyError, TypeError):  # a line that an interruption has cut
            entry = json.loads(line)
            found += len(entry["files"]) if entry["action"] == ACTION else 0
    return found


def _damaged_files(folder: Path, inputs: str) -> list[Path]:
    if not (folder / artifacts.DONE).exists():
        return []
    try:
        recorded = artifacts.read_manifest(folder)["inputs"]
        return artifacts.damaged_files(folder) if recorded == inputs else []
    except (OSError, Damaged):
        return [folder / artifacts.MANIFEST]
