"""The events as they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from claimscale.simulator.writers.base import WriterOptions, write_parquet


class EventsWriter:
    """`events/<shard>.parquet`: the shard, unchanged."""

    def __init__(self, folder: Path, country_codes: Sequence[str], options: WriterOptions) -> None:
        self.folder = folder / "events"

    def write(self, events: pa.Table, shard: int) -> None:
        write_parquet(self.folder / f"{shard:06d}.parquet", events)

    def finish(self) -> None:
        """Nothing belongs to the whole."""
