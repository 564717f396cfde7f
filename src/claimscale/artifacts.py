"""The run directory: atomic folders with manifests and checksums, and its audit log.

Every data stage and every cell writes one folder. A folder is current when its manifest records the
fingerprint of now and every file has its checksum; a current folder is never made again. A manifest names its
folder and holds its own checksum, so that neither a changed manifest nor two swapped folders pass.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from claimscale.checksums import file_digest, file_digests
from claimscale.errors import BadInput, Damaged

MANIFEST = "manifest.json"
CELL = "cell.json"
DONE = "DONE"
CHECKPOINTS = "checkpoints"
"""In a cell's folder; removed before the cell is done."""
PARTIAL = ".partial"
SCRATCH = "claimscale-"
"""What the names of scratch folders begin with."""
SPARK_SCRATCH = f"{SCRATCH}spark-"
"""The same of the one folder that outlives its engine; the number of its process follows."""
AUDIT = "audit.jsonl"


def fingerprint(**inputs: Any) -> str:
    """SHA-256 of the inputs as canonical JSON."""
    text = json.dumps(inputs, sort_keys=True, default=str, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def is_current(folder: Path, inputs: str) -> bool:
    """Whether the folder is complete, every file has its checksum, and the manifest records these inputs."""
    return (folder / DONE).exists() and is_whole(folder, inputs)


def is_whole(folder: Path, inputs: str) -> bool:
    """Whether the manifest records these inputs and every file has its checksum; DONE may be missing."""
    try:
        return read_manifest(folder)["inputs"] == inputs and not damaged_files(folder)
    except (OSError, Damaged):
        return False


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest: `name`, `inputs`, and `files` with `bytes` and `sha256` of each.

    Raises OSError if there is none, and Damaged if it was changed or belongs to another folder.
    """
    manifest = read_sealed(folder / MANIFEST)
    if manifest.get("name") != folder.name:
        raise Damaged(folder / MANIFEST)
    return manifest


def damaged_files(folder: Path) -> list[Path]:
    """The files of a finished folder that are missing, changed, or not in its manifest.

    Sizes are compared first. Raises OSError without a manifest, and Damaged if that was changed.
    """
    listed = read_manifest(folder)["files"]
    present = {file.relative_to(folder).as_posix(): file for file in _content(folder)}
    wrong = {name for name in listed.keys() | present.keys() if name not in listed or name not in present}
    wrong |= {name for name in listed.keys() - wrong if present[name].stat().st_size != listed[name]["bytes"]}
    rest = sorted(listed.keys() - wrong)
    digests = file_digests([present[name] for name in rest])
    wrong |= {name for name, digest in zip(rest, digests, strict=True) if digest != listed[name]["sha256"]}
    return [folder / name for name in sorted(wrong)]


def verified(folder: Path) -> Path:
    """The folder, once every file in it has its checksum; what is read is verified before it is used.

    Raises Damaged with the first file that does not, and OSError if the folder is unfinished.
    """
    for file in damaged_files(folder):
        raise Damaged(file)
    return folder


def manifest_digest(folder: Path) -> str:
    """Digest of all files of the folder; part of the fingerprint of every stage that reads it."""
    files = read_manifest(folder)["files"]
    return fingerprint(files={name: entry["sha256"] for name, entry in files.items()})


@contextlib.contextmanager
def sealed_folder(folder: Path, inputs: str) -> Iterator[Path]:
    """A temporary folder to fill; it is sealed and replaces `folder` when the block ends without error."""
    with atomic_folder(folder) as partial:
        yield partial
        write_manifest(partial, inputs, folder.name)
        write_text(partial / DONE, "")
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder to fill; it is renamed to `folder` when the block ends without error.

    An existing folder with content is never overwritten: the rename raises OSError.
    """
    partial = folder.with_name(folder.name + PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    make_folder(partial)
    try:
        yield partial
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    _sync(folder.parent)


def open_cell(folder: Path, inputs: str, description: Mapping[str, object]) -> None:
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
    """Write the manifest, remove the checkpoints, and mark the folder as done.

    A process that is killed before the manifest resumes from the checkpoints; after it, nothing is lost.
    """
    write_manifest(folder, inputs, folder.name)
    mark_done(folder)


def mark_done(folder: Path) -> None:
    """Remove the checkpoints of a folder with a manifest, and mark it as done."""
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    write_text(folder / DONE, "")


def write_manifest(folder: Path, inputs: str, name: str) -> None:
    """Flush all files of the folder to disk, then write their sizes and checksums under its `name`.

    Files that a killed process left unfinished are removed.
    """
    (folder / DONE).unlink(missing_ok=True)
    for left in folder.rglob(f"*{PARTIAL}"):
        remove(left)
    found = _content(folder)
    for path in (*found, *{file.parent for file in found}):
        _sync(path)
    files = {
        file.relative_to(folder).as_posix(): {"bytes": file.stat().st_size, "sha256": file_digest(file)}
        for file in found
    }
    write_sealed(folder / MANIFEST, {"name": name, "inputs": inputs, "files": files})


def _content(folder: Path) -> list[Path]:
    """The files that a manifest lists: all but itself, DONE, hidden files and checkpoints."""
    files = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name in (MANIFEST, DONE, CHECKPOINTS):
            continue
        files += [path] if path.is_file() else [one for one in sorted(path.rglob("*")) if one.is_file()]
    return files


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def refuse_existing(out: Path) -> None:
    """Raise BadInput if there is something at a path that is to be written."""
    if out.exists():
        raise BadInput(f"{out}: is there already; name a new one")


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
    partial = file.with_name(file.name + PARTIAL)
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


def write_sealed(file: Path, content: Mapping[str, object]) -> None:
    """Write a JSON object with its own checksum under `seal`."""
    write_text(file, _sealed_text(content))


def read_sealed(file: Path) -> dict[str, Any]:
    """What `write_sealed` wrote. Raises OSError if there is none, and Damaged if a byte differs."""
    text = file.read_bytes()
    try:
        content = json.loads(text)
        del content["seal"]
        if _sealed_text(content).encode() == text:
            return content
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise Damaged(file)


def is_changed(file: Path) -> bool:
    """Whether a file of `write_sealed` is there and is not as it was written."""
    try:
        read_sealed(file)
    except FileNotFoundError:
        return False
    except (OSError, Damaged):
        return True
    return False


def _sealed_text(content: Mapping[str, object]) -> str:
    sealed = {**content, "seal": fingerprint(**content)}
    return json.dumps(sealed, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def append_audit(run_directory: Path, action: str, **details: Any) -> None:
    """Append a line to `audit.jsonl`: time and action. It must hold no patient's data."""
    line = {"time": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"), "action": action, **details}
    with (run_directory / AUDIT).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line, ensure_ascii=False) + "\n")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
