"""The simulator's own events, and MEDS 0.4: the events with metadata."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import meds
import pyarrow as pa
import pyarrow.parquet as pq

from claimscale import meds_metadata
from claimscale.codes.systems import ADMISSION, BIRTH, DEATH, DISCHARGE, SEX_PREFIX
from claimscale.simulator.ages import SEXES
from claimscale.simulator.writers.base import WriterOptions, write_bytes, write_parquet

UNBILLED = (BIRTH, DEATH, ADMISSION, DISCHARGE, *(SEX_PREFIX + sex for sex in SEXES))


class EventsWriter:
    """`events/<shard>.parquet`: the shard, unchanged."""

    subfolder = "events"

    def __init__(self, folder: Path, country_codes: Sequence[str], options: WriterOptions) -> None:
        self.folder, self.codes = folder, country_codes

    def write(self, events: pa.Table, shard: int) -> None:
        write_parquet(self.folder / self.subfolder / f"{shard:06d}.parquet", events)

    def finish(self) -> None:
        """Nothing to write."""


class MedsWriter(EventsWriter):
    """`data/<shard>.parquet`, with columns that MEDS does not define, and `metadata/`."""

    subfolder = meds.data_subdirectory

    def finish(self) -> None:
        """Write the codes, the description, and one split with every subject of the shards."""
        codes = {*self.codes, *UNBILLED}
        write_parquet(self.folder / meds.code_metadata_filepath, meds_metadata.codes_table(codes))
        text = json.dumps(meds_metadata.description("claimscale simulated claims"), indent=2) + "\n"
        write_bytes(self.folder / meds.dataset_metadata_filepath, text.encode())
        shards = sorted((self.folder / meds.data_subdirectory).glob("*.parquet"))
        subjects = (pq.read_table(shard, columns=["subject_id"])["subject_id"].unique() for shard in shards)
        splits = (meds_metadata.splits_table(ids, [meds.train_split] * len(ids)) for ids in subjects)
        write_parquet(self.folder / meds.subject_splits_filepath, *splits)
