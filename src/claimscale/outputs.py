"""`report_manifest.json`: what the summary and the report were made from, and the checksum of every file.

A file that was changed, cut short or deleted is noticed by the next command and made again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from claimscale import artifacts
from claimscale.checksums import file_digest, file_digests
from claimscale.errors import Damaged

FILE = "report_manifest.json"
SUMMARY = "summary.json"
RESULTS = "results.parquet"
Part = Literal["summary", "report"]
PARTS: tuple[Part, ...] = ("summary", "report")


def record(run: Path, part: Part, inputs: str, written: Sequence[Path], **details: Any) -> None:
    """Record that a part was made from these inputs, and the checksums of its files.

    A new summary has no report yet.
    """
    digests = {file.relative_to(run).as_posix(): file_digest(file) for file in written}
    entry = {"inputs": inputs, "files": digests, **details}
    before = {} if part == "summary" else _read(run)
    artifacts.write_sealed(run / FILE, {**before, part: entry})


def forget(run: Path, part: Part) -> None:
    """Remove the record of a part that is about to change."""
    if found := _read(run):
        artifacts.write_sealed(run / FILE, {name: entry for name, entry in found.items() if name != part})


def is_current(run: Path, part: Part, inputs: str) -> bool:
    """Whether the part was made from these inputs, and every file has its checksum."""
    entry = _read(run).get(part)
    return entry is not None and entry["inputs"] == inputs and not damaged_files(run, part)


def damaged_files(run: Path, part: Part) -> list[Path]:
    """The files of a part that are missing or changed; the record itself if it was changed."""
    if artifacts.is_changed(run / FILE):
        return [run / FILE]
    listed: dict[str, str] = _read(run).get(part, {}).get("files", {})
    digests = file_digests(files(run, part))
    return [run / name for name, digest in zip(listed, digests, strict=True) if digest != listed[name]]


def files(run: Path, part: Part) -> list[Path]:
    """The files of a part; none where it is not recorded."""
    return [run / name for name in _read(run).get(part, {}).get("files", {})]


def verified(file: Path) -> Path:
    """The file of a summary. Raises Damaged if it is not the one that the record beside it names.

    A summary alone, such as one that another site sent, has no record and is taken as it is.
    """
    with contextlib.suppress(OSError):
        for part in artifacts.read_sealed(file.parent / FILE).values():
            if part["files"].get(file.name, digest := file_digest(file)) != digest:
                raise Damaged(file)
    return file


def folders(run: Path) -> dict[str, str]:
    """The digests of the folders that the summary was made from, by name; none without a summary."""
    return _read(run).get("summary", {}).get("folders", {})


def _read(run: Path) -> dict[str, Any]:
    try:
        return artifacts.read_sealed(run / FILE)
    except (OSError, Damaged):
        return {}
