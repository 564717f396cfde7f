"""The run directory: atomic folders with manifests and checksums, its lock, and its audit log.

Every data stage and every cell writes one folder. A folder is current when its manifest records the
fingerprint of now; a current folder is never made again.
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
    """SHA-256 of the inputs as canonical JSON."""
    text = json.dumps(inputs, sort_keys=True, default=str, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


@contextlib.contextmanager
def locked(run_directory: Path) -> Iterator[None]:
    """Lock the run directory; raises BadInput if another process holds it."""
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
    """Whether the folder is complete, every file has its size, and the manifest records these inputs."""
    try:
        manifest = read_json(folder / MANIFEST)
        sizes_match = all(
            (folder / name).stat().st_size == entry["bytes"] for name, entry in manifest["files"].items()
        )
    except (OSError, ValueError, KeyError):
        return False
    return sizes_match and manifest["inputs"] == inputs and (folder / DONE).exists()


def manifest_digest(folder: Path) -> str:
    """Digest of all files of the folder; part of the fingerprint of every stage that reads it."""
    manifest = read_json(folder / MANIFEST)
    return fingerprint(files={name: entry["sha256"] for name, entry in manifest["files"].items()})


@contextlib.contextmanager
def sealed_folder(folder: Path, inputs: str) -> Iterator[Path]:
    """A temporary folder to fill; it is sealed and replaces `folder` when the block ends without error."""
    with atomic_folder(folder) as partial:
        yield partial
        seal(partial, inputs)
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder to fill; it is renamed to `folder` when the block ends without error.

    An existing folder with content is never overwritten: the rename raises OSError.
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
    """Open a cell's folder; the checkpoints of an interrupted run stay if its inputs were the same.

    Unlike a sealed folder, it is written in place, so that checkpoints survive a kill.
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
    """Write the manifest of all files in the folder, then the DONE mark; each is flushed to disk."""
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


def write_bytes(file: Path, content: bytes | memoryview) -> None:
    """Write a file atomically and flush it to disk."""
    with atomic_file(file) as partial:
        partial.write_bytes(content)


@contextlib.contextmanager
def atomic_file(file: Path) -> Iterator[Path]:
    """A temporary file to write; flushed to disk, it replaces `file` when the block ends without error."""
    partial = file.with_name(file.name + ".partial")
    try:
        yield partial
        _sync(partial)
        partial.replace(file)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    _sync(file.parent)


def write_json(file: Path, content: Any) -> None:
    write_text(file, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(file: Path) -> Any:
    return json.loads(file.read_text("utf-8"))


def append_audit(run_directory: Path, action: str, **details: Any) -> None:
    """Append a line to `audit.jsonl`: time and action. It must hold no patient's data."""
    line = {"time": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"), "action": action, **details}
    with (run_directory / "audit.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line, ensure_ascii=False) + "\n")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
