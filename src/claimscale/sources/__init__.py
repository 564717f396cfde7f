"""One module per format; each turns what users hold into raw events."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from claimscale.engine import Engine
from claimscale.sources import simulated, synpuf
from claimscale.sources.raw import EVENT_SCHEMA, RawEvents
from claimscale.study import Source, Study, SynpufSource


def read(study: Study, engine: Engine, scratch: Path) -> RawEvents:
    """The events of the study's source. `scratch` holds them while they are worked on.

    Raises BadInput for a source that is missing or unreadable.
    """
    source = study.source
    if isinstance(source, SynpufSource):
        return synpuf.read(source, engine, scratch)
    table = simulated.read(source, study.seed, engine, scratch)
    return RawEvents(table.select(*EVENT_SCHEMA).cast(EVENT_SCHEMA))


def fingerprint(source: Source) -> dict[str, Any]:
    """What the source's events depend on: its settings and its files' names, sizes and ages."""
    files = synpuf.files_of(source).values() if isinstance(source, SynpufSource) else []
    return {
        "settings": source.model_dump(mode="json"),
        "files": [
            {"name": file.name, "bytes": file.stat().st_size, "modified_ns": file.stat().st_mtime_ns}
            for listed in files
            for file in listed
        ],
    }
