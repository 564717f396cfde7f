"""The run directory: folders that are complete or absent, checksums, and what made them.

Every stage writes one folder. A folder is *current* when its manifest names the same inputs as now
(settings, upstream manifests, version); a current folder is never made again.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from claimscale.errors import BadInput

MANIFEST = "manifest.json"
CELL = "cell.json"
DONE = "DONE"


def fingerprint(**inputs: Any) -> str:
    """SHA-256 of the inputs as canonical JSON: equal inputs, equal text."""
    text = json.dumps(inputs, sort_keys=True, default=str, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


@contextlib.contextmanager
def locked(run_directory: Path) -> Iterator[None]:
    """Keep other processes out of a run directory while this one works in it."""
    make_folder(run_directory)
    try:
        stream = (run_directory / ".lock").open("w")
    except OSError as error:
        raise BadInput(f"{run_directory}: cannot be written ({error.strerror})") from None
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadInput(f"{run_directory}: another claimscale is at work there") from None
        yield


def is_current(folder: Path, inputs: str) -> bool:
    """Whether the folder is complete and was made from these inputs, with every file at its size."""
    try:
        manifest = read_json(folder / MANIFEST)
        sizes_match = all(
            (folder / name).stat().st_size == entry["bytes"] for name, entry in manifest["files"].items()
        )
    except (OSError, ValueError, KeyError):
        return False
    return sizes_match and manifest["inputs"] == inputs and (folder / DONE).exists()


def manifest_digest(folder: Path) -> str:
    """What downstream stages put among their inputs: changes when any file of the folder changes."""
    manifest = read_json(folder / MANIFEST)
    return fingerprint(files={name: entry["sha256"] for name, entry in manifest["files"].items()})


@contextlib.contextmanager
def building(folder: Path, inputs: str) -> Iterator[Path]:
    """A temporary folder to fill, sealed and put in the folder's place when the block ends without error."""
    with appearing(folder) as partial:
        yield partial
        seal(partial, inputs)
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def appearing(folder: Path) -> Iterator[Path]:
    """A temporary folder to fill, which becomes `folder` as a whole when the block ends without error.

    What lies in `folder` by then is never overwritten: the error is that of renaming onto it.
    """
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    make_folder(partial)
    try:
        yield partial
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    _sync(folder.parent)


def open_cell(folder: Path, inputs: str, description: dict[str, Any]) -> None:
    """Make a cell's folder ready to work in: what a stopped run left stays if it came from the same inputs.

    Unlike the folders of `building`, a cell's folder is worked in place, so that its checkpoints survive.
    """
    try:
        stale = read_json(folder / CELL)["inputs"] != inputs
    except (OSError, ValueError, KeyError):
        stale = True
    if stale:
        shutil.rmtree(folder, ignore_errors=True)
    make_folder(folder)
    (folder / DONE).unlink(missing_ok=True)
    write_json(folder / CELL, {"inputs": inputs, **description})


def seal(folder: Path, inputs: str) -> None:
    """Write the manifest of all files in the folder, then the DONE mark, each flushed to disk."""
    files = {}
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        if file.is_file() and name not in (MANIFEST, DONE):
            files[name] = {"bytes": file.stat().st_size, "sha256": file_digest(file)}
    write_json(folder / MANIFEST, {"inputs": inputs, "files": files})
    write_text(folder / DONE, "")


def file_digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{folder}: cannot be written ({error.strerror})") from None


def write_text(file: Path, text: str) -> None:
    write_bytes(file, text.encode())


def write_bytes(file: Path, content: bytes) -> None:
    """Write a file atomically, flushed to disk: a reader sees the old content or the new, never a part."""
    partial = file.with_name(file.name + ".partial")
    with partial.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(file)
    _sync(file.parent)


def write_json(file: Path, content: Any) -> None:
    write_text(file, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(file: Path) -> Any:
    return json.loads(file.read_text("utf-8"))


def append_audit(run_directory: Path, action: str, **details: Any) -> None:
    """One line in `audit.jsonl`: when, what. Never put a patient's data here."""
    line = {"time": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"), "action": action, **details}
    with (run_directory / "audit.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line, ensure_ascii=False) + "\n")


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
