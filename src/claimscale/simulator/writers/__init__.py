"""Writers of simulated events in real claims formats, for round-trip tests of the readers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from claimscale.simulator.writers.base import Writer, WriterOptions
from claimscale.simulator.writers.dpc import DpcWriter
from claimscale.simulator.writers.events import EventsWriter, MedsWriter
from claimscale.simulator.writers.omop import OmopWriter
from claimscale.simulator.writers.tables import TablesWriter
from claimscale.simulator.writers.uke import UkeWriter

__all__ = ["WRITERS", "Writer", "WriterOptions"]

WRITERS: dict[str, Callable[[Path, Sequence[str], WriterOptions], Writer]] = {
    "events": EventsWriter,
    "tables": TablesWriter,
    "uke": UkeWriter,
    "dpc": DpcWriter,
    "omop": OmopWriter,
    "meds": MedsWriter,
}
"""The writer of each format; its arguments are the folder, every code of the country (sorted), and
options."""
