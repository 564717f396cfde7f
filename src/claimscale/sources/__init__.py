"""Data sources: one module per format, each of which reads claims and returns raw events."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import ModuleType
from typing import Any

from claimscale.config.secrets import expand, redact
from claimscale.config.sources import FileSource, SimulatedSource, Source
from claimscale.config.study import Study
from claimscale.engine import Engine
from claimscale.errors import BadInput
from claimscale.sources import anchoring, crosswalks, meds, omop, simulated, synpuf, tables
from claimscale.sources.japan import dpc, receipt
from claimscale.sources.raw import RawEvents

READERS: dict[str, ModuleType] = {
    "tables": tables,
    "receipt": receipt,
    "dpc": dpc,
    "omop": omop,
    "meds": meds,
    "synpuf": synpuf,
}
"""The module of each kind of source in files, with `files_of(source)` and `read(source, engine, scratch)`.

A module may have `other_inputs(source)`: what its events depend on besides settings and files.
"""


def read(study: Study, engine: Engine, scratch: Path) -> RawEvents:
    """The raw events of the study's source. `scratch` holds them, so it must outlive them.

    Raises BadInput for a source that is missing or unreadable.
    """
    source = study.source
    if isinstance(source, SimulatedSource):
        return simulated.read(source, study.seed, engine, scratch)
    raw: RawEvents = READERS[source.kind].read(_connectable(source), engine, scratch)
    if source.dates == "shifted":
        raw = anchoring.anchored(raw, engine, scratch / "anchored")
    return dataclasses.replace(raw, crosswalks=tuple(map(crosswalks.load, source.crosswalks)))


def fingerprint(source: Source) -> dict[str, Any]:
    """What the source's events depend on: its settings, and the names, sizes and ages of its files.

    It holds no password and no environment variable's value.
    """
    files: list[Path] = []
    other_inputs: Any = None
    settings = source.model_dump(mode="json")
    if not isinstance(source, SimulatedSource):
        reader, connectable = READERS[source.kind], _connectable(source)
        settings["path"] = redact(source.path)
        files = [file for listed in reader.files_of(connectable).values() for file in listed]
        files += [Path(each.file) for each in source.crosswalks if each.file]
        if hasattr(reader, "other_inputs"):
            other_inputs = reader.other_inputs(connectable)
    return {"settings": settings, "files": [_identity(file) for file in files], "more": other_inputs}


def _connectable(source: FileSource) -> FileSource:
    """The source with the values of environment variables in its path."""
    return source.model_copy(update={"path": expand(source.path, "source.path")})


def _identity(file: Path) -> dict[str, Any]:
    try:
        stat = file.stat()
    except OSError as error:
        raise BadInput(f"{file}: cannot be read ({error.strerror})") from None
    return {"name": file.name, "bytes": stat.st_size, "modified_ns": stat.st_mtime_ns}
