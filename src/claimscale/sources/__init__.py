"""One module per format; each turns what users hold into raw events."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from claimscale.config.sources import SimulatedSource, Source
from claimscale.config.study import Study
from claimscale.engine import Engine
from claimscale.errors import BadInput
from claimscale.sources import crosswalks as maps, meds as meds_dataset, omop, simulated, synpuf, tables
from claimscale.sources.japan import dpc, receipt
from claimscale.sources.raw import RawEvents

READERS: dict[str, Any] = {
    "tables": tables,
    "receipt": receipt,
    "dpc": dpc,
    "omop": omop,
    "meds": meds_dataset,
    "synpuf": synpuf,
}
"""The module of each kind of source in files: `files_of(source)` and `read(source, engine, scratch)`.

`depends_on(source)`, where there is one, tells what its events depend on beside settings and files.
"""


def read(study: Study, engine: Engine, scratch: Path) -> RawEvents:
    """The events of the study's source. `scratch` holds them while they are worked on.

    Raises BadInput for a source that is missing or unreadable.
    """
    source = study.source
    if isinstance(source, SimulatedSource):
        return simulated.read(source, study.seed, engine, scratch)
    raw: RawEvents = READERS[source.kind].read(source, engine, scratch)
    return maps.applied(raw, source.crosswalks)


def fingerprint(source: Source) -> dict[str, Any]:
    """What the source's events depend on: its settings and its files' names, sizes and ages."""
    files: list[Path] = []
    more: Any = None
    if not isinstance(source, SimulatedSource):
        files = [file for listed in READERS[source.kind].files_of(source).values() for file in listed]
        files += [Path(each.file) for each in source.crosswalks if each.file]
        if hasattr(READERS[source.kind], "depends_on"):
            more = READERS[source.kind].depends_on(source)
    return {
        "settings": source.model_dump(mode="json"),
        "files": [_identity(file) for file in files],
        "more": more,
    }


def _identity(file: Path) -> dict[str, Any]:
    try:
        stat = file.stat()
    except OSError as error:
        raise BadInput(f"{file}: cannot be read ({error.strerror})") from None
    return {"name": file.name, "bytes": stat.st_size, "modified_ns": stat.st_mtime_ns}
