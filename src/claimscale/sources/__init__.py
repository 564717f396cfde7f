"""Data sources: one module per format, each of which reads claims and returns raw events."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from claimscale.config.secrets import expanded, redacted
from claimscale.config.sources import FileSource, OmopSource, SimulatedSource, Source
from claimscale.config.study import Study
from claimscale.engine import Engine
from claimscale.errors import BadInput
from claimscale.sources import anchoring, crosswalks, meds, omop, omop_tables, simulated, synpuf, tables
from claimscale.sources.japan import dpc, receipt
from claimscale.sources.raw import RawEvents

FileSettings = TypeVar("FileSettings", bound=FileSource)
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
    source = expanded(source, "source")
    raw: RawEvents = READERS[source.kind].read(source, engine, scratch)
    if source.dates == "shifted":
        raw = anchoring.anchored(raw, engine, scratch / "anchored")
    return dataclasses.replace(raw, crosswalks=tuple(map(crosswalks.load, source.crosswalks)))


def fingerprint(source: Source) -> dict[str, object]:
    """What the source's events depend on: its settings, and the names, sizes and ages of its files.

    A database adds its settings only and is not connected to (`age_is_unknown`). The fingerprint holds no
    password and no environment variable's value. Raises BadInput if the files cannot be found.
    """
    files: list[Path] = []
    other_inputs: Any = None
    if not isinstance(source, SimulatedSource):
        reader, located = READERS[source.kind], _located(source)
        files = [file for listed in reader.files_of(located).values() for file in listed]
        files += [Path(each.file) for each in located.crosswalks if each.file]
        if hasattr(reader, "other_inputs"):
            other_inputs = reader.other_inputs(located)
    settings = redacted(source).model_dump(mode="json")
    return {"settings": settings, "files": [_identity(file) for file in files], "more": other_inputs}


def age_is_unknown(source: Source) -> bool:
    """Whether nothing shows a change of the source: it is a database other than a DuckDB file.

    Its events stay current until `ingest` reads it again.
    """
    if not isinstance(source, OmopSource):
        return False
    located = _located(source)
    return omop_tables.is_database(located) and omop_tables.other_inputs(located) is None


def _located(source: FileSettings) -> FileSettings:
    """The source with the values of environment variables, but for the URL of a server and its password."""
    if "://" not in source.path or source.path.startswith("duckdb://"):
        return expanded(source, "source")
    without = expanded(source.model_copy(update={"path": ""}), "source")
    return without.model_copy(update={"path": source.path})


def _identity(file: Path) -> dict[str, str | int]:
    try:
        stat = file.stat()
    except OSError as error:
        raise BadInput(f"{file}: cannot be read ({error.strerror})") from None
    return {"name": file.name, "bytes": stat.st_size, "modified_ns": stat.st_mtime_ns}
